//! JSON read the way the service reads it: against message descriptions.
//!
//! Members may be written in lowerCamelCase or in snake_case, mixed at will; an unknown name is an error; 64-bit
//! numbers may be strings; `null` means absent. What comes out has lowerCamelCase names only.
//! Source: protobuf.dev/programming-guides/json, read 2026-11-21.

use serde_json::{Map, Value};

/// A message: its members by lowerCamelCase name.
pub(super) struct Message(pub(super) &'static [(&'static str, Kind)]);

/// What a member holds.
pub(super) enum Kind {
    /// A string, or bytes in base64.
    Text,
    /// One of these names.
    Enum(&'static [&'static str]),
    /// A whole number, or its decimal digits as a string.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Truth,
    /// A message.
    Message(&'static Message),
    /// A list.
    List(&'static Kind),
    /// Any JSON: what the simulation accepts without looking at it.
    Any,
}

/// A member that can't be read. Values are never part of it: they may be somebody's prompt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// No such member.
    #[error("Unknown name \"{name}\"{}: Cannot find field.", place(.at))]
    UnknownName {
        /// As it was written.
        name: String,
        /// The path of the message it is in, in snake_case.
        at: String,
    },
    /// The member is there but holds something else.
    #[error("Invalid value{} ({wanted})", place(.at))]
    WrongValue {
        /// The path of the member, in snake_case.
        at: String,
        /// What should be there.
        wanted: &'static str,
    },
}

/// Reads a message and answers with it in lowerCamelCase, or with all its faults.
pub(super) fn read(value: Value, message: &Message) -> Result<Value, Vec<Fault>> {
    let mut faults = Vec::new();
    let read = read_message(value, message, "", &mut faults);
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

fn read_message(value: Value, message: &Message, at: &str, faults: &mut Vec<Fault>) -> Value {
    let Value::Object(members) = value else {
        return wrong(at, "an object", faults);
    };
    let mut read = Map::new();
    for (name, value) in members {
        let Some((camel, kind)) = message.0.iter().find(|(camel, _)| *camel == name || snake(camel) == name) else {
            faults.push(Fault::UnknownName { name, at: at.to_owned() });
            continue;
        };
        if !value.is_null() {
            let dot = if at.is_empty() { "" } else { "." };
            let path = format!("{at}{dot}{}", snake(camel));
            read.insert((*camel).to_owned(), read_value(value, kind, &path, faults));
        }
    }
    Value::Object(read)
}

fn read_value(value: Value, kind: &Kind, at: &str, faults: &mut Vec<Fault>) -> Value {
    match kind {
        Kind::Text if value.is_string() => value,
        Kind::Text => wrong(at, "TYPE_STRING", faults),
        Kind::Enum(names) if value.as_str().is_some_and(|name| names.contains(&name)) => value,
        Kind::Enum(_) => wrong(at, "TYPE_ENUM", faults),
        Kind::Integer => match integer(&value) {
            Some(number) => Value::from(number),
            None => wrong(at, "TYPE_INT64", faults),
        },
        Kind::Number if value.is_number() => value,
        Kind::Number => wrong(at, "TYPE_FLOAT", faults),
        Kind::Truth if value.is_boolean() => value,
        Kind::Truth => wrong(at, "TYPE_BOOL", faults),
        Kind::Message(message) => read_message(value, message, at, faults),
        Kind::List(kind) => match value {
            Value::Array(values) => {
                let numbered = values.into_iter().enumerate();
                numbered.map(|(n, value)| read_value(value, kind, &format!("{at}[{n}]"), faults)).collect()
            }
            _ => wrong(at, "a list", faults),
        },
        Kind::Any => value,
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn wrong(at: &str, wanted: &'static str, faults: &mut Vec<Fault>) -> Value {
    faults.push(Fault::WrongValue { at: at.to_owned(), wanted });
    Value::Null
}

fn place(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(" at '{at}'") }
}

/// A lowerCamelCase name in snake_case.
pub(super) fn snake(camel: &str) -> String {
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

    static INNER: Message = Message(&[("sizeBytes", Kind::Integer), ("mode", Kind::Enum(&["ON"]))]);
    static OUTER: Message = Message(&[
        ("displayName", Kind::Text),
        ("inner", Kind::Message(&INNER)),
        ("innerParts", Kind::List(&Kind::Message(&INNER))),
    ]);

    fn faults(value: Value) -> Vec<String> {
        read(value, &OUTER).expect_err("faulty").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_spellings_come_out_as_camel_case() {
        let camel = json!({"displayName": "a", "innerParts": [{"sizeBytes": 5}]});
        let snake = json!({"display_name": "a", "inner_parts": [{"size_bytes": "5"}]});
        assert_eq!(read(camel.clone(), &OUTER), Ok(camel.clone()));
        assert_eq!(read(snake, &OUTER), Ok(camel));
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(read(json!({"inner": null}), &OUTER), Ok(json!({})));
    }

    #[test]
    fn unknown_names_are_told_with_their_place() {
        assert_eq!(faults(json!({"x": 1})), ["Unknown name \"x\": Cannot find field."]);
        assert_eq!(
            faults(json!({"innerParts": [{}, {"y": 1}]})),
            ["Unknown name \"y\" at 'inner_parts[1]': Cannot find field."]
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = faults(json!({"displayName": 1, "inner": {"mode": "OFF", "sizeBytes": 1.5}, "z": 0}));
        assert_eq!(faults.len(), 4);
    }

    #[test]
    fn faults_never_quote_a_value() {
        let faults = faults(json!({"inner": "a secret prompt"}));
        assert_eq!(faults, ["Invalid value at 'inner' (an object)"]);
    }
}
