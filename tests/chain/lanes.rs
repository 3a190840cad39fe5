//! Images of the synchronous lanes, one call each.

use std::{
    collections::BTreeMap,
    future::pending,
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering},
};

use cli::host::{self, StopReason, WaitMode};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, GENERATIONS},
    money::Usd,
    settings::GenerateLimits,
    state::Phase,
    status::{JobStatus, ShardPhase},
};
use gemini_sim::{BillByLane, Scenario, Selector};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{
    BatchResponse, TestCloud,
    wire::{Fault, FaultAction},
};

use super::dies;

const GENERATE: &str = ":generateContent";
const FLASH: &str = "gemini-nano-banana-2.1";
const PRO: &str = "gemini-3-pro-image";

/// Returns an item of a manifest.
fn item(number: usize, model: &str, lane: &str) -> Value {
    let (key, prompt) = (format!("k-{number:03}"), format!("stone number {number}"));
    json!({"key": key, "prompt": prompt, "model": model, "lane": lane})
}

/// Opens a cloud and drops a manifest.
async fn dropped(cloud: TestCloud, job: Value, items: Vec<Value>) -> TestCloud {
    let manifest = json!({"job": job, "items": items}).to_string();
    cloud.put("inbox/lanes.json", manifest).await;
    cloud
}

/// Drops a manifest of `count` images in one lane.
async fn in_lane(cloud: TestCloud, count: usize, model: &str, lane: &str) -> TestCloud {
    let items = (0..count).map(|number| item(number, model, lane));
    dropped(cloud, json!({}), items.collect()).await
}

fn scenario(scenario: Scenario) -> TestCloud {
    TestCloud::builder().scenario(scenario).build()
}

/// Returns a cost of a document in millionths of a dollar, which is how precise documents are.
fn microdollars(cost: &Value) -> u64 {
    let usd: Usd = serde_json::from_value(cost.clone()).unwrap();
    (usd.as_f64() * 1e6).round() as u64
}

/// Checks that a cost of a document is what Gemini billed, to the millionth of a dollar.
fn assert_billed(cost: &Value, nanodollars: u64) {
    let billed = [nanodollars / 1_000, nanodollars.div_ceil(1_000)];
    assert!(
        billed.contains(&microdollars(cost)),
        "{cost}, but Gemini billed {nanodollars} billionths"
    );
}

/// Returns the keys of the results by their status, and checks that each key has one result.
async fn statuses(cloud: &TestCloud) -> BTreeMap<String, usize> {
    let results = cloud.job().lines("results.jsonl").await;
    let mut keys: Vec<&str> = results
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), results.len());
    let mut statuses = BTreeMap::new();
    for line in &results {
        let status = line["status"].as_str().unwrap().to_owned();
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}

fn succeeded(count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([("succeeded".to_owned(), count)])
}

#[tokio::test]
async fn a_mixed_manifest_costs_in_each_lane_what_gemini_billed() {
    let lanes = [
        (FLASH, "interactive"),
        (FLASH, "batch"),
        (PRO, "interactive"),
        (PRO, "batch"),
        (PRO, "flex"),
    ];
    let items = (0..40).map(|number| {
        let (model, lane) = lanes[number % lanes.len()];
        item(number, model, lane)
    });
    let cloud = dropped(TestCloud::new(), json!({}), items.collect()).await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(statuses(&cloud).await, succeeded(40));
    assert_eq!(cloud.wire.count(GENERATE), 24);

    let summary = cloud.job().json("summary.json").await;
    let of = |lane: &str| {
        let lanes = summary["cost"]["by_lane"].as_array().unwrap();
        let cost = lanes.iter().find(|cost| cost["lane"] == lane).unwrap();
        (cost["actual_usd"].clone(), cost["images"].clone())
    };
    let BillByLane {
        batch_nanodollars: batch,
        flex_nanodollars: flex,
        interactive_nanodollars: interactive,
    } = cloud.gemini.billed_by_lane().unwrap();
    for (lane, billed, images) in [
        ("batch", batch, 16),
        ("flex", flex, 8),
        ("interactive", interactive, 16),
    ] {
        let (actual, made) = of(lane);
        assert_billed(&actual, billed);
        assert_eq!(made, images, "{lane}");
    }
    assert_billed(&summary["cost"]["actual_usd"], batch + flex + interactive);

    // The ledger holds what was spent, rounded up once a shard.
    let ledger = cloud.json("stack/ledger.json").await;
    let spent = ledger["spent"].as_object().unwrap().values();
    let spent: u64 = spent.map(microdollars).sum();
    let billed = (batch + flex + interactive) / 1_000;
    assert!(spent.abs_diff(billed) <= 5, "{spent}, billed {billed}");
    assert_eq!(ledger["unsettled"], json!({}));
}

