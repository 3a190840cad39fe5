//! The functions and the chain, in process.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

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
mod events;
mod killed;
mod metrics;
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
mod two_folders;
mod waiting;
mod web;
mod wire;

use std::{collections::BTreeSet, future::pending};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use cli::host::{self, StopReason, WaitMode};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, MANIFESTS, RESULTS},
    names::ShardId,
    status::{JobStatus, ShardPhase},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{World, wire::Trip};
use tokio::task::{LocalSet, spawn_local};

/// A manifest of so many friendly items.
fn stones(count: usize) -> String {
    (0..count)
        .map(|number| {
            json!({ "key": format!("stone-{number:03}"), "prompt": "a stone" }).to_string() + "\n"
        })
        .collect()
}

/// The same items as another content: what has the same content is bought once.
fn another_run(run: &str, manifest: &str) -> String {
    format!("{}\n{manifest}", json!({"manifest": {"job": {"run": run}}}))
}

/// An event with one message that the queue has delivered, and so can be waited with.
fn delivered(world: &World, queue: &str) -> SqsEvent {
    let deliveries = world.cloud.queues.receive(queue, 1, None).unwrap();
    assert_eq!(deliveries.len(), 1, "{queue} has no message");
    let records: Vec<Value> = deliveries
        .iter()
        .map(|delivery| json!({ "messageId": delivery.message_id, "receiptHandle": delivery.receipt_handle, "body": delivery.body }))
        .collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

/// Lets a function handle the next message of its queue, without deleting it.
macro_rules! step {
    ($world:expr, $function:ident, $queue:expr) => {{
        let event = $crate::delivered($world, $queue);
        let deadline = $world.cloud.time.now() + $crate::FUNCTION_TIMEOUT;
        $function::handler::handle(&$world.cloud.deps.$function, event, deadline).await
    }};
}
pub(crate) use step;

/// A world with one job of three images that is planned.
async fn planned() -> World {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    world
}

/// A world with one job of so many images that is planned, and may cost no more than this.
async fn planned_with_budget(images: usize, budget_usd: &str) -> World {
    let world = World::new().unwrap();
    let items: Vec<Value> = (0..images)
        .map(|number| json!({"key": format!("k-{number}"), "prompt": "x"}))
        .collect();
    let manifest = json!({"job": {"budget_usd": budget_usd}, "items": items});
    world
        .put("inbox/stones.json", manifest.to_string())
        .await
        .unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    world
}

/// Whether all messages may be deleted. Runs the one job to its end. A round whose output has no
/// line for any request is held, and a person has it asked for again at once.
async fn run_to_the_end(world: &World) {
    let mut approved = BTreeSet::new();
    loop {
        let stopped = host::run(&world.cloud, WaitMode::Jump, pending(), async || {
            approve_held(world, &mut approved).await
        });
        if stopped.await.unwrap() != StopReason::ConditionMet {
            return;
        }
    }
}

/// Whether a shard is held that was not approved before.
async fn approve_held(world: &World, approved: &mut BTreeSet<ShardId>) -> anyhow::Result<bool> {
    let Some(job) = world.jobs().ok().and_then(|mut jobs| jobs.pop()) else {
        return Ok(false);
    };
    let Some(status) = world.read(&format!("{job}job.json")).await? else {
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
    let is_news = approved.len() > before;
    if is_news {
        world.put(&format!("control/{job}/approve"), "").await?;
    }
    Ok(is_news)
}

/// Has an invocation die at its work.
async fn dies(work: impl Future<Output = SqsBatchResponse> + 'static) {
    let local = LocalSet::new();
    let died = local.run_until(async { spawn_local(work).await }).await;
    assert!(died.unwrap_err().is_panic());
}

/// Has `plan` handle its next message, and die of it.
async fn plan_dies(world: &World) {
    let (event, deps) = (delivered(world, MANIFESTS), world.cloud.deps.plan.clone());
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    dies(async move { plan::handler::handle(&deps, event, deadline).await }).await;
    world.aws.decide(|_| Trip::Pass);
}

/// Has `collect` handle its next message, and die of it.
async fn collect_dies(world: &World) {
    let (event, deps) = (delivered(world, RESULTS), world.cloud.deps.collect.clone());
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    dies(async move { collect::handler::handle(&deps, event, deadline).await }).await;
    world.aws.decide(|_| Trip::Pass);
}

fn acknowledged(response: &SqsBatchResponse) -> bool {
    response.batch_item_failures.is_empty()
}

/// Messages of a queue, whether they can be received or not.
fn messages(world: &World, queue: &str) -> usize {
    let depth = world.cloud.queues.depth(queue).unwrap();
    depth.visible + depth.in_flight + depth.delayed
}

/// How long until the queue's next message can be received.
fn next_in(world: &World, queue: &str) -> SignedDuration {
    world
        .cloud
        .queues
        .next_due(queue)
        .unwrap()
        .unwrap()
        .duration_since(world.cloud.time.now())
}

/// The state of the job's first shard.
async fn state(world: &World) -> Value {
    let job = &world.jobs().unwrap()[0];
    world
        .json(&format!("{job}shards/0000/state.json"))
        .await
        .unwrap()
}
