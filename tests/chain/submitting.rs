//! A shard becomes exactly one batch.

use aws_sim::queue::Outgoing;
use darkroom::{
    chain::{POLLS, SHARDS},
    state::{Failed, Phase},
    status::ShardPhase,
};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud, wire::Fault};

use super::{planned, state, stones};

const CREATE: &str = ":batchGenerateContent";

#[tokio::test]
async fn a_shard_becomes_one_batch() {
    let cloud = planned().await;
    assert!(cloud.submit().await.acknowledged());
    assert_eq!(
        (cloud.wire.count(CREATE), cloud.gemini.batches_created()),
        (1, 1)
    );
    assert_eq!(cloud.job().phase("0000").await, ShardPhase::Submitted);
    assert_eq!(cloud.messages(POLLS), 1);
}

#[tokio::test]
async fn a_duplicate_message_creates_no_second_batch() {
    let cloud = planned().await;
    let job = cloud.job().id();
    for _ in 0..3 {
        let body = format!(r#"{{"v":1,"job":"{job}","shard":"0000"}}"#);
        cloud
            .local
            .queues
            .send(SHARDS, Outgoing::new(body))
            .unwrap();
    }
    for _ in 0..4 {
        assert!(cloud.submit().await.acknowledged());
    }
    assert_eq!(cloud.wire.count(CREATE), 1);
}

#[tokio::test]
async fn dropping_the_same_manifest_again_buys_nothing() {
    let cloud = TestCloud::new();
    for _ in 0..2 {
        cloud.put("inbox/stones.jsonl", stones(3)).await;
        cloud.run().await;
        assert_eq!(cloud.gemini.batches_created(), 1);
    }
    assert_eq!(cloud.jobs().len(), 1);
}

#[tokio::test]
async fn an_exhausted_quota_is_waited_for_and_does_not_count_as_an_error() {
    let cloud = planned().await;
    let mut refusals = 6;
    cloud.wire.decide(move |sent| {
        let refused = sent.path.ends_with(CREATE) && refusals > 0;
        refusals -= i32::from(refused);
        let body =
            r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED"}}"#;
        refused.then(|| Fault::Answered(StatusCode::TOO_MANY_REQUESTS, body.to_owned()))
    });
    assert!(!cloud.submit().await.acknowledged());
    let waiting = state(&cloud).await;
    assert_eq!(waiting.errors, 0);
    assert_eq!(ShardPhase::from(&waiting.phase), ShardPhase::Planned);
    let reason = waiting.waiting.unwrap();
    assert!(reason.contains("quota"), "{reason}");
    assert_eq!(cloud.next_in(SHARDS), SignedDuration::from_mins(15));

    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 1);
}

/// Returns the status and the error code of each result, in order.
async fn outcomes(cloud: &TestCloud) -> Vec<(String, String)> {
    let results = cloud.job().lines("results.jsonl").await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    results
        .iter()
        .map(|line| (text(&line["status"]), text(&line["error"]["code"])))
        .collect()
}

