//! The published schema is generated from the code. It accepts every sample and refuses mistakes of
//! shape.

use std::{fs, path::Path};

use darkroom::manifest::json_schema;
use jsonschema::Validator;
use serde_json::Value;

use super::good;

/// Manifests with mistakes of shape, which a schema can detect. Other mistakes concern words,
/// models, days and other items.
const BAD: [&str; 13] = [
    "array-of-texts.json",
    "bad-variables.json",
    "envelope-of-another-version.json",
    "items-as-object.json",
    "job-fields.json",
    "lanes.jsonl",
    "matrix-exclude-mistakes.json",
    "matrix-mistakes.json",
    "mode.json",
    "proof-count-and-keys.json",
    "proof-fields.json",
    "unknown-fields.jsonl",
    "wrong-types.jsonl",
];

fn validator() -> Validator {
    jsonschema::validator_for(&json_schema()).unwrap()
}

/// Returns the JSON documents of a file: one, or one per line.
fn documents(path: &Path) -> Vec<serde_json::Result<Value>> {
    let text = fs::read_to_string(path).unwrap();
    if path
        .extension()
        .is_some_and(|extension| extension == "jsonl")
    {
        return text.lines().map(serde_json::from_str).collect();
    }
    vec![serde_json::from_str(&text)]
}

#[test]
fn the_published_schema_equals_the_generated_one() {
    let made = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    let kept = good::folder().join("../manifest.schema.json");
    if fs::read_to_string(&kept).unwrap_or_default() != made {
        let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manifest.schema.json");
        fs::write(&here, made).unwrap();
        panic!(
            "{} differs from the generated schema: copy {}",
            kept.display(),
            here.display()
        );
    }
}

#[test]
fn every_json_sample_is_valid() {
    let validator = validator();
    let mut seen = 0;
    for entry in fs::read_dir(good::folder()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json" || extension == "jsonl")
        {
            for document in documents(&path).into_iter().map(Result::unwrap) {
                seen += 1;
                let faults: Vec<String> = validator
                    .iter_errors(&document)
                    .map(|error| error.to_string())
                    .collect();
                assert!(faults.is_empty(), "{}: {faults:?}", path.display());
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn a_mistake_of_shape_is_detected() {
    let validator = validator();
    for name in BAD {
        let documents = documents(&good::folder().join("bad").join(name));
        let is_refused = |document: &serde_json::Result<Value>| {
            document
                .as_ref()
                .is_ok_and(|document| !validator.is_valid(document))
        };
        assert!(documents.iter().any(is_refused), "{name}");
    }
}
