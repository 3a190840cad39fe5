//! What a message on each queue means, for every phase of its shard.

use jiff::{SignedDuration, Timestamp};

use super::{
    BETWEEN_LISTS, CANCEL_GRACE, EndedBatch, Owner, Phase, READS_BEFORE_HELD, Shard, UNKNOWN_CREATES_BEFORE_HELD,
};
use crate::names::{BatchName, FileName, ShardId};

/// A message about a shard, as it reaches a function.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its SQS message id.
    pub message: &'a str,
    /// When.
    pub at: Timestamp,
    /// Whether a person has cancelled the job.
    pub stopped: bool,
}

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
    /// The create call of a dead submitter may have had its effect: find out, quietly at first.
    Recover {
        /// The attempt that it was.
        attempt: u32,
        /// Its request file.
        file: FileName,
    },
    /// Make sure that a create call which arrives late fails, and look again at this time.
    Fence {
        /// The request file to delete.
        file: FileName,
        /// When.
        until: Timestamp,
    },
    /// Finding out has taken too long: hold the shard.
    Hold,
    /// List all batches, and adopt the shard's own. `last` says that without it there is none.
    Look {
        /// The attempt whose batch is looked for.
        attempt: u32,
        /// The request file, deleted before.
        file: FileName,
        /// Whether an earlier list was without it too.
        last: bool,
        /// Whether, if there is none, it has been tried often enough.
        hold: bool,
    },
    /// The batch exists; its message to `poll` may have been lost: send it again.
    Poll,
    /// A person cancelled the job, and there is no batch: end it.
    Stop,
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Another message moves it on: acknowledge this one.
    StandBack,
    /// Later functions have it, or it is over: only tell `report`.
    Report,
}

/// What a message on (shards) means for a shard.
pub fn submit_step(shard: &Shard, arrival: &Arrival<'_>) -> SubmitStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Submit;
    match &shard.phase {
        // A person's cancel comes with a message of its own, which need not wait for the other.
        Phase::Planned { .. } if arrival.stopped => SubmitStep::Stop,
        // Whatever it is held for, no batch of it is known.
        Phase::Held { .. } if is_ours && arrival.stopped => SubmitStep::Stop,
        _ if is_ours && shard.is_driven_by_another(arrival.message, now) => SubmitStep::StandBack,
        Phase::Planned { .. } if now >= shard.deadline => SubmitStep::GiveUp,
        Phase::Planned { attempts } => SubmitStep::Submit { attempt: attempts + 1 },
        Phase::Uploading { lease_until, .. } | Phase::Creating { lease_until, .. } if now < *lease_until => {
            SubmitStep::Wait(*lease_until)
        }
        Phase::Uploading { .. } if arrival.stopped => SubmitStep::Stop,
        Phase::Uploading { attempt, .. } => SubmitStep::Submit { attempt: attempt + 1 },
        Phase::Creating { attempt, file, .. } => SubmitStep::Recover { attempt: *attempt, file: file.clone() },
        Phase::Recovering { file, quiet_until, .. } if now < *quiet_until => {
            SubmitStep::Fence { file: file.clone(), until: *quiet_until }
        }
        Phase::Recovering { .. } if now >= shard.deadline => SubmitStep::Hold,
        Phase::Recovering { missed_at: Some(missed), .. } if now < *missed + BETWEEN_LISTS => {
            SubmitStep::Wait(*missed + BETWEEN_LISTS)
        }
        Phase::Recovering { attempt, file, missed_at, .. } => SubmitStep::Look {
            attempt: *attempt,
            file: file.clone(),
            last: missed_at.is_some(),
            hold: shard.unknown_creates >= UNKNOWN_CREATES_BEFORE_HELD,
        },
        // Once `poll` has it, it needs no other message.
        Phase::Submitted { .. } if shard.driver.is_none() => SubmitStep::Poll,
        Phase::Held { .. } if is_ours && now < shard.deadline => SubmitStep::Wait(shard.deadline),
        Phase::Held { .. } if is_ours => SubmitStep::GiveUp,
        Phase::Submitted { .. }
        | Phase::Ready { .. }
        | Phase::Collecting { .. }
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed { .. }
        | Phase::Cancelled => SubmitStep::Report,
    }
}

