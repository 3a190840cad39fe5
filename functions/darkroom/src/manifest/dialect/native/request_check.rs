//! A request in Google's form against the members that Gemini knows.
//!
//! Google refuses a whole batch when one of its requests has an unknown name or a value of another
//! type. So each is found here, with its place in the request. What Google's parser takes is not
//! refused: names in lowerCamelCase or in snake_case, names of enums in any case, numbers as texts,
//! and `null` for what is absent (<https://protobuf.dev/programming-guides/json/>, read 2026-11).

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

/// What becomes of a request in Google's form that Gemini may refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestCheck {
    /// The manifest is rejected.
    #[default]
    Error,
    /// The request is sent as it is, with a warning: Gemini may know more than this program.
    Warn,
}

impl RequestCheck {
    /// Notes what Gemini may refuse at this place of a request.
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
                format!("{place}: {what} (sent as it is: Gemini may refuse it)"),
            ),
        }
    }

    /// What to add where Gemini may know by now what this program doesn't.
    fn way_out(self) -> &'static str {
        match self {
            Self::Error => " (if Gemini takes it by now, job.request_check \"warn\" sends it)",
            Self::Warn => "",
        }
    }
}

static REQUEST: Kind = Kind::Object(&GENERATE_CONTENT_REQUEST);

/// Finds what Gemini does not know in a request. `root` is the request's name in the messages.
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
    // That it is JSON was checked before, and nothing else fails.
    let _ = member.deserialize(&mut serde_json::Deserializer::from_str(request));
}

/// How far a request is read.
struct Walk<'a> {
    root: &'a str,
    /// The member that is looked at, by its path as the request writes it.
    place: String,
    strictness: RequestCheck,
    diagnostics: &'a mut ItemDiagnostics,
}

impl Walk<'_> {
    /// Does something one level deeper.
    fn inside<T>(&mut self, step: impl fmt::Display, act: impl FnOnce(&mut Self) -> T) -> T {
        let end = self.place.len();
        // Writing to a String doesn't fail.
        let _ = write!(self.place, "{step}");
        let done = act(self);
        self.place.truncate(end);
        done
    }

    /// Notes a name that a message does not have.
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

    /// Notes a member that stands there in the other casing already.
    fn twice(&mut self, name: &str, first: &str) {
        let place = &self.place;
        self.diagnostics.error(
            "duplicate_member",
            format!("{place}.{name} and {place}.{first} are the same: keep one"),
        );
    }
}

/// One member of a request, to be compared with its kind.
struct Member<'w, 'a> {
    walk: &'w mut Walk<'a>,
    kind: &'static Kind,
}

impl Member<'_, '_> {
    /// The same, where the kind is a list that is given its only element: Google's parser takes
    /// that.
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
            // An enum's number is as good as its name.
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
        let is_right = matches!(member.kind, Kind::Truth | Kind::Any);
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
            Kind::Truth => matches!(text, "true" | "false"),
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
            match known {
                Some(kind) => walk.inside(format_args!(".{}", step(&name)), |walk| {
                    members.next_value_seed(Member { walk, kind })
                })?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        let is_right = matches!(kind, Kind::Object(_) | Kind::Map(_) | Kind::Any);
        Member { walk, kind }.expect(is_right, "an object");
        Ok(())
    }
}

impl Message {
    /// The member of a name in either casing.
    fn member(&self, name: &str) -> Option<(&'static str, &'static Kind)> {
        let found = self
            .1
            .iter()
            .find(|(camel, _)| *camel == name || is_snake_case_of(name, camel));
        found.map(|(camel, kind)| (*camel, kind))
    }
}

/// Whether a name is the snake_case of another one, without a copy of either: every member of every
/// request is asked.
fn is_snake_case_of(name: &str, camel: &str) -> bool {
    let mut letters = name.bytes();
    let is_next = |letter: u8| match letter.is_ascii_uppercase() {
        true => letters.next() == Some(b'_') && letters.next() == Some(letter.to_ascii_lowercase()),
        false => letters.next() == Some(letter),
    };
    camel.bytes().all(is_next) && letters.next().is_none()
}

/// A name as a step of a path; in quotes where it could be mistaken for something else.
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

/// What a kind of member must be, in words.
fn expected(kind: &Kind) -> Cow<'static, str> {
    match kind {
        Kind::Text => "a text".into(),
        Kind::Bytes => "bytes as base64".into(),
        Kind::Enum(names) => format!("one of {}", known(names)).into(),
        Kind::Int32 => "a whole number of 32 bits".into(),
        Kind::Int64 => "a whole number of 64 bits".into(),
        Kind::Number => "a number".into(),
        Kind::Truth => "true or false".into(),
        Kind::Object(_) | Kind::Map(_) => "an object".into(),
        Kind::List(_) => "a list".into(),
        Kind::Any => "JSON".into(),
    }
}

/// The names of an enum that mean something.
fn known(names: &[&str]) -> String {
    let mean = names
        .iter()
        .filter(|name| !name.to_ascii_lowercase().ends_with("unspecified"));
    mean.copied().collect::<Vec<_>>().join(", ")
}

/// Whether a member of this kind holds a number, and may hold this one.
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

/// Whether a text has only the letters of base64, of either alphabet. A `data:` URL has others.
fn is_base64(text: &str) -> bool {
    let is_known = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/-_=".contains(&byte)
    };
    text.bytes().all(is_known)
}

#[cfg(test)]
mod tests;