#[tokio::test]
async fn quotas_of_the_minute_and_the_day_are_waited_out_without_a_tight_loop() {
    let cloud = scenario(Scenario {
        requests_per_minute: NonZeroU32::new(10),
        requests_per_day: NonZeroU32::new(80),
        ..Scenario::default()
    });
    let cloud = in_lane(cloud, 100, FLASH, "interactive").await;
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(100));
    assert!(cloud.job().has("_SUCCESS"));

    // In no minute are there more calls than the quota and those that were in flight at its end.
    let mut minutes: BTreeMap<i64, usize> = BTreeMap::new();
    let mut refused = 0;
    for call in cloud.gemini.request_log().unwrap() {
        *minutes.entry(call.at.as_second() / 60).or_default() += 1;
        refused += usize::from(call.status == 429);
    }
    let most = minutes.values().max().unwrap();
    assert!(*most <= 20 + GenerateLimits::default().in_flight, "{most}");
    assert!(refused <= 60, "{refused} calls were refused");
}

#[tokio::test]
async fn flex_without_capacity_ends_in_a_batch_at_the_same_price() {
    let cloud = scenario(Scenario {
        flex_capacity_percent: 0,
        ..Scenario::default()
    });
    let cloud = in_lane(cloud, 5, PRO, "flex").await;
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(5));
    let bill = cloud.gemini.billed_by_lane().unwrap();
    assert_eq!(
        (bill.flex_nanodollars, bill.interactive_nanodollars),
        (0, 0)
    );
    let results = cloud.job().lines("results.jsonl").await;
    assert!(results.iter().all(|line| line["lane"] == "batch"));
    let summary = cloud.job().json("summary.json").await;
    assert_billed(&summary["cost"]["actual_usd"], bill.batch_nanodollars);
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 0);
}

#[tokio::test]
async fn flex_without_capacity_ends_interactively_if_the_manifest_says_so() {
    let cloud = scenario(Scenario {
        flex_capacity_percent: 0,
        ..Scenario::default()
    });
    let items = (0..3).map(|number| item(number, PRO, "flex")).collect();
    let cloud = dropped(cloud, json!({"flex_fallback": "interactive"}), items).await;
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(3));
    let bill = cloud.gemini.billed_by_lane().unwrap();
    assert_eq!((bill.flex_nanodollars, bill.batch_nanodollars), (0, 0));
    assert_eq!(cloud.gemini.batches_created(), 0);
}

#[tokio::test]
async fn a_lost_answer_is_requested_again_and_counted_as_unaccounted() {
    let cloud = in_lane(TestCloud::new(), 4, FLASH, "interactive").await;
    let mut calls = 0;
    cloud.wire.decide(move |sent| {
        let is_call = sent.path.ends_with(GENERATE);
        calls += usize::from(is_call);
        (is_call && calls == 2).then_some(Fault::AnswerLost)
    });
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(4));
    let summary = cloud.job().json("summary.json").await;
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 1);
    let round = cloud.job().shard("0000.r2").await;
    assert_eq!(round.demand.requests, 1);
}

#[tokio::test]
async fn a_request_that_gemini_refuses_fails_alone() {
    let cloud = in_lane(TestCloud::new(), 4, FLASH, "interactive").await;
    let mut calls = 0;
    cloud.wire.decide(move |sent| {
        let is_call = sent.path.ends_with(GENERATE);
        calls += usize::from(is_call);
        (is_call && calls == 3).then(|| {
            let body =
                json!({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}});
            Fault::Answered(StatusCode::BAD_REQUEST, body.to_string())
        })
    });
    cloud.run().await;
    let expected = BTreeMap::from([("failed".to_owned(), 1), ("succeeded".to_owned(), 3)]);
    assert_eq!(statuses(&cloud).await, expected);
    assert_eq!(cloud.wire.count(GENERATE), 4);
}

#[tokio::test]
async fn a_cancelled_job_makes_no_further_call() {
    let cloud = in_lane(TestCloud::new(), 3, FLASH, "interactive").await;
    assert!(cloud.plan().await.acknowledged());
    cloud.job().request("cancel").await;
    assert!(cloud.control().await.acknowledged());
    cloud.run().await;
    assert!(cloud.job().has("_CANCELLED"));
    assert_eq!(cloud.wire.count(GENERATE), 0);
    assert_eq!(cloud.gemini.billed().unwrap(), 0);
}

