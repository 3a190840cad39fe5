//! The local host: it empties the queues into the functions, as Lambda's event source mappings do, and jumps over waits.
//!
//! It is a discrete-event simulation of the real functions. When nothing can be delivered and nothing runs, time jumps
//! to the moment at which the next message is due; with real time it waits for that moment instead.

mod invoke;

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinSet, LocalSet, spawn_local};

use crate::{
    chain::{CHAIN, FUNCTION_TIMEOUT, Source},
    cloud::Cloud,
    queue::{Delivery, QueueError},
};

/// How long real time is waited for at a time, so that a change of the system's clock is noticed.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(30);

/// What the host does when nothing can be delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It jumps to the next moment at which something is due.
    Jump,
    /// It waits for that moment.
    Sleep,
}

/// Why the host stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// What it was to wait for has come about, and nothing can be delivered.
    Reached,
    /// No queue has a message: nothing will ever happen.
    Idle,
}

/// Runs the chain until `reached` says so and all is quiet, or until nothing is left to do.
///
/// `reached` is asked whenever nothing runs and nothing can be delivered now.
///
/// # Errors
/// When the queues or the kept time can't be read or written.
pub async fn run(
    cloud: &Arc<Cloud>,
    waiting: Waiting,
    reached: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Stopped> {
    // Like a Lambda instance, the functions share one thread; what blocks goes to others.
    LocalSet::new().run_until(empty_queues(cloud, waiting, reached)).await
}

async fn empty_queues(
    cloud: &Arc<Cloud>,
    waiting: Waiting,
    mut reached: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Stopped> {
    let mut changes = cloud.queues.changes();
    let mut running: JoinSet<&'static str> = JoinSet::new();
    let mut active: HashMap<&'static str, usize> = HashMap::new();
    loop {
        changes.mark_unchanged();
        for source in &CHAIN {
            let active = active.entry(source.queue).or_default();
            while *active < source.concurrency {
                let deliveries = cloud.queues.receive(source.queue, source.batch_size, None)?;
                if deliveries.is_empty() {
                    break;
                }
                *active += 1;
                running.spawn_local(handle(Arc::clone(cloud), source, deliveries));
            }
        }
        if !running.is_empty() {
            tokio::select! {
                Some(done) = running.join_next() => {
                    let queue = done?;
                    active.entry(queue).and_modify(|count| *count -= 1);
                }
                _ = changes.changed() => {}
            }
        } else if reached().await? {
            return Ok(Stopped::Reached);
        } else {
            let Some(due) = next_due(cloud)? else { return Ok(Stopped::Idle) };
            wait(cloud, waiting, due).await?;
        }
    }
}

/// One event: invoked, then acknowledged but for its failures.
async fn handle(cloud: Arc<Cloud>, source: &'static Source, deliveries: Vec<Delivery>) -> &'static str {
    let deadline = cloud.time.now() + FUNCTION_TIMEOUT;
    let invoked = {
        let (deps, event) = (cloud.deps.clone(), invoke::event(source.queue, &deliveries));
        spawn_local(async move { invoke::invoke(&deps, source.function, event, deadline).await })
    };
    // A function that panics has failed all its messages: they come back after the visibility time-out.
    if let Ok(Ok(response)) = invoked.await {
        let failed: Vec<String> =
            response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
        for delivery in deliveries.iter().filter(|delivery| !failed.contains(&delivery.message_id)) {
            // A message that can't be deleted comes back; every function is made for that.
            let _ = cloud.queues.delete(source.queue, &delivery.receipt_handle);
        }
    }
    source.queue
}

fn next_due(cloud: &Cloud) -> Result<Option<Timestamp>, QueueError> {
    let mut next = None;
    for source in &CHAIN {
        if let Some(due) = cloud.queues.next_due(source.queue)? {
            next = Some(next.map_or(due, |next: Timestamp| next.min(due)));
        }
    }
    Ok(next)
}

async fn wait(cloud: &Cloud, waiting: Waiting, due: Timestamp) -> anyhow::Result<()> {
    match waiting {
        Waiting::Jump => {
            cloud.time.jump_to(due)?;
            cloud.queues.wake();
        }
        Waiting::Sleep => {
            let pause = due.duration_since(cloud.time.now()).clamp(SignedDuration::ZERO, LONGEST_SLEEP);
            let mut changes = cloud.queues.changes();
            tokio::select! {
                () = tokio::time::sleep(pause.unsigned_abs()) => {}
                _ = changes.changed() => {}
            }
        }
    }
    Ok(())
}
