//! The state of a shard: what is stored, and what each function may do with it.
//!
//! `state.json` is the truth; messages only say that it is worth a look. It is written by compare-and-swap alone, so
//! every change here is one step of one protocol, and [`submit_step`], [`poll_step`] and [`collect_step`] say for every
//! phase what a message on that queue means.

mod steps;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::steps::{CollectStep, PollStep, SubmitStep, collect_step, poll_step, submit_step};
use crate::names::{BatchName, FileName, JobId, RequestKey, ShardId};

/// How long a batch may take before it is given up: below the 48 hours after which Gemini expires it
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11).
pub const BATCH_DEADLINE: SignedDuration = SignedDuration::from_hours(46);

/// How long after its cancellation a batch may take to end.
pub const CANCEL_GRACE: SignedDuration = SignedDuration::from_hours(2);

/// How long reading a batch's output may take before a person is asked. Gemini keeps results for six weeks.
pub const COLLECT_DEADLINE: SignedDuration = SignedDuration::from_hours(48);

/// How long a planned shard may wait to be submitted: well below the 14 days that SQS keeps its message.
pub const SUBMIT_DEADLINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a held shard waits for a person before it is reported as failed.
pub const HELD_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

/// How often reading on from one place of a batch's output may be begun before the shard is held.
pub const READS_BEFORE_HELD: u32 = 5;

/// How many errors in a row one step may meet before the shard is held.
pub const ERRORS_BEFORE_HELD: u32 = 5;

/// The stored state of one shard, `shards/<nnnn[.rK]>/state.json`, below 64 KB.
///
/// ```json
/// {"rev":3,"write_id":"…","job":"catalog-…","shard":"0000","model":"gemini-nano-banana-2.1","requests":24,
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
    /// How many requests it has.
    pub requests: u32,
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
    /// Why it waits, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// Where a shard stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was sent to Gemini in this attempt.
    Planned {
        /// Attempts that ended without a batch.
        attempts: u32,
    },
    /// A submitter is uploading the request file.
    Uploading {
        /// Which attempt, from 1.
        attempt: u32,
        /// Until when the uploader is surely alive; afterwards another may start the next attempt.
        lease_until: Timestamp,
    },
    /// The one create call of this attempt may be under way, or may have had its effect.
    Creating {
        /// Which attempt, from 1.
        attempt: u32,
        /// The uploaded request file.
        file: FileName,
        /// The batch's display name, `<stack>/<job>/<shard>/<attempt>`.
        display_name: String,
        /// Until when the caller is surely alive.
        lease_until: Timestamp,
    },
    /// A batch is waited for.
    Submitted {
        /// Which attempt, from 1.
        attempt: u32,
        /// The batch.
        batch: BatchName,
        /// When it was created.
        submitted_at: Timestamp,
        /// Requests that Gemini has finished.
        finished: u32,
        /// When its cancellation was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancelled_at: Option<Timestamp>,
    },
    /// The batch is terminal; nothing of its output was read.
    Ready {
        /// How it ended.
        ended: EndedBatch,
    },
    /// Its output is being read.
    Collecting {
        /// How the batch ended.
        ended: EndedBatch,
        /// Bytes of the responses file whose images and result lines are stored.
        offset: u64,
        /// The parts written so far, in order: each is named by the offset up to which it goes.
        parts: Vec<u64>,
        /// How often reading on from `offset` was begun without reaching the next checkpoint.
        tries: u32,
        /// Until when the reader is surely alive; afterwards another may read on.
        lease_until: Timestamp,
    },
    /// Every request key has its result line.
    Done {
        /// How the batch ended.
        ended: EndedBatch,
        /// The parts with its result lines.
        parts: Vec<u64>,
        /// The round that asks again for what failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<ShardId>,
    },
    /// It waits for a person: going on could cost money twice, or has failed too often.
    Held {
        /// Why, for people.
        reason: String,
        /// The phase that it was in.
        before: Box<Phase>,
    },
    /// It ended without a batch that could be read.
    Failed {
        /// A short code, such as `INVALID_ARGUMENT`.
        code: String,
        /// What was wrong, for people.
        message: String,
        /// The parts that were written before that.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<u64>,
    },
}

