//! One batch for a shard, whatever happens.

use http::StatusCode;
use jiff::SignedDuration;
use local::{
    chain::{POLLS, SHARDS},
    queue::Outgoing,
};
use tests::{World, wire::Fault};

use super::{acknowledged, messages, next_in, planned, state, step, stones};

const CREATE: &str = ":batchGenerateContent";

#[tokio::test]
async fn a_shard_becomes_one_batch() {
    let world = planned().await;
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    assert_eq!((world.wire.count(CREATE), world.gemini.batches_created()), (1, 1));
    assert_eq!(state(&world).await["phase"]["name"], "submitted");
    assert_eq!(messages(&world, POLLS), 1);
}

#[tokio::test]
async fn a_duplicate_message_creates_no_second_batch() {
    let world = planned().await;
    let job = world.jobs().unwrap()[0].trim_start_matches("jobs/").trim_end_matches('/').to_owned();
    for _ in 0..3 {
        let body = format!(r#"{{"v":1,"job":"{job}","shard":"0000"}}"#);
        world.cloud.queues.send(SHARDS, Outgoing::new(body)).unwrap();
    }
    for _ in 0..4 {
        assert!(acknowledged(&step!(&world, submit, SHARDS)));
    }
    assert_eq!(world.wire.count(CREATE), 1);
}

#[tokio::test]
async fn dropping_the_same_manifest_again_buys_nothing() {
    let world = World::new().unwrap();
    for _ in 0..2 {
        world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
        world.run().await.unwrap();
        assert_eq!(world.gemini.batches_created(), 1);
    }
    assert_eq!(world.jobs().unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_quota_is_waited_for_and_is_no_error() {
    let world = planned().await;
    let mut refusals = 6;
    world.wire.decide(move |sent| {
        let refused = sent.path.ends_with(CREATE) && refusals > 0;
        refusals -= i32::from(refused);
        let body =
            r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED"}}"#;
        refused.then(|| Fault::Answered(StatusCode::TOO_MANY_REQUESTS, body.to_owned()))
    });
    assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    let waiting = state(&world).await;
    assert_eq!((&waiting["phase"]["name"], &waiting["errors"]), (&"planned".into(), &0.into()));
    assert!(waiting["waiting"].as_str().unwrap().contains("quota"), "{waiting}");
    assert_eq!(next_in(&world, SHARDS), SignedDuration::from_mins(15));

    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(world.read(&format!("{job}_SUCCESS")).await.unwrap().is_some());
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn a_refused_request_ends_the_shard_with_geminis_words() {
    let world = planned().await;
    let body = r#"{"error":{"code":400,"message":"Error on line 1: no such field: 'x'","status":"INVALID_ARGUMENT"}}"#;
    world.wire.decide(move |sent| {
        sent.path.ends_with(CREATE).then(|| Fault::Answered(StatusCode::BAD_REQUEST, body.to_owned()))
    });
    world.run().await.unwrap();
    assert_eq!(world.wire.count(CREATE), 1);
    let job = &world.jobs().unwrap()[0];
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    assert!(
        results.iter().all(|line| line["error"]["message"].as_str().unwrap().contains("no such field")),
        "{results:?}"
    );
}

#[tokio::test]
async fn an_unreachable_gemini_is_tried_again_and_then_held() {
    let world = planned().await;
    world.wire.decide(|_| Some(Fault::NeverSent));
    for errors in 1..=4 {
        assert!(!acknowledged(&step!(&world, submit, SHARDS)));
        assert_eq!(state(&world).await["errors"], errors);
        world.cloud.time.jump_to(world.cloud.time.now() + next_in(&world, SHARDS)).unwrap();
    }
    assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    assert_eq!(state(&world).await["phase"]["name"], "held");
}