/// Returns a manifest's job with a proof, and its items.
fn with_proof(proof: Value, count: usize) -> (Value, Vec<Value>) {
    let items = (0..count).map(|number| {
        let (key, prompt) = (format!("k-{number:03}"), format!("stone number {number}"));
        json!({"key": key, "prompt": prompt})
    });
    (json!({"proof": proof}), items.collect())
}

/// Runs until only held shards are left, and returns their total number of requests.
async fn run_until_held(cloud: &TestCloud) -> u32 {
    let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(held(cloud).await.is_some())
    });
    assert_eq!(stopped.await.unwrap(), StopReason::ConditionMet);
    held(cloud).await.unwrap()
}

/// Returns the total number of requests of held shards, if all other shards have ended.
async fn held(cloud: &TestCloud) -> Option<u32> {
    let job = cloud.jobs().pop()?;
    let status: JobStatus =
        serde_json::from_str(&cloud.read(&format!("{job}job.json")).await?).ok()?;
    let is_waiting = |phase: ShardPhase| phase == ShardPhase::Held || phase.is_terminal();
    let shards = status.plan.as_ref()?.shards as usize;
    let is_over = status.shards.iter().all(|shard| is_waiting(shard.phase));
    let held = status
        .shards
        .iter()
        .filter(|shard| shard.phase == ShardPhase::Held);
    let requests: u32 = held.map(|shard| shard.requests).sum();
    (status.shards.len() >= shards && is_over && requests > 0).then_some(requests)
}

#[tokio::test]
async fn the_rest_of_a_job_is_bought_once_its_proof_is_approved() {
    let (job, items) = with_proof(json!({"count": 4, "hold": true}), 60);
    let cloud = dropped(TestCloud::new(), job, items).await;
    assert_eq!(run_until_held(&cloud).await, 56);
    assert_eq!(cloud.wire.count(GENERATE), 4);
    assert_eq!(cloud.gemini.batches_created(), 0);
    let paid = cloud.gemini.billed().unwrap();
    let status = cloud.job().status().await;
    let note = status
        .shards
        .iter()
        .find_map(|shard| shard.note.clone())
        .unwrap();
    for part in ["56 images", "about $", "/approve", "/cancel", "until 20"] {
        assert!(note.contains(part), "{note}");
    }

    cloud.job().request("approve").await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(statuses(&cloud).await, succeeded(60));
    assert_eq!(cloud.wire.count(GENERATE), 4, "a proof is not made again");
    let bill = cloud.gemini.billed_by_lane().unwrap();
    assert_eq!(bill.interactive_nanodollars, paid);
    let records = cloud.gemini.records().unwrap();
    assert_eq!(records.len(), 1);
}

#[tokio::test]
async fn a_cancelled_proof_has_cost_the_proof_only() {
    let (job, items) = with_proof(json!({"count": 4, "hold": true}), 60);
    let cloud = dropped(TestCloud::new(), job, items).await;
    run_until_held(&cloud).await;
    cloud.job().request("cancel").await;
    cloud.run().await;
    assert!(cloud.job().has("_CANCELLED"));
    let expected = BTreeMap::from([("skipped".to_owned(), 56), ("succeeded".to_owned(), 4)]);
    assert_eq!(statuses(&cloud).await, expected);
    let summary = cloud.job().json("summary.json").await;
    let billed = cloud.gemini.billed().unwrap();
    assert_billed(&summary["cost"]["actual_usd"], billed);
    assert_eq!(cloud.gemini.batches_created(), 0);
}

#[tokio::test]
async fn without_hold_the_rest_follows_a_proof_that_succeeded() {
    let (job, items) = with_proof(json!({"count": 2, "hold": false}), 6);
    let cloud = dropped(TestCloud::new(), job, items).await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(statuses(&cloud).await, succeeded(6));
    assert_eq!(cloud.wire.count(GENERATE), 2);
}

#[tokio::test]
async fn a_proof_does_not_release_a_shard_whose_output_is_missing() {
    let (job, items) = with_proof(json!({"count": 2, "hold": false}), 6);
    let cloud = scenario(Scenario {
        lost_outputs: vec![Selector::First(1)],
        ..Scenario::default()
    });
    let cloud = dropped(cloud, job, items).await;
    let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(cloud.gemini.batches_created() == 1 && held(&cloud).await.is_some())
    });
    assert_eq!(stopped.await.unwrap(), StopReason::ConditionMet);

    // The images are paid for, so only an operator may have them made again.
    let end = cloud.now() + SignedDuration::from_hours(48);
    let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(cloud.now() >= end)
    });
    assert_eq!(stopped.await.unwrap(), StopReason::ConditionMet);
    assert_eq!(held(&cloud).await, Some(4));
    assert_eq!(cloud.gemini.batches_created(), 1);

    cloud.job().request("approve").await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 2);
}

