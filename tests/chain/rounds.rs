//! A round is planned before its parent is done and started after it, exactly once, wherever an
//! invocation dies.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sim::queue::Outgoing;
use darkroom::{
    chain::{FUNCTION_TIMEOUT, RESULTS, SHARDS},
    names::{RequestKey, ShardId},
    settings::CollectLimits,
    state::{DRIVER_LOST_AFTER, Phase},
    status::ShardPhase,
};
use gemini_sim::Scenario;
use serde_json::json;
use tests::{
    BatchResponse, TestCloud,
    wire::{Fault, FaultAction},
};

use super::{
    collecting::{ended_in, result_lines},
    state,
};

/// The name of the second round of the first shard.
const ROUND: &str = "0000.r2";

/// Returns a scenario in which the first batch has retryable failures.
fn failing(internal_error_percent: u8) -> Scenario {
    Scenario {
        seed: 3,
        internal_error_percent,
        ..Scenario::default()
    }
}

/// Opens a cloud in which a batch of 30 images with retryable failures has ended and has not been
/// collected.
async fn ended_with_failures() -> TestCloud {
    ended_in(TestCloud::builder().scenario(failing(30)), 30).await
}

/// Whether there is a second round of the first shard.
fn has_round(cloud: &TestCloud) -> bool {
    cloud.job().has(&format!("shards/{ROUND}/state.json"))
}

/// Returns the round that the first shard names as its successor.
async fn next_round(cloud: &TestCloud) -> Option<ShardId> {
    match state(cloud).await.phase {
        Phase::Done { next, .. } => next,
        other => panic!("the shard is not done: {other:?}"),
    }
}

