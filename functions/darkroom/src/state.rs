//! The state of a shard: what is stored, and what each function may do with it.
//!
//! `state.json` is the truth; a message only asks a function to look at it. It is written by
//! compare-and-swap alone, so every change here is one step of one protocol. [`submit_step`],
//! [`poll_step`], [`collect_step`] and [`generate_step`] define for every phase what a message on
//! that queue means, and an [`Outcome`] is what the function decides.

mod outcome;
mod phase;
mod steps;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::{
    outcome::{Outcome, Pause},
    phase::{
        BatchFailure, BatchOutput, Collecting, EndedBatch, Failed, Generating, Owner, Phase,
        Recovering, Submitted, Unmatched,
    },
    steps::{
        Arrival, CollectStep, GenerateEnd, GenerateStep, Look, PollStep, SubmitStep, collect_step,
        generate_step, poll_step, submit_step,
    },
};
use crate::{
    chunks::Chunk,
    key_list::KeyList,
    lane::Lane,
    money::Usd,
    names::{FileName, FolderPath, JobId, ShardId},
};

/// How long a batch may take before it is canceled: below the 48 hours after which Gemini expires
/// it (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11).
pub const BATCH_DEADLINE: SignedDuration = SignedDuration::from_hours(46);

/// How long after its creation a batch has certainly ended: Gemini expires it after 48 hours,
/// whether or not a cancel takes effect.
pub const BATCH_MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(50);

/// How long a batch may take to end after it was canceled.
pub const CANCEL_GRACE: SignedDuration = SignedDuration::from_hours(2);

/// How long Gemini keeps the output of a batch after its end: six weeks
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11). Reading is retried until
/// then.
pub const OUTPUT_KEPT: SignedDuration = SignedDuration::from_hours(42 * 24);

/// How long a batch may have succeeded without naming its output before the shard is held.
pub const OUTPUT_LATE: SignedDuration = SignedDuration::from_hours(1);

/// How long to wait for an output that may not exist: that of a canceled batch that does not report
/// how many of its requests it finished.
pub const OUTPUT_DOUBTFUL: SignedDuration = SignedDuration::from_hours(24);

/// How long reading a batch's output may take before the shard is held. Reading continues.
pub const COLLECT_PATIENCE: SignedDuration = SignedDuration::from_hours(48);

/// How long a planned shard may wait to be submitted: well below the 14 days that SQS keeps its
/// message.
pub const SUBMIT_DEADLINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long the outcome of a create call may stay unknown before the shard is held.
pub const RECOVER_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

/// How long a held shard waits for an operator's decision where ending it loses nothing.
pub const HELD_DEADLINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long to wait after an unanswered create call before its batch is looked for; the default. It
/// covers the 15 minutes that a function lives, three minutes that its call may last, and a list
/// that is ten minutes behind.
pub const QUIET_PERIOD: SignedDuration = SignedDuration::from_mins(30);

/// The time between the two lists that must both lack the batch.
pub const BETWEEN_LISTS: SignedDuration = SignedDuration::from_mins(1);

/// How many create calls of a shard may go unanswered, each followed by a lookup that found no
/// batch, before the shard is held.
pub const UNKNOWN_CREATES_BEFORE_HELD: u32 = 3;

/// How many create calls of a shard Gemini may refuse without naming an invalid request before the
/// shard is held.
pub const REFUSED_CREATES_BEFORE_HELD: u32 = 5;

/// How many readings from one offset of a batch's output may fail before the shard is held. Reading
/// continues.
pub const READS_BEFORE_HELD: u32 = 5;

/// How many readers may crash at one line of a batch's output before it is skipped.
pub const CRASHES_BEFORE_SKIPPED: u32 = 3;

/// The longest time that a message stays away. SQS allows 12 hours from the receive, part of which
/// has passed by then
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>,
/// read 2026-11).
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(11 * 60 + 30);

/// How often the state of an otherwise unchanged shard is written, to record that its driver is
/// alive.
const HEARTBEAT_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// How long after its expected return a driver counts as lost. A message whose function was killed
/// returns after 90 minutes, the visibility timeout of its queue.
pub const DRIVER_LOST_AFTER: SignedDuration = SignedDuration::from_hours(2);

