//! The JSON Schema of manifests for editors and CI, generated from the names that the reader knows.

use serde_json::{Map, Value, json};

use super::{
    Limits,
    dialect::field::{FIELDS, Field},
    format::document::ENVELOPE,
    resolve::sidecar::JOB_DOCUMENT,
};
use crate::lane::{Lane, RequestedLane};

/// Returns the JSON Schema (2020-12) of a manifest in JSON, of a line of JSON Lines, and of a job
/// document.
///
/// It describes shapes and names. What depends on models, on the day or on other items is checked
/// only when a manifest is read.
pub fn json_schema() -> Value {
    let line = json!({"anyOf": [
        {"$ref": "#/$defs/item"},
        {"$ref": "#/$defs/gemini_line"},
        {"$ref": "#/$defs/openai_line"},
        {"$ref": "#/$defs/bedrock_line"},
        {"$ref": "#/$defs/header_line"},
    ]});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Darkroom manifest",
        "description": "The images that a job makes: a whole manifest, one line of JSON Lines, or the job document next to a table.",
        "anyOf": [
            {"$ref": "#/$defs/envelope"},
            {"type": "array", "items": {"$ref": "#/$defs/line"}},
            {"$ref": "#/$defs/line"},
            {"$ref": "#/$defs/job_document"},
        ],
        "$defs": {
            "envelope": envelope(),
            "job_document": closed(JOB_DOCUMENT.into_iter(), &[]),
            "line": line,
            "header_line": {
                "type": "object",
                "properties": {"manifest": {"$ref": "#/$defs/job_document"}},
                "required": ["manifest"],
                "additionalProperties": false,
            },
            "item": item(),
            "gemini_line": gemini_line(),
            "openai_line": openai_line(),
            "bedrock_line": bedrock_line(),
            "job": job(),
            "template": {
                "description": "A prompt with placeholders, or an item's fields with it.",
                "anyOf": [{"type": "string"}, {"$ref": "#/$defs/item"}],
            },
            "refs": refs(),
            "scalar": {"type": ["string", "number", "boolean"]},
        },
    })
}

fn envelope() -> Value {
    let mut envelope = closed(ENVELOPE.into_iter(), &[]);
    envelope["anyOf"] = json!([{"required": ["items"]}, {"required": ["matrix"]}]);
    envelope
}

/// Returns the schema of an object with exactly these members.
fn closed<'a>(names: impl Iterator<Item = &'a str>, required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        names.map(|name| (name.to_owned(), section(name))).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// Returns the schema of a member that holds for all items.
fn section(name: &str) -> Value {
    match name {
        "$schema" => {
            json!({"description": "For editors: the location of this schema.", "type": "string"})
        }
        "version" => json!({"description": "The version of the format.", "const": 1}),
        "job" => json!({"$ref": "#/$defs/job"}),
        "defaults" => {
            json!({"description": "The values of fields that items leave out.", "$ref": "#/$defs/item"})
        }
        "templates" => json!({
            "description": "Prompts with placeholders, by name.",
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/template"},
        }),
        "references" => json!({
            "description": "Reference pictures by name; refs write @name.",
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/refs"},
        }),
        "matrix" => json!({
            "description": "Every combination of these values is an image.",
            "type": "object",
            "properties": {"exclude": {
                "description": "Combinations to leave out.",
                "type": "array",
                "items": {"type": "object", "minProperties": 1},
            }},
            "additionalProperties": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"$ref": "#/$defs/scalar"}, {"$ref": "#/$defs/refs"}]},
            },
        }),
        _ => json!({"type": "array", "items": {"$ref": "#/$defs/line"}}),
    }
}