/// Returns the keys whose result lines are retryable, sorted.
async fn retryable(cloud: &TestCloud) -> Vec<String> {
    let lines = result_lines(cloud).await;
    let mut keys: Vec<String> = lines
        .iter()
        .filter(|line| line["error"]["retryable"] == true)
        .map(|line| line["key"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    keys
}

/// Runs `collect` until a fault kills it, and advances to the redelivery of its message.
async fn collect_dies(cloud: &TestCloud) {
    super::collect_dies(cloud).await;
    cloud.advance_to_next(RESULTS);
}

#[tokio::test]
async fn a_round_has_the_keys_whose_failures_are_retryable() {
    let cloud = ended_with_failures().await;
    let before = cloud.messages(SHARDS);
    assert!(cloud.collect().await.acknowledged());
    let round = ShardId::first(0).next_round();
    assert_eq!(next_round(&cloud).await, Some(round));
    assert_eq!(cloud.job().phase(ROUND).await, ShardPhase::Planned);
    assert!(!retryable(&cloud).await.is_empty());
    assert_eq!(round_keys(&cloud).await, retryable(&cloud).await);
    assert_eq!(cloud.messages(SHARDS), before + 1);
}

#[tokio::test]
async fn a_round_whose_message_was_lost_is_started_by_the_next_delivery() {
    let cloud = ended_with_failures().await;
    let before = cloud.messages(SHARDS);
    // The first message goes to the queue `reports`, the second to `shards`.
    let sends = AtomicUsize::new(0);
    cloud.aws.decide(move |head| {
        let is_send = head
            .headers
            .get("x-amz-target")
            .is_some_and(|target| target == "AmazonSQS.SendMessage");
        if is_send && sends.fetch_add(1, Ordering::Relaxed) == 1 {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    collect_dies(&cloud).await;
    let round = ShardId::first(0).next_round();
    assert_eq!(next_round(&cloud).await, Some(round));
    assert_eq!(cloud.messages(SHARDS), before);

    let done = state(&cloud).await;
    assert!(cloud.collect().await.acknowledged());
    assert_eq!(cloud.messages(SHARDS), before + 1);
    assert_eq!(state(&cloud).await, done);
}

#[tokio::test]
async fn a_round_is_not_started_before_its_parent_is_done() {
    // So few requests fail that none fails in every round.
    let cloud = ended_in(TestCloud::builder().scenario(failing(10)), 30).await;
    let before = cloud.messages(SHARDS);
    let round = cloud.path_of(&cloud.job().key(&format!("shards/{ROUND}/state.json")));
    cloud.aws.decide(move |head| {
        let ends_parent =
            head.method == "PUT" && head.uri.path().ends_with("shards/0000/state.json");
        if ends_parent && round.exists() {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    collect_dies(&cloud).await;
    let planned = cloud.job().shard(ROUND).await;
    assert_eq!(
        (cloud.job().phase("0000").await, cloud.messages(SHARDS)),
        (ShardPhase::Collecting, before)
    );

    assert!(cloud.collect().await.acknowledged());
    assert_eq!(
        (cloud.job().phase("0000").await, cloud.messages(SHARDS)),
        (ShardPhase::Done, before + 1)
    );
    assert_eq!(cloud.job().shard(ROUND).await, planned);
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
}

/// Returns the keys that the second round requests.
async fn round_keys(cloud: &TestCloud) -> Vec<String> {
    let states = &cloud.local.deps.collect.states;
    let round = states
        .read(&cloud.job().id(), ShardId::first(0).next_round())
        .await
        .unwrap()
        .unwrap();
    let keys = states.keys(&round.shard).await.unwrap().unwrap();
    keys.into_iter().map(|key| key.to_string()).collect()
}

/// Writes the state of a round that requests a single key, as an earlier invocation may have left
/// it.
async fn leave_a_round(cloud: &TestCloud, driver: Option<&str>) {
    let (job, now) = (cloud.job().id(), cloud.now());
    let parent = cloud
        .local
        .deps
        .collect
        .states
        .read(&job, ShardId::first(0))
        .await
        .unwrap()
        .unwrap();
    let states = &cloud.local.deps.collect.states;
    let keys = states
        .keep_keys(
            &job,
            parent.shard.shard.next_round(),
            &[RequestKey::new("stone-000")],
        )
        .await
        .unwrap();
    let round = parent.shard.next_round(keys, parent.shard.lane, None, now);
    let round = driver.map_or(round.clone(), |message| round.driven_by(message, now));
    cloud.local.deps.collect.states.create(round).await.unwrap();
}

#[tokio::test]
async fn a_round_that_was_never_started_gets_the_right_keys() {
    let cloud = ended_with_failures().await;
    leave_a_round(&cloud, None).await;
    assert!(cloud.collect().await.acknowledged());
    assert_eq!(round_keys(&cloud).await, retryable(&cloud).await);
}

#[tokio::test]
async fn a_round_that_has_started_with_other_keys_is_left_to_an_operator() {
    let cloud = ended_with_failures().await;
    leave_a_round(&cloud, Some("a message")).await;
    let left = cloud.job().shard(ROUND).await;
    for _ in 0..4 {
        assert!(!cloud.collect().await.acknowledged());
        let waiting = state(&cloud).await;
        let reason = waiting.waiting.as_deref().unwrap();
        assert!(reason.contains("0000.r2 has begun"), "{reason}");
        cloud.advance_to_next(RESULTS);
    }
    assert!(!cloud.collect().await.acknowledged());
    let reason = cloud.job().hold_reason("0000").await;
    assert!(reason.contains("0000.r2 has begun"), "{reason}");
    assert_eq!(cloud.job().shard(ROUND).await, left);
}

#[tokio::test]
async fn a_cancelled_job_is_collected_and_has_no_further_round() {
    for (scenario, cancel_requested, marker) in [
        (failing(30), true, "_CANCELLED"),
        (Scenario::default(), false, "_SUCCESS"),
    ] {
        let cloud = ended_in(TestCloud::builder().scenario(scenario), 30).await;
        cloud.put(&cloud.job().key("cancel.json"), "{}").await;
        assert!(cloud.collect().await.acknowledged());
        let done = state(&cloud).await;
        assert_eq!(done.cancel_requested, cancel_requested);
        assert_eq!(next_round(&cloud).await, None);
        assert!(!has_round(&cloud), "{done:?}");
        cloud.run().await;
        assert!(cloud.job().has(marker), "{marker}");
    }
}

#[tokio::test]
async fn only_the_message_that_drives_a_shard_collects_it_until_that_message_counts_as_lost() {
    let limits = CollectLimits {
        reserve: FUNCTION_TIMEOUT,
        puts: 1,
        ..CollectLimits::default()
    };
    let builder = TestCloud::builder()
        .scenario(failing(30))
        .collect_limits(limits);
    let cloud = ended_in(builder, 30).await;
    let first = cloud.deliver(RESULTS);
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    assert!(
        !collect::handler::handle(&cloud.local.deps.collect, first.clone(), deadline)
            .await
            .acknowledged()
    );
    let before = state(&cloud).await;
    let driver = before.driver.clone().unwrap();
    assert_eq!(Some(&driver.message), first.records[0].message_id.as_ref());

    // Another message about the same shard arrives while the first is still in flight.
    cloud.local.queues.purge(RESULTS).unwrap();
    let body = json!({ "v": 1, "job": cloud.job().id(), "shard": "0000" }).to_string();
    cloud
        .local
        .queues
        .send(RESULTS, Outgoing::new(body.clone()))
        .unwrap();
    assert!(cloud.collect().await.acknowledged());
    assert_eq!(state(&cloud).await, before);

    cloud.advance(DRIVER_LOST_AFTER);
    cloud.local.queues.purge(RESULTS).unwrap();
    let second = cloud
        .local
        .queues
        .send(RESULTS, Outgoing::new(body))
        .unwrap();
    assert!(!cloud.collect().await.acknowledged());
    let after = state(&cloud).await;
    assert_eq!(after.driver.unwrap().message, second);
    let (Phase::Collecting(before), Phase::Collecting(after)) = (before.phase, after.phase) else {
        panic!("the shard is not being collected")
    };
    assert!(after.offset > before.offset);
}

#[tokio::test]
async fn a_held_shard_keeps_its_message() {
    let cloud = ended_in(TestCloud::builder().scenario(failing(30)), 3).await;
    cloud
        .wire
        .decide(|sent| sent.path.ends_with(":download").then_some(Fault::NeverSent));
    while cloud.job().phase("0000").await != ShardPhase::Held {
        assert!(!cloud.collect().await.acknowledged());
        cloud.advance_to_next(RESULTS);
    }
    let driver = state(&cloud).await.driver.unwrap();
    assert!(!cloud.collect().await.acknowledged());
    let later = state(&cloud).await.driver.unwrap();
    assert_eq!(later.message, driver.message);
    // Otherwise the sweep would treat the message as lost.
    assert!(later.back_at > driver.back_at);
}
