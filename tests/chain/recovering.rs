//! The outcome of an unanswered create call is looked up, and never paid for twice.

use darkroom::{
    chain::SHARDS,
    state::{Phase, Recovering, Shard, Submitted},
    status::ShardPhase,
};
use http::StatusCode;
use jiff::SignedDuration;
use tests::{
    BatchResponse, TestCloud,
    wire::{Fault, Sent},
};

use super::{planned, state};

const CREATE: &str = ":batchGenerateContent";
const LIST: &str = "/batches";

/// Loses the responses of the next `count` create calls.
fn lose_answers(cloud: &TestCloud, mut count: u32) {
    cloud.wire.decide(move |sent| {
        let is_lost = sent.path.ends_with(CREATE) && count > 0;
        count -= u32::from(is_lost);
        is_lost.then_some(Fault::AnswerLost)
    });
}

/// Returns the data of a shard whose create call is being looked up.
fn recovering(shard: Shard) -> Recovering {
    match shard.phase {
        Phase::Recovering(recovering) => recovering,
        other => panic!("the shard is not recovering: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_whose_create_response_was_lost_is_adopted() {
    let cloud = planned().await;
    lose_answers(&cloud, 1);
    assert!(!cloud.submit().await.acknowledged());
    let shard = state(&cloud).await;
    let reason = shard.waiting.as_deref().unwrap();
    assert!(reason.contains("unknown"), "{reason}");
    assert_eq!(cloud.next_in(SHARDS), SignedDuration::from_mins(30));
    let file = recovering(shard).file;
    let is_deleted = |sent: &Sent| sent.method == "DELETE" && sent.path.ends_with(file.as_str());
    assert!(
        cloud.wire.sent().iter().any(is_deleted),
        "the input file is still there"
    );

    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(
        (cloud.wire.count(CREATE), cloud.gemini.batches_created()),
        (1, 1)
    );
    assert_eq!(cloud.wire.count(LIST), 1);
}

#[tokio::test]
async fn a_submitter_that_died_before_its_create_call_is_followed_by_another_attempt() {
    let cloud = planned().await;
    // The invocation dies when it sends the create call.
    cloud
        .wire
        .decide(|sent| sent.path.ends_with(CREATE).then(|| panic!("killed")));
    let event = cloud.deliver(SHARDS);
    let (deps, deadline) = (
        cloud.local.deps.submit.clone(),
        cloud.now() + super::FUNCTION_TIMEOUT,
    );
    super::dies(async move { submit::handler::handle(&deps, event, deadline).await }).await;
    assert_eq!(cloud.job().phase("0000").await, ShardPhase::Creating);

    cloud.wire.decide(|_| None);
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(
        (cloud.wire.count(LIST), cloud.gemini.batches_created()),
        (2, 1)
    );
}

#[tokio::test]
async fn a_single_list_without_the_batch_is_not_enough() {
    let cloud = planned().await;
    let (mut answers_lost, mut lists) = (0, 0);
    cloud.wire.decide(move |sent| {
        if sent.path.ends_with(CREATE) && answers_lost == 0 {
            answers_lost = 1;
            return Some(Fault::AnswerLost);
        }
        let is_list = sent.method == "GET" && sent.path.ends_with(LIST);
        lists += u32::from(is_list);
        (is_list && lists == 1).then(|| Fault::Answered(StatusCode::OK, "{}".to_owned()))
    });
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 1);
}

#[tokio::test]
async fn a_list_that_fails_does_not_count_as_one_without_the_batch() {
    let cloud = planned().await;
    let (mut answers_lost, mut lists) = (0, 0);
    cloud.wire.decide(move |sent| {
        if sent.path.ends_with(CREATE) && answers_lost == 0 {
            answers_lost = 1;
            return Some(Fault::AnswerLost);
        }
        let is_list = sent.method == "GET" && sent.path.ends_with(LIST);
        lists += u32::from(is_list);
        (is_list && lists <= 6)
            .then(|| Fault::Answered(StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned()))
    });
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 1);
}

#[tokio::test]
async fn after_three_unanswered_create_calls_an_operator_decides() {
    let cloud = planned().await;
    let failure = || Fault::Answered(StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned());
    cloud
        .wire
        .decide(move |sent| sent.path.ends_with(CREATE).then(failure));
    while cloud.job().phase("0000").await != ShardPhase::Held {
        cloud.advance_to_next(SHARDS);
        assert!(!cloud.submit().await.acknowledged());
    }
    let reason = cloud.job().hold_reason("0000").await;
    assert!(reason.contains("3 times"), "{reason}");
    assert_eq!(cloud.wire.count(CREATE), 3);

    cloud.wire.decide(|_| None);
    cloud.job().request("approve").await;
    assert!(cloud.control().await.acknowledged());
    assert_eq!(
        (cloud.job().phase("0000").await, cloud.messages(SHARDS)),
        (ShardPhase::Recovering, 2)
    );
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 1);
}

#[tokio::test]
async fn of_two_batches_the_older_is_adopted_and_the_other_is_cancelled() {
    let cloud = planned().await;
    // Two create calls seem to have taken effect: the test creates the second batch itself.
    let gemini = cloud.local.deps.submit.gemini.clone();
    lose_answers(&cloud, 1);
    assert!(!cloud.submit().await.acknowledged());
    let shard = state(&cloud).await;
    let stack = &cloud.local.deps.submit.stack;
    let name = format!("{stack}/{}/0000/1", shard.job);
    let file = tests::upload(
        &gemini,
        &name,
        br#"{"key":"x","request":{"contents":[{"parts":[{"text":"x"}]}]}}"#,
    )
    .await;
    cloud.advance(SignedDuration::from_mins(5));
    let second = gemini
        .create_batch(&shard.model, &name, &file.unwrap())
        .await
        .unwrap();

    cloud.advance_to_next(SHARDS);
    assert!(cloud.submit().await.acknowledged());
    let Phase::Submitted(Submitted { batch, .. }) = state(&cloud).await.phase else {
        panic!("the shard is not submitted")
    };
    assert_ne!(batch.as_str(), second.name.as_str());
    assert_eq!(cloud.wire.count(&format!("/{}:cancel", second.name)), 1);
}
