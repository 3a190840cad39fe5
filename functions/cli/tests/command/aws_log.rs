//! `--aws-log`: the log of the requests to S3 and SQS.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{Workspace, serve::Host};

/// Returns the lines of the log in a workspace, each as `service method path`.
fn logged(workspace: &Workspace) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace.0.path().join("aws.jsonl")).unwrap();
    let line = |text: &str| {
        let line: Value = serde_json::from_str(text).unwrap();
        let member = |name: &str| line[name].as_str().unwrap().to_owned();
        [member("service"), member("method"), member("path")].join(" ")
    };
    text.lines().map(line).collect()
}

#[test]
fn run_logs_the_requests_of_the_functions() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let log = workspace.0.path().join("aws.jsonl");
    workspace
        .run(&manifest, &["--aws-log", log.to_str().unwrap()])
        .exits(0);
    let lines = logged(&workspace);
    assert!(lines.contains("sqs POST /"), "{lines:?}");
    let is_image = |line: &&String| line.starts_with("s3 PUT ") && line.contains("/images/a.");
    assert_eq!(lines.iter().filter(is_image).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn serve_logs_the_requests_of_other_processes_without_their_signatures() {
    let workspace = Workspace::new();
    let log = workspace.0.path().join("aws.jsonl");
    let host = Host::start_with(&workspace, &["--aws-log", log.to_str().unwrap()]);
    host.put("refs/a stone.txt", "granite").await;
    let lines = logged(&workspace);
    assert!(
        lines.contains("s3 PUT /darkroom/refs/a%20stone.txt"),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains('?')), "{lines:?}");
}
