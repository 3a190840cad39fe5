//! The local host: it empties the queues into the functions, as Lambda's event source mappings do,
//! and jumps over waits.
//!
//! It is a discrete-event simulation of the real functions. When nothing can be delivered and
//! nothing runs, time jumps to the moment at which the next message is due; with real time it waits
//! for that moment instead.

pub mod invoke;
mod leases;
mod lineage;
mod sweeps;

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use aws_sim::{
    queue::{Delivery, QueueError},
    wire::traced,
};
use darkroom::chain::{CHAIN, FUNCTION_TIMEOUT, Source};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinHandle, JoinSet, LocalSet, spawn_local};
use tracing::error;

use self::sweeps::Sweeps;
use crate::cloud::Cloud;

/// How long real time is waited for at a time, so that a change of the system's clock, and what a
/// person says at the terminal, is noticed.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(5);

/// How long a function may run here: for ever, in effect. A lease ends with its process, not by
/// itself.
const NO_DEADLINE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// How long a message is invisible whose function runs: the visibility time-out of its queue.
const INVISIBLE: SignedDuration = SignedDuration::from_mins(FUNCTION_TIMEOUT.as_mins() * 6);

/// How often a running function's messages are kept invisible for as long again.
const STILL_RUNNING: Duration = Duration::from_secs(INVISIBLE.as_secs().unsigned_abs() / 2);

/// How long what is under way may take to end when the host is asked to stop.
const GRACE: Duration = Duration::from_secs(2);

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
    /// It was asked to stop.
    Asked,
}

/// Runs the chain until `reached` says so and all is quiet, until nothing is left to do, or until
/// `stop` comes about.
///
/// `reached` is asked whenever nothing runs and nothing can be delivered now. What is under way
/// when `stop` comes about is given a moment to end, and then ended.
///
/// # Errors
/// When the queues, the states or the kept time can't be read or written.
pub async fn run(
    cloud: &Arc<Cloud>,
    waiting: Waiting,
    stop: impl Future<Output = ()>,
    mut reached: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Stopped> {
    // Like a Lambda instance, the functions share one thread; what blocks goes to others.
    let all = async {
        let mut stop = pin!(stop);
        let mut running = Running::new(cloud);
        let mut sweeps = Sweeps::new(cloud);
        let mut changes = cloud.queues.changes();
        loop {
            changes.mark_unchanged();
            cloud.drop_words().await?;
            running.start()?;
            if running.is_busy() {
                tokio::select! {
                    () = &mut stop => return running.end(cloud).await,
                    done = running.one_ended() => done?,
                    _ = changes.changed() => {}
                }
            } else if reached().await? {
                return Ok(Stopped::Reached);
            } else {
                let message = running.next_due()?;
                let Some(due) = sweeps.sooner_than(cloud, message) else {
                    return Ok(Stopped::Idle);
                };
                match waiting {
                    Waiting::Jump => {
                        cloud.time.jump_to(due)?;
                        cloud.queues.notify_waiters();
                    }
                    Waiting::Sleep => tokio::select! {
                        () = &mut stop => return Ok(Stopped::Asked),
                        () = sleep_until(cloud, Some(due)) => {}
                        _ = changes.changed() => {}
                    },
                }
                sweeps.run_if_due(cloud).await;
            }
        }
    };
    match waiting {
        // Simulated time costs nothing: the messages come back by themselves.
        Waiting::Jump => leases::end_all(cloud).await?,
        Waiting::Sleep => resume(cloud).await?,
    }
    LocalSet::new().run_until(all).await
}

/// Runs the chain in real time until `stop` comes about; what is running then may end.
///
/// # Errors
/// When the queues or the states can't be read or written.
pub async fn serve(cloud: &Arc<Cloud>, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let all = async {
        let mut stop = pin!(stop);
        let mut running = Running::new(cloud);
        let mut sweeps = Sweeps::new(cloud);
        let mut changes = cloud.queues.changes();
        loop {
            changes.mark_unchanged();
            cloud.drop_words().await?;
            running.start()?;
            let due = running.next_due()?;
            tokio::select! {
                () = &mut stop => break,
                done = running.one_ended(), if running.is_busy() => done?,
                _ = changes.changed() => {}
                () = sleep_until(cloud, due) => {}
            }
            sweeps.run_if_due(cloud).await;
        }
        while running.is_busy() {
            running.one_ended().await?;
        }
        Ok(())
    };
    resume(cloud).await?;
    LocalSet::new().run_until(all).await
}

/// Makes a cloud ready whose last host has ended, in whatever way: no invocation is under way.
///
/// # Errors
/// When the queues or the states can't be read or written.
pub async fn resume(cloud: &Cloud) -> anyhow::Result<()> {
    leases::end_all(cloud).await?;
    Ok(take_back(cloud)?)
}

/// What an earlier host had in hand when it was killed would be invisible for the rest of a
/// visibility time-out, which is long in real time.
fn take_back(cloud: &Cloud) -> Result<(), QueueError> {
    CHAIN
        .iter()
        .try_for_each(|source| cloud.queues.make_in_flight_visible(source.queue))
}

/// The invocations under way.
struct Running<'a> {
    cloud: &'a Arc<Cloud>,
    invocations: JoinSet<&'static str>,
    /// How many of each queue.
    active: HashMap<&'static str, usize>,
}

