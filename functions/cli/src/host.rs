//! The local host: it delivers messages from the queues to the functions, as Lambda's event source
//! mappings do, and skips waits.
//!
//! It is a discrete-event simulation that runs the real functions. When no function is running and
//! no message can be delivered, the host advances the time to the moment at which the next message
//! is due. If time is real, it sleeps until that moment instead.

pub mod invoke;
mod leases;
mod recursion_guard;
mod sweeps;

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use aws_sim::{
    queue::{Delivery, QueueError},
    wire::traced,
};
use darkroom::chain::{CHAIN, Source, VISIBILITY_TIMEOUT};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinHandle, JoinSet, LocalSet, spawn_local};
use tracing::error;

use self::sweeps::Sweeps;
use crate::cloud::Cloud;

/// The longest single sleep while time is real. After it, the host notices a change of the system
/// clock and requests of `darkroom approve` and `darkroom cancel`.
const MAX_SLEEP: SignedDuration = SignedDuration::from_secs(5);

/// How long a function may run here: without a limit, in effect. A lease ends with the host's
/// process instead of at a deadline.
const NO_DEADLINE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// How often the visibility timeout of a running function's messages is renewed.
const VISIBILITY_RENEWAL_INTERVAL: Duration =
    Duration::from_secs(VISIBILITY_TIMEOUT.as_secs().unsigned_abs() / 2);

/// How long running invocations may take to finish after the host was asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// What the host does when no message can be delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitMode {
    /// It advances the simulated time to the moment at which the next message or sweep is due.
    Jump,
    /// It sleeps until that moment.
    Sleep,
}

/// Why the host stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The caller's condition was met, and no message could be delivered.
    ConditionMet,
    /// No queue holds a message, so nothing more will ever happen.
    Idle,
    /// It was asked to stop.
    Interrupted,
}

/// Runs the chain until `is_done` returns true, until nothing is left to do, or until `stop`
/// completes.
///
/// `is_done` is called whenever no function is running and no message can be delivered. Once `stop`
/// completes, running invocations get two seconds to finish before they are aborted.
///
/// # Errors
/// Returns an error if the queues, the shard states or the simulated time can't be read or written.
pub async fn run(
    cloud: &Arc<Cloud>,
    wait_mode: WaitMode,
    stop: impl Future<Output = ()>,
    mut is_done: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<StopReason> {
    let all = async {
        let mut stop = pin!(stop);
        let mut invocations = Invocations::new(cloud);
        let mut sweeps = Sweeps::new(cloud);
        let mut changes = cloud.queues.changes();
        loop {
            // Changes are marked as seen before the queues are read: a message that arrives during
            // the read then ends the wait below.
            changes.mark_unchanged();
            cloud.forward_controls().await?;
            invocations.start()?;

            // The time must not jump while a function is running: to the function, that would look
            // like a call that took hours.
            if invocations.is_busy() {
                tokio::select! {
                    () = &mut stop => return invocations.stop(cloud).await,
                    done = invocations.one_finished() => done?,
                    _ = changes.changed() => {}
                }
            } else if is_done().await? {
                return Ok(StopReason::ConditionMet);
            } else {
                let message = invocations.next_due()?;
                let Some(due) = sweeps.next_due(cloud, message) else {
                    return Ok(StopReason::Idle);
                };
                match wait_mode {
                    WaitMode::Jump => {
                        cloud.time.jump_to(due)?;
                        cloud.queues.notify_waiters();
                    }
                    WaitMode::Sleep => tokio::select! {
                        () = &mut stop => return Ok(StopReason::Interrupted),
                        () = sleep_until(cloud, Some(due)) => {}
                        _ = changes.changed() => {}
                    },
                }
                sweeps.run_if_due(cloud).await;
            }
        }
    };

    // Messages that an earlier host received return when their visibility timeout ends. In
    // simulated time, that wait costs nothing.
    match wait_mode {
        WaitMode::Jump => leases::release_all(cloud).await?,
        WaitMode::Sleep => resume(cloud).await?,
    }
    // As in a Lambda instance, the functions share one thread. Blocking work runs on other threads.
    LocalSet::new().run_until(all).await
}

/// Runs the chain in real time until `stop` completes, and then waits for running invocations.
///
/// # Errors
/// Returns an error if the queues or the shard states can't be read or written.
pub async fn serve(cloud: &Arc<Cloud>, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let all = async {
        let mut stop = pin!(stop);
        let mut invocations = Invocations::new(cloud);
        let mut sweeps = Sweeps::new(cloud);
        let mut changes = cloud.queues.changes();
        loop {
            // As in `run`: a message that arrives while the queues are read ends the wait below.
            changes.mark_unchanged();
            cloud.forward_controls().await?;
            invocations.start()?;
            let due = invocations.next_due()?;
            tokio::select! {
                () = &mut stop => break,
                done = invocations.one_finished(), if invocations.is_busy() => done?,
                _ = changes.changed() => {}
                () = sleep_until(cloud, due) => {}
            }
            sweeps.run_if_due(cloud).await;
        }
        while invocations.is_busy() {
            invocations.one_finished().await?;
        }
        Ok(())
    };
    resume(cloud).await?;
    LocalSet::new().run_until(all).await
}

/// Prepares a cloud whose last host may have been killed: releases the leases and makes the
/// messages visible that it held. The caller ensures that no invocation is running.
///
/// # Errors
/// Returns an error if the queues or the shard states can't be read or written.
pub async fn resume(cloud: &Cloud) -> anyhow::Result<()> {
    leases::release_all(cloud).await?;
    Ok(return_received(cloud)?)
}

/// Makes the messages visible that an earlier host had received. In real time, the rest of their
/// visibility timeout would be a long wait.
fn return_received(cloud: &Cloud) -> Result<(), QueueError> {
    CHAIN
        .iter()
        .try_for_each(|source| cloud.queues.make_in_flight_visible(source.queue))
}

/// The invocations that are running.
struct Invocations<'a> {
    cloud: &'a Arc<Cloud>,
    /// Each returns the name of its queue.
    running: JoinSet<&'static str>,
    /// The number of running invocations by queue.
    active: HashMap<&'static str, usize>,
}

