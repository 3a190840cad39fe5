//! Requests match Gemini's schema.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::*;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../../tests/gemini.schema.json")).unwrap();
    let line = json!({"$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": "#/$defs/BatchInputLine"});
    jsonschema::validator_for(&line).unwrap()
});

fn assert_valid(image: &PlannedImage) {
    let request: Value = serde_json::from_str(image.request.get()).unwrap();
    let line = json!({"key": image.key, "request": request});
    let faults: Vec<String> = VALIDATOR
        .iter_errors(&line)
        .map(|error| error.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}\n{line:#}");
}

#[test]
fn an_item_becomes_a_whole_request() {
    let image = &images(
        r#"{"key":"a","prompt":"a fox","refs":["refs/fox.png","s3://other/b.webp"],"system":"flat colors","seed":-5,
            "temperature":0.5,"aspect_ratio":"16:9","image_size":"2K"}"#
            .replace('\n', " ")
            .as_str(),
    )[0];
    assert_valid(image);
    let request: Value = serde_json::from_str(image.request.get()).unwrap();
    let expected = json!({
        "contents": [{"role": "user", "parts": [
            {"text": "a fox"},
            {"fileData": {"mimeType": "image/png", "fileUri": "s3://studio/refs/fox.png"}},
            {"fileData": {"mimeType": "image/webp", "fileUri": "s3://other/b.webp"}},
        ]}],
        "systemInstruction": {"parts": [{"text": "flat colors"}]},
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
            "seed": -5,
            "temperature": 0.5,
        },
    });
    assert_eq!(request, expected);
}

#[test]
fn only_what_is_asked_for_is_sent() {
    let image = &images(r#"{"key":"a","prompt":"a fox"}"#)[0];
    assert_valid(image);
    assert_eq!(
        image.request.get(),
        r#"{"contents":[{"role":"user","parts":[{"text":"a fox"}]}],"generationConfig":{"responseModalities":["IMAGE"]}}"#
    );
}

#[test]
fn the_schema_refuses_what_gemini_refuses() {
    let wrong =
        json!({"key": "a", "request": {"contents": [], "generationConfig": {"imageSize": "1K"}}});
    assert!(!VALIDATOR.is_valid(&wrong));
}

#[test]
fn every_sample_makes_valid_requests() {
    for (name, manifest) in samples::SAMPLES {
        for image in images(manifest) {
            // Gemini requests may use snake case, which the schema's names don't show.
            if name != "native.jsonl" {
                assert_valid(&image);
            }
        }
    }
}
