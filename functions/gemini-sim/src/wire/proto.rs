//! JSON parsed as the service does, against descriptions of messages.
//!
//! Field names may be in lowerCamelCase or snake_case, in any mixture; an unknown name is an error;
//! numbers may be strings; `null` means absent. Enum names may be in any case, with dashes instead
//! of underscores. The result has lowerCamelCase names only, and enum names as declared. Source:
//! protobuf.dev/programming-guides/json, read 2026-11-21.
//!
//! The front end that parses the bodies of calls is more lenient: it accepts one value for a list,
//! as in `"parts": {"text": …}` in Google's samples, and `"true"` for `true`. Another parser reads
//! the lines of input files; it is not known to be lenient. Source:
//! github.com/protocolbuffers/protobuf, `src/google/protobuf/util/internal/datapiece.cc` and
//! `protostream_objectwriter.cc`, read 2026-11-26.

use serde_json::{Map, Value};

/// A message: its fields by lowerCamelCase name.
pub(crate) struct Message(pub(crate) &'static [(&'static str, Kind)]);

/// The type of a field.
pub(crate) enum Kind {
    /// A string, or bytes in base64.
    Text,
    /// One of these names.
    Enum(&'static [&'static str]),
    /// A whole number, or its digits as a string.
    Integer,
    /// Any number, or its digits as a string.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A message.
    Message(&'static Message),
    /// A list.
    List(&'static Kind),
    /// Any JSON, which the simulation accepts without examining it.
    Any,
}

/// A field that can't be read. The message never includes values, which may be a user's prompt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// There is no such field.
    #[error("Unknown name \"{name}\"{}: Cannot find field.", place(.at))]
    UnknownName {
        /// The name as it was written.
        name: String,
        /// The path of the message that contains it, in snake_case.
        at: String,
    },
    /// The field has a value of the wrong type.
    #[error("Invalid value{} ({wanted})", place(.at))]
    WrongValue {
        /// The path of the field, in snake_case.
        at: String,
        /// The expected type.
        wanted: &'static str,
    },
}

/// The parser that reads a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parser {
    /// The parser of the bodies of calls.
    FrontEnd,
    /// The parser of the lines of input files.
    Lines,
}

/// Reads a message and returns it in lowerCamelCase, or returns all its errors.
pub(crate) fn read(
    value: Value,
    message: &Message,
    parser: Parser,
) -> Result<Value, Vec<FieldError>> {
    let mut reading = Reading {
        parser,
        errors: Vec::new(),
    };
    let read = reading.message(value, message, "");
    if reading.errors.is_empty() {
        Ok(read)
    } else {
        Err(reading.errors)
    }
}

/// The state of reading a message, with the errors found so far.
struct Reading {
    parser: Parser,
    errors: Vec<FieldError>,
}

impl Reading {
    fn message(&mut self, value: Value, message: &Message, at: &str) -> Value {
        let Value::Object(members) = value else {
            return self.wrong_value(at, "an object");
        };
        let mut read = Map::new();
        for (name, value) in members {
            let Some((camel, kind)) = message
                .0
                .iter()
                .find(|(camel, _)| *camel == name || snake(camel) == name)
            else {
                self.errors.push(FieldError::UnknownName {
                    name,
                    at: at.to_owned(),
                });
                continue;
            };
            if !value.is_null() {
                let dot = if at.is_empty() { "" } else { "." };
                let path = format!("{at}{dot}{}", snake(camel));
                read.insert((*camel).to_owned(), self.value(value, kind, &path));
            }
        }
        Value::Object(read)
    }

    fn value(&mut self, value: Value, kind: &Kind, at: &str) -> Value {
        let (read, wanted) = match kind {
            Kind::Message(message) => return self.message(value, message, at),
            Kind::List(kind) => return self.list(value, kind, at),
            Kind::Any => return value,
            Kind::Text => (value.is_string().then_some(value), "TYPE_STRING"),
            Kind::Enum(names) => (declared(&value, names).map(Value::from), "TYPE_ENUM"),
            Kind::Integer => (integer(&value).map(Value::from), "TYPE_INT64"),
            Kind::Number => (number(value), "TYPE_FLOAT"),
            Kind::Boolean => (self.boolean(&value).map(Value::from), "TYPE_BOOL"),
        };
        read.unwrap_or_else(|| self.wrong_value(at, wanted))
    }

    fn list(&mut self, value: Value, kind: &Kind, at: &str) -> Value {
        match value {
            Value::Array(values) => {
                let numbered = values.into_iter().enumerate();
                numbered
                    .map(|(n, value)| self.value(value, kind, &format!("{at}[{n}]")))
                    .collect()
            }
            value if self.parser == Parser::FrontEnd => vec![self.value(value, kind, at)].into(),
            _ => self.wrong_value(at, "a list"),
        }
    }

    fn boolean(&self, value: &Value) -> Option<bool> {
        match value.as_str() {
            Some("true") if self.parser == Parser::FrontEnd => Some(true),
            Some("false") if self.parser == Parser::FrontEnd => Some(false),
            _ => value.as_bool(),
        }
    }

    fn wrong_value(&mut self, at: &str, wanted: &'static str) -> Value {
        self.errors.push(FieldError::WrongValue {
            at: at.to_owned(),
            wanted,
        });
        Value::Null
    }
}

