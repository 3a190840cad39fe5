//! Each event in `events/` is one that its function takes.

use std::{fs, path::PathBuf};

use aws_lambda_events::event::sqs::SqsEvent;
use darkroom::chain::{FUNCTION_TIMEOUT, SHARDS};
use tests::World;

use super::{acknowledged, messages, stones};

fn event(name: &str) -> SqsEvent {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events");
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Hands an event file to a function.
macro_rules! handle {
    ($world:expr, $function:ident, $event:expr) => {{
        let deadline = $world.cloud.time.now() + FUNCTION_TIMEOUT;
        $function::handler::handle(&$world.cloud.deps.$function, event($event), deadline).await
    }};
}

#[tokio::test]
async fn an_upload_becomes_a_plan_and_its_shards() {
    let world = World::new().unwrap();
    // S3 spells the key with `+` and `%2B`.
    world
        .put("inbox/acme/Fall 26/stones + sand.jsonl", stones(3))
        .await
        .unwrap();
    assert!(acknowledged(&handle!(world, plan, "manifests-put.json")));
    let job = &world.jobs().unwrap()[0];
    assert!(job.starts_with("jobs/stones-sand-"), "{job}");
    assert_eq!(
        world
            .lines(&format!("{job}plan.jsonl"))
            .await
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        world
            .lines(&format!("{job}shards/0000/request.jsonl"))
            .await
            .unwrap()
            .len(),
        3
    );
    assert_eq!(messages(&world, SHARDS), 1);
}

/// The same upload, as SNS, EventBridge, and senders that leave out what is not needed tell of it.
#[tokio::test]
async fn every_form_of_the_event_tells_of_the_same_upload() {
    for name in [
        "manifests-sns.json",
        "manifests-eventbridge.json",
        "manifests-bare.json",
    ] {
        let world = World::new().unwrap();
        world
            .put("inbox/acme/Fall 26/stones + sand.jsonl", stones(3))
            .await
            .unwrap();
        assert!(acknowledged(&handle!(world, plan, name)), "{name}");
        assert_eq!(world.jobs().unwrap().len(), 1, "{name}");
        assert_eq!(messages(&world, SHARDS), 1, "{name}");
    }
}

#[tokio::test]
async fn an_upload_that_is_gone_a_folder_and_s3s_test_are_acknowledged_and_plan_nothing() {
    let world = World::new().unwrap();
    for name in [
        "manifests-put.json",
        "manifests-folder.json",
        "manifests-test.json",
    ] {
        assert!(acknowledged(&handle!(world, plan, name)), "{name}");
    }
    assert!(world.objects().unwrap().is_empty());
}

#[tokio::test]
async fn a_message_about_an_unknown_job_comes_back_and_harms_nothing() {
    let world = World::new().unwrap();
    assert!(!acknowledged(&handle!(world, submit, "shards.json")));
    assert!(!acknowledged(&handle!(world, poll, "polls.json")));
    assert!(!acknowledged(&handle!(world, collect, "results.json")));
    assert!(!acknowledged(&handle!(world, report, "reports.json")));
    assert!(world.objects().unwrap().is_empty());
    assert!(world.wire.sent().is_empty());
}

#[tokio::test]
async fn one_bad_message_does_not_fail_its_neighbours() {
    let world = World::new().unwrap();
    let mut both = event("manifests-test.json");
    let mut bad = both.records[0].clone();
    (bad.body, bad.message_id) = (Some("{\"Records\":".to_owned()), Some("bad".to_owned()));
    both.records.insert(0, bad);
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    let response = plan::handler::handle(&world.cloud.deps.plan, both, deadline).await;
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
