//! What a shard cost takes the place of what the ledger has reserved for it, however it ends and
//! whoever dies.

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
    Making, World,
    wire::{Fault, Trip},
};

use super::{
    acknowledged,
    billing::{amount, assert_settled, bill, job, off, shards, summary, written},
    collecting::ended_in,
    messages, step, stones,
};

/// Lets `collect` die when it puts the shard's cost into the ledger.
async fn dies_before_it_settles() -> World {
    let world = ended_in(
        Making {
            scenario: Scenario {
                seed: 3,
                ..Scenario::default()
            },
            ..Making::default()
        },
        6,
    )
    .await;
    world.aws.decide(|head| {
        if head.method == "PUT" && head.uri.path().ends_with("stack/ledger.json") {
            Trip::Die
        } else {
            Trip::Pass
        }
    });
    super::collect_dies(&world).await;
    let ledger = world.cloud.deps.submit.ledger.read().await.unwrap();
    assert_eq!(
        (ledger.live.len(), ledger.unsettled.len()),
        (0, 1),
        "{ledger:?}"
    );
    world
}

#[tokio::test]
async fn a_cost_that_was_not_put_down_is_put_down_when_the_message_comes_again() {
    let world = dies_before_it_settles().await;
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_hours(3))
        .unwrap();
    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    assert_settled(&world).await;
    let settled = world.cloud.deps.submit.ledger.read().await.unwrap();
    // Again, it changes nothing.
    let message = json!({ "v": 1, "job": job(&world).trim_start_matches("jobs/").trim_end_matches('/'), "shard": "0000" });
    world
        .cloud
        .queues
        .send(RESULTS, Outgoing::new(message.to_string()))
        .unwrap();
    world.run().await.unwrap();
    assert_eq!(
        world.cloud.deps.submit.ledger.read().await.unwrap(),
        settled
    );
    assert_eq!(
        summary(&world).await["cost"]["actual_usd"],
        written(bill(&world).0)
    );
}

#[tokio::test]
async fn a_cost_that_nobody_put_down_is_put_down_by_the_sweep() {
    let world = dies_before_it_settles().await;
    world.cloud.queues.purge(RESULTS).unwrap();
    assert_eq!(messages(&world, RESULTS), 0);
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    for _ in 0..2 {
        sweep::handler::handle(&world.cloud.deps.sweep, deadline)
            .await
            .unwrap();
        assert_settled(&world).await;
    }
}

#[tokio::test]
async fn a_batch_that_was_refused_costs_nothing_of_the_day() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    world.wire.decide(|sent| {
        let refused =
            || r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#.to_owned();
        let is_create = sent.path.ends_with(":batchGenerateContent");
        is_create.then(|| Fault::Answered(StatusCode::BAD_REQUEST, refused()))
    });
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("{}_FAILED", job(&world)))
            .await
            .unwrap()
            .is_some()
    );
    let ledger = world.cloud.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    assert_eq!(ledger.spent.values().copied().sum::<Usd>(), Usd::ZERO);
    let cost = &summary(&world).await["cost"];
    assert_eq!(
        (&cost["actual_usd"], &cost["unaccounted"]["requests"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_batch_that_nobody_could_read_is_counted_apart_and_stays_reserved() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(2)).await.unwrap();
    // It says that it has made two images, and not where they are.
    world.wire.decide(|sent| {
        let metadata = json!({
            "state": "BATCH_STATE_SUCCEEDED", "batchStats": { "requestCount": "2", "successfulRequestCount": "2" },
        });
        let name = sent.path.trim_start_matches("/v1beta/");
        let answer = json!({ "name": name, "done": true, "metadata": metadata });
        let asked = sent.method == "GET" && sent.path.contains("/batches/");
        asked.then(|| Fault::Answered(StatusCode::OK, answer.to_string()))
    });
    host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        Ok(shards(&world)
            .await
            .iter()
            .any(|shard| matches!(shard.phase, Phase::Held { .. })))
    })
    .await
    .unwrap();
    let ledger = &world.cloud.deps.submit.ledger;
    let reserved: Usd = ledger.read().await.unwrap().spent.values().copied().sum();
    world
        .put(
            &format!(
                "control/{}/cancel",
                job(&world)
                    .trim_start_matches("jobs/")
                    .trim_end_matches('/')
            ),
            "",
        )
        .await
        .unwrap();
    world.run().await.unwrap();
    let cost = &summary(&world).await["cost"];
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