/// The waits after consecutive errors of something that costs nothing to retry, in minutes. The
/// last one repeats: it keeps a message below the 1,000 receives that its queue allows, for as long
/// as SQS keeps the message.
const RETRY_WAITS: [i64; 6] = [1, 2, 4, 8, 15, 60];

/// How many consecutive errors wait for a quarter of an hour before the wait becomes an hour: about
/// a day's worth.
const QUARTER_HOUR_WAITS: u32 = 96;

/// The waits after failed readings from one offset of an output, in minutes. The last one repeats.
const READ_WAITS: [i64; 7] = [1, 4, 16, 60, 120, 240, 360];

/// The wait after `errors` consecutive errors of something that costs nothing to retry: from one
/// minute to a quarter of an hour, and an hour after about a day.
pub fn retry_wait(errors: u32) -> SignedDuration {
    let index = match errors {
        0..=5 => errors.saturating_sub(1),
        _ if errors <= 5 + QUARTER_HOUR_WAITS => 4,
        _ => 5,
    };
    SignedDuration::from_mins(RETRY_WAITS[index as usize])
}

/// The wait after `tries` failed readings from one offset of an output: from one minute to six
/// hours.
pub fn read_wait(tries: u32) -> SignedDuration {
    let index = usize::try_from(tries.saturating_sub(1))
        .unwrap_or(usize::MAX)
        .min(READ_WAITS.len() - 1);
    SignedDuration::from_mins(READ_WAITS[index])
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
    /// The number of writes. It makes all states of a shard differ, so no two have the same ETag.
    pub rev: u64,
    /// A unique id of the write, by which a writer that got no answer recognizes its own write.
    pub write_id: String,
    /// The job.
    pub job: JobId,
    /// The shard in the job.
    pub shard: ShardId,
    /// The full id of the model of all its requests.
    pub model: String,
    /// How its images are requested.
    #[serde(default, skip_serializing_if = "Lane::is_batch")]
    pub lane: Lane,
    /// Its share of the project's limits.
    pub demand: Demand,
    /// The range of bytes of `plan.jsonl`, start and end, that has all lines of its images. Lines
    /// of other shards may be among them.
    pub plan_bytes: (u64, u64),
    /// In a later round, the keys of the parent's request file that are requested again. None in a
    /// first round, which requests all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyList>,
    /// The result lines of requests that Gemini refused when the batch was created. They are in no
    /// batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Chunk>,
    /// Its phase.
    pub phase: Phase,
    /// When waiting in this phase ends.
    pub deadline: Timestamp,
    /// When it was last written.
    pub changed_at: Timestamp,
    /// Consecutive errors in this phase. The waits between tries grow with them.
    #[serde(default)]
    pub errors: u32,
    /// Create calls that went unanswered so far.
    #[serde(default)]
    pub unknown_creates: u32,
    /// Create calls that Gemini refused so far without naming an invalid request.
    #[serde(default)]
    pub refused_creates: u32,
    /// The message that drives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Whether a user's cancel has taken effect on it.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Whether a cancel ended it while it was unknown whether Gemini had made its batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_have_batch: bool,
    /// The folder of its job, if that has one. The ledger counts its money there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderPath>,
    /// What its job may cost, if the manifest limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Whether its images are the job's proof, which is approved before the rest is bought.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_proof: bool,
    /// The SHA-256 of its request file in hexadecimal digits, if it was held for a proof. Only the
    /// requests that were frozen when the proof was planned are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// Whether it is released as soon as all images of the proof have succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_proof: bool,
    /// The lane to which its keys go if the flex tier has no capacity. None means the lane of
    /// batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Lane>,
    /// When its batch is given up, and the lane in which its missing images are then requested, if
    /// the job has a deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Rescue>,
    /// Why it waits, as a text for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Whether it waits because Gemini rejects the API key or its project, which only an operator
    /// can change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused_key: bool,
}