#[tokio::test]
async fn request_lines_that_differ_from_the_frozen_ones_are_not_released() {
    let (job, items) = with_proof(json!({"count": 2, "hold": true}), 6);
    let cloud = dropped(TestCloud::new(), job, items).await;
    run_until_held(&cloud).await;
    let status = cloud.job().status().await;
    let held = status
        .shards
        .iter()
        .find(|shard| shard.phase == ShardPhase::Held)
        .unwrap();
    let key = cloud
        .job()
        .key(&format!("shards/{}/request.jsonl", held.shard));
    let changed = cloud.text(&key).await.replace("stone", "diamond");
    cloud.put(&key, changed).await;
    cloud.job().request("approve").await;
    cloud.run().await;
    assert_eq!(cloud.gemini.batches_created(), 0);
    let shard = cloud.job().shard(&held.shard.to_string()).await;
    let Phase::Failed(failed) = shard.phase else {
        panic!("{:?}", shard.phase)
    };
    assert!(failed.message.contains("has changed"), "{}", failed.message);
}

#[tokio::test]
async fn a_late_batch_is_given_up_and_its_images_arrive_in_time() {
    let cloud = scenario(Scenario {
        shortest_batch_seconds: 90_000,
        longest_batch_seconds: 90_000,
        ..Scenario::default()
    });
    let items = (0..5).map(|number| item(number, FLASH, "batch")).collect();
    let job = json!({"within": "4h", "rescue": "interactive"});
    let cloud = dropped(cloud, job, items).await;
    let start = cloud.now();
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(5));
    assert!(cloud.now() < start + SignedDuration::from_hours(5));
    let bill = cloud.gemini.billed_by_lane().unwrap();
    assert_eq!(cloud.wire.count(GENERATE), 5);
    let summary = cloud.job().json("summary.json").await;
    assert_billed(&summary["cost"]["actual_usd"], bill.nanodollars());
}

#[tokio::test]
async fn an_image_that_was_stored_before_a_crash_is_not_requested_again() {
    let cloud = in_lane(TestCloud::new(), 1, FLASH, "interactive").await;
    assert!(cloud.plan().await.acknowledged());
    generate_dies(&cloud, |path, has_image| {
        has_image && path.ends_with("state.json")
    })
    .await;
    assert_eq!(cloud.wire.count(GENERATE), 1);
    cloud.advance(FUNCTION_TIMEOUT);
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(1));
    assert_eq!(cloud.wire.count(GENERATE), 1);
    let summary = cloud.job().json("summary.json").await;
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 0);
}

#[tokio::test]
async fn a_claim_that_a_crash_left_behind_is_requested_again_and_counted() {
    let cloud = in_lane(TestCloud::new(), 1, FLASH, "interactive").await;
    assert!(cloud.plan().await.acknowledged());
    generate_dies(&cloud, |path, _| path.contains("/images/")).await;
    assert_eq!(cloud.wire.count(GENERATE), 1);
    cloud.advance(FUNCTION_TIMEOUT);
    cloud.run().await;
    assert_eq!(statuses(&cloud).await, succeeded(1));
    assert_eq!(cloud.wire.count(GENERATE), 2);
    let summary = cloud.job().json("summary.json").await;
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 1);
}

/// Runs `generate` until it writes an object for which `is_last` is true, which kills it. `is_last`
/// gets the path, and whether an image was written before.
async fn generate_dies(
    cloud: &TestCloud,
    is_last: impl Fn(&str, bool) -> bool + Send + Sync + 'static,
) {
    let has_image = AtomicBool::new(false);
    cloud.aws.decide(move |request| {
        let path = request.uri.path();
        if request.method != "PUT" {
            return FaultAction::Pass;
        }
        if is_last(path, has_image.load(Ordering::SeqCst)) {
            return FaultAction::Die;
        }
        has_image.fetch_or(path.contains("/images/"), Ordering::SeqCst);
        FaultAction::Pass
    });
    let (event, deps) = (
        cloud.deliver(GENERATIONS),
        cloud.local.deps.generate.clone(),
    );
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    dies(async move { generate::handler::handle(&deps, event, deadline).await }).await;
    cloud.aws.decide(|_| FaultAction::Pass);
}
