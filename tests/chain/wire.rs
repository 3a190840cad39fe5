//! Every request to Gemini matches Google's published schema, and the API key is in one header
//! only.

use std::{fs, path::PathBuf};

use jsonschema::Validator;
use serde_json::{Value, json};
use tests::{TestCloud, wire::Sent};

fn schema() -> Value {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("gemini.schema.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn definition(name: &str) -> Validator {
    let mut schema = schema();
    schema["$ref"] = json!(format!("#/$defs/{name}"));
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &Validator, value: &Value) {
    let problems: Vec<String> = validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    assert!(problems.is_empty(), "{problems:?} in {value}");
}

/// Returns the lines of all uploaded input files. Their bodies begin with `{"key"`, unlike images.
pub(super) fn input_lines(sent: &[Sent]) -> Vec<Value> {
    sent.iter()
        .filter(|sent| sent.body.starts_with(b"{\"key\""))
        .flat_map(|sent| sent.body.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[tokio::test]
async fn every_body_of_every_sample_is_valid() {
    let (create, line, start) = (
        definition("BatchGenerateContentRequest"),
        definition("BatchInputLine"),
        definition("CreateFileRequest"),
    );
    for sample in ["catalog.csv", "sweep.json", "characters.jsonl"] {
        let cloud = TestCloud::new();
        cloud.put_sample(sample).await;
        cloud.run().await;
        let sent = cloud.wire.sent();
        let bodies = |end: &str| -> Vec<Value> {
            sent.iter()
                .filter(|sent| {
                    sent.path.ends_with(end) && sent.headers.contains_key("content-type")
                })
                .map(|sent| serde_json::from_slice(&sent.body).unwrap())
                .collect()
        };
        let (creates, starts, lines) = (
            bodies(":batchGenerateContent"),
            bodies("/upload/v1beta/files"),
            input_lines(&sent),
        );
        assert!(!creates.is_empty() && !starts.is_empty(), "{sample}");
        assert_eq!(
            lines.len(),
            cloud.job().lines("plan.jsonl").await.len(),
            "{sample}"
        );
        creates.iter().for_each(|body| assert_valid(&create, body));
        starts.iter().for_each(|body| assert_valid(&start, body));
        lines.iter().for_each(|body| assert_valid(&line, body));
        assert!(
            lines.iter().all(|line| !line.to_string().contains("s3://")),
            "{sample}: a reference was not uploaded"
        );
    }
}

#[tokio::test]
async fn native_lines_are_sent_unchanged() {
    let cloud = TestCloud::new();
    cloud.put_sample("native.jsonl").await;
    cloud.run().await;
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events/manifests/native.jsonl");
    let written: Vec<Value> = fs::read_to_string(sample)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sent = input_lines(&cloud.wire.sent());
    assert!(!sent.is_empty());
    for line in sent {
        let original = written
            .iter()
            .find(|original| original["key"] == line["key"])
            .unwrap();
        let request = line["request"].to_string();
        let placed = request.contains("/files/") || request.contains("inlineData");
        assert!(placed || line["request"] == original["request"], "{line}");
    }
}

#[tokio::test]
async fn the_key_is_in_one_sensitive_header_and_nowhere_else() {
    let cloud = TestCloud::new();
    cloud.put_sample("characters.jsonl").await;
    cloud.run().await;
    for sent in cloud.wire.sent() {
        let others: Vec<_> = sent
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-goog-api-key")
            .collect();
        assert!(
            !format!(
                "{others:?}{}{}",
                sent.path,
                String::from_utf8_lossy(&sent.body)
            )
            .contains("canary")
        );
        assert!(
            sent.headers
                .get("x-goog-api-key")
                .is_none_or(http::HeaderValue::is_sensitive)
        );
    }
    for (key, content) in cloud.objects() {
        assert!(
            !String::from_utf8_lossy(&content).contains("canary"),
            "{key}"
        );
    }
}