/// What a batch takes up of the project's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The number of its requests.
    pub requests: u32,
    /// An estimate of its input tokens.
    pub tokens: u64,
    /// Its maximum cost, thoughts included.
    pub usd: Usd,
}

/// What a job may cost, as recorded in each of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The manifest's `budget_usd`.
    pub usd: Usd,
    /// The maximum cost of all shards of the first round together.
    pub first_round_usd: Usd,
}

/// How the images of a batch arrive in time even if the batch does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// When the batch is given up.
    pub at: Timestamp,
    /// The lane in which its missing images are requested.
    pub lane: Lane,
    /// The maximum cost of all its images in that lane.
    pub usd: Usd,
}

/// How a shard's reservation in the ledger is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It never had a batch: the reservation is refunded.
    NeverBought,
    /// It had a batch, or may have had one. The cost replaces the reservation if it is known;
    /// otherwise the reservation counts as spent.
    Billed(Option<Usd>),
}

/// The one message that drives a shard. Other messages about it are acknowledged without effect, so
/// that one remains however often a message is duplicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Its SQS message id.
    pub message: String,
    /// When it returns, unless its function is killed.
    pub back_at: Timestamp,
}

impl Driver {
    /// Whether it counts as lost, so that another message may replace it.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        now >= self
            .back_at
            .saturating_add(DRIVER_LOST_AFTER)
            .unwrap_or(Timestamp::MAX)
    }
}

impl Demand {
    /// The demand of `requests` of its requests, rounded up.
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
    /// A reading that has not begun.
    pub fn of(ended: EndedBatch) -> Self {
        Self {
            ended,
            offset: 0,
            chunks: Vec::new(),
            tries: 0,
            crashes: 0,
            lease_until: None,
            unmatched: None,
        }
    }

    /// The reading as the next reader takes it over. A reader that ends normally gives its lease
    /// back, so a lease that is left over means a crash.
    fn resumed(&self) -> Self {
        Self {
            crashes: self.crashes + u32::from(self.lease_until.is_some()),
            lease_until: None,
            ..self.clone()
        }
    }

    /// The reading, begun again from the start of the output because nothing in it was usable.
    pub fn from_the_start(&self) -> Self {
        Self {
            offset: 0,
            chunks: Vec::new(),
            ..self.clone()
        }
    }
}

impl Generating {
    /// Whether a call may have been made.
    pub fn has_begun(&self) -> bool {
        !self.chunks.is_empty() || !self.claimed.is_empty()
    }
}