fn item() -> Value {
    let mut properties = Map::new();
    for (name, of) in FIELDS {
        properties.insert(name.to_owned(), field(of));
        properties.insert(camel_case(name), field(of));
    }
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn field(field: Field) -> Value {
    let (description, mut schema) = match field {
        Field::Key => (
            "The caller's id, unique in the manifest; it is repeated in the result. In the \
             defaults, a template such as {sku}.",
            json!({"type": ["string", "number", "null"], "minLength": 1, "maxLength": 256}),
        ),
        Field::Prompt => (
            "What the image should show, sent as it is written.",
            json!({"type": ["string", "null"]}),
        ),
        Field::Template => (
            "The name of a template, or the text of one: {name}, {name|default}; {{ for a brace.",
            json!({"type": ["string", "null"]}),
        ),
        Field::Vars => (
            "The values of a template's placeholders.",
            json!({"type": ["object", "null"], "additionalProperties": {"anyOf": [{"$ref": "#/$defs/scalar"}, {"type": "null"}]}}),
        ),
        Field::Metadata => (
            "The caller's values, which are repeated in the result; the key may be among them.",
            json!({"type": ["object", "null"]}),
        ),
        Field::Count => (
            "How many images.",
            json!({"type": ["integer", "null"], "minimum": 1, "maximum": Limits::default().variants}),
        ),
        Field::Model => (
            "A family such as nano-banana-2, or a full id.",
            json!({"type": ["string", "null"]}),
        ),
        Field::AspectRatio => (
            "Width to height, such as 4:5.",
            json!({"type": ["string", "null"], "pattern": "^[0-9]+:[0-9]+$"}),
        ),
        Field::ImageSize => (
            "The size: 512, 1K, 2K or 4K.",
            json!({"type": ["string", "null"]}),
        ),
        Field::Refs => (
            "Reference pictures, in order.",
            json!({"anyOf": [{"$ref": "#/$defs/refs"}, {"type": "null"}]}),
        ),
        Field::System => (
            "System instructions for the model.",
            json!({"type": ["string", "null"]}),
        ),
        Field::Seed => (
            "The random seed; each further image of an item has the next.",
            json!({"type": ["integer", "null"], "minimum": i32::MIN, "maximum": i32::MAX}),
        ),
        Field::Temperature => (
            "The sampling temperature of the model.",
            json!({"type": ["number", "null"], "minimum": 0, "maximum": 2}),
        ),
        Field::Thinking => (
            "How much the model thinks before it draws: a level that the model accepts.",
            json!({"enum": ["minimal", "low", "medium", "high", null]}),
        ),
        Field::Lane => (
            "How the image is requested, which decides its price and its time.",
            {
                let mut lanes: Vec<Option<&str>> = RequestedLane::NAMES.map(Some).into();
                lanes.push(None);
                json!({ "enum": lanes })
            },
        ),
        Field::Output => (
            "The path of the image below images/: placeholders as in a template, and {key}, \
             {variant}, {model}, {aspect_ratio}, {image_size}, {ext}.",
            json!({
                "type": ["object", "null"],
                "properties": {"path": {"type": "string", "maxLength": 1024}},
                "additionalProperties": false,
            }),
        ),
    };
    schema["description"] = description.into();
    schema
}

fn refs() -> Value {
    let one = json!({
        "description": "A key in the bucket, s3://bucket/key, or @name; in the defaults also a template such as {image_src}.",
        "type": "string",
    });
    let object = json!({
        "type": "object", "properties": {"uri": {"type": "string"}}, "required": ["uri"], "additionalProperties": false,
    });
    json!({"anyOf": [one.clone(), {"type": "array", "items": {"anyOf": [one, object]}}]})
}

fn job() -> Value {
    let budget = json!({"description": "The most that the images may cost, in US dollars.", "type": ["number", "string"]});
    let request_check = json!({
        "description": "Whether a request that Gemini may refuse rejects the manifest, or is sent with a warning.",
        "enum": ["error", "warn"],
    });
    let within = json!({
        "description": "The time in which the images must arrive, 1m to 7d: it decides the lane auto, and when a batch is rescued.",
        "type": "string",
        "pattern": "^[0-9]+[mhd]$",
    });
    let rescue = json!({
        "description": "The lane in which the images of a batch are requested that does not end within the time limit.",
        "enum": ["interactive", "flex", "off"],
    });
    let flex_fallback = json!({
        "description": "The lane of flex images for which Gemini has no capacity.",
        "enum": ["batch", "interactive"],
    });
    json!({
        "type": "object",
        "properties": {
            "name": {"description": "The name of the job.", "type": "string", "maxLength": 256},
            "run": {"description": "Another run makes another job.", "type": ["string", "integer"]},
            "budget_usd": budget,
            "budgetUsd": budget,
            "mode": {"description": "dry_run only estimates the cost, and buys nothing.", "enum": ["run", "dry_run", "estimate"]},
            "request_check": request_check,
            "requestCheck": request_check,
            "lane": {"description": "The lane of images whose item names none.", "enum": RequestedLane::NAMES},
            "within": within,
            "rescue": rescue,
            "flex_fallback": flex_fallback,
            "flexFallback": flex_fallback,
            "proof": proof(),
            "columns": columns(),
            "continuation_rows": continuation_rows(),
            "continuationRows": continuation_rows(),
        },
        "additionalProperties": false,
    })
}

fn proof() -> Value {
    let keys = json!({
        "description": "The keys of images, or of items with all their images.",
        "type": "array",
        "items": {"type": ["string", "number"]},
        "minItems": 1,
        "maxItems": 100,
    });
    json!({
        "description": "A few images that are made before the others.",
        "type": "object",
        "properties": {
            "count": {"description": "How many images.", "type": "integer", "minimum": 1, "maximum": 100},
            "keys": keys,
            "sample": {"description": "Which images: the first ones, or evenly spaced ones.", "enum": ["first", "spread"]},
            "lane": {"description": "How the proof is requested.", "enum": Lane::ALL.map(Lane::name)},
            "hold": {"description": "Whether the other images wait until the proof is approved.", "type": "boolean"},
        },
        "oneOf": [{"required": ["count"]}, {"required": ["keys"]}],
        "additionalProperties": false,
    })
}

fn columns() -> Value {
    json!({
        "description": "What a table's columns hold, as field: column. Null as the value of a field or a column makes it a variable.",
        "type": "object",
        "additionalProperties": {
            "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}],
        },
    })
}

fn continuation_rows() -> Value {
    json!({
        "description": "How a table's rows are handled that continue the row above: their pictures become its references, they are skipped, or their empty cells are filled from it.",
        "enum": ["references", "skip", "fill"],
    })
}

/// Returns the schema of `{"key":…,"request":…}`, and of the same without a key, as in Vertex.
fn gemini_line() -> Value {
    let key = || json!({"description": "The caller's id.", "type": ["string", "number", "null"]});
    json!({
        "description": "A line of Gemini's batch files. The request is passed through; other members are repeated in the results.",
        "type": "object",
        "properties": {
            "key": key(), "id": key(), "custom_id": key(), "customId": key(), "record_id": key(), "recordId": key(),
            "model": field(Field::Model),
            "request": {"type": "object", "required": ["contents"]},
            "lane": field(Field::Lane),
            "output": field(Field::Output),
            "out": field(Field::Output),
        },
        "required": ["request"],
    })
}

fn openai_line() -> Value {
    json!({
        "description": "A line of OpenAI's batch files.",
        "type": "object",
        "properties": {
            "custom_id": field(Field::Key),
            "method": {"const": "POST"},
            "url": {"const": "/v1/images/generations"},
            "body": {"type": "object", "required": ["prompt"]},
        },
        "required": ["custom_id", "body"],
        "additionalProperties": false,
    })
}

fn bedrock_line() -> Value {
    json!({
        "description": "A line of Bedrock's batch files.",
        "type": "object",
        "properties": {
            "recordId": field(Field::Key),
            "modelInput": {"anyOf": [{"type": "object", "required": ["contents"]}, {"$ref": "#/$defs/item"}]},
        },
        "required": ["modelInput"],
        "additionalProperties": false,
    })
}

/// Converts a name to camel case: `aspect_ratio` is `aspectRatio`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