/// What `poll` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum PollStep {
    /// Ask Gemini about the batch.
    Ask {
        /// The batch.
        batch: BatchName,
        /// Whether its time is over, or the job was cancelled: cancel it.
        cancel: bool,
        /// Whether it should long have ended, or been cancelled: hold the shard.
        overdue: bool,
    },
    /// The batch is terminal; the message to `collect` may have been lost: send it again.
    Collect,
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Another message moves it on: acknowledge this one.
    StandBack,
    /// Nothing to wait for here: only tell `report`.
    Report,
}

/// What a message on (polls) means for a shard.
pub fn poll_step(shard: &Shard, arrival: &Arrival<'_>) -> PollStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Poll;
    let is_cancelled = matches!(shard.phase.before_held(), Phase::Submitted { cancelled_at: Some(_), .. });
    // A person's cancel comes with a message of its own, which need not wait for the other.
    let brings_cancel = arrival.stopped && !is_cancelled;
    match &shard.phase {
        _ if is_ours && !brings_cancel && shard.is_driven_by_another(arrival.message, now) => PollStep::StandBack,
        Phase::Submitted { batch, cancelled_at, .. } => PollStep::Ask {
            batch: batch.clone(),
            cancel: brings_cancel || (cancelled_at.is_none() && now >= shard.deadline),
            overdue: now >= shard.deadline + if cancelled_at.is_some() { SignedDuration::ZERO } else { CANCEL_GRACE },
        },
        Phase::Ready { .. } if shard.driver.is_none() => PollStep::Collect,
        Phase::Held { .. } if is_ours && now >= shard.deadline => PollStep::GiveUp,
        Phase::Held { before, .. } => match &**before {
            // Whatever it is held for, the batch may yet end well.
            Phase::Submitted { batch, .. } => {
                PollStep::Ask { batch: batch.clone(), cancel: brings_cancel, overdue: false }
            }
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering { .. }
            | Phase::Ready { .. }
            | Phase::Collecting { .. }
            | Phase::Done { .. }
            | Phase::Held { .. }
            | Phase::Failed { .. }
            | Phase::Cancelled => PollStep::Report,
        },
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering { .. }
        | Phase::Ready { .. }
        | Phase::Collecting { .. }
        | Phase::Done { .. }
        | Phase::Failed { .. }
        | Phase::Cancelled => PollStep::Report,
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
        /// How many readers have died here.
        strikes: u32,
    },
    /// Another reader may be alive, or a person is waited for: look again at this time.
    Wait(Timestamp),
    /// Reading failed too often at the same place, or for too long: hold the shard.
    Hold,
    /// The shard is done; the message of its next round may have been lost: send it again.
    Wake(ShardId),
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Another message moves it on: acknowledge this one.
    StandBack,
    /// Nothing to read: only tell `report`.
    Report,
}

/// What a message on (results) means for a shard.
pub fn collect_step(shard: &Shard, arrival: &Arrival<'_>) -> CollectStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Collect;
    match &shard.phase {
        Phase::Held { .. } if is_ours && arrival.stopped => CollectStep::GiveUp,
        _ if is_ours && shard.is_driven_by_another(arrival.message, now) => CollectStep::StandBack,
        Phase::Ready { .. } if now >= shard.deadline => CollectStep::Hold,
        Phase::Ready { ended } => {
            CollectStep::Read { ended: ended.clone(), offset: 0, parts: Vec::new(), tries: 0, strikes: 0 }
        }
        Phase::Collecting { lease_until: Some(lease), .. } if now < *lease => CollectStep::Wait(*lease),
        Phase::Collecting { tries, strikes, lease_until, .. }
            if now >= shard.deadline || *tries >= READS_BEFORE_HELD + strikes + u32::from(lease_until.is_some()) =>
        {
            CollectStep::Hold
        }
        Phase::Collecting { ended, offset, parts, tries, strikes, lease_until } => CollectStep::Read {
            ended: ended.clone(),
            offset: *offset,
            parts: parts.clone(),
            tries: *tries,
            // Whoever stops of itself gives its lease back.
            strikes: strikes + u32::from(lease_until.is_some()),
        },
        Phase::Held { .. } if is_ours && now >= shard.deadline => CollectStep::GiveUp,
        Phase::Held { .. } if is_ours => CollectStep::Wait(shard.deadline),
        Phase::Done { next: Some(next), .. } => CollectStep::Wake(*next),
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering { .. }
        | Phase::Submitted { .. }
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed { .. }
        | Phase::Cancelled => CollectStep::Report,
    }
}
