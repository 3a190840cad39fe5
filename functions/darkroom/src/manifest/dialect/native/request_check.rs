//! Compares a Gemini request with the members that Gemini has.
//!
//! Google refuses a whole batch if one of its requests has an unknown name or a value of another
//! type. So each is reported here, with its place in the request. What Google's parser accepts is
//! not refused: names in camel case or snake case, names of enums in any case, numbers as texts,
//! and `null` for absent members (<https://protobuf.dev/programming-guides/json/>, read 2026-11).

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny},
};

use super::{
    request_hints::{Hint, hint},
    request_schema::{GENERATE_CONTENT_REQUEST, Kind, Message},
};
use crate::manifest::{
    diagnostics::{ItemDiagnostics, quote},
    strict_json::Name,
};

/// How a Gemini request is handled that Gemini may refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestCheck {
    /// The manifest is rejected.
    #[default]
    Error,
    /// The request is sent unchanged, with a warning: Gemini may accept more than is known here.
    Warn,
}

impl RequestCheck {
    /// Reports what Gemini may refuse at this place of a request.
    pub(crate) fn note(
        self,
        code: &'static str,
        place: impl fmt::Display,
        what: &str,
        diagnostics: &mut ItemDiagnostics,
    ) {
        match self {
            Self::Error => diagnostics.error(code, format!("{place}: {what}")),
            Self::Warn => diagnostics.warning(
                code,
                format!("{place}: {what} (sent unchanged: Gemini may refuse it)"),
            ),
        }
    }

    /// Returns an addition for messages about values that Gemini may accept by now.
    fn way_out(self) -> &'static str {
        match self {
            Self::Error => {
                " (if Gemini accepts it by now, set job.request_check to \"warn\" to send it)"
            }
            Self::Warn => "",
        }
    }
}

static REQUEST: Kind = Kind::Object(&GENERATE_CONTENT_REQUEST);

/// Reports what Gemini does not accept in a request. `root` is the name of the request in messages.
pub(crate) fn check(
    request: &str,
    root: &str,
    strictness: RequestCheck,
    diagnostics: &mut ItemDiagnostics,
) {
    let mut walk = Walk {
        root,
        place: root.to_owned(),
        strictness,
        diagnostics,
    };
    let member = Member {
        walk: &mut walk,
        kind: &REQUEST,
    };
    // The text is known to be JSON, and nothing else fails.
    let _ = member.deserialize(&mut serde_json::Deserializer::from_str(request));
}

/// The state of a walk through a request.
struct Walk<'a> {
    root: &'a str,
    /// The path of the current member, as the request writes it.
    place: String,
    strictness: RequestCheck,
    diagnostics: &'a mut ItemDiagnostics,
}

impl Walk<'_> {
    /// Runs `act` one level deeper.
    fn inside<T>(&mut self, step: impl fmt::Display, act: impl FnOnce(&mut Self) -> T) -> T {
        let end = self.place.len();
        // Writing to a String doesn't fail.
        let _ = write!(self.place, "{step}");
        let done = act(self);
        self.place.truncate(end);
        done
    }

    /// Reports a name that a message does not have.
    fn unknown(&mut self, message: &Message, name: &str) {
        let (of, way_out) = (message.0, self.strictness.way_out());
        let what = match hint(message, name, self.root) {
            Hint::Sure(hint) => format!("Gemini's {of} has no such field: {hint}"),
            Hint::Unsure(hint) => format!("Gemini's {of} has no such field: {hint}{way_out}"),
        };
        self.inside(format_args!(".{}", step(name)), |walk| {
            walk.strictness.note(
                "unknown_request_field",
                &walk.place,
                &what,
                walk.diagnostics,
            );
        });
    }

    /// Reports a member that is also there in the other case.
    fn twice(&mut self, name: &str, first: &str) {
        let place = &self.place;
        self.diagnostics.error(
            "duplicate_member",
            format!("{place}.{name} and {place}.{first} are the same: keep one"),
        );
    }
}

/// One member of a request, and the kind that it must have.
struct Member<'w, 'a> {
    walk: &'w mut Walk<'a>,
    kind: &'static Kind,
}

impl Member<'_, '_> {
    /// Expects the element of a list instead of the list: Google's parser accepts a list's only
    /// element without brackets.
    fn only(self) -> Self {
        match self.kind {
            Kind::List(kind) => Self { kind, ..self },
            _ => self,
        }
    }

    fn expect(self, is_right: bool, found: &str) {
        if !is_right {
            let way_out = if matches!(self.kind, Kind::Enum(_)) {
                self.walk.strictness.way_out()
            } else {
                ""
            };
            let what = format!("must be {}, not {found}{way_out}", expected(self.kind));
            let Walk {
                place,
                strictness,
                diagnostics,
                ..
            } = self.walk;
            strictness.note("bad_request_value", place, &what, diagnostics);
        }
    }

