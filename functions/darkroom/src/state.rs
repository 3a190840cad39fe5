//! The state of a shard: what is stored, and what each function may do with it.
//!
//! `state.json` is the truth; messages only say that it is worth a look. It is written by
//! compare-and-swap alone, so every change here is one step of one protocol, and [`submit_step`],
//! [`poll_step`] and [`collect_step`] say for every phase what a message on that queue means.

mod phase;
mod steps;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::{
    phase::{
        BatchFailure, BatchOutput, Collecting, EndedBatch, Failed, Owner, Phase, Recovering,
        Submitted, Unmatched,
    },
    steps::{
        Arrival, CollectStep, Look, PollStep, SubmitStep, collect_step, poll_step, submit_step,
    },
};
use crate::{
    chunks::Chunk,
    key_list::KeyList,
    money::Usd,
    names::{FileName, JobId, ShardId},
};

/// How long a batch may take before it is cancelled: below the 48 hours after which Gemini expires
/// it (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11).
pub const BATCH_DEADLINE: SignedDuration = SignedDuration::from_hours(46);

/// How long after its creation a batch has surely ended by itself: Gemini expires it after 48
/// hours, whether or not it heeds a cancel.
pub const BATCH_MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(50);

/// How long after its cancellation a batch may take to end.
pub const CANCEL_GRACE: SignedDuration = SignedDuration::from_hours(2);

/// How long Gemini keeps the output of a batch: six weeks after its end
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11). As long as that, it is read.
pub const OUTPUT_KEPT: SignedDuration = SignedDuration::from_hours(42 * 24);

/// How long a batch may have succeeded without saying where its output is, before a person is told.
pub const OUTPUT_LATE: SignedDuration = SignedDuration::from_hours(1);

/// How long an output is waited for that may not exist: that of a batch that was cancelled, and
/// says nothing of what it has done.
pub const OUTPUT_DOUBTFUL: SignedDuration = SignedDuration::from_hours(24);

/// How long reading a batch's output may take before a person is told. It is read on.
pub const COLLECT_PATIENCE: SignedDuration = SignedDuration::from_hours(48);

/// How long a planned shard may wait to be submitted: well below the 14 days that SQS keeps its
/// message.
pub const SUBMIT_DEADLINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long finding out about a create call may take before a person is told.
pub const RECOVER_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

/// How long a held shard waits for a person's decision where nothing can be lost by ending it.
pub const HELD_DEADLINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long after a create call went unanswered its batch is not looked for, unless a deployment
/// says otherwise. It covers the 15 minutes that a function lives, three that its call may last,
/// and a list that is ten minutes behind.
pub const QUIET_PERIOD: SignedDuration = SignedDuration::from_mins(30);

/// How far apart the two lists are read that must both be without the batch.
pub const BETWEEN_LISTS: SignedDuration = SignedDuration::from_mins(1);

/// How many creates of a shard may go unanswered, each followed by lists without the batch, before
/// it is held.
pub const UNKNOWN_CREATES_BEFORE_HELD: u32 = 3;

/// How many creates of a shard Gemini may refuse without naming a request that is wrong, before it
/// is held.
pub const REFUSED_CREATES_BEFORE_HELD: u32 = 5;

/// How often reading on from one place of a batch's output may fail before a person is told. It is
/// read on.
pub const READS_BEFORE_HELD: u32 = 5;

/// How many readers may die at one line of a batch's output before it is skipped.
pub const STRIKES_BEFORE_SKIPPED: u32 = 3;

/// The longest wait by visibility. SQS allows 12 hours from the receive on, some of which have
/// passed by now
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>,
/// read 2026-11).
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(11 * 60 + 30);

/// How often a shard's state notes that a message still moves it on, though nothing has changed.
const HEARTBEAT_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// How long after it should have come back a message counts as lost. One whose function was killed
/// comes back after 90 minutes, the visibility time-out of its queue.
pub const DRIVER_LOST_AFTER: SignedDuration = SignedDuration::from_hours(2);

/// The wait after the so many-th error in a row of something that costs nothing to try again, in
/// minutes. The last one repeats: it keeps a message below the 1,000 receives of its queue for as
/// long as SQS keeps the message.
const RETRY_WAITS: [i64; 6] = [1, 2, 4, 8, 15, 60];