impl<'a> Invocations<'a> {
    fn new(cloud: &'a Arc<Cloud>) -> Self {
        Self {
            cloud,
            running: JoinSet::new(),
            active: HashMap::new(),
        }
    }

    /// Starts an invocation for everything that can be delivered now. Afterwards, a queue has
    /// visible messages only if its function has reached its concurrency.
    fn start(&mut self) -> Result<(), QueueError> {
        for source in &CHAIN {
            let active = self.active.entry(source.queue).or_default();
            while *active < source.concurrency {
                let deliveries = receive_batch(self.cloud, source)?;
                if deliveries.is_empty() {
                    break;
                }
                *active += 1;
                self.running
                    .spawn_local(handle(Arc::clone(self.cloud), source, deliveries));
            }
        }
        Ok(())
    }

    /// Waits [`SHUTDOWN_GRACE`] for running invocations, aborts the others, and releases the leases
    /// that these held.
    async fn stop(mut self, cloud: &Cloud) -> anyhow::Result<StopReason> {
        let all = async {
            while self.is_busy() {
                self.one_finished().await?;
            }
            anyhow::Ok(())
        };
        if let Ok(finished) = tokio::time::timeout(SHUTDOWN_GRACE, all).await {
            finished?;
        }
        self.running.shutdown().await;
        leases::release_all(cloud).await?;
        Ok(StopReason::Interrupted)
    }

    fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Waits until an invocation has finished; forever if none is running.
    async fn one_finished(&mut self) -> Result<(), JoinError> {
        let Some(done) = self.running.join_next().await else {
            return std::future::pending().await;
        };
        let queue = done?;
        self.active.entry(queue).and_modify(|count| *count -= 1);
        Ok(())
    }

    /// Returns when the next message can be delivered. Queues whose function has reached its
    /// concurrency do not count.
    fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        let mut next = None;
        for source in &CHAIN {
            let is_full = self
                .active
                .get(source.queue)
                .is_some_and(|active| *active >= source.concurrency);
            if !is_full && let Some(due) = self.cloud.queues.next_due(source.queue)? {
                next = Some(next.map_or(due, |next: Timestamp| next.min(due)));
            }
        }
        Ok(next)
    }
}