/// Returns the declared name that a value matches.
fn declared(value: &Value, names: &[&'static str]) -> Option<&'static str> {
    let output_line = value.as_str()?.replace('-', "_");
    names
        .iter()
        .copied()
        .find(|name| name.eq_ignore_ascii_case(&output_line))
}

/// Reads a whole number, also if written as `5.0` or `"5"`.
fn integer(value: &Value) -> Option<i64> {
    let whole = |number: f64| {
        if number.fract() == 0.0 {
            format!("{number:.0}").parse().ok()
        } else {
            None
        }
    };
    match value {
        Value::String(text) => text.parse().ok().or_else(|| whole(text.parse().ok()?)),
        value => value.as_i64().or_else(|| whole(value.as_f64()?)),
    }
}

/// Reads a number, also if written as a string.
fn number(value: Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value),
        Value::String(text) => text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::from),
        _ => None,
    }
}

fn place(at: &str) -> String {
    if at.is_empty() {
        String::new()
    } else {
        format!(" at '{at}'")
    }
}

/// Converts a lowerCamelCase name to snake_case.
pub(crate) fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static INNER: Message = Message(&[
        ("sizeBytes", Kind::Integer),
        ("mode", Kind::Enum(&["ON", "HALF_ON"])),
        ("share", Kind::Number),
        ("isOld", Kind::Boolean),
    ]);
    static OUTER: Message = Message(&[
        ("displayName", Kind::Text),
        ("inner", Kind::Message(&INNER)),
        ("innerParts", Kind::List(&Kind::Message(&INNER))),
        ("modes", Kind::List(&Kind::Enum(&["ON", "HALF_ON"]))),
    ]);

    fn lines(value: Value) -> Result<Value, Vec<String>> {
        read(value, &OUTER, Parser::Lines)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn front_end(value: Value) -> Result<Value, Vec<String>> {
        read(value, &OUTER, Parser::FrontEnd)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_become_camel_case() {
        let camel = json!({"displayName": "a", "innerParts": [{"sizeBytes": 5}]});
        let snake = json!({"display_name": "a", "inner_parts": [{"size_bytes": "5"}]});
        assert_eq!(lines(camel.clone()), Ok(camel.clone()));
        assert_eq!(lines(snake), Ok(camel));
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(lines(json!({"inner": null})), Ok(json!({})));
    }

    #[test]
    fn enum_names_are_case_insensitive() {
        for name in ["HALF_ON", "half_on", "Half_On", "half-on"] {
            assert_eq!(
                lines(json!({"inner": {"mode": name}})),
                Ok(json!({"inner": {"mode": "HALF_ON"}}))
            );
        }
        assert_eq!(
            lines(json!({"modes": ["On", "half_on"]})),
            Ok(json!({"modes": ["ON", "HALF_ON"]}))
        );
        for wrong_value in [
            json!("HALFON"),
            json!("HALF ON"),
            json!(""),
            json!(" on"),
            json!(1),
        ] {
            assert_eq!(
                lines(json!({"modes": [wrong_value]})),
                Err(vec!["Invalid value at 'modes[0]' (TYPE_ENUM)".to_owned()])
            );
        }
    }

    #[test]
    fn numbers_may_be_strings() {
        let inner = |size: Value, share: Value| {
            lines(json!({"inner": {"sizeBytes": size, "share": share}}))
        };
        let read = Ok(json!({"inner": {"sizeBytes": 5, "share": 0.5}}));
        assert_eq!(inner(json!(5.0), json!("0.5")), read);
        assert_eq!(inner(json!("5.0"), json!("5e-1")), read);
        for (size, share) in [
            (json!(5.5), json!("inf")),
            (json!("5,0"), json!("NaN")),
            (json!(1e300), json!(true)),
        ] {
            assert_eq!(inner(size, share).map_err(|errors| errors.len()), Err(2));
        }
    }

    #[test]
    fn only_the_front_end_accepts_single_values_and_quoted_booleans() {
        let loose = json!({"innerParts": {"isOld": "true"}, "modes": "on"});
        assert_eq!(
            front_end(loose.clone()),
            Ok(json!({"innerParts": [{"isOld": true}], "modes": ["ON"]}))
        );
        assert_eq!(
            lines(loose),
            Err(vec![
                "Invalid value at 'inner_parts' (a list)".to_owned(),
                "Invalid value at 'modes' (a list)".to_owned(),
            ])
        );
        assert!(lines(json!({"inner": {"isOld": "true"}})).is_err());
        assert!(front_end(json!({"inner": {"isOld": "yes"}})).is_err());
    }

    #[test]
    fn unknown_names_are_reported_with_their_path() {
        assert_eq!(
            lines(json!({"x": 1})),
            Err(vec!["Unknown name \"x\": Cannot find field.".to_owned()])
        );
        assert_eq!(
            lines(json!({"innerParts": [{}, {"y": 1}]})),
            Err(vec![
                "Unknown name \"y\" at 'inner_parts[1]': Cannot find field.".to_owned()
            ])
        );
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let errors =
            lines(json!({"displayName": 1, "inner": {"mode": "OFF", "sizeBytes": 1.5}, "z": 0}));
        assert_eq!(errors.map_err(|errors| errors.len()), Err(4));
    }

    #[test]
    fn errors_never_quote_a_value() {
        let errors = lines(json!({"inner": "a secret prompt"}));
        assert_eq!(
            errors,
            Err(vec!["Invalid value at 'inner' (an object)".to_owned()])
        );
    }
}