/// How many errors in a row have the wait of a quarter of an hour before it becomes an hour: those
/// of about a day.
const QUARTERS: u32 = 96;

/// The waits after failed readings from one place of an output, in minutes. The last one repeats.
const READ_WAITS: [i64; 7] = [1, 4, 16, 60, 120, 240, 360];

/// The wait after `errors` errors in a row of something that costs nothing to try again: from a
/// minute to a quarter of an hour, and after about a day an hour.
pub fn retry_wait(errors: u32) -> SignedDuration {
    let place = match errors {
        0..=5 => errors.saturating_sub(1),
        _ if errors <= 5 + QUARTERS => 4,
        _ => 5,
    };
    SignedDuration::from_mins(RETRY_WAITS[place as usize])
}

/// The wait after the so many-th failed reading from one place of an output: from a minute to six
/// hours.
pub fn read_wait(tries: u32) -> SignedDuration {
    let place = usize::try_from(tries.saturating_sub(1))
        .unwrap_or(usize::MAX)
        .min(READ_WAITS.len() - 1);
    SignedDuration::from_mins(READ_WAITS[place])
}

/// The stored state of one shard, `shards/<nnnn[.rK]>/state.json`, of a few kilobytes.
///
/// ```json
/// {"rev":3,"write_id":"…","job":"catalog-…","shard":"0000","model":"gemini-nano-banana-2.1",
///  "demand":{"requests":24,"tokens":931,"usd":0.4932},
///  "phase":{"name":"submitted","attempt":1,"batch":"batches/…"},"deadline":"2026-11-23T05:00:00Z"}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Counts the writes: no two states of a shard are alike, so no two have the same ETag.
    pub rev: u64,
    /// Unique to one write, so that a writer that got no answer can tell its own write from
    /// another's.
    pub write_id: String,
    /// The job.
    pub job: JobId,
    /// The shard in the job.
    pub shard: ShardId,
    /// The model of all its requests, a full id.
    pub model: String,
    /// What it asks of the project's limits.
    pub demand: Demand,
    /// The bytes of `plan.jsonl`, from and up to, between which all lines of its images are; those
    /// of other shards may be among them.
    pub plan_bytes: (u64, u64),
    /// In a round: the keys of the parent's request file that are asked for again. In a first
    /// round: none, meaning all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyList>,
    /// The result lines of requests that Gemini refused to take when the batch was created. They
    /// are in no batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Chunk>,
    /// Where it stands.
    pub phase: Phase,
    /// When it stops waiting in this phase.
    pub deadline: Timestamp,
    /// When it was last written.
    pub changed_at: Timestamp,
    /// Errors in a row in this phase. The waits between tries grow with them.
    #[serde(default)]
    pub errors: u32,
    /// Creates that went unanswered so far.
    #[serde(default)]
    pub unknown_creates: u32,
    /// Creates that Gemini refused so far without naming a request that is wrong.
    #[serde(default)]
    pub refused_creates: u32,
    /// The message that moves it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Whether a person's cancel changed its course.
    #[serde(default)]
    pub stopped: bool,
    /// Whether a cancel ended it before it was known whether Gemini had made its batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_have_batch: bool,
    /// What its job may cost, if the manifest says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Why it waits, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Whether it waits because Gemini refuses the API key or its project: only a person can change
    /// that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused_key: bool,
}

/// What a batch asks of the project's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Its requests.
    pub requests: u32,
    /// Its input tokens, about.
    pub tokens: u64,
    /// The most that it may cost, thoughts included.
    pub usd: Usd,
}

/// What a job may cost, as each of its shards carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The manifest's `budget_usd`.
    pub usd: Usd,
    /// What the shards of the first round may cost together at the most.
    pub first_round_usd: Usd,
}

/// How what a shard has reserved in the ledger ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It never had a batch: what was reserved is given back.
    NeverBought,
    /// It had a batch, or may have had one. Its cost, where that is known; else what was reserved
    /// stays.
    Billed(Option<Usd>),
}

/// The one message that moves a shard on. Others about it are acknowledged without effect, so that
/// however often a message is doubled, one is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Its SQS message id.
    pub message: String,
    /// When it comes back at the latest, unless its function is killed.
    pub back_at: Timestamp,
}