impl Shard {
    /// A new shard that is not yet written; the store sets `rev` and `write_id`.
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
            lane: Lane::Batch,
            demand,
            plan_bytes,
            keys: None,
            refused: None,
            phase: Phase::Planned { attempts: 0 },
            // Nothing is bought until then, so ending the shard at its deadline loses no image.
            deadline: now + SUBMIT_DEADLINE,
            changed_at: now,
            errors: 0,
            unknown_creates: 0,
            refused_creates: 0,
            driver: None,
            cancel_requested: false,
            may_have_batch: false,
            folder: None,
            budget: None,
            is_proof: false,
            frozen: None,
            follows_proof: false,
            fallback: None,
            rescue: None,
            waiting: None,
            refused_key: false,
        }
    }

    /// This new shard in another lane.
    #[must_use]
    pub fn in_lane(self, lane: Lane) -> Self {
        let phase = if lane.is_synchronous() {
            Phase::Generating(Generating::default())
        } else {
            Phase::Planned { attempts: 0 }
        };
        Self {
            lane,
            phase,
            ..self
        }
    }

    /// The next round of this shard, which requests only `keys`, in `lane`. `usd` is the most that
    /// it can cost, unless that is its share of this shard.
    pub fn next_round(&self, keys: KeyList, lane: Lane, usd: Option<Usd>, now: Timestamp) -> Self {
        let share = self.demand.of(keys.count);
        let demand = Demand {
            usd: usd.unwrap_or(share.usd),
            ..share
        };
        let planned = Self::planned(
            &self.job,
            self.shard.next_round(),
            &self.model,
            demand,
            self.plan_bytes,
            now,
        );
        Self {
            keys: Some(keys),
            folder: self.folder.clone(),
            budget: self.budget,
            is_proof: self.is_proof,
            fallback: self.fallback,
            frozen: self.frozen.clone(),
            ..planned.in_lane(lane)
        }
    }

    /// This shard without a batch, in the lane of its rescue.
    pub fn rescued(&self, rescue: Rescue, now: Timestamp) -> Self {
        let demand = Demand {
            usd: rescue.usd,
            ..self.demand
        };
        let phase = Phase::Generating(Generating::default());
        Self {
            lane: rescue.lane,
            demand,
            ..self.enter(phase, now + SUBMIT_DEADLINE)
        }
    }

    /// Returns the lane of a round that requests again what this shard did not bring. A batch that
    /// was given up for the job's deadline is followed by its rescue.
    pub fn lane_of_next_round(&self, now: Timestamp) -> Lane {
        self.rescue
            .filter(|rescue| now >= rescue.at)
            .map_or(self.lane, |rescue| rescue.lane)
    }

    /// This shard in another phase. The count of errors and the driver are kept as long as the same
    /// function owns the shard.
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

    /// This shard with details of its phase replaced by `phase`. A held shard stays held for the
    /// same reason.
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

    /// This shard, waiting in its phase for a reason that is not an error.
    pub fn waiting(&self, why: impl Into<String>) -> Self {
        Self {
            waiting: Some(why.into()),
            ..self.clone()
        }
    }

    /// This shard, driven by `message`, which returns at `back_at`.
    pub fn driven_by(&self, message: &str, back_at: Timestamp) -> Self {
        Self {
            driver: Some(Driver {
                message: message.to_owned(),
                back_at,
            }),
            ..self.clone()
        }
    }

    /// Whether the state records already, to within an hour, that `message` drives it
    /// and returns at `back_at`.
    pub fn is_driver_current(&self, message: &str, back_at: Timestamp) -> bool {
        let near = |driver: &Driver| {
            driver.message == message && back_at < driver.back_at + HEARTBEAT_INTERVAL
        };
        self.driver.as_ref().is_some_and(near)
    }

    /// Whether a message other than `message` drives it.
    pub fn is_driven_by_another(&self, message: &str, now: Timestamp) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.message != message && !driver.is_overdue(now))
    }

    /// Whether its driver counts as lost.
    pub fn has_lost_its_driver(&self, now: Timestamp) -> bool {
        match &self.driver {
            _ if self.is_terminal() => false,
            Some(driver) => driver.is_overdue(now),
            None => now >= self.changed_at + DRIVER_LOST_AFTER,
        }
    }

    /// This shard, held for an operator's decision. The deadline is as late as something may still
    /// come of the phase that it was in.
    pub fn held(&self, reason: impl Into<String>, now: Timestamp) -> Self {
        let before = Box::new(self.phase.before_held().clone());
        let kept_from = |end: Timestamp| end.saturating_add(OUTPUT_KEPT).unwrap_or(Timestamp::MAX);
        let deadline = match &*before {
            // A batch may exist, and Gemini would keep its output until then.
            Phase::Creating { .. }
            | Phase::Recovering(Recovering {
                missed_at: None, ..
            }) => kept_from(now),
            Phase::Submitted(Submitted { submitted_at, .. }) => {
                kept_from(*submitted_at + BATCH_MAX_LIFETIME)
            }
            // Its images are stored, so only the operator's decision is missing.
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
            | Phase::Generating(_)
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

    /// Whether it is held for the proof of its job, and not for a decision of an operator.
    pub fn awaits_proof(&self) -> bool {
        let Phase::Held { before, .. } = &self.phase else {
            return false;
        };
        self.frozen.is_some() && !before.has_begun()
    }

    /// Whether the success of all images of the proof releases it. If it is held again later, for
    /// example because the output of its batch is missing, an operator must decide.
    pub fn is_released_by_proof(&self) -> bool {
        self.follows_proof && self.awaits_proof()
    }

    /// This shard, released by an operator's approval: it continues in the phase that it was in,
    /// with its deadline and its counts of tries reset. None if it is not held.
    pub fn approved(&self, now: Timestamp) -> Option<Self> {
        let Phase::Held { before, .. } = &self.phase else {
            return None;
        };
        let (phase, deadline) = match (**before).clone() {
            Phase::Creating { attempt, file, .. }
            | Phase::Recovering(Recovering { attempt, file, .. }) => {
                (recovering(attempt, file, now), now + RECOVER_DEADLINE)
            }
            // The operator accepts that its images are bought again.
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
                    crashes: 0,
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
        // The time that passed until the approval is not taken from the batch.
        let waited = now.duration_since(self.deadline - HELD_DEADLINE);
        let rescue = self.rescue.map(|rescue| Rescue {
            at: if self.awaits_proof() {
                rescue.at + waited
            } else {
                rescue.at
            },
            ..rescue
        });
        let next = self.enter(phase, deadline);
        Some(Self {
            rescue,
            follows_proof: false,
            errors: 0,
            unknown_creates: 0,
            refused_creates: 0,
            driver: None,
            ..next
        })
    }

    /// This shard, ended without an output that was read to the end.
    pub fn failed(&self, code: impl Into<String>, message: impl Into<String>) -> Self {
        let before = self.phase.before_held();
        let chunks = match before {
            Phase::Collecting(collecting) => collecting.chunks.clone(),
            Phase::Generating(generating) => generating.chunks.clone(),
            _ => Vec::new(),
        };
        let is_generated =
            matches!(before, Phase::Generating(generating) if generating.has_begun());
        let ended = before.ended();
        let failed = Failed {
            code: code.into(),
            message: message.into(),
            chunks,
            may_be_billed: before.may_have_live_batch()
                || before.owner() == Owner::Collect
                || is_generated,
            batch: before.batch().cloned(),
            output: ended.and_then(|ended| ended.output.clone()),
            kept_until: ended.map(EndedBatch::kept_until),
        };
        self.enter(Phase::Failed(failed), self.deadline)
    }

    /// This shard, ended because its deadline has passed.
    pub fn expired(&self) -> Self {
        let waited = self.waiting.as_deref().unwrap_or("it waited for too long");
        match &self.phase {
            Phase::Held { reason, .. } => self.failed("HELD", reason),
            _ => self.failed("DEADLINE", waited),
        }
    }

    /// This shard, ended because a user canceled the job before it had a batch.
    pub fn cancelled(&self) -> Self {
        let may_have_batch = self.phase.may_have_live_batch();
        Self {
            cancel_requested: true,
            may_have_batch,
            ..self.enter(Phase::Cancelled, self.deadline)
        }
    }

    /// This shard after one more error in its phase, with the error as the reason why it waits.
    pub fn after_error(&self, what: impl Into<String>) -> Self {
        Self {
            errors: self.errors.saturating_add(1),
            waiting: Some(what.into()),
            ..self.clone()
        }
    }

    /// This shard once the invocation that held its lease has certainly ended: the lease ends
    /// `now`. None if no invocation held one. An invocation that `failed` counts as a crash at the
    /// line that it was reading; one that ended with its process does not.
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
            Phase::Generating(generating)
                if generating.lease_until.is_some_and(|until| until > now) =>
            {
                Phase::Generating(Generating {
                    lease_until: Some(now),
                    ..generating
                })
            }
            _ => return None,
        };
        // The driver counts as lost if it does not return from now on.
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

    /// How its reservation in the ledger is settled. None until it has ended.
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
            | Phase::Generating(_)
            | Phase::Held { .. } => None,
        }
    }

    /// Whether it has ended.
    pub fn is_terminal(&self) -> bool {
        self.phase.owner() == Owner::None
    }
}

/// A lookup that begins at once: a call that was sent has arrived long ago.
fn recovering(attempt: u32, file: FileName, now: Timestamp) -> Phase {
    Phase::Recovering(Recovering {
        attempt,
        file,
        quiet_until: now,
        missed_at: None,
    })
}

/// The end of a batch whose output never appeared.
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
