//! What a message on each queue means, for every phase of its shard.

use jiff::Timestamp;

use super::{EndedBatch, Phase, READS_BEFORE_HELD, Shard};
use crate::names::BatchName;

/// What `submit` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitStep {
    /// Upload the request file and create the batch, as this attempt.
    Submit {
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Another submitter may be alive, or a person is waited for: look again at this time.
    Wait(Timestamp),
    /// The create call of a dead submitter may have had its effect: hold the shard.
    Hold,
    /// The batch exists; its message to `poll` may have been lost: send it again.
    Poll,
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Later functions have it, or it is over: only tell `report`.
    Report,
}

/// What a message on (shards) means for a shard.
pub fn submit_step(shard: &Shard, now: Timestamp) -> SubmitStep {
    match &shard.phase {
        Phase::Planned { .. } if now >= shard.deadline => SubmitStep::GiveUp,
        Phase::Planned { attempts } => SubmitStep::Submit { attempt: attempts + 1 },
        Phase::Uploading { lease_until, .. } if now < *lease_until => SubmitStep::Wait(*lease_until),
        Phase::Uploading { attempt, .. } => SubmitStep::Submit { attempt: attempt + 1 },
        Phase::Creating { lease_until, .. } if now < *lease_until => SubmitStep::Wait(*lease_until),
        Phase::Creating { .. } => SubmitStep::Hold,
        Phase::Submitted { .. } => SubmitStep::Poll,
        Phase::Held { .. } if now < shard.deadline => SubmitStep::Wait(shard.deadline),
        Phase::Held { .. } => SubmitStep::GiveUp,
        Phase::Ready { .. } | Phase::Collecting { .. } | Phase::Done { .. } | Phase::Failed { .. } => {
            SubmitStep::Report
        }
    }
}

/// What `poll` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum PollStep {
    /// Ask Gemini about the batch.
    Ask {
        /// The batch.
        batch: BatchName,
        /// Whether its time is over: cancel it.
        cancel: bool,
        /// Whether it should long have ended after its cancellation: hold the shard.
        overdue: bool,
    },
    /// The batch is terminal; the message to `collect` may have been lost: send it again.
    Collect,
    /// A person is waited for: look again at this time.
    Wait(Timestamp),
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Nothing to wait for here: only tell `report`.
    Report,
}

/// What a message on (polls) means for a shard.
pub fn poll_step(shard: &Shard, now: Timestamp) -> PollStep {
    match &shard.phase {
        Phase::Submitted { batch, cancelled_at, .. } => PollStep::Ask {
            batch: batch.clone(),
            cancel: cancelled_at.is_none() && now >= shard.deadline,
            overdue: cancelled_at.is_some() && now >= shard.deadline,
        },
        Phase::Ready { .. } => PollStep::Collect,
        Phase::Held { .. } if now >= shard.deadline => PollStep::GiveUp,
        Phase::Held { before, .. } => match &**before {
            // Whatever it is held for, the batch may yet end well.
            Phase::Submitted { batch, .. } => PollStep::Ask { batch: batch.clone(), cancel: false, overdue: false },
            _ => PollStep::Wait(shard.deadline),
        },
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Collecting { .. }
        | Phase::Done { .. }
        | Phase::Failed { .. } => PollStep::Report,
    }
}

/// What `collect` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectStep {
    /// Read the output on from this byte.
    Read {
        /// How the batch ended.
        ended: EndedBatch,
        /// Bytes already collected.
        offset: u64,
        /// The parts already written.
        parts: Vec<u64>,
        /// How often reading on from here was begun before.
        tries: u32,
    },
    /// Another reader may be alive, or a person is waited for: look again at this time.
    Wait(Timestamp),
    /// Reading failed too often at the same place, or for too long: hold the shard.
    Hold,
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Nothing to read: only tell `report`.
    Report,
}

/// What a message on (results) means for a shard.
pub fn collect_step(shard: &Shard, now: Timestamp) -> CollectStep {
    match &shard.phase {
        Phase::Ready { .. } if now >= shard.deadline => CollectStep::Hold,
        Phase::Ready { ended } => CollectStep::Read { ended: ended.clone(), offset: 0, parts: Vec::new(), tries: 0 },
        Phase::Collecting { lease_until, .. } if now < *lease_until => CollectStep::Wait(*lease_until),
        Phase::Collecting { tries, .. } if now >= shard.deadline || *tries >= READS_BEFORE_HELD => CollectStep::Hold,
        Phase::Collecting { ended, offset, parts, tries, .. } => {
            CollectStep::Read { ended: ended.clone(), offset: *offset, parts: parts.clone(), tries: *tries }
        }
        Phase::Held { .. } if now < shard.deadline => CollectStep::Wait(shard.deadline),
        Phase::Held { .. } => CollectStep::GiveUp,
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Submitted { .. }
        | Phase::Done { .. }
        | Phase::Failed { .. } => CollectStep::Report,
    }
}
