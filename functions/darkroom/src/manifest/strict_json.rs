//! JSON that says one thing only: well formed, not too deep, and no object with a member twice.

use std::{borrow::Cow, cell::Cell, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed},
};
use serde_json::value::RawValue;

use super::diagnostics::{ItemDiagnostics, quote, quote_json};

/// Objects and arrays within each other. Gemini's requests need eight.
const DEPTH: u32 = 64;

/// Values of one item. Each costs many times its bytes in memory; no request needs a hundredth of
/// them.
const VALUES: u32 = 100_000;

/// A name by which `serde_json` marks text to be parsed once more: as a member it could break what
/// reads the item later.
const MARK: &str = "$serde_json::private::";

/// Why a text isn't JSON that can be trusted: a code, and a message for people.
pub(super) type Refusal = (&'static str, String);

/// Checks a whole text.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values = Cell::new(VALUES);
    let checked = Value {
        depth: DEPTH,
        values: &values,
    }
    .deserialize(&mut deserializer)
    .and_then(|()| deserializer.end());
    checked.map_err(|error| {
        let (code, message) = refusal(&error, 0);
        // The commonest cause: JSON that was laid out over several lines.
        let hint = if error.is_eof() {
            ": a line must hold a whole item; put items of several lines into [ … ]"
        } else {
            ""
        };
        (code, message + hint)
    })
}

/// What a failed parse means; `first_line` is the line before the text's first.
pub(super) fn refusal(error: &serde_json::Error, first_line: u64) -> Refusal {
    let whole = error.to_string();
    let what = whole
        .rsplit_once(" at line ")
        .map_or(whole.as_str(), |(what, _)| what);
    if error.is_data() {
        let code = if what.contains(TWICE) {
            "duplicate_member"
        } else {
            "invalid_json"
        };
        return (code, shortened(what));
    }
    if what == "invalid unicode code point" {
        return ("not_utf8", NOT_UTF_8.to_owned());
    }
    let line = first_line + error.line() as u64;
    let place = if line > 1 {
        format!("line {line}, column {}", error.column())
    } else {
        format!("column {}", error.column())
    };
    (
        "invalid_json",
        format!("this is not valid JSON: {} ({place})", shortened(what)),
    )
}

/// What to say about text that isn't UTF-8.
pub(super) const NOT_UTF_8: &str =
    "this is not UTF-8 text, or it is damaged: save the file as UTF-8 (in Excel: CSV UTF-8)";

/// A parser's message, which may repeat a text of any length.
fn shortened(what: &str) -> String {
    match what.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what.to_owned(),
    }
}

/// The longest message of a parser that is repeated, in characters.
const MESSAGE: usize = 200;

/// The message for a member that an object has twice.
pub(super) fn twice(name: &str) -> String {
    format!("member {} {TWICE}: keep one", quote(name))
}

const TWICE: &str = "stands twice in one object";

/// An object's members in order, each value as it is written. `None` if the text is no object.
pub(super) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members;
    impl<'de> de::Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(Name(name)) = map.next_key()? {
                members.push((name, map.next_value()?));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Members)
        .ok()
}

/// The members of a text that must be an object; where it is none, a finding, and no members.
pub(super) fn members_of<'a>(
    name: &str,
    text: &'a str,
    diagnostics: &mut ItemDiagnostics,
) -> Vec<(Cow<'a, str>, &'a RawValue)> {
    members(text).unwrap_or_else(|| {
        diagnostics.error(
            "bad_value",
            format!("{name} must be an object, not {}", quote_json(text)),
        );
        Vec::new()
    })
}

/// A member's name, borrowed where it holds no escape.
#[derive(Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Visits a value for its faults only.
#[derive(Clone, Copy)]
struct Value<'a> {
    depth: u32,
    /// How many more there may be.
    values: &'a Cell<u32>,
}

impl Value<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| {
            E::custom(format!(
                "the item's JSON is more than {DEPTH} levels deep: write it flatter"
            ))
        })?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let left = self.values.get().checked_sub(1).ok_or_else(|| {
            de::Error::custom(format!(
                "the item holds more than {VALUES} values: make several items of it"
            ))
        })?;
        self.values.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(Name(name)) = members.next_key()? {
            if names.contains(&name) {
                return Err(de::Error::custom(twice(&name)));
            }
            if name.starts_with(MARK) {
                return Err(de::Error::custom(format!(
                    "member {} can't be used: take it out",
                    quote(&name)
                )));
            }
            names.insert(name);
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#] {
            let (code, message) = check(text).unwrap_err();
            assert_eq!(
                (code, message.as_str()),
                (
                    "duplicate_member",
                    r#"member "a" stands twice in one object: keep one"#
                )
            );
        }
        check(r#"{"a":{"a":1},"b":{"a":1.5e3}}"#).unwrap();
    }

    #[test]
    fn bad_json_names_the_column() {
        let (code, message) = check(r#"{"a": x}"#).unwrap_err();
        assert_eq!(code, "invalid_json");
        insta::assert_snapshot!(message, @"this is not valid JSON: expected value (column 7)");
        assert_eq!(check(r#"{"a":1} {"#).unwrap_err().0, "invalid_json");
        assert!(
            check(r#"{"a":1,"#)
                .unwrap_err()
                .1
                .ends_with("put items of several lines into [ … ]")
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        check(&deep(64)).unwrap();
        assert!(check(&deep(65)).unwrap_err().1.contains("64 levels"));
        check(&"[".repeat(1 << 20)).unwrap_err();
    }

    #[test]
    fn members_keep_their_values_as_written() {
        let found = members(r#" { "a" : 1.50 , "b\n" : { "c" : [ ] } } "#).unwrap();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (name.as_ref(), value.get()))
            .collect();
        assert_eq!(found, [("a", "1.50"), ("b\n", r#"{ "c" : [ ] }"#)]);
        assert!(members("[1]").is_none());
    }
}
