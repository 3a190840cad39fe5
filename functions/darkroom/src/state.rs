//! The state of a shard: what is stored, and what each function may do with it.
//!
//! `state.json` is the truth; messages only say that it is worth a look. It is written by compare-and-swap alone, so
//! every change here is one step of one protocol, and [`submit_step`], [`poll_step`] and [`collect_step`] say for every
//! phase what a message on that queue means.

mod phase;
mod steps;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::{
    phase::{BatchFailure, EndedBatch, Owner, Phase},
    steps::{Arrival, CollectStep, PollStep, SubmitStep, collect_step, poll_step, submit_step},
};
use crate::{
    cost::Usd,
    names::{JobId, RequestKey, ShardId},
};

/// How long a batch may take before it is given up: below the 48 hours after which Gemini expires it
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11).
pub const BATCH_DEADLINE: SignedDuration = SignedDuration::from_hours(46);

/// How long after its creation a batch has surely ended by itself: Gemini expires it after 48 hours, deaf to a cancel or
/// not.
pub const BATCH_ENDED: SignedDuration = SignedDuration::from_hours(50);

/// How long after its cancellation a batch may take to end.
pub const CANCEL_GRACE: SignedDuration = SignedDuration::from_hours(2);

/// How long reading a batch's output may take before a person is asked. Gemini keeps results for six weeks.
pub const COLLECT_DEADLINE: SignedDuration = SignedDuration::from_hours(48);

/// How long a planned shard may wait to be submitted: well below the 14 days that SQS keeps its message.
pub const SUBMIT_DEADLINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long finding out about a create call may take before a person is asked.
pub const RECOVER_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

/// How long a held shard waits for a person before it is reported as failed.
pub const HELD_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

/// How long nobody looks for a batch whose create call went unanswered, unless a deployment says otherwise. It covers
/// the 15 minutes that a function lives, three that its call may last, and a list that is ten minutes behind.
pub const QUIET_PERIOD: SignedDuration = SignedDuration::from_mins(30);

/// How far apart the two lists are read that must both be without the batch.
pub const BETWEEN_LISTS: SignedDuration = SignedDuration::from_mins(1);

/// How many creates of a shard may go unanswered, each followed by a search in vain, before it is held.
pub const UNKNOWN_CREATES_BEFORE_HELD: u32 = 3;

/// How often reading on from one place of a batch's output may be begun before the shard is held.
pub const READS_BEFORE_HELD: u32 = 5;

/// How many readers may die at one line of a batch's output before it is skipped.
pub const STRIKES_BEFORE_SKIPPED: u32 = 3;

/// How many errors in a row one step may meet before the shard is held.
pub const ERRORS_BEFORE_HELD: u32 = 5;

/// The longest wait by visibility. SQS allows 12 hours from the receive on, some of which have passed by now
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>, read 2026-11).
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(11 * 60 + 30);

/// How often it is written down that a message still moves its shard on, though nothing has changed.
const SIGN_OF_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// How long after it should have come back a message counts as lost. One whose function was killed comes back after 90
/// minutes, the visibility time-out of its queue.
pub const OVERDUE: SignedDuration = SignedDuration::from_hours(2);

/// The stored state of one shard, `shards/<nnnn[.rK]>/state.json`, below 64 KB.
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
    /// Unique to one write, so that a writer who heard no answer can tell its own write from another's.
    pub write_id: String,
    /// The job.
    pub job: JobId,
    /// The shard in the job.
    pub shard: ShardId,
    /// The model of all its requests, a full id.
    pub model: String,
    /// What it asks of the project's limits.
    pub demand: Demand,
    /// The bytes of `plan.jsonl`, from and up to, between which all lines of its images are; those of other shards may
    /// be among them.
    pub plan_bytes: (u64, u64),
    /// In a round: the keys of the parent's request file that are asked for again. In a first round: none, meaning all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<RequestKey>>,
    /// Where it stands.
    pub phase: Phase,
    /// When it stops waiting in this phase.
    pub deadline: Timestamp,
    /// When it was last written.
    pub changed_at: Timestamp,
    /// Errors in a row in this phase.
    #[serde(default)]
    pub errors: u32,
    /// Creates that went unanswered so far.
    #[serde(default)]
    pub unknown_creates: u32,
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
}

