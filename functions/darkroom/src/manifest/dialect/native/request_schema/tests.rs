//! The table equals Google's schema.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;

/// Returns a kind as the schema writes it. Only the names of messages are compared here: their
/// members are compared separately.
fn schema_of(kind: &Kind) -> Value {
    match kind {
        Text => json!({"type": "string"}),
        Bytes => json!({"type": "string", "x-format": "byte"}),
        Enum(names) => json!({"type": "string", "enum": names}),
        Int32 => json!({"type": "integer", "x-format": "int32"}),
        Kind::Int64 => json!({"type": ["string", "integer"], "x-format": "int64"}),
        Number => json!({"type": "number"}),
        Boolean => json!({"type": "boolean"}),
        Object(Message(name, _)) => json!({"$ref": format!("#/$defs/{name}")}),
        List(kind) => json!({"type": "array", "items": schema_of(kind)}),
        Map(kind) => json!({"type": "object", "additionalProperties": schema_of(kind)}),
        Any => json!({}),
    }
}

/// Removes from the published schema of a member what the table does not distinguish: descriptions,
/// and the formats of times and fractions.
fn plain(mut schema: Value) -> Value {
    if let Value::Object(members) = &mut schema {
        members.remove("description");
        members.retain(|name, format| {
            let is_vague = ["google-duration", "google-datetime", "float", "double"]
                .iter()
                .any(|vague| format == vague);
            !(name == "x-format" && is_vague)
        });
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = members.get_mut(inner) {
                *inner = plain(inner.take());
            }
        }
    }
    schema
}

/// Returns every message that a request may contain, by its name.
fn messages() -> BTreeMap<&'static str, &'static Message> {
    fn inside(kind: &'static Kind) -> Option<&'static Message> {
        match kind {
            Object(message) => Some(message),
            List(kind) | Map(kind) => inside(kind),
            Text | Bytes | Enum(_) | Int32 | Kind::Int64 | Number | Boolean | Any => None,
        }
    }
    let mut found = BTreeMap::new();
    let mut open = vec![&GENERATE_CONTENT_REQUEST];
    while let Some(message) = open.pop() {
        if found.insert(message.0, message).is_none() {
            open.extend(message.1.iter().filter_map(|(_, kind)| inside(kind)));
        }
    }
    found
}

#[test]
fn the_table_is_the_published_schema() {
    let schema: Value = serde_json::from_str(include_str!(
        "../../../../../../../tests/gemini.schema.json"
    ))
    .unwrap();
    let messages = messages();
    assert!(messages.len() > 50, "{}", messages.len());
    for (name, Message(_, members)) in messages {
        let none = json!({});
        let published = &schema["$defs"][name];
        assert_eq!(published["additionalProperties"], false, "{name}");
        let published = published
            .get("properties")
            .unwrap_or(&none)
            .as_object()
            .unwrap();
        let names = |names: &mut dyn Iterator<Item = &str>| {
            names.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let ours = names(&mut members.iter().map(|(member, _)| *member));
        assert_eq!(
            (ours.len(), &ours),
            (
                members.len(),
                &names(&mut published.keys().map(String::as_str))
            ),
            "{name}"
        );
        for (member, kind) in *members {
            assert_eq!(
                schema_of(kind),
                plain(published[*member].clone()),
                "{name}.{member}"
            );
        }
    }
}
