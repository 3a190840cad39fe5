//! Starts, completes and kills invocations.

use aws_lambda_events::event::sqs::SqsBatchResponse;
use aws_sim::queue::Delivery;
use cli::host::{self, invoke};
use darkroom::chain::{FUNCTION_TIMEOUT, SWEEP_EVERY, Source};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_local},
};

use super::{SWEPT_HOURLY, SWEPT_RARELY, Schedule, Scheduler};
use crate::faults::{
    interceptor::{INVOCATION, Reply},
    oracle::{Violation, Wrong},
    tamper::Break,
};

/// The maximum error of a clock, in seconds.
const SKEW_SECONDS: i64 = 180;

/// A running invocation of a function.
pub(super) struct Invocation {
    pub(super) number: usize,
    /// The queue that triggered it. None for the hourly sweep.
    pub(super) source: Option<&'static Source>,
    pub(super) deliveries: Vec<Delivery>,
    /// When Lambda kills it.
    pub(super) deadline: Timestamp,
    pub(super) handle: JoinHandle<Option<SqsBatchResponse>>,
    /// How many of its requests the scheduler has decided.
    pub(super) decided: usize,
    /// Until when it is paused.
    pub(super) until: Option<Until>,
    /// Whether its acknowledgement is lost, so that its messages are redelivered.
    pub(super) ack_lost: bool,
    /// Its requests that never get a response.
    pub(super) unanswered: Vec<oneshot::Sender<Reply>>,
    /// Whether it waits for a response that never arrives.
    pub(super) hangs: bool,
}

/// What a paused invocation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The end of another invocation.
    End(usize),
    /// A moment.
    Moment(Timestamp),
}

impl Invocation {
    fn new(
        number: usize,
        source: Option<&'static Source>,
        deliveries: Vec<Delivery>,
        deadline: Timestamp,
        handle: JoinHandle<Option<SqsBatchResponse>>,
    ) -> Self {
        Self {
            number,
            source,
            deliveries,
            deadline,
            handle,
            decided: 0,
            until: None,
            ack_lost: false,
            unanswered: Vec::new(),
            hangs: false,
        }
    }

    /// Whether it makes progress: it is neither paused nor stuck.
    pub(super) fn is_awake(&self) -> bool {
        self.until.is_none() && !self.hangs
    }

    /// Returns its name in the log.
    pub(super) fn name(&self) -> String {
        format!("{}#{}", self.function(), self.number)
    }

    /// Returns the name of its function.
    pub(super) fn function(&self) -> String {
        self.source.map_or("sweep".to_owned(), |source| {
            format!("{:?}", source.function).to_lowercase()
        })
    }
}

impl Scheduler {
    /// Whether the concurrency of a function allows another invocation.
    pub(super) fn may_run(&self, source: &Source) -> bool {
        self.invocations
            .iter()
            .filter(|one| one.source.is_some_and(|of| of.queue == source.queue))
            .count()
            < source.concurrency
    }

    /// Delivers the visible messages of a queue: a full batch, or in a drawn schedule a random
    /// number.
    pub(super) fn deliver(&mut self, source: &'static Source) -> anyhow::Result<()> {
        let most = match &mut self.schedule {
            Schedule::Listed(_) => source.batch_size,
            Schedule::Drawn { rng, .. } => rng.usize(1..=source.batch_size),
        };
        let deliveries = self.cloud.local.queues.receive(source.queue, most, None)?;
        if !deliveries.is_empty() {
            self.invoke(source, deliveries)?;
        }
        Ok(())
    }

    /// Starts an invocation. Returns its number.
    pub(super) fn invoke(
        &mut self,
        source: &'static Source,
        deliveries: Vec<Delivery>,
    ) -> anyhow::Result<usize> {
        let number = self.started;
        self.started += 1;
        if self.broken == Some(Break::AckEarly) {
            for delivery in &deliveries {
                self.cloud
                    .local
                    .queues
                    .delete(source.queue, &delivery.receipt_handle)?;
            }
        }
        let skew = match &mut self.schedule {
            // The clock of one invocation in five is wrong.
            Schedule::Drawn { rng, .. } => {
                i64::from(rng.u8(..5) == 0) * rng.i64(-SKEW_SECONDS..=SKEW_SECONDS)
            }
            Schedule::Listed(_) => 0,
        };
        let deps = self
            .cloud
            .deps(SignedDuration::from_secs(skew), self.broken);
        let event = invoke::event(source.queue, &deliveries);
        let deadline = self.cloud.now() + FUNCTION_TIMEOUT;
        let invoked = async move {
            invoke::invoke(&deps, source.function, event, deadline)
                .await
                .ok()
        };
        let handle = spawn_local(INVOCATION.scope(number, invoked));
        let bodies: Vec<&str> = deliveries
            .iter()
            .map(|delivery| delivery.body.as_str())
            .collect();
        let bodies = bodies.join(" ");
        let skewed = if skew == 0 {
            String::new()
        } else {
            format!(", its clock wrong by {skew} s")
        };
        // Events of S3 are long and add nothing to the log.
        let bodies = if bodies.len() > 200 { "" } else { &bodies };
        let one = Invocation::new(number, Some(source), deliveries, deadline, handle);
        self.note(&format!(
            "{} begins with {} message(s){skewed} {bodies}",
            one.name(),
            one.deliveries.len()
        ));
        self.invocations.push(one);
        Ok(number)
    }