impl Driver {
    /// Whether it should have come back long ago: another message may take its place.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        now >= self
            .back_at
            .saturating_add(DRIVER_LOST_AFTER)
            .unwrap_or(Timestamp::MAX)
    }
}

impl Demand {
    /// That of so many of its requests, rounded up.
    fn of(self, requests: u32) -> Self {
        let all = u64::from(self.requests.max(1));
        let share = u64::from(requests);
        Self {
            requests,
            tokens: (self.tokens * share).div_ceil(all),
            usd: self.usd.share(share, all),
        }
    }
}

impl Collecting {
    /// An output of which nothing was read yet.
    pub fn of(ended: EndedBatch) -> Self {
        Self {
            ended,
            offset: 0,
            chunks: Vec::new(),
            tries: 0,
            strikes: 0,
            lease_until: None,
            unmatched: None,
        }
    }

    /// The same, as the next reader finds it. A reader that still has its lease when that ends has
    /// died.
    fn resumed(&self) -> Self {
        Self {
            strikes: self.strikes + u32::from(self.lease_until.is_some()),
            lease_until: None,
            ..self.clone()
        }
    }

    /// The same, to be read again from its start: nothing of it could be used.
    pub fn from_the_start(&self) -> Self {
        Self {
            offset: 0,
            chunks: Vec::new(),
            ..self.clone()
        }
    }
}

impl Shard {
    /// A new shard, not yet written: `rev` and `write_id` are set by the store.
    pub fn planned(
        job: &JobId,
        shard: ShardId,
        model: &str,
        demand: Demand,
        plan_bytes: (u64, u64),
        now: Timestamp,
    ) -> Self {
        Self {
            rev: 0,
            write_id: String::new(),
            job: job.clone(),
            shard,
            model: model.to_owned(),
            demand,
            plan_bytes,
            keys: None,
            refused: None,
            phase: Phase::Planned { attempts: 0 },
            deadline: now + SUBMIT_DEADLINE,
            changed_at: now,
            errors: 0,
            unknown_creates: 0,
            refused_creates: 0,
            driver: None,
            stopped: false,
            may_have_batch: false,
            budget: None,
            waiting: None,
            refused_key: false,
        }
    }

    /// The round after this shard, for `keys` only.
    pub fn next_round(&self, keys: KeyList, now: Timestamp) -> Self {
        let demand = self.demand.of(keys.count);
        Self {
            keys: Some(keys),
            budget: self.budget,
            ..Self::planned(
                &self.job,
                self.shard.next_round(),
                &self.model,
                demand,
                self.plan_bytes,
                now,
            )
        }
    }

    /// This shard in another phase. Errors in a row are counted, and the message that drives it is
    /// kept, over all phases of one function.
    pub fn enter(&self, phase: Phase, deadline: Timestamp) -> Self {
        let stays = phase.owner() == self.phase.owner();
        let errors = if stays { self.errors } else { 0 };
        let driver = self.driver.clone().filter(|_| stays);
        Self {
            phase,
            deadline,
            errors,
            driver,
            waiting: None,
            refused_key: false,
            ..self.clone()
        }
    }

    /// This shard, with `phase` changed in a detail. A held shard stays held, with its reason.
    pub fn with_detail(&self, phase: Phase) -> Self {
        let phase = match &self.phase {
            Phase::Held { reason, .. } => Phase::Held {
                reason: reason.clone(),
                before: Box::new(phase),
            },
            _ => phase,
        };
        Self {
            phase,
            ..self.clone()
        }
    }

    /// This shard, waiting in its phase for a reason that is no error.
    pub fn waiting(&self, why: impl Into<String>) -> Self {
        Self {
            waiting: Some(why.into()),
            ..self.clone()
        }
    }

    /// This shard, moved on by `message`, which comes back at `back_at`.
    pub fn driven_by(&self, message: &str, back_at: Timestamp) -> Self {
        Self {
            driver: Some(Driver {
                message: message.to_owned(),
                back_at,
            }),
            ..self.clone()
        }
    }

    /// Whether the state need not note that `message` moves it on and comes back at `back_at`: it
    /// is known, or nearly.
    pub fn knows_of(&self, message: &str, back_at: Timestamp) -> bool {
        let near = |driver: &Driver| {
            driver.message == message && back_at < driver.back_at + HEARTBEAT_INTERVAL
        };
        self.driver.as_ref().is_some_and(near)
    }