    fn number<N: fmt::Display + Copy>(self, number: N, value: f64) {
        let member = self.only();
        let is_right = match member.kind {
            // Google's parser accepts the number of an enum too.
            Kind::Enum(_) => value.fract() == 0.0,
            kind => is_number(kind, value) || matches!(kind, Kind::Any),
        };
        member.expect(is_right, &number.to_string());
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Member<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        let member = self.only();
        let is_right = matches!(member.kind, Kind::Boolean | Kind::Any);
        member.expect(is_right, &value.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.number(value, value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.number(value, value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.number(value, value);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let member = self.only();
        let is_right = match member.kind {
            Kind::Text | Kind::Any => true,
            Kind::Bytes => is_base64(text),
            Kind::Enum(names) => names.iter().any(|name| name.eq_ignore_ascii_case(text)),
            Kind::Boolean => matches!(text, "true" | "false"),
            kind => text
                .trim()
                .parse()
                .is_ok_and(|value| is_number(kind, value)),
        };
        member.expect(is_right, &quote(text));
        Ok(())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Kind::List(kind) = self.kind else {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            let is_right = matches!(self.kind, Kind::Any);
            self.expect(is_right, "a list");
            return Ok(());
        };
        for number in 0_u64.. {
            let element = self.walk.inside(format_args!("[{number}]"), |walk| {
                elements.next_element_seed(Member { walk, kind })
            })?;
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Member { walk, kind } = self.only();
        let mut seen: Vec<(&str, Cow<'de, str>)> = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            // An unknown member is reported, and so is one that appears in both cases.
            let known = match kind {
                Kind::Object(message) => {
                    let known = message.member(&name);
                    match known {
                        None => walk.unknown(message, &name),
                        Some((camel, _)) => match seen.iter().find(|(other, _)| *other == camel) {
                            Some((_, first)) => walk.twice(&name, first),
                            None => seen.push((camel, name.clone())),
                        },
                    }
                    known.map(|(_, kind)| kind)
                }
                Kind::Map(kind) => Some(*kind),
                _ => None,
            };

            // A known value is checked one level deeper, and any other is skipped.
            match known {
                Some(kind) => walk.inside(format_args!(".{}", step(&name)), |walk| {
                    members.next_value_seed(Member { walk, kind })
                })?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }

        // The object itself may be what is wrong.
        let is_right = matches!(kind, Kind::Object(_) | Kind::Map(_) | Kind::Any);
        Member { walk, kind }.expect(is_right, "an object");
        Ok(())
    }
}

impl Message {
    /// Returns a member by its name in either case.
    fn member(&self, name: &str) -> Option<(&'static str, &'static Kind)> {
        let found = self
            .1
            .iter()
            .find(|(camel, _)| *camel == name || is_snake_case_of(name, camel));
        found.map(|(camel, kind)| (*camel, kind))
    }
}

/// Whether a name is the snake case of another. It copies neither, because it runs for every member
/// of every request.
fn is_snake_case_of(name: &str, camel: &str) -> bool {
    let mut letters = name.bytes();
    let is_next = |letter: u8| match letter.is_ascii_uppercase() {
        true => letters.next() == Some(b'_') && letters.next() == Some(letter.to_ascii_lowercase()),
        false => letters.next() == Some(letter),
    };
    camel.bytes().all(is_next) && letters.next().is_none()
}

/// Returns a name as a step of a path, in quotes if it is ambiguous.
fn step(name: &str) -> Cow<'_, str> {
    let is_plain = name.len() <= 60
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain {
        name.into()
    } else {
        quote(name).into()
    }
}

/// Describes a kind, for messages.
fn expected(kind: &Kind) -> Cow<'static, str> {
    match kind {
        Kind::Text => "a text".into(),
        Kind::Bytes => "bytes as base64".into(),
        Kind::Enum(names) => format!("one of {}", known(names)).into(),
        Kind::Int32 => "a whole number of 32 bits".into(),
        Kind::Int64 => "a whole number of 64 bits".into(),
        Kind::Number => "a number".into(),
        Kind::Boolean => "true or false".into(),
        Kind::Object(_) | Kind::Map(_) => "an object".into(),
        Kind::List(_) => "a list".into(),
        Kind::Any => "JSON".into(),
    }
}

/// Lists the names of an enum without the unspecified one.
fn known(names: &[&str]) -> String {
    let mean = names
        .iter()
        .filter(|name| !name.to_ascii_lowercase().ends_with("unspecified"));
    mean.copied().collect::<Vec<_>>().join(", ")
}

/// Whether a member of this kind is a number and may have this value.
fn is_number(kind: &Kind, value: f64) -> bool {
    match kind {
        Kind::Number => true,
        Kind::Int32 => {
            value.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value)
        }
        Kind::Int64 => value.fract() == 0.0 && (i64::MIN as f64..=i64::MAX as f64).contains(&value),
        _ => false,
    }
}

/// Whether a text has only the characters of base64, of either alphabet. A `data:` URL has others.
fn is_base64(text: &str) -> bool {
    let is_known = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/-_=".contains(&byte)
    };
    text.bytes().all(is_known)
}

#[cfg(test)]
mod tests;
