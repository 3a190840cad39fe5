//! The cost of a shard replaces its reservation in the ledger, however the shard ends and whichever
//! invocation dies.

use std::future::pending;

use aws_sim::queue::Outgoing;
use cli::host::{self, WaitMode};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, RESULTS},
    money::Usd,
    state::Phase,
};
use gemini_sim::Scenario;
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::json;
use tests::{
    BatchResponse, TestCloud,
    wire::{Fault, FaultAction},
};

use super::{
    billing::{amount, assert_settled, bill, off, shards, summary, written},
    collecting::ended_in,
    stones,
};

/// Opens a cloud in which `collect` died while it wrote the shard's cost to the ledger.
async fn dies_before_it_settles() -> TestCloud {
    let cloud = ended_in(
        TestCloud::builder().scenario(Scenario {
            seed: 3,
            ..Scenario::default()
        }),
        6,
    )
    .await;
    cloud.aws.decide(|head| {
        if head.method == "PUT" && head.uri.path().ends_with("stack/ledger.json") {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    super::collect_dies(&cloud).await;
    let ledger = cloud.local.deps.submit.ledger.read().await.unwrap();
    assert_eq!(
        (ledger.live.len(), ledger.unsettled.len()),
        (0, 1),
        "{ledger:?}"
    );
    cloud
}

#[tokio::test]
async fn an_unsettled_cost_is_settled_at_the_redelivery() {
    let cloud = dies_before_it_settles().await;
    cloud.advance(SignedDuration::from_hours(3));
    assert!(cloud.collect().await.acknowledged());
    assert_settled(&cloud).await;
    let settled = cloud.local.deps.submit.ledger.read().await.unwrap();
    // Another delivery changes nothing.
    let message = json!({ "v": 1, "job": cloud.job().id(), "shard": "0000" });
    cloud
        .local
        .queues
        .send(RESULTS, Outgoing::new(message.to_string()))
        .unwrap();
    cloud.run().await;
    assert_eq!(
        cloud.local.deps.submit.ledger.read().await.unwrap(),
        settled
    );
    assert_eq!(
        summary(&cloud).await["cost"]["actual_usd"],
        written(bill(&cloud).0)
    );
}

#[tokio::test]
async fn an_unsettled_cost_is_settled_by_the_sweep() {
    let cloud = dies_before_it_settles().await;
    cloud.local.queues.purge(RESULTS).unwrap();
    assert_eq!(cloud.messages(RESULTS), 0);
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    for _ in 0..2 {
        sweep::handler::handle(&cloud.local.deps.sweep, deadline)
            .await
            .unwrap();
        assert_settled(&cloud).await;
    }
}

#[tokio::test]
async fn a_refused_batch_does_not_count_against_the_daily_cap() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.wire.decide(|sent| {
        let refused =
            || r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#.to_owned();
        let is_create = sent.path.ends_with(":batchGenerateContent");
        is_create.then(|| Fault::Answered(StatusCode::BAD_REQUEST, refused()))
    });
    cloud.run().await;
    assert!(cloud.job().has("_FAILED"));
    let ledger = cloud.local.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    assert_eq!(ledger.spent.values().copied().sum::<Usd>(), Usd::ZERO);
    let cost = &summary(&cloud).await["cost"];
    assert_eq!(
        (&cost["actual_usd"], &cost["unaccounted"]["requests"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn an_unreadable_batch_is_counted_separately_and_stays_reserved() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(2)).await;
    // Gemini reports two images, but not where the output is.
    cloud.wire.decide(|sent| {
        let metadata = json!({
            "state": "BATCH_STATE_SUCCEEDED", "batchStats": { "requestCount": "2", "successfulRequestCount": "2" },
        });
        let name = sent.path.trim_start_matches("/v1beta/");
        let answer = json!({ "name": name, "done": true, "metadata": metadata });
        let asked = sent.method == "GET" && sent.path.contains("/batches/");
        asked.then(|| Fault::Answered(StatusCode::OK, answer.to_string()))
    });
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(shards(&cloud)
            .await
            .iter()
            .any(|shard| matches!(shard.phase, Phase::Held { .. })))
    })
    .await
    .unwrap();
    let ledger = &cloud.local.deps.submit.ledger;
    let reserved: Usd = ledger.read().await.unwrap().spent.values().copied().sum();
    cloud.job().request("cancel").await;
    cloud.run().await;
    let cost = &summary(&cloud).await["cost"];
    assert_eq!(
        (&cost["actual_usd"], &cost["unaccounted"]["requests"]),
        (&json!(0), &json!(2)),
        "{cost}"
    );
    let (lost, estimated) = (
        &cost["unaccounted"]["estimated_usd"],
        &cost["estimated_usd"],
    );
    assert!(!off(amount(lost), amount(estimated), 2), "{cost}");
    let ledger = ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    assert_eq!(
        (
            ledger.spent.values().copied().sum::<Usd>(),
            reserved > Usd::ZERO
        ),
        (reserved, true)
    );
}
