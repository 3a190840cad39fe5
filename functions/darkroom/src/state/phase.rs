//! The phases of a shard.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OUTPUT_KEPT;
use crate::{
    chunks::Chunk,
    lane::Lane,
    money::Usd,
    names::{BatchName, FileName, RequestKey, ShardId},
};

/// The phase of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for its next attempt; nothing of that was sent to Gemini.
    Planned {
        /// Attempts that ended without a batch.
        attempts: u32,
    },
    /// A submitter is uploading the request file.
    Uploading {
        /// Which attempt, from 1.
        attempt: u32,
        /// When the submitter has certainly ended; from then on another may start the next attempt.
        lease_until: Timestamp,
    },
    /// The one create call of this attempt may be in flight, or may have taken effect.
    Creating {
        /// Which attempt, from 1.
        attempt: u32,
        /// The uploaded request file.
        file: FileName,
        /// When the caller has certainly ended.
        lease_until: Timestamp,
    },
    /// The create call was not answered. It is not sent again, but it may still arrive.
    Recovering(Recovering),
    /// The batch exists and has not ended.
    Submitted(Submitted),
    /// The batch has ended, and reading its output has not begun.
    Ready {
        /// How it ended.
        ended: EndedBatch,
    },
    /// The batch's output is being read.
    Collecting(Collecting),
    /// The images of a synchronous lane are requested, one call each, or wait for that.
    Generating(Generating),
    /// Every request key has its result line.
    Done {
        /// How the batch ended. None for a shard of a synchronous lane, which has no batch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<EndedBatch>,
        /// The chunks with its result lines.
        chunks: Vec<Chunk>,
        /// The round that requests the failed images again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<ShardId>,
        /// The lane of that round.
        #[serde(default, skip_serializing_if = "Lane::is_batch")]
        next_lane: Lane,
        /// The number of its images, if they are the job's proof.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        succeeded: Option<u32>,
        /// The maximum that the shard cost: by the tokens that Gemini reported, and by estimate
        /// where it reported none. It settles the ledger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_usd: Option<Usd>,
    },
    /// Waiting for an operator's decision. The shard's function keeps trying whatever costs
    /// nothing.
    Held {
        /// Why, as a text for operators: what happened, which batch is concerned, and what
        /// `approve` and `cancel` do.
        reason: String,
        /// The phase that it was in.
        before: Box<Phase>,
    },
    /// Ended without an output that could be read to the end.
    Failed(Failed),
    /// Ended because a user canceled the job before this shard had a batch.
    Cancelled,
}

/// The outcome of a create call is unknown and is looked up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovering {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Its request file, which is deleted so that a create call that arrives later fails.
    pub file: FileName,
    /// Until when the call may still take effect, and lists may not show the batch yet.
    pub quiet_until: Timestamp,
    /// When a complete list without the batch was first read. A second one must confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_at: Option<Timestamp>,
}

/// A batch that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The batch.
    pub batch: BatchName,
    /// When it was created.
    pub submitted_at: Timestamp,
    /// How many requests Gemini has finished.
    pub finished: u32,
    /// When its cancel was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// When Gemini first reported the end of the batch without naming its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_missing_since: Option<Timestamp>,
}

/// An output that is being read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collecting {
    /// How the batch ended.
    pub ended: EndedBatch,
    /// How many bytes of the responses file have their images and result lines stored.
    pub offset: u64,
    /// The chunks written so far, in order.
    pub chunks: Vec<Chunk>,
    /// How many readings began at `offset` without reaching the next checkpoint. Readings that
    /// failed because of a quota, the API key, the credit or the bucket do not count.
    pub tries: u32,
    /// How many of those ended without giving the lease back: the line at that offset may have
    /// crashed its reader.
    #[serde(default)]
    pub crashes: u32,
    /// When the reader has certainly ended; from then on another may continue. None once the reader
    /// has given the lease back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Set when the output was read to the end and none of its lines belongs to a request of this
    /// shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Unmatched>,
}

/// Images that are requested one by one.
///
/// A call can't be repeated safely, because Gemini charges for each. A key is therefore claimed in
/// the state before its call. A claim that is left over by an invocation that has ended means that
/// Gemini may have charged for an image that no invocation received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generating {
    /// The chunks of the keys that have their result, one key each.
    pub chunks: Vec<Chunk>,
    /// The keys whose calls may be in flight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<RequestKey>,
    /// When the invocation that makes the calls has certainly ended. None once it has given the
    /// lease back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Since when Gemini has refused every call of the flex tier for lack of capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_capacity_since: Option<Timestamp>,
}

/// An output none of whose lines belongs to a request of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// The number of its images. They are stored as unmatched.
    pub images: u64,
    /// Whether an operator has approved that the shard's images are bought again.
    pub buy_again: bool,
}

/// A shard that ended without an output that could be read to the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// A short code, such as `INVALID_ARGUMENT`.
    pub code: String,
    /// What was wrong, as a text for users.
    pub message: String,
    /// The chunks that were written before that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Chunk>,
    /// Whether there is or may have been a batch, so that images outside the chunks may have been
    /// charged for.
    #[serde(default)]
    pub may_be_billed: bool,
    /// The batch, if its name is known. Its images can be fetched by hand as long as Gemini keeps
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchName>,
    /// The output of that batch, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BatchOutput>,
    /// Until when Gemini keeps that output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
}

