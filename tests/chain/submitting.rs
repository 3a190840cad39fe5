//! One batch for a shard, whatever happens.

use aws_sim::queue::Outgoing;
use darkroom::chain::{POLLS, SHARDS};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{World, wire::Fault};

use super::{acknowledged, messages, next_in, planned, state, step, stones};

const CREATE: &str = ":batchGenerateContent";

#[tokio::test]
async fn a_shard_becomes_one_batch() {
    let world = planned().await;
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    assert_eq!(
        (world.wire.count(CREATE), world.gemini.batches_created()),
        (1, 1)
    );
    assert_eq!(state(&world).await["phase"]["name"], "submitted");
    assert_eq!(messages(&world, POLLS), 1);
}

#[tokio::test]
async fn a_duplicate_message_creates_no_second_batch() {
    let world = planned().await;
    let job = world.jobs().unwrap()[0]
        .trim_start_matches("jobs/")
        .trim_end_matches('/')
        .to_owned();
    for _ in 0..3 {
        let body = format!(r#"{{"v":1,"job":"{job}","shard":"0000"}}"#);
        world
            .cloud
            .queues
            .send(SHARDS, Outgoing::new(body))
            .unwrap();
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
    assert_eq!(
        (&waiting["phase"]["name"], &waiting["errors"]),
        (&"planned".into(), &0.into())
    );
    assert!(
        waiting["waiting"].as_str().unwrap().contains("quota"),
        "{waiting}"
    );
    assert_eq!(next_in(&world, SHARDS), SignedDuration::from_mins(15));

    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(world.gemini.batches_created(), 1);
}

/// The status and the error's code of each result, in order.
async fn ends(world: &World) -> Vec<(String, String)> {
    let job = &world.jobs().unwrap()[0];
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    results
        .iter()
        .map(|line| (text(&line["status"]), text(&line["error"]["code"])))
        .collect()
}

fn refuse(world: &World, message: &'static str, mut so_many: u32) {
    let body =
        format!(r#"{{"error":{{"code":400,"message":"{message}","status":"INVALID_ARGUMENT"}}}}"#);
    world.wire.decide(move |sent| {
        let refused = sent.path.ends_with(CREATE) && so_many > 0;
        so_many -= u32::from(refused);
        refused.then(|| Fault::Answered(StatusCode::BAD_REQUEST, body.clone()))
    });
}

#[tokio::test]
async fn a_request_that_gemini_refuses_to_take_fails_alone_and_the_others_are_submitted_at_once() {
    for (message, refused) in [
        ("Error on line 2: no such field: 'x'", &[1][..]),
        (
            "Error on line 1: invalid JSON, near column 9\\nError on line 3: no such field: 'x'",
            &[0, 2],
        ),
    ] {
        let world = planned().await;
        refuse(&world, message, 1);
        let before = world.cloud.time.now();
        assert!(!acknowledged(&step!(&world, submit, SHARDS)));
        assert_eq!(next_in(&world, SHARDS), SignedDuration::ZERO);
        assert!(acknowledged(&step!(&world, submit, SHARDS)));
        assert_eq!(
            (world.cloud.time.now(), world.gemini.batches_created()),
            (before, 1)
        );

        world.run().await.unwrap();
        let expected: Vec<_> = (0..3)
            .map(|place| {
                if refused.contains(&place) {
                    ("failed", "INVALID_ARGUMENT")
                } else {
                    ("succeeded", "")
                }
            })
            .map(|(status, code)| (status.to_owned(), code.to_owned()))
            .collect();
        assert_eq!(ends(&world).await, expected);
        assert_eq!(world.gemini.batches_created(), 1);
    }
}

#[tokio::test]
async fn where_every_request_is_refused_nothing_is_bought() {
    let world = planned().await;
    refuse(&world, "Error on line 1: no such field: 'x'", u32::MAX);
    world.run().await.unwrap();
    // The first line of what is left, each time.
    assert_eq!(
        (world.wire.count(CREATE), world.gemini.batches_created()),
        (3, 0)
    );
    let job = &world.jobs().unwrap()[0];
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    let told = |line: &Value| {
        line["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no such field")
    };
    assert!(
        results.len() == 3 && results.iter().all(told),
        "{results:?}"
    );
    let cost = world.json(&format!("{job}summary.json")).await.unwrap()["cost"].clone();
    assert_eq!(
        (&cost["actual_usd"], &cost["unaccounted"]["requests"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_refusal_that_names_no_request_may_pass() {
    for message in [
        "Unsupported MIME type: jsonl",
        "Error on line 99: no such field",
        "Invalid JSON at line 1 column 7",
    ] {
        let world = planned().await;
        refuse(&world, message, 4);
        world.run().await.unwrap();
        let succeeded = ("succeeded".to_owned(), String::new());
        assert_eq!(
            ends(&world).await,
            [succeeded.clone(), succeeded.clone(), succeeded],
            "{message}"
        );
        assert_eq!(
            (world.wire.count(CREATE), world.gemini.batches_created()),
            (5, 1),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_refusal_that_does_not_pass_is_put_before_a_person() {
    let world = planned().await;
    refuse(&world, "Unsupported MIME type: jsonl", 5);
    for _ in 0..5 {
        assert!(!acknowledged(&step!(&world, submit, SHARDS)));
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + next_in(&world, SHARDS))
            .unwrap();
    }
    let held = state(&world).await;
    assert_eq!(held["phase"]["name"], "held");
    assert!(
        held["phase"]["reason"]
            .as_str()
            .unwrap()
            .contains("MIME type"),
        "{held}"
    );
    assert_eq!(world.gemini.batches_created(), 0);

    let job = world.jobs().unwrap()[0]
        .trim_start_matches("jobs/")
        .to_owned();
    world
        .put(&format!("control/{job}approve"), "")
        .await
        .unwrap();
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("jobs/{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn what_costs_nothing_is_tried_until_the_deadline_with_its_reason() {
    let world = planned().await;
    world.wire.decide(|_| Some(Fault::NeverSent));
    let start = world.cloud.time.now();
    for errors in 1..=20 {
        assert!(!acknowledged(&step!(&world, submit, SHARDS)));
        let waiting = state(&world).await;
        assert_eq!(
            (&waiting["phase"]["name"], &waiting["errors"]),
            (&json!("planned"), &json!(errors))
        );
        assert!(
            waiting["waiting"]
                .as_str()
                .unwrap()
                .contains("not uploaded"),
            "{waiting}"
        );
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + next_in(&world, SHARDS))
            .unwrap();
    }
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_FAILED"))
            .await
            .unwrap()
            .is_some()
    );
    let failed = state(&world).await;
    assert_eq!(failed["phase"]["code"], "DEADLINE");
    assert!(
        failed["phase"]["message"]
            .as_str()
            .unwrap()
            .contains("not uploaded"),
        "{failed}"
    );
    let passed = world.cloud.time.now().duration_since(start);
    assert!((168..170).contains(&passed.as_hours()), "{passed}");
    // Its message must not be received more often than its queue allows.
    let depth = world.cloud.queues.depth("shards-dead").unwrap();
    assert_eq!(depth.visible, 0);
}

#[tokio::test]
async fn a_cancel_that_comes_while_requests_are_uploaded_keeps_the_batch_from_being_made() {
    let world = planned().await;
    let job = world.jobs().unwrap()[0]
        .trim_start_matches("jobs/")
        .to_owned();
    let mark = world.cloud.path_of(&format!("jobs/{job}cancel.json"));
    world.wire.decide(move |sent| {
        if sent.path.contains("/upload/") {
            std::fs::write(&mark, "{}").unwrap();
        }
        None
    });
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    assert_eq!(
        (
            &state(&world).await["phase"]["name"],
            world.wire.count(CREATE)
        ),
        (&json!("cancelled"), 0)
    );
    // What was uploaded is not left behind.
    assert!(
        world
            .cloud
            .deps
            .submit
            .gemini
            .files()
            .await
            .unwrap()
            .is_empty()
    );
}