/// Refuses the next `count` create calls as invalid.
fn refuse(cloud: &TestCloud, message: &'static str, mut count: u32) {
    let body =
        format!(r#"{{"error":{{"code":400,"message":"{message}","status":"INVALID_ARGUMENT"}}}}"#);
    cloud.wire.decide(move |sent| {
        let refused = sent.path.ends_with(CREATE) && count > 0;
        count -= u32::from(refused);
        refused.then(|| Fault::Answered(StatusCode::BAD_REQUEST, body.clone()))
    });
}

#[tokio::test]
async fn a_request_that_gemini_refuses_fails_alone_and_the_others_are_submitted_at_once() {
    for (message, refused) in [
        ("Error on line 2: no such field: 'x'", &[1][..]),
        (
            "Error on line 1: invalid JSON, near column 9\\nError on line 3: no such field: 'x'",
            &[0, 2],
        ),
    ] {
        let cloud = planned().await;
        refuse(&cloud, message, 1);
        let before = cloud.now();
        assert!(!cloud.submit().await.acknowledged());
        assert_eq!(cloud.next_in(SHARDS), SignedDuration::ZERO);
        assert!(cloud.submit().await.acknowledged());
        assert_eq!((cloud.now(), cloud.gemini.batches_created()), (before, 1));

        cloud.run().await;
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
        assert_eq!(outcomes(&cloud).await, expected);
        assert_eq!(cloud.gemini.batches_created(), 1);
    }
}

#[tokio::test]
async fn nothing_is_bought_if_every_request_is_refused() {
    let cloud = planned().await;
    refuse(&cloud, "Error on line 1: no such field: 'x'", u32::MAX);
    cloud.run().await;
    // Each refusal names the first of the remaining requests.
    assert_eq!(
        (cloud.wire.count(CREATE), cloud.gemini.batches_created()),
        (3, 0)
    );
    let results = cloud.job().lines("results.jsonl").await;
    let is_explained = |line: &Value| {
        line["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no such field")
    };
    assert!(
        results.len() == 3 && results.iter().all(is_explained),
        "{results:?}"
    );
    let cost = cloud.job().json("summary.json").await["cost"].clone();
    assert_eq!(
        (&cost["actual_usd"], &cost["unaccounted"]["requests"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_refusal_that_names_no_request_is_retried() {
    for message in [
        "Unsupported MIME type: jsonl",
        "Error on line 99: no such field",
        "Invalid JSON at line 1 column 7",
    ] {
        let cloud = planned().await;
        refuse(&cloud, message, 4);
        cloud.run().await;
        let succeeded = ("succeeded".to_owned(), String::new());
        assert_eq!(
            outcomes(&cloud).await,
            [succeeded.clone(), succeeded.clone(), succeeded],
            "{message}"
        );
        assert_eq!(
            (cloud.wire.count(CREATE), cloud.gemini.batches_created()),
            (5, 1),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_refusal_that_persists_is_held_for_an_operator() {
    let cloud = planned().await;
    refuse(&cloud, "Unsupported MIME type: jsonl", 5);
    for _ in 0..5 {
        assert!(!cloud.submit().await.acknowledged());
        cloud.advance_to_next(SHARDS);
    }
    let reason = cloud.job().hold_reason("0000").await;
    assert!(reason.contains("MIME type"), "{reason}");
    assert_eq!(cloud.gemini.batches_created(), 0);

    cloud.job().request("approve").await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
}

#[tokio::test]
async fn an_upload_is_retried_until_the_deadline_and_the_reason_is_stored() {
    let cloud = planned().await;
    cloud.wire.decide(|_| Some(Fault::NeverSent));
    let start = cloud.now();
    for errors in 1..=20 {
        assert!(!cloud.submit().await.acknowledged());
        let waiting = state(&cloud).await;
        assert_eq!(waiting.errors, errors);
        assert_eq!(ShardPhase::from(&waiting.phase), ShardPhase::Planned);
        let reason = waiting.waiting.unwrap();
        assert!(reason.contains("not uploaded"), "{reason}");
        cloud.advance_to_next(SHARDS);
    }
    cloud.run().await;
    assert!(cloud.job().has("_FAILED"));
    let Phase::Failed(Failed { code, message, .. }) = state(&cloud).await.phase else {
        panic!("the shard has not failed")
    };
    assert_eq!(code, "DEADLINE");
    assert!(message.contains("not uploaded"), "{message}");
    let passed = cloud.now().duration_since(start);
    assert!((168..170).contains(&passed.as_hours()), "{passed}");
    // Its message must not be received more often than its queue allows.
    let depth = cloud.local.queues.depth("shards-dead").unwrap();
    assert_eq!(depth.visible, 0);
}

#[tokio::test]
async fn a_cancel_during_the_upload_prevents_the_batch() {
    let cloud = planned().await;
    let mark = cloud.path_of(&cloud.job().key("cancel.json"));
    cloud.wire.decide(move |sent| {
        if sent.path.contains("/upload/") {
            std::fs::write(&mark, "{}").unwrap();
        }
        None
    });
    assert!(cloud.submit().await.acknowledged());
    assert_eq!(
        (cloud.job().phase("0000").await, cloud.wire.count(CREATE)),
        (ShardPhase::Cancelled, 0)
    );
    // The uploaded file is deleted.
    let files = cloud.local.deps.submit.gemini.files().await.unwrap();
    assert!(files.is_empty());
}
