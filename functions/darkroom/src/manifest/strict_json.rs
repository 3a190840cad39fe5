//! Strict JSON: well formed, of bounded depth and size, and without duplicate members.

use std::{borrow::Cow, cell::Cell, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed},
};
use serde_json::value::RawValue;

use super::diagnostics::{ItemDiagnostics, quote, quote_json};

/// The most levels of nesting. Gemini's requests need eight.
const MAX_DEPTH: u32 = 64;

/// The most values of one item. Each takes many times its bytes in memory, and no request needs a
/// hundredth of them.
const MAX_VALUES: u32 = 100_000;

/// The prefix of names that `serde_json` uses for raw values. As a member's name it would break the
/// parsing of the item.
const MARK: &str = "$serde_json::private::";

/// Why a text is not strict JSON: a code and a message.
pub(super) type Refusal = (&'static str, String);

/// Checks a whole text.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values = Cell::new(MAX_VALUES);
    let checked = Value {
        depth: MAX_DEPTH,
        values: &values,
    }
    .deserialize(&mut deserializer)
    .and_then(|()| deserializer.end());
    checked.map_err(|error| {
        let (code, message) = refusal(&error, 0);
        // The most common cause is an item that spans several lines.
        let hint = if error.is_eof() {
            ": a line must hold a whole item; put items that span several lines into [ … ]"
        } else {
            ""
        };
        (code, message + hint)
    })
}

/// Describes a failed parse. `first_line` is the number of lines before the text.
pub(super) fn refusal(error: &serde_json::Error, first_line: u64) -> Refusal {
    // The parser's message ends with its own position, which does not count the lines before.
    let whole = error.to_string();
    let what = whole
        .rsplit_once(" at line ")
        .map_or(whole.as_str(), |(what, _)| what);

    // Errors of the visitor have a message without a position.
    if error.is_data() {
        let code = if what.contains(DUPLICATE) {
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

/// The message for text that is not UTF-8.
pub(super) const NOT_UTF_8: &str =
    "this is not UTF-8 text, or it is damaged: save the file as UTF-8 (in Excel: CSV UTF-8)";

/// Shortens a parser's message, which may quote a text of any length.
fn shortened(what: &str) -> String {
    match what.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what.to_owned(),
    }
}

/// The longest message of a parser that is shown, in characters.
const MAX_MESSAGE_CHARACTERS: usize = 200;

/// Returns the message for a duplicate member.
pub(super) fn duplicate_member(name: &str) -> String {
    format!("member {} {DUPLICATE}: keep one", quote(name))
}

const DUPLICATE: &str = "appears twice in one object";

/// Returns the members of an object in order, each value as it is written. `None` if the text is
/// not an object.
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

/// Returns the members of a text that must be an object. If it is not, that is reported, and there
/// are no members.
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

/// The name of a member, borrowed if it contains no escape.
#[derive(Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Visits a value to check it, without keeping it.
#[derive(Clone, Copy)]
struct Value<'a> {
    depth: u32,
    /// How many more values are allowed.
    values: &'a Cell<u32>,
}

impl Value<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| {
            E::custom(format!(
                "the item's JSON is nested more than {MAX_DEPTH} levels deep: reduce the nesting"
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
                "the item has more than {MAX_VALUES} values: split it into several items"
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
                return Err(de::Error::custom(duplicate_member(&name)));
            }
            if name.starts_with(MARK) {
                return Err(de::Error::custom(format!(
                    "member {} can't be used: remove it",
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
    fn a_duplicate_member_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#] {
            let (code, message) = check(text).unwrap_err();
            assert_eq!(
                (code, message.as_str()),
                (
                    "duplicate_member",
                    r#"member "a" appears twice in one object: keep one"#
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
                .ends_with("put items that span several lines into [ … ]")
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
