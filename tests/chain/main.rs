//! The functions and the chain, in process.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

mod admitting;
mod answers;
mod bad_day;
mod billing;
mod bounds;
mod budgets;
mod catalog;
mod closing;
mod collecting;
mod controlling;
mod durability;
mod events;
mod gallery;
mod killed;
mod lanes;
mod metrics;
mod notifying;
mod odd_answers;
mod overwritten;
mod planning;
mod poison;
mod recovering;
mod references;
mod rounds;
mod same_content;
mod settling;
mod submitting;
mod sweeping;
mod tables;
mod tenants;
mod thumbnails;
mod two_folders;
mod waiting;
mod web;
mod wire;

use std::{collections::BTreeSet, future::pending};

use aws_lambda_events::event::sqs::SqsBatchResponse;
use cli::host::{self, StopReason, WaitMode};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, MANIFESTS, RESULTS},
    names::ShardId,
    state::Shard,
    status::{JobStatus, ShardPhase},
};
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud, wire::FaultAction};
use tokio::task::{LocalSet, spawn_local};

/// Returns a manifest with `count` items.
fn stones(count: usize) -> String {
    (0..count)
        .map(|number| {
            json!({ "key": format!("stone-{number:03}"), "prompt": "a stone" }).to_string() + "\n"
        })
        .collect()
}

/// Returns a manifest with the same items but other content, because a job with the same content is
/// bought only once.
fn another_run(run: &str, manifest: &str) -> String {
    format!("{}\n{manifest}", json!({"manifest": {"job": {"run": run}}}))
}

/// Opens a cloud with one planned job of three images.
async fn planned() -> TestCloud {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    assert!(cloud.plan().await.acknowledged());
    cloud
}

/// Opens a cloud with one planned job of `images` images and a budget.
async fn planned_with_budget(images: usize, budget_usd: &str) -> TestCloud {
    let cloud = TestCloud::new();
    let items: Vec<Value> = (0..images)
        .map(|number| json!({"key": format!("k-{number}"), "prompt": "x"}))
        .collect();
    let manifest = json!({"job": {"budget_usd": budget_usd}, "items": items});
    cloud.put("inbox/stones.json", manifest.to_string()).await;
    assert!(cloud.plan().await.acknowledged());
    cloud
}

/// Runs the one job to its end, and approves each held shard once. A round whose output has no line
/// for any of its requests is held.
async fn run_to_the_end(cloud: &TestCloud) {
    let mut approved = BTreeSet::new();
    loop {
        let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
            approve_held(cloud, &mut approved).await
        });
        if stopped.await.unwrap() != StopReason::ConditionMet {
            return;
        }
    }
}

/// Approves the job if a shard is held that was not approved before. Returns whether it did.
async fn approve_held(cloud: &TestCloud, approved: &mut BTreeSet<ShardId>) -> anyhow::Result<bool> {
    let Some(job) = cloud.jobs().pop() else {
        return Ok(false);
    };
    let Some(status) = cloud.read(&format!("{job}job.json")).await else {
        return Ok(false);
    };
    let JobStatus { job, shards, .. } = serde_json::from_str(&status)?;
    let before = approved.len();
    approved.extend(
        shards
            .iter()
            .filter(|shard| shard.phase == ShardPhase::Held)
            .map(|shard| shard.shard),
    );
    let has_approved = approved.len() > before;
    if has_approved {
        cloud.put(&format!("control/{job}/approve"), "").await;
    }
    Ok(has_approved)
}

/// Runs an invocation that must panic.
async fn dies(work: impl Future<Output = SqsBatchResponse> + 'static) {
    let local = LocalSet::new();
    let died = local.run_until(async { spawn_local(work).await }).await;
    assert!(died.unwrap_err().is_panic());
}

/// Runs `plan` on its next message, until a fault kills it. Later requests pass.
async fn plan_dies(cloud: &TestCloud) {
    let (event, deps) = (cloud.deliver(MANIFESTS), cloud.local.deps.plan.clone());
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    dies(async move { plan::handler::handle(&deps, event, deadline).await }).await;
    cloud.aws.decide(|_| FaultAction::Pass);
}

/// Runs `collect` on its next message, until a fault kills it. Later requests pass.
async fn collect_dies(cloud: &TestCloud) {
    let (event, deps) = (cloud.deliver(RESULTS), cloud.local.deps.collect.clone());
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    dies(async move { collect::handler::handle(&deps, event, deadline).await }).await;
    cloud.aws.decide(|_| FaultAction::Pass);
}

/// Reads the state of the job's first shard.
async fn state(cloud: &TestCloud) -> Shard {
    cloud.job().shard("0000").await
}
