//! Where a shard can stand.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OUTPUT_KEPT;
use crate::{
    chunks::Chunk,
    money::Usd,
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
        /// The uploader has ended by then; afterwards another may start the next attempt.
        lease_until: Timestamp,
    },
    /// The one create call of this attempt may be under way, or may have had its effect.
    Creating {
        /// Which attempt, from 1.
        attempt: u32,
        /// The uploaded request file.
        file: FileName,
        /// The caller has ended by then.
        lease_until: Timestamp,
    },
    /// The create call was not answered. It will not be sent again, but it may yet arrive.
    Recovering(Recovering),
    /// The batch exists, and has not ended.
    Submitted(Submitted),
    /// The batch has ended; nothing of its output was read.
    Ready {
        /// How it ended.
        ended: EndedBatch,
    },
    /// The batch's output is being read.
    Collecting(Collecting),
    /// Every request key has its result line.
    Done {
        /// How the batch ended.
        ended: EndedBatch,
        /// The parts with its result lines.
        chunks: Vec<Chunk>,
        /// The round that asks again for what failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<ShardId>,
        /// The most that the batch cost: the tokens that Gemini reported, and the estimate of what
        /// it did not report. It settles the ledger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_usd: Option<Usd>,
    },
    /// A person is asked. Meanwhile the shard's function keeps trying whatever costs nothing.
    Held {
        /// Why, for people: what happened, which batch is concerned, and what `approve` and
        /// `cancel` do.
        reason: String,
        /// The phase that it was in.
        before: Box<Phase>,
    },
    /// It ended without an output that could be read to its end.
    Failed(Failed),
    /// A person cancelled the job before this shard had a batch.
    Cancelled,
}

/// What became of a create call is being found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovering {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Its request file, which is deleted, so that a create call that arrives later fails.
    pub file: FileName,
    /// Until then the call may still take effect, and lists may not show the batch yet.
    pub quiet_until: Timestamp,
    /// When a whole list without the batch was read for the first time. One is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_at: Option<Timestamp>,
}

/// A batch is waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The batch.
    pub batch: BatchName,
    /// When it was created.
    pub submitted_at: Timestamp,
    /// Requests that Gemini has finished.
    pub finished: u32,
    /// When its cancellation was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// When Gemini first said that the batch has ended without saying where its output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_missing_since: Option<Timestamp>,
}

/// An output is being read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collecting {
    /// How the batch ended.
    pub ended: EndedBatch,
    /// Bytes of the responses file whose images and result lines are stored.
    pub offset: u64,
    /// The parts written so far, in order.
    pub chunks: Vec<Chunk>,
    /// How many readings began at `offset` without reaching the next checkpoint. Readings that a
    /// quota, the API key, the credit or the bucket prevented do not count.
    pub tries: u32,
    /// How many of those ended without giving the lease back: the line that is read there may have
    /// ended its reader.
    #[serde(default)]
    pub strikes: u32,
    /// The reader has ended by then; afterwards another may read on. None once it has given the
    /// lease back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Set when the output was read to its end and none of its lines belongs to a request of this
    /// shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Unmatched>,
}

/// An output none of whose lines belongs to a request of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// Images in it. They are stored as unmatched.
    pub images: u64,
    /// Whether a person has approved that the shard's images are bought again.
    pub buy_again: bool,
}

/// A shard that ended without an output that could be read to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// A short code, such as `INVALID_ARGUMENT`.
    pub code: String,
    /// What was wrong, for people.
    pub message: String,
    /// The parts that were written before that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Chunk>,
    /// Whether there is or may have been a batch: what is not in the parts may have been charged
    /// for.
    #[serde(default)]
    pub may_be_billed: bool,
    /// The batch, if its name is known: its images can be fetched by hand as long as Gemini keeps
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchName>,
    /// Where that batch's output is, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BatchOutput>,
    /// Until when Gemini keeps that output, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
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
    pub output: Option<BatchOutput>,
    /// Gemini's reason when it failed: a gRPC code and a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchFailure>,
    /// When it was created.
    pub submitted_at: Timestamp,
    /// When it ended: by Gemini's own word, else when its end was first seen.
    pub ended_at: Timestamp,
}

