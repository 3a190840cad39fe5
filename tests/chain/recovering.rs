//! A create call that goes unanswered is found out about, and never followed by a second bill.

use darkroom::chain::{CONTROLS, SHARDS};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::Value;
use tests::{World, wire::Fault};

use super::{acknowledged, delivered, messages, next_in, planned, state, step};

const CREATE: &str = ":batchGenerateContent";
const LIST: &str = "/batches";

/// Creates whose answer is lost, `so_many` times.
fn lose_answers(world: &World, mut so_many: u32) {
    world.wire.decide(move |sent| {
        let is_lost = sent.path.ends_with(CREATE) && so_many > 0;
        so_many -= u32::from(is_lost);
        is_lost.then_some(Fault::AnswerLost)
    });
}

async fn marker(world: &World, name: &str) -> bool {
    let job = world.jobs().unwrap()[0].clone();
    world.read(&format!("{job}{name}")).await.unwrap().is_some()
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_adopted() {
    let world = planned().await;
    lose_answers(&world, 1);
    assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    let recovering = state(&world).await;
    assert_eq!(recovering["phase"]["name"], "recovering");
    assert!(
        recovering["waiting"].as_str().unwrap().contains("unknown"),
        "{recovering}"
    );
    assert_eq!(next_in(&world, SHARDS), SignedDuration::from_mins(30));
    let file = recovering["phase"]["file"].as_str().unwrap();
    let is_deleted =
        |sent: &tests::wire::Sent| sent.method == "DELETE" && sent.path.ends_with(file);
    assert!(
        world.wire.sent().iter().any(is_deleted),
        "the input file is still there"
    );

    world.run().await.unwrap();
    assert!(marker(&world, "_SUCCESS").await);
    assert_eq!(
        (world.wire.count(CREATE), world.gemini.batches_created()),
        (1, 1)
    );
    assert_eq!(world.wire.count(LIST), 1);
}

#[tokio::test]
async fn a_submitter_that_died_before_its_call_arrived_is_followed_by_another_attempt() {
    let world = planned().await;
    // Its invocation ends, unanswered, when the batch is asked for.
    world
        .wire
        .decide(|sent| sent.path.ends_with(CREATE).then(|| panic!("killed")));
    let event = delivered(&world, SHARDS);
    let (deps, deadline) = (
        world.cloud.deps.submit.clone(),
        world.cloud.time.now() + super::FUNCTION_TIMEOUT,
    );
    super::dies(async move { submit::handler::handle(&deps, event, deadline).await }).await;
    assert_eq!(state(&world).await["phase"]["name"], "creating");

    world.wire.decide(|_| None);
    world.run().await.unwrap();
    assert!(marker(&world, "_SUCCESS").await);
    assert_eq!(
        (world.wire.count(LIST), world.gemini.batches_created()),
        (2, 1)
    );
}

#[tokio::test]
async fn one_list_without_the_batch_is_not_believed() {
    let world = planned().await;
    let (mut answers_lost, mut lists) = (0, 0);
    world.wire.decide(move |sent| {
        if sent.path.ends_with(CREATE) && answers_lost == 0 {
            answers_lost = 1;
            return Some(Fault::AnswerLost);
        }
        let is_list = sent.method == "GET" && sent.path.ends_with(LIST);
        lists += u32::from(is_list);
        (is_list && lists == 1).then(|| Fault::Answered(StatusCode::OK, "{}".to_owned()))
    });
    world.run().await.unwrap();
    assert!(marker(&world, "_SUCCESS").await);
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn a_list_that_fails_is_no_list_without_the_batch() {
    let world = planned().await;
    let (mut answers_lost, mut lists) = (0, 0);
    world.wire.decide(move |sent| {
        if sent.path.ends_with(CREATE) && answers_lost == 0 {
            answers_lost = 1;
            return Some(Fault::AnswerLost);
        }
        let is_list = sent.method == "GET" && sent.path.ends_with(LIST);
        lists += u32::from(is_list);
        (is_list && lists <= 6)
            .then(|| Fault::Answered(StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned()))
    });
    world.run().await.unwrap();
    assert!(marker(&world, "_SUCCESS").await);
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn after_three_calls_in_vain_a_person_decides() {
    let world = planned().await;
    let failure = || Fault::Answered(StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned());
    world
        .wire
        .decide(move |sent| sent.path.ends_with(CREATE).then(failure));
    while state(&world).await["phase"]["name"] != "held" {
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + next_in(&world, SHARDS))
            .unwrap();
        assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    }
    let held = state(&world).await;
    assert!(
        held["phase"]["reason"]
            .as_str()
            .unwrap()
            .contains("3 times"),
        "{held}"
    );
    assert_eq!(world.wire.count(CREATE), 3);

    world.wire.decide(|_| None);
    let job = world.jobs().unwrap()[0]
        .trim_start_matches("jobs/")
        .to_owned();
    world
        .put(&format!("control/{job}approve"), "")
        .await
        .unwrap();
    assert!(acknowledged(&step!(&world, control, CONTROLS)));
    assert_eq!(
        (
            state(&world).await["phase"]["name"].as_str(),
            messages(&world, SHARDS)
        ),
        (Some("recovering"), 2)
    );
    world.run().await.unwrap();
    assert!(marker(&world, "_SUCCESS").await);
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn of_two_batches_the_older_is_adopted_and_the_other_cancelled() {
    let world = planned().await;
    // As if two calls had taken effect: the second batch is made here, from the same file.
    let first = world.cloud.deps.submit.gemini.clone();
    lose_answers(&world, 1);
    assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    let recovering = state(&world).await;
    let stack = &world.cloud.deps.submit.stack;
    let name = format!("{stack}/{}/0000/1", recovering["job"].as_str().unwrap());
    let file = tests::upload(
        &first,
        &name,
        br#"{"key":"x","request":{"contents":[{"parts":[{"text":"x"}]}]}}"#,
    )
    .await;
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_mins(5))
        .unwrap();
    let model = recovering["model"].as_str().unwrap();
    let second = first
        .create_batch(model, &name, &file.unwrap())
        .await
        .unwrap();

    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + next_in(&world, SHARDS))
        .unwrap();
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    let submitted = state(&world).await;
    assert_ne!(
        submitted["phase"]["batch"],
        Value::from(second.name.as_str())
    );
    assert_eq!(world.wire.count(&format!("/{}:cancel", second.name)), 1);
}
