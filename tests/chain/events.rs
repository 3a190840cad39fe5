//! Each event in `events/` is accepted by its function.

use std::{fs, path::PathBuf};

use aws_lambda_events::event::sqs::SqsEvent;
use darkroom::chain::{FUNCTION_TIMEOUT, SHARDS};
use tests::{BatchResponse, TestCloud};

use super::stones;

/// Reads an event file.
fn event(name: &str) -> SqsEvent {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events");
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Passes an event file to a function.
macro_rules! handle {
    ($cloud:expr, $function:ident, $event:expr) => {{
        let deadline = $cloud.now() + FUNCTION_TIMEOUT;
        $function::handler::handle(&$cloud.local.deps.$function, event($event), deadline).await
    }};
}

#[tokio::test]
async fn an_upload_becomes_a_plan_and_its_shards() {
    let cloud = TestCloud::new();
    // S3 encodes the key with `+` and `%2B`.
    cloud
        .put("inbox/acme/Fall 26/stones + sand.jsonl", stones(3))
        .await;
    assert!(handle!(cloud, plan, "manifests-put.json").acknowledged());
    let job = &cloud.jobs()[0];
    assert!(job.starts_with("jobs/stones-sand-"), "{job}");
    assert_eq!(cloud.lines(&format!("{job}plan.jsonl")).await.len(), 3);
    assert_eq!(
        cloud
            .lines(&format!("{job}shards/0000/request.jsonl"))
            .await
            .len(),
        3
    );
    assert_eq!(cloud.messages(SHARDS), 1);
}

/// SNS, EventBridge and senders that omit optional fields describe the same upload.
#[tokio::test]
async fn every_form_of_the_event_describes_the_same_upload() {
    for name in [
        "manifests-sns.json",
        "manifests-eventbridge.json",
        "manifests-bare.json",
    ] {
        let cloud = TestCloud::new();
        cloud
            .put("inbox/acme/Fall 26/stones + sand.jsonl", stones(3))
            .await;
        assert!(handle!(cloud, plan, name).acknowledged(), "{name}");
        assert_eq!(cloud.jobs().len(), 1, "{name}");
        assert_eq!(cloud.messages(SHARDS), 1, "{name}");
    }
}

#[tokio::test]
async fn a_deleted_upload_a_folder_and_the_test_event_of_s3_are_acknowledged_and_plan_nothing() {
    let cloud = TestCloud::new();
    for name in [
        "manifests-put.json",
        "manifests-folder.json",
        "manifests-test.json",
    ] {
        assert!(handle!(cloud, plan, name).acknowledged(), "{name}");
    }
    assert!(cloud.objects().is_empty());
}

#[tokio::test]
async fn a_message_about_an_unknown_job_is_redelivered_and_changes_nothing() {
    let cloud = TestCloud::new();
    assert!(!handle!(cloud, submit, "shards.json").acknowledged());
    assert!(!handle!(cloud, poll, "polls.json").acknowledged());
    assert!(!handle!(cloud, collect, "results.json").acknowledged());
    assert!(!handle!(cloud, report, "reports.json").acknowledged());
    assert!(cloud.objects().is_empty());
    assert!(cloud.wire.sent().is_empty());
}

#[tokio::test]
async fn one_bad_message_does_not_fail_the_others() {
    let cloud = TestCloud::new();
    let mut both = event("manifests-test.json");
    let mut bad = both.records[0].clone();
    (bad.body, bad.message_id) = (Some("{\"Records\":".to_owned()), Some("bad".to_owned()));
    both.records.insert(0, bad);
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    let response = plan::handler::handle(&cloud.local.deps.plan, both, deadline).await;
    let failed: Vec<&str> = response
        .batch_item_failures
        .iter()
        .map(|failure| failure.item_identifier.as_str())
        .collect();
    assert_eq!(failed, ["bad"]);
}

#[test]
fn every_event_file_is_an_sqs_event() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events");
    let names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let is_event = |name: &&String| name.ends_with(".json") && !name.ends_with(".schema.json");
    let files: Vec<&String> = names.iter().filter(is_event).collect();
    assert!(files.len() >= 10);
    assert!(files.into_iter().all(|name| event(name).records.len() == 1));
}