/// What a batch asks of the project's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Its requests.
    pub requests: u32,
    /// Its input tokens, about.
    pub tokens: u64,
    /// What it may cost at the most, thoughts included.
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
    /// It had a batch, or may have had one. Its cost, where that is known; else what was reserved stays.
    Billed(Option<Usd>),
}

/// The one message that moves a shard on. Others about it are acknowledged without effect, so that however often a
/// message is doubled, one is left.
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
        now >= self.back_at + OVERDUE
    }
}

impl Demand {
    /// That of so many of its requests, rounded up.
    fn of(self, requests: u32) -> Self {
        let all = u64::from(self.requests.max(1));
        let share = u64::from(requests);
        Self { requests, tokens: (self.tokens * share).div_ceil(all), usd: self.usd.share(share, all) }
    }
}

impl Shard {
    /// A new shard, not yet written: `rev` and `write_id` are set by whoever stores it.
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
            phase: Phase::Planned { attempts: 0 },
            deadline: now + SUBMIT_DEADLINE,
            changed_at: now,
            errors: 0,
            unknown_creates: 0,
            driver: None,
            stopped: false,
            may_have_batch: false,
            budget: None,
            waiting: None,
        }
    }

    /// The round after this shard, for `keys` only.
    pub fn next_round(&self, keys: Vec<RequestKey>, now: Timestamp) -> Self {
        let demand = self.demand.of(u32::try_from(keys.len()).unwrap_or(u32::MAX));
        Self {
            keys: Some(keys),
            budget: self.budget,
            ..Self::planned(&self.job, self.shard.next_round(), &self.model, demand, self.plan_bytes, now)
        }
    }

    /// This shard in another phase. Errors in a row are counted, and the message that drives it is kept, over all phases
    /// of one function.
    pub fn enter(&self, phase: Phase, deadline: Timestamp) -> Self {
        let stays = phase.owner() == self.phase.owner();
        let errors = if stays { self.errors } else { 0 };
        let driver = self.driver.clone().filter(|_| stays);
        Self { phase, deadline, errors, driver, waiting: None, ..self.clone() }
    }

    /// This shard, waiting in its phase for a reason that is no error.
    pub fn waiting(&self, why: impl Into<String>) -> Self {
        Self { waiting: Some(why.into()), ..self.clone() }
    }

    /// This shard, moved on by `message`, which comes back at `back_at`.
    pub fn driven_by(&self, message: &str, back_at: Timestamp) -> Self {
        Self { driver: Some(Driver { message: message.to_owned(), back_at }), ..self.clone() }
    }

    /// Whether it needs not be written down that `message` moves it on and comes back at `back_at`: it is known, or nearly.
    pub fn knows_of(&self, message: &str, back_at: Timestamp) -> bool {
        let near = |driver: &Driver| driver.message == message && back_at < driver.back_at + SIGN_OF_LIFE;
        self.driver.as_ref().is_some_and(near)
    }

    /// Whether another message than `message` moves it on.
    pub fn is_driven_by_another(&self, message: &str, now: Timestamp) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.message != message && !driver.is_overdue(now))
    }

    /// Whether the message that should move it on must have been lost.
    pub fn has_lost_its_driver(&self, now: Timestamp) -> bool {
        match &self.driver {
            _ if self.is_terminal() => false,
            Some(driver) => driver.is_overdue(now),
            None => now >= self.changed_at + OVERDUE,
        }
    }

    /// This shard, held for a person.
    pub fn held(&self, reason: impl Into<String>, now: Timestamp) -> Self {
        let before = match &self.phase {
            Phase::Held { before, .. } => before.clone(),
            phase => Box::new(phase.clone()),
        };
        let deadline = match *before {
            // As long as the batch may live, it may yet make images that are paid for.
            Phase::Submitted { submitted_at, .. } => (now + HELD_DEADLINE).max(submitted_at + BATCH_ENDED),
            _ => now + HELD_DEADLINE,
        };
        self.enter(Phase::Held { reason: reason.into(), before }, deadline)
    }

    /// This shard, no longer held, as a person has approved: it goes on where it was, with all its tries and time anew.
    /// None if it isn't held.
    pub fn approved(&self, now: Timestamp) -> Option<Self> {
        let Phase::Held { before, .. } = &self.phase else { return None };
        let (phase, deadline) = match (**before).clone() {
            Phase::Creating { attempt, file, .. } => (recovering(attempt, file, now), now + RECOVER_DEADLINE),
            Phase::Recovering { attempt, file, .. } => (recovering(attempt, file, now), now + RECOVER_DEADLINE),
            Phase::Submitted { attempt, batch, submitted_at, finished, .. } => {
                let phase = Phase::Submitted { attempt, batch, submitted_at, finished, cancelled_at: None };
                (phase, now.max(submitted_at + BATCH_DEADLINE))
            }
            Phase::Collecting { ended, offset, parts, .. } => {
                let phase = Phase::Collecting { ended, offset, parts, tries: 0, strikes: 0, lease_until: None };
                (phase, now + COLLECT_DEADLINE)
            }
            phase @ Phase::Ready { .. } => (phase, now + COLLECT_DEADLINE),
            phase => (phase, now + SUBMIT_DEADLINE),
        };
        Some(Self { errors: 0, unknown_creates: 0, driver: None, ..self.enter(phase, deadline) })
    }

    /// This shard, ended without a batch that could be read to its end.
    pub fn failed(&self, code: impl Into<String>, message: impl Into<String>) -> Self {
        let parts = match self.phase.before_held() {
            Phase::Collecting { parts, .. } => parts.clone(),
            _ => Vec::new(),
        };
        let before = self.phase.before_held();
        let may_be_billed = before.may_have_live_batch() || before.owner() == Owner::Collect;
        self.enter(Phase::Failed { code: code.into(), message: message.into(), parts, may_be_billed }, self.deadline)
    }

    /// This shard, ended because its deadline has passed.
    pub fn given_up(&self) -> Self {
        match &self.phase {
            Phase::Held { reason, .. } => self.failed("HELD", reason),
            _ => self.failed("DEADLINE", self.waiting.as_deref().unwrap_or("it waited for too long")),
        }
    }

    /// This shard, ended because a person cancelled the job before it had a batch.
    pub fn cancelled(&self) -> Self {
        let may_have_batch = self.phase.may_have_live_batch();
        Self { stopped: true, may_have_batch, ..self.enter(Phase::Cancelled, self.deadline) }
    }

    /// This shard after one more error in its phase: held at the fifth in a row.
    pub fn after_error(&self, what: &str, now: Timestamp) -> Self {
        let errors = self.errors + 1;
        if errors >= ERRORS_BEFORE_HELD {
            self.held(format!("{errors} errors in a row, the last: {what}"), now)
        } else {
            Self { errors, waiting: Some(what.to_owned()), ..self.clone() }
        }
    }

    /// How what it has reserved in the ledger ends, once it is over.
    pub fn settlement(&self) -> Option<Settlement> {
        match &self.phase {
            Phase::Done { cost_usd, .. } => Some(Settlement::Billed(*cost_usd)),
            Phase::Failed { may_be_billed: true, .. } => Some(Settlement::Billed(None)),
            Phase::Cancelled if self.may_have_batch => Some(Settlement::Billed(None)),
            Phase::Failed { may_be_billed: false, .. } | Phase::Cancelled => Some(Settlement::NeverBought),
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering { .. }
            | Phase::Submitted { .. }
            | Phase::Ready { .. }
            | Phase::Collecting { .. }
            | Phase::Held { .. } => None,
        }
    }

    /// Whether nothing more happens to it.
    pub fn is_terminal(&self) -> bool {
        self.phase.owner() == Owner::Nobody
    }
}

/// To be looked for at once: whatever was sent has long arrived.
fn recovering(attempt: u32, file: crate::names::FileName, now: Timestamp) -> Phase {
    Phase::Recovering { attempt, file, quiet_until: now, missed_at: None }
}