/// Where a batch's output is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BatchOutput {
    /// In a file.
    File(FileName),
    /// Within the batch's own description, which was not asked for but has been seen.
    Inline,
}

/// How [`BatchOutput::Inline`] is stored. File names begin with `files/`.
const INLINE: &str = "inline";

impl From<String> for BatchOutput {
    fn from(text: String) -> Self {
        if text == INLINE {
            Self::Inline
        } else {
            Self::File(FileName::new(text))
        }
    }
}

impl From<BatchOutput> for String {
    fn from(output: BatchOutput) -> Self {
        match output {
            BatchOutput::File(file) => file.as_str().to_owned(),
            BatchOutput::Inline => INLINE.to_owned(),
        }
    }
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

impl EndedBatch {
    /// Until when Gemini keeps its output.
    pub fn kept_until(&self) -> Timestamp {
        self.ended_at
            .saturating_add(OUTPUT_KEPT)
            .unwrap_or(Timestamp::MAX)
    }

    /// Where its output is and how long it is kept, as the end of a sentence for people.
    pub fn whereabouts(&self) -> String {
        let until = day(self.kept_until());
        match &self.output {
            Some(BatchOutput::File(file)) => {
                format!(
                    "Gemini keeps the output of {} in {file} until {until}",
                    self.batch
                )
            }
            Some(BatchOutput::Inline) => {
                format!(
                    "Gemini keeps the output of {} in the batch itself until {until}",
                    self.batch
                )
            }
            None => format!("{} has no output", self.batch),
        }
    }
}

/// A moment to the day, in UTC: what a person needs to know of a date six weeks away.
fn day(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d").to_string()
}

impl Submitted {
    /// Which batch is concerned and how long its output is kept, as the end of a sentence for
    /// people.
    pub fn whereabouts(&self) -> String {
        format!(
            "the batch is {}; Gemini keeps its output for six weeks after its end",
            self.batch
        )
    }
}

impl Phase {
    /// The phase's name, as stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Uploading { .. } => "uploading",
            Self::Creating { .. } => "creating",
            Self::Recovering(_) => "recovering",
            Self::Submitted(_) => "submitted",
            Self::Ready { .. } => "ready",
            Self::Collecting(_) => "collecting",
            Self::Done { .. } => "done",
            Self::Held { .. } => "held",
            Self::Failed(_) => "failed",
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

    /// Whether a person is asked.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Who moves the shard on. A held shard stays with the function that it was with.
    pub fn owner(&self) -> Owner {
        match self {
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_) => Owner::Submit,
            Self::Submitted(_) => Owner::Poll,
            Self::Ready { .. } | Self::Collecting(_) => Owner::Collect,
            Self::Held { before, .. } => before.owner(),
            Self::Done { .. } | Self::Failed(_) | Self::Cancelled => Owner::Nobody,
        }
    }

    /// Whether a batch of this shard is or may be live at Gemini.
    pub fn may_have_live_batch(&self) -> bool {
        match self.before_held() {
            Self::Creating { .. } | Self::Recovering(_) | Self::Submitted(_) => true,
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Ready { .. }
            | Self::Collecting(_)
            | Self::Done { .. }
            | Self::Held { .. }
            | Self::Failed(_)
            | Self::Cancelled => false,
        }
    }

    /// The shard's batch, once it is known.
    pub fn batch(&self) -> Option<&BatchName> {
        match self.before_held() {
            Self::Submitted(submitted) => Some(&submitted.batch),
            Self::Ready { ended } | Self::Done { ended, .. } => Some(&ended.batch),
            Self::Collecting(collecting) => Some(&collecting.ended.batch),
            Self::Failed(failed) => failed.batch.as_ref(),
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_)
            | Self::Held { .. }
            | Self::Cancelled => None,
        }
    }

    /// How its batch ended, while its output is still to be read.
    pub fn ended(&self) -> Option<&EndedBatch> {
        match self.before_held() {
            Self::Ready { ended } => Some(ended),
            Self::Collecting(collecting) => Some(&collecting.ended),
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_)
            | Self::Submitted(_)
            | Self::Done { .. }
            | Self::Held { .. }
            | Self::Failed(_)
            | Self::Cancelled => None,
        }
    }
}
