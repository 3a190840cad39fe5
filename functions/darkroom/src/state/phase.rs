//! Where a shard can stand.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cost::Usd,
    names::{BatchName, FileName, ShardId},
};

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
        /// Until when the caller is surely alive.
        lease_until: Timestamp,
    },
    /// What became of the create call is being found out: nobody will send it any more, but it may yet arrive.
    Recovering {
        /// Which attempt, from 1.
        attempt: u32,
        /// Its request file, which is deleted: a create call that arrives later then fails.
        file: FileName,
        /// Until when the call may still take effect, and lists may not have it yet.
        quiet_until: Timestamp,
        /// When a whole list without the batch was read for the first time. One is not enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missed_at: Option<Timestamp>,
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
        /// How many of those ended without a word: the line that is read there may have killed its reader.
        #[serde(default)]
        strikes: u32,
        /// Until when the reader is surely alive; afterwards another may read on. None once it has stopped of itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_until: Option<Timestamp>,
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
        /// What the batch cost at the most: the tokens that Gemini told, and the estimate of what it didn't tell. It
        /// settles the ledger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_usd: Option<Usd>,
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
        /// Whether there is or may have been a batch: what isn't in the parts may have been charged for.
        #[serde(default)]
        may_be_billed: bool,
    },
    /// A person cancelled the job before this shard had a batch.
    Cancelled,
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
pub enum Owner {
    /// `submit`, on a message of (shards).
    Submit,
    /// `poll`, on a message of (polls).
    Poll,
    /// `collect`, on a message of (results).
    Collect,
    /// Nothing more happens to it.
    Nobody,
}

impl Phase {
    /// The phase's name, as stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Uploading { .. } => "uploading",
            Self::Creating { .. } => "creating",
            Self::Recovering { .. } => "recovering",
            Self::Submitted { .. } => "submitted",
            Self::Ready { .. } => "ready",
            Self::Collecting { .. } => "collecting",
            Self::Done { .. } => "done",
            Self::Held { .. } => "held",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The phase itself, or that which a held shard was in.
    pub fn before_held(&self) -> &Self {
        match self {
            Self::Held { before, .. } => before,
            phase => phase,
        }
    }

    /// Who moves the shard on. A held shard stays with whom it was.
    pub fn owner(&self) -> Owner {
        match self {
            Self::Planned { .. } | Self::Uploading { .. } | Self::Creating { .. } | Self::Recovering { .. } => {
                Owner::Submit
            }
            Self::Submitted { .. } => Owner::Poll,
            Self::Ready { .. } | Self::Collecting { .. } => Owner::Collect,
            Self::Held { before, .. } => before.owner(),
            Self::Done { .. } | Self::Failed { .. } | Self::Cancelled => Owner::Nobody,
        }
    }

    /// Whether a batch of this shard is or may be live at Gemini.
    pub fn may_have_live_batch(&self) -> bool {
        match self.before_held() {
            Self::Creating { .. } | Self::Recovering { .. } | Self::Submitted { .. } => true,
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Ready { .. }
            | Self::Collecting { .. }
            | Self::Done { .. }
            | Self::Held { .. }
            | Self::Failed { .. }
            | Self::Cancelled => false,
        }
    }

    /// The shard's batch, once it is known.
    pub fn batch(&self) -> Option<&BatchName> {
        match self.before_held() {
            Self::Submitted { batch, .. } => Some(batch),
            Self::Ready { ended } | Self::Collecting { ended, .. } | Self::Done { ended, .. } => Some(&ended.batch),
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering { .. }
            | Self::Held { .. }
            | Self::Failed { .. }
            | Self::Cancelled => None,
        }
    }
}