/// Receives the messages of one event: all visible ones, up to the batch size. SQS returns at most
/// ten messages per call, so this may take several calls.
fn receive_batch(cloud: &Cloud, source: &Source) -> Result<Vec<Delivery>, QueueError> {
    let mut deliveries = Vec::new();
    while deliveries.len() < source.batch_size {
        let more =
            cloud
                .queues
                .receive(source.queue, source.batch_size - deliveries.len(), None)?;
        if more.is_empty() {
            break;
        }
        deliveries.extend(more);
    }
    Ok(deliveries)
}

/// Invokes a function with one event and acknowledges the messages that it did not report as
/// failed. Returns the name of the queue.
async fn handle(
    cloud: Arc<Cloud>,
    source: &'static Source,
    mut deliveries: Vec<Delivery>,
) -> &'static str {
    // Lambda's recursion guard drops messages before the function is invoked.
    for recursive in deliveries.extract_if(.., |delivery| {
        recursion_guard::is_recursive(source.function, delivery)
    }) {
        error!(
            function = ?source.function,
            message_id = recursive.message_id,
            "not invoked: recursive loop detected"
        );
        // A message that can't be moved now becomes visible again and is refused again.
        let _ = cloud
            .queues
            .move_to_dead_letter_queue(source.queue, &recursive.receipt_handle);
    }
    if deliveries.is_empty() {
        return source.queue;
    }

    // Lambda ends a function after 15 minutes. On this machine, a download may take hours over a
    // slow connection.
    let deadline = cloud.time.now() + NO_DEADLINE;
    let mut invocation = {
        let (deps, event) = (cloud.deps.clone(), invoke::event(source.queue, &deliveries));
        let trace = recursion_guard::header(source.function, &deliveries);
        // The function runs as a separate task, so that a panic fails only its messages.
        AbortOnDrop(spawn_local(async move {
            traced(
                trace,
                invoke::invoke(&deps, source.function, event, deadline),
            )
            .await
        }))
    };

    // Without a deadline, a function may run for longer than the visibility timeout, and its
    // messages would be delivered a second time.
    let result = loop {
        tokio::select! {
            result = &mut invocation.0 => break result,
            () = tokio::time::sleep(VISIBILITY_RENEWAL_INTERVAL) => {
                for delivery in &deliveries {
                    // This fails for a message that the function has deleted or made visible, and
                    // such a message needs no renewal.
                    let _ = cloud.queues.change_visibility(
                        source.queue,
                        &delivery.receipt_handle,
                        VISIBILITY_TIMEOUT,
                    );
                }
            }
        }
    };
    match result {
        Ok(Ok(response)) => {
            let failed: Vec<String> = response
                .batch_item_failures
                .into_iter()
                .map(|failure| failure.item_identifier)
                .collect();
            for delivery in deliveries
                .iter()
                .filter(|delivery| !failed.contains(&delivery.message_id))
            {
                // A message that can't be deleted is delivered again, which every function allows
                // for.
                let _ = cloud.queues.delete(source.queue, &delivery.receipt_handle);
            }
        }
        // After a panic, all messages have failed: they return after the visibility timeout. The
        // next invocation must not wait for a lease that no one holds.
        Ok(Err(_)) | Err(_) => {
            for delivery in &deliveries {
                let _ = cloud.queues.change_visibility(
                    source.queue,
                    &delivery.receipt_handle,
                    VISIBILITY_TIMEOUT,
                );
            }
            if let Err(error) = leases::release_held_by(&cloud, &deliveries).await {
                error!("can't release the leases of a failed invocation: {error:#}");
            }
        }
    }
    source.queue
}

/// An invocation that is aborted when the host drops it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sleeps in real time until a moment of the cloud's time, but at most [`MAX_SLEEP`].
async fn sleep_until(cloud: &Cloud, due: Option<Timestamp>) {
    let pause = due.map_or(MAX_SLEEP, |due| due.duration_since(cloud.time.now()));
    tokio::time::sleep(pause.clamp(SignedDuration::ZERO, MAX_SLEEP).unsigned_abs()).await;
}