/// A batch that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedBatch {
    /// The batch.
    pub batch: BatchName,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Gemini's state without prefix, such as `SUCCEEDED`.
    pub state: String,
    /// Its output, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BatchOutput>,
    /// Gemini's reason when it failed: a gRPC code and a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchFailure>,
    /// When it was created.
    pub submitted_at: Timestamp,
    /// When it ended, as Gemini reports it; otherwise when its end was first seen.
    pub ended_at: Timestamp,
}

/// The place of a batch's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BatchOutput {
    /// In a file.
    File(FileName),
    /// In the description of the batch itself. `submit` does not request this form, but Gemini has
    /// been seen to use it.
    Inline,
}

/// The stored form of [`BatchOutput::Inline`]. File names begin with `files/`, so they differ.
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

/// The function that continues with a shard in its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `submit`, on a message of (shards).
    Submit,
    /// `poll`, on a message of (polls).
    Poll,
    /// `collect`, on a message of (results).
    Collect,
    /// `generate`, on a message of (generations).
    Generate,
    /// No function: the shard has ended.
    None,
}

impl EndedBatch {
    /// Returns until when Gemini keeps its output.
    pub fn kept_until(&self) -> Timestamp {
        self.ended_at
            .saturating_add(OUTPUT_KEPT)
            .unwrap_or(Timestamp::MAX)
    }

    /// Describes where its output is and how long it is kept, as the end of a sentence for users.
    pub fn describe_output(&self) -> String {
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

/// The day of a moment, in UTC: as precise as an operator needs a date that is six weeks away.
fn day(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d").to_string()
}

impl Submitted {
    /// Names the batch and how long its output is kept, as the end of a sentence for users.
    pub fn describe_batch(&self) -> String {
        format!(
            "the batch is {}; Gemini keeps its output for six weeks after its end",
            self.batch
        )
    }
}

impl Phase {
    /// Returns the name of the phase, as stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Uploading { .. } => "uploading",
            Self::Creating { .. } => "creating",
            Self::Recovering(_) => "recovering",
            Self::Submitted(_) => "submitted",
            Self::Ready { .. } => "ready",
            Self::Collecting(_) => "collecting",
            Self::Generating(_) => "generating",
            Self::Done { .. } => "done",
            Self::Held { .. } => "held",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the phase, or the phase that a held shard was in.
    pub fn before_held(&self) -> &Self {
        match self {
            Self::Held { before, .. } => before,
            phase => phase,
        }
    }

    /// Whether anything of the shard was sent to Gemini.
    pub fn has_begun(&self) -> bool {
        match self {
            Self::Planned { attempts } => *attempts > 0,
            Self::Generating(generating) => generating.has_begun(),
            _ => true,
        }
    }

    /// Whether the shard waits for an operator's decision.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Returns the function that owns the shard. A held shard stays with its function.
    pub fn owner(&self) -> Owner {
        match self {
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_) => Owner::Submit,
            Self::Submitted(_) => Owner::Poll,
            Self::Ready { .. } | Self::Collecting(_) => Owner::Collect,
            Self::Generating(_) => Owner::Generate,
            Self::Held { before, .. } => before.owner(),
            Self::Done { .. } | Self::Failed(_) | Self::Cancelled => Owner::None,
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
            | Self::Generating(_)
            | Self::Done { .. }
            | Self::Held { .. }
            | Self::Failed(_)
            | Self::Cancelled => false,
        }
    }

    /// Returns the shard's batch, once it is known.
    pub fn batch(&self) -> Option<&BatchName> {
        match self.before_held() {
            Self::Submitted(submitted) => Some(&submitted.batch),
            Self::Ready { ended } => Some(&ended.batch),
            Self::Done { ended, .. } => ended.as_ref().map(|ended| &ended.batch),
            Self::Collecting(collecting) => Some(&collecting.ended.batch),
            Self::Failed(failed) => failed.batch.as_ref(),
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_)
            | Self::Generating(_)
            | Self::Held { .. }
            | Self::Cancelled => None,
        }
    }

    /// Returns the chunks of its result lines. Those of an open shard are complete as far as they go.
    pub fn chunks(&self) -> &[Chunk] {
        match self.before_held() {
            Self::Done { chunks, .. }
            | Self::Failed(Failed { chunks, .. })
            | Self::Collecting(Collecting { chunks, .. })
            | Self::Generating(Generating { chunks, .. }) => chunks,
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_)
            | Self::Submitted(_)
            | Self::Ready { .. }
            | Self::Held { .. }
            | Self::Cancelled => &[],
        }
    }

    /// Returns how its batch ended, while its output is not yet read to the end.
    pub fn ended(&self) -> Option<&EndedBatch> {
        match self.before_held() {
            Self::Ready { ended } => Some(ended),
            Self::Collecting(collecting) => Some(&collecting.ended),
            Self::Planned { .. }
            | Self::Uploading { .. }
            | Self::Creating { .. }
            | Self::Recovering(_)
            | Self::Submitted(_)
            | Self::Generating(_)
            | Self::Done { .. }
            | Self::Held { .. }
            | Self::Failed(_)
            | Self::Cancelled => None,
        }
    }
}