    /// Whether another message than `message` moves it on.
    pub fn is_driven_by_another(&self, message: &str, now: Timestamp) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.message != message && !driver.is_overdue(now))
    }

    /// Whether the message that should move it on must have been lost.
    pub fn has_lost_its_driver(&self, now: Timestamp) -> bool {
        match &self.driver {
            _ if self.is_terminal() => false,
            Some(driver) => driver.is_overdue(now),
            None => now >= self.changed_at + DRIVER_LOST_AFTER,
        }
    }

    /// This shard, held for a person.
    pub fn held(&self, reason: impl Into<String>, now: Timestamp) -> Self {
        let before = Box::new(self.phase.before_held().clone());
        let kept_from = |end: Timestamp| end.saturating_add(OUTPUT_KEPT).unwrap_or(Timestamp::MAX);
        let deadline = match &*before {
            // A batch may exist, and its output would be kept for so long.
            Phase::Creating { .. }
            | Phase::Recovering(Recovering {
                missed_at: None, ..
            }) => kept_from(now),
            Phase::Submitted(Submitted { submitted_at, .. }) => {
                kept_from(*submitted_at + BATCH_MAX_LIFETIME)
            }
            // What has come of it is stored: no more is waited for than a person's word.
            Phase::Collecting(Collecting {
                unmatched: Some(unmatched),
                ..
            }) if unmatched.images > 0 => now + HELD_DEADLINE,
            Phase::Ready { ended } | Phase::Collecting(Collecting { ended, .. }) => {
                ended.kept_until()
            }
            Phase::Recovering(Recovering {
                missed_at: Some(_), ..
            })
            | Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Done { .. }
            | Phase::Held { .. }
            | Phase::Failed(_)
            | Phase::Cancelled => now + HELD_DEADLINE,
        };
        self.enter(
            Phase::Held {
                reason: reason.into(),
                before,
            },
            deadline,
        )
    }

    /// This shard, no longer held, as a person has approved: it continues where it was, with all
    /// its tries and time anew. None if it isn't held.
    pub fn approved(&self, now: Timestamp) -> Option<Self> {
        let Phase::Held { before, .. } = &self.phase else {
            return None;
        };
        let (phase, deadline) = match (**before).clone() {
            Phase::Creating { attempt, file, .. }
            | Phase::Recovering(Recovering { attempt, file, .. }) => {
                (recovering(attempt, file, now), now + RECOVER_DEADLINE)
            }
            // The person accepts that its images are bought again.
            Phase::Submitted(
                submitted @ Submitted {
                    output_missing_since: Some(_),
                    ..
                },
            ) => {
                let ended = without_output(submitted);
                let deadline = ended.kept_until();
                (Phase::Ready { ended }, deadline)
            }
            Phase::Submitted(submitted) => {
                let deadline = now.max(submitted.submitted_at + BATCH_DEADLINE);
                (
                    Phase::Submitted(Submitted {
                        cancelled_at: None,
                        ..submitted
                    }),
                    deadline,
                )
            }
            Phase::Collecting(collecting) => {
                let unmatched = collecting.unmatched.map(|unmatched| Unmatched {
                    buy_again: true,
                    ..unmatched
                });
                let deadline = collecting.ended.kept_until();
                let phase = Phase::Collecting(Collecting {
                    tries: 0,
                    strikes: 0,
                    lease_until: None,
                    unmatched,
                    ..collecting
                });
                (phase, deadline)
            }
            Phase::Ready { ended } => {
                let deadline = ended.kept_until();
                (Phase::Ready { ended }, deadline)
            }
            phase => (phase, now + SUBMIT_DEADLINE),
        };
        let next = self.enter(phase, deadline);
        Some(Self {
            errors: 0,
            unknown_creates: 0,
            refused_creates: 0,
            driver: None,
            ..next
        })
    }

    /// This shard, ended without an output that was read to its end.
    pub fn failed(&self, code: impl Into<String>, message: impl Into<String>) -> Self {
        let before = self.phase.before_held();
        let chunks = match before {
            Phase::Collecting(collecting) => collecting.chunks.clone(),
            _ => Vec::new(),
        };
        let ended = before.ended();
        let failed = Failed {
            code: code.into(),
            message: message.into(),
            chunks,
            may_be_billed: before.may_have_live_batch() || before.owner() == Owner::Collect,
            batch: before.batch().cloned(),
            output: ended.and_then(|ended| ended.output.clone()),
            kept_until: ended.map(EndedBatch::kept_until),
        };
        self.enter(Phase::Failed(failed), self.deadline)
    }

    /// This shard, ended because its deadline has passed.
    pub fn given_up(&self) -> Self {
        let waited = self.waiting.as_deref().unwrap_or("it waited for too long");
        match &self.phase {
            Phase::Held { reason, .. } => self.failed("HELD", reason),
            _ => self.failed("DEADLINE", waited),
        }
    }

    /// This shard, ended because a person cancelled the job before it had a batch.
    pub fn cancelled(&self) -> Self {
        let may_have_batch = self.phase.may_have_live_batch();
        Self {
            stopped: true,
            may_have_batch,
            ..self.enter(Phase::Cancelled, self.deadline)
        }
    }

    /// This shard after one more error in its phase.
    pub fn after_error(&self, what: impl Into<String>) -> Self {
        Self {
            errors: self.errors.saturating_add(1),
            waiting: Some(what.into()),
            ..self.clone()
        }
    }

    /// This shard after the invocation that worked on it has ended, where that is certain: its
    /// lease ends now. None if no invocation had one. An invocation that `failed` counts against
    /// the line that it was reading; one that ended with its process does not.
    pub fn without_lease(&self, failed: bool, now: Timestamp) -> Option<Self> {
        let phase = match self.phase.clone() {
            Phase::Uploading {
                attempt,
                lease_until,
            } if lease_until > now => Phase::Uploading {
                attempt,
                lease_until: now,
            },
            Phase::Creating {
                attempt,
                file,
                lease_until,
            } if lease_until > now => Phase::Creating {
                attempt,
                file,
                lease_until: now,
            },
            Phase::Collecting(collecting)
                if failed && collecting.lease_until.is_some_and(|until| until > now) =>
            {
                Phase::Collecting(Collecting {
                    lease_until: Some(now),
                    ..collecting
                })
            }
            Phase::Collecting(collecting) if !failed && collecting.lease_until.is_some() => {
                let tries = collecting.tries.saturating_sub(1);
                Phase::Collecting(Collecting {
                    lease_until: None,
                    tries,
                    ..collecting
                })
            }
            _ => return None,
        };
        let ended = |driver: &Driver| Driver {
            back_at: driver.back_at.min(now),
            ..driver.clone()
        };
        Some(Self {
            phase,
            driver: self.driver.as_ref().map(ended),
            ..self.clone()
        })
    }

    /// How what it has reserved in the ledger ends, once it is over.
    pub fn settlement(&self) -> Option<Settlement> {
        match &self.phase {
            Phase::Done { cost_usd, .. } => Some(Settlement::Billed(*cost_usd)),
            Phase::Failed(failed) if failed.may_be_billed => Some(Settlement::Billed(None)),
            Phase::Cancelled if self.may_have_batch => Some(Settlement::Billed(None)),
            Phase::Failed(_) | Phase::Cancelled => Some(Settlement::NeverBought),
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering(_)
            | Phase::Submitted(_)
            | Phase::Ready { .. }
            | Phase::Collecting(_)
            | Phase::Held { .. } => None,
        }
    }

    /// Whether nothing more happens to it.
    pub fn is_terminal(&self) -> bool {
        self.phase.owner() == Owner::Nobody
    }
}

/// To be looked for at once: what was sent has long arrived.
fn recovering(attempt: u32, file: FileName, now: Timestamp) -> Phase {
    Phase::Recovering(Recovering {
        attempt,
        file,
        quiet_until: now,
        missed_at: None,
    })
}

/// The end of a batch whose output never came.
fn without_output(submitted: Submitted) -> EndedBatch {
    let Submitted {
        attempt,
        batch,
        submitted_at,
        output_missing_since,
        ..
    } = submitted;
    EndedBatch {
        batch,
        attempt,
        state: "SUCCEEDED".to_owned(),
        output: None,
        error: None,
        submitted_at,
        ended_at: output_missing_since.unwrap_or(submitted_at),
    }
}