    /// Starts a sweep. Returns its number.
    pub(super) fn sweep(&mut self) -> usize {
        let number = self.started;
        self.started += 1;
        let is_young = self.cloud.now().duration_since(self.began) < SWEPT_HOURLY;
        self.next_sweep = self.cloud.now() + if is_young { SWEEP_EVERY } else { SWEPT_RARELY };
        let deps = self.cloud.deps(SignedDuration::ZERO, self.broken).sweep;
        let deadline = self.cloud.now() + FUNCTION_TIMEOUT;
        // The next sweep retries what fails.
        let swept = async move {
            sweep::handler::handle(&deps, deadline)
                .await
                .ok()
                .map(|_| SqsBatchResponse::default())
        };
        let one = Invocation::new(
            number,
            None,
            Vec::new(),
            deadline,
            spawn_local(INVOCATION.scope(number, Box::pin(swept))),
        );
        self.note(&format!("{} begins", one.name()));
        self.invocations.push(one);
        number
    }

    /// Completes finished invocations, kills those past their deadline, and resumes those that
    /// waited for them.
    pub(super) async fn reap(&mut self) -> anyhow::Result<()> {
        let now = self.cloud.now();
        let mut place = 0;
        while let Some(one) = self.invocations.get(place) {
            if one.handle.is_finished() {
                let one = self.invocations.remove(place);
                self.end(one).await?;
            } else if one.deadline <= now {
                self.note(&format!("{} is past its deadline", one.name()));
                self.kill(self.invocations[place].number);
            } else {
                place += 1;
            }
        }
        let alive: Vec<usize> = self.invocations.iter().map(|one| one.number).collect();
        for one in &mut self.invocations {
            one.until = one.until.filter(|until| match until {
                Until::End(other) => alive.contains(other),
                Until::Moment(moment) => *moment > now,
            });
        }
        Ok(())
    }

    async fn end(&mut self, one: Invocation) -> anyhow::Result<()> {
        let name = one.name();
        let response = match one.handle.await {
            Ok(response) => response.unwrap_or_default(),
            Err(error) => {
                let words = format!("{name} panicked: {error}");
                self.outcome.violations.push(Violation {
                    wrong: Wrong::Stuck,
                    words,
                });
                return Ok(());
            }
        };
        let failed: Vec<&str> = response
            .batch_item_failures
            .iter()
            .map(|failure| failure.item_identifier.as_str())
            .collect();
        let (mut done, mut again) = (0, 0);
        for delivery in &one.deliveries {
            if failed.contains(&delivery.message_id.as_str()) {
                again += 1;
                continue;
            }
            done += 1;
            let (queues, queue) = (
                &self.cloud.local.queues,
                one.source.map_or("", |source| source.queue),
            );
            // Another invocation may have the message by now, or it is deleted.
            let _ = if one.ack_lost {
                queues.change_visibility(queue, &delivery.receipt_handle, SignedDuration::ZERO)
            } else {
                queues.delete(queue, &delivery.receipt_handle)
            };
        }
        let lost = if one.ack_lost {
            ", the acknowledgement lost"
        } else {
            ""
        };
        self.note(&format!(
            "{name} ends: {done} done{lost}, {again} to come back"
        ));
        Ok(())
    }

    /// Kills all invocations and restarts as the host of one machine does.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.note("all invocations are killed and the host restarts");
        while let Some(one) = self.invocations.first() {
            self.kill(one.number);
        }
        // No sender of a pending request is left.
        self.cloud.pending.clear();
        host::resume(&self.cloud.local).await
    }

    /// Kills an invocation. Its messages are redelivered when their visibility timeout ends.
    pub(super) fn kill(&mut self, number: usize) {
        if let Some(place) = self.invocations.iter().position(|one| one.number == number) {
            let one = self.invocations.remove(place);
            self.note(&format!("{} is killed", one.name()));
            one.handle.abort();
            self.calls.killed.insert(number);
            self.cloud.pending.forget(number);
        }
    }
}