impl<'a> Running<'a> {
    fn new(cloud: &'a Arc<Cloud>) -> Self {
        Self {
            cloud,
            invocations: JoinSet::new(),
            active: HashMap::new(),
        }
    }

    /// Starts all that can be delivered now. Afterwards a queue has a visible message only where no
    /// more may run.
    fn start(&mut self) -> Result<(), QueueError> {
        for source in &CHAIN {
            let active = self.active.entry(source.queue).or_default();
            while *active < source.concurrency {
                let deliveries = gather(self.cloud, source)?;
                if deliveries.is_empty() {
                    break;
                }
                *active += 1;
                self.invocations
                    .spawn_local(handle(Arc::clone(self.cloud), source, deliveries));
            }
        }
        Ok(())
    }

    /// Gives what is under way a moment to end, then ends it, and gives back the leases that it
    /// had.
    async fn end(mut self, cloud: &Cloud) -> anyhow::Result<Stopped> {
        let all = async {
            while self.is_busy() {
                self.one_ended().await?;
            }
            anyhow::Ok(())
        };
        if let Ok(ended) = tokio::time::timeout(GRACE, all).await {
            ended?;
        }
        self.invocations.shutdown().await;
        leases::end_all(cloud).await?;
        Ok(Stopped::Asked)
    }

    fn is_busy(&self) -> bool {
        !self.invocations.is_empty()
    }

    /// PollBackoff until an invocation has ended; for ever where none is under way.
    async fn one_ended(&mut self) -> Result<(), JoinError> {
        let Some(done) = self.invocations.join_next().await else {
            return std::future::pending().await;
        };
        let queue = done?;
        self.active.entry(queue).and_modify(|count| *count -= 1);
        Ok(())
    }

    /// When the next message can be delivered, of the queues whose function may run once more.
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

/// What one event holds: all that is visible, up to the batch size. SQS gives ten messages at a
/// time at the most.
fn gather(cloud: &Cloud, source: &Source) -> Result<Vec<Delivery>, QueueError> {
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

/// One event: invoked, then acknowledged but for its failures.
async fn handle(
    cloud: Arc<Cloud>,
    source: &'static Source,
    mut deliveries: Vec<Delivery>,
) -> &'static str {
    for looping in deliveries.extract_if(.., |delivery| lineage::is_loop(source.function, delivery))
    {
        error!(function = ?source.function, message_id = looping.message_id, "not invoked: it triggers itself");
        // One that can't be moved comes back, and is refused again.
        let _ = cloud
            .queues
            .move_to_dead_letter_queue(source.queue, &looping.receipt_handle);
    }
    if deliveries.is_empty() {
        return source.queue;
    }
    // Lambda would end the function after 15 minutes; here a slow line may take hours for a large
    // file.
    let deadline = cloud.time.now() + NO_DEADLINE;
    let mut invoked = {
        let (deps, event) = (cloud.deps.clone(), invoke::event(source.queue, &deliveries));
        let trace = lineage::header(source.function, &deliveries);
        AbortOnDrop(spawn_local(async move {
            traced(
                trace,
                invoke::invoke(&deps, source.function, event, deadline),
            )
            .await
        }))
    };
    let ended = loop {
        tokio::select! {
            ended = &mut invoked.0 => break ended,
            () = tokio::time::sleep(STILL_RUNNING) => {
                for delivery in &deliveries {
                    // A message that was deleted or made visible by its function needs nothing
                    // more.
                    let _ = cloud.queues.change_visibility(source.queue, &delivery.receipt_handle, INVISIBLE);
                }
            }
        }
    };
    match ended {
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
                // A message that can't be deleted comes back; every function is made for that.
                let _ = cloud.queues.delete(source.queue, &delivery.receipt_handle);
            }
        }
        // A function that panics has failed all its messages: they come back after the visibility
        // time-out, and the next invocation must not wait for a lease that has no holder.
        Ok(Err(_)) | Err(_) => {
            for delivery in &deliveries {
                let _ = cloud.queues.change_visibility(
                    source.queue,
                    &delivery.receipt_handle,
                    INVISIBLE,
                );
            }
            if let Err(problem) = leases::end_those_of(&cloud, &deliveries).await {
                error!("{problem}");
            }
        }
    }
    source.queue
}

/// An invocation that ends with its host.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// PollBackoff for real until a moment of the cloud's time, for a while at the most.
async fn sleep_until(cloud: &Cloud, due: Option<Timestamp>) {
    let pause = due.map_or(LONGEST_SLEEP, |due| due.duration_since(cloud.time.now()));
    tokio::time::sleep(
        pause
            .clamp(SignedDuration::ZERO, LONGEST_SLEEP)
            .unsigned_abs(),
    )
    .await;
}