/// A batch that came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedBatch {
    /// The batch.
    pub batch: BatchName,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Gemini's state without prefix, such as `SUCCEEDED`.
    pub state: String,
    /// Where its output is, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<FileName>,
    /// Gemini's reason when it failed: a gRPC code and a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchFailure>,
    /// When it was created.
    pub submitted_at: Timestamp,
    /// When its end was seen.
    pub ended_at: Timestamp,
}

/// Why a batch failed, in Gemini's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFailure {
    /// The gRPC code.
    pub code: i64,
    /// The text.
    pub message: String,
}

/// Which function moves a shard on from its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Submit,
    Poll,
    Collect,
    Nobody,
}

impl Phase {
    /// The phase's name, as stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Uploading { .. } => "uploading",
            Self::Creating { .. } => "creating",
            Self::Submitted { .. } => "submitted",
            Self::Ready { .. } => "ready",
            Self::Collecting { .. } => "collecting",
            Self::Done { .. } => "done",
            Self::Held { .. } => "held",
            Self::Failed { .. } => "failed",
        }
    }

    /// The phase itself, or that which a held shard was in.
    pub fn before_held(&self) -> &Self {
        match self {
            Self::Held { before, .. } => before,
            phase => phase,
        }
    }

    fn owner(&self) -> Owner {
        match self {
            Self::Planned { .. } | Self::Uploading { .. } | Self::Creating { .. } => Owner::Submit,
            Self::Submitted { .. } => Owner::Poll,
            Self::Ready { .. } | Self::Collecting { .. } => Owner::Collect,
            Self::Done { .. } | Self::Held { .. } | Self::Failed { .. } => Owner::Nobody,
        }
    }
}

impl Shard {
    /// A new shard, not yet written: `rev` and `write_id` are set by whoever stores it.
    pub fn planned(
        job: &JobId,
        shard: ShardId,
        model: &str,
        requests: u32,
        plan_bytes: (u64, u64),
        now: Timestamp,
    ) -> Self {
        Self {
            rev: 0,
            write_id: String::new(),
            job: job.clone(),
            shard,
            model: model.to_owned(),
            requests,
            plan_bytes,
            keys: None,
            phase: Phase::Planned { attempts: 0 },
            deadline: now + SUBMIT_DEADLINE,
            changed_at: now,
            errors: 0,
            waiting: None,
        }
    }

    /// The round after this shard, for `keys` only.
    pub fn next_round(&self, keys: Vec<RequestKey>, now: Timestamp) -> Self {
        let requests = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        Self {
            keys: Some(keys),
            ..Self::planned(&self.job, self.shard.next_round(), &self.model, requests, self.plan_bytes, now)
        }
    }

    /// This shard in another phase. Errors in a row are counted over all phases of one function.
    pub fn enter(&self, phase: Phase, deadline: Timestamp) -> Self {
        let errors = if phase.owner() == self.phase.owner() { self.errors } else { 0 };
        Self { phase, deadline, errors, waiting: None, ..self.clone() }
    }

    /// This shard, waiting in its phase for a reason that is no error.
    pub fn waiting(&self, why: impl Into<String>) -> Self {
        Self { waiting: Some(why.into()), ..self.clone() }
    }

    /// This shard, held for a person.
    pub fn held(&self, reason: impl Into<String>, now: Timestamp) -> Self {
        let before = match &self.phase {
            Phase::Held { before, .. } => before.clone(),
            phase => Box::new(phase.clone()),
        };
        self.enter(Phase::Held { reason: reason.into(), before }, now + HELD_DEADLINE)
    }

    /// This shard, ended without a batch that could be read to its end.
    pub fn failed(&self, code: impl Into<String>, message: impl Into<String>) -> Self {
        let parts = match self.phase.before_held() {
            Phase::Collecting { parts, .. } => parts.clone(),
            _ => Vec::new(),
        };
        self.enter(Phase::Failed { code: code.into(), message: message.into(), parts }, self.deadline)
    }

    /// This shard, ended because its deadline has passed.
    pub fn given_up(&self) -> Self {
        match &self.phase {
            Phase::Held { reason, .. } => self.failed("HELD", reason),
            _ => self.failed("DEADLINE", self.waiting.as_deref().unwrap_or("it waited for too long")),
        }
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

    /// Whether nothing more happens to it.
    pub fn is_terminal(&self) -> bool {
        match self.phase {
            Phase::Done { .. } | Phase::Failed { .. } => true,
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Submitted { .. }
            | Phase::Ready { .. }
            | Phase::Collecting { .. }
            | Phase::Held { .. } => false,
        }
    }
}
