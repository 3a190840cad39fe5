//! What a message on each queue means, for every phase of its shard.

use jiff::{SignedDuration, Timestamp};

use super::{
    BETWEEN_LISTS, CANCEL_GRACE, Collecting, Owner, Phase, Recovering, Shard, Submitted,
    UNKNOWN_CREATES_BEFORE_HELD, Unmatched,
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

impl Arrival<'_> {
    /// Whether this message may be the first since a person cancelled the job. It comes with an id
    /// of its own, and need not wait for the message that drives the shard.
    fn brings_cancel(&self, shard: &Shard) -> bool {
        self.stopped && !shard.stopped
    }
}

/// What `submit` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitStep {
    /// Upload the request file and create the batch, as this attempt.
    Submit {
        /// Which attempt, from 1.
        attempt: u32,
        /// Whether the submitter before this one ended while it uploaded.
        died: bool,
    },
    /// Another submitter may be alive, or a person is waited for: look again at this time.
    Wait(Timestamp),
    /// The create call of a submitter that has ended may have had its effect: find out, quietly at
    /// first.
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
    /// List all batches, and adopt the shard's own.
    Look(Look),
    /// The batch exists; its message to `poll` may have been lost: send it again.
    Poll,
    /// A person cancelled the job, and there is no batch: end it.
    Stop,
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Another message moves it on: acknowledge this one.
    NotOwner,
    /// Later functions have it, or it is over: only notify `report`.
    Report,
}

/// A look for the batch of a create call that was not answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The attempt whose batch is looked for, and how far the search is.
    pub recovering: Recovering,
    /// Whether an earlier list did not have it either: then there is none.
    pub last: bool,
    /// Whether, if there is none, a person decides instead of another attempt.
    pub ask_person: bool,
    /// Whether, if there is none, the shard ends, because the job was cancelled.
    pub stop: bool,
    /// Whether the search has taken so long that a person is told, if this look fails too.
    pub overdue: bool,
}

/// What a message on (shards) means for a shard.
pub fn submit_step(shard: &Shard, arrival: &Arrival<'_>) -> SubmitStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Submit;
    let is_past_deadline = now >= shard.deadline;
    match &shard.phase {
        Phase::Planned { .. } if arrival.stopped => SubmitStep::Stop,
        Phase::Held { before, .. }
            if arrival.stopped && !before.may_have_live_batch() && is_ours =>
        {
            SubmitStep::Stop
        }
        _ if is_ours
            && !arrival.brings_cancel(shard)
            && shard.is_driven_by_another(arrival.message, now) =>
        {
            SubmitStep::NotOwner
        }
        Phase::Uploading { lease_until, .. } | Phase::Creating { lease_until, .. }
            if now < *lease_until =>
        {
            SubmitStep::Wait(*lease_until)
        }
        Phase::Uploading { .. } if arrival.stopped => SubmitStep::Stop,
        // Nothing was bought, so nothing is lost.
        Phase::Planned { .. } | Phase::Uploading { .. } if is_past_deadline => SubmitStep::GiveUp,
        Phase::Planned { attempts } => SubmitStep::Submit {
            attempt: attempts + 1,
            died: false,
        },
        Phase::Uploading { attempt, .. } => SubmitStep::Submit {
            attempt: attempt + 1,
            died: true,
        },
        Phase::Creating { attempt, file, .. } => SubmitStep::Recover {
            attempt: *attempt,
            file: file.clone(),
        },
        Phase::Recovering(recovering) => look(shard, recovering, arrival),
        // Once `poll` has it, it needs no other message.
        Phase::Submitted(_) if shard.driver.is_none() => SubmitStep::Poll,
        Phase::Held { .. } if is_ours && is_past_deadline => SubmitStep::GiveUp,
        Phase::Held { before, .. } if is_ours => match &**before {
            // Looking costs nothing: the batch may show up, or lists may work again.
            Phase::Recovering(recovering) => look(shard, recovering, arrival),
            Phase::Creating { attempt, file, .. } => SubmitStep::Recover {
                attempt: *attempt,
                file: file.clone(),
            },
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Submitted(_)
            | Phase::Ready { .. }
            | Phase::Collecting(_)
            | Phase::Done { .. }
            | Phase::Held { .. }
            | Phase::Failed(_)
            | Phase::Cancelled => SubmitStep::Wait(shard.deadline),
        },
        Phase::Submitted(_)
        | Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => SubmitStep::Report,
    }
}

fn look(shard: &Shard, recovering: &Recovering, arrival: &Arrival<'_>) -> SubmitStep {
    let (now, recovering) = (arrival.at, recovering.clone());
    let Recovering {
        quiet_until,
        missed_at,
        ..
    } = recovering;
    if now < quiet_until {
        return SubmitStep::Fence {
            file: recovering.file,
            until: quiet_until,
        };
    }
    if let Some(missed) = missed_at
        && now < missed + BETWEEN_LISTS
    {
        return SubmitStep::Wait(missed + BETWEEN_LISTS);
    }
    SubmitStep::Look(Look {
        recovering,
        last: missed_at.is_some(),
        ask_person: shard.unknown_creates >= UNKNOWN_CREATES_BEFORE_HELD,
        stop: arrival.stopped,
        overdue: now >= shard.deadline,
    })
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
    /// The batch has ended; the message to `collect` may have been lost: send it again.
    Collect,
    /// Waiting is over: end it as failed.
    GiveUp,
    /// Another message moves it on: acknowledge this one.
    NotOwner,
    /// Nothing to wait for here: only notify `report`.
    Report,
}

/// What a message on (polls) means for a shard.
pub fn poll_step(shard: &Shard, arrival: &Arrival<'_>) -> PollStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Poll;
    match &shard.phase {
        _ if is_ours
            && !arrival.brings_cancel(shard)
            && shard.is_driven_by_another(arrival.message, now) =>
        {
            PollStep::NotOwner
        }
        Phase::Submitted(Submitted {
            batch,
            cancelled_at,
            ..
        }) => PollStep::Ask {
            batch: batch.clone(),
            cancel: cancelled_at.is_none() && (arrival.stopped || now >= shard.deadline),
            overdue: now
                >= shard.deadline
                    + if cancelled_at.is_some() {
                        SignedDuration::ZERO
                    } else {
                        CANCEL_GRACE
                    },
        },
        Phase::Ready { .. } if shard.driver.is_none() => PollStep::Collect,
        Phase::Held { .. } if is_ours && now >= shard.deadline => PollStep::GiveUp,
        Phase::Held { before, .. } => match &**before {
            // Asking costs nothing, and the batch may yet end well.
            Phase::Submitted(Submitted {
                batch,
                cancelled_at,
                ..
            }) => {
                let cancel = arrival.stopped && cancelled_at.is_none();
                PollStep::Ask {
                    batch: batch.clone(),
                    cancel,
                    overdue: false,
                }
            }
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering(_)
            | Phase::Ready { .. }
            | Phase::Collecting(_)
            | Phase::Done { .. }
            | Phase::Held { .. }
            | Phase::Failed(_)
            | Phase::Cancelled => PollStep::Report,
        },
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Done { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => PollStep::Report,
    }
}

/// What `collect` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectStep {
    /// Read the output on from where this says.
    Read(Collecting),
    /// Another reader may be alive, or a person is waited for: look again at this time.
    Wait(Timestamp),
    /// The output was read, and none of its lines belongs to a request: end the shard with that,
    /// and plan a round for its keys only if a person has approved it.
    Finish(Collecting),
    /// The shard is done; the message of its next round may have been lost: send it again.
    Wake(ShardId),
    /// Gemini has deleted the output by now: end it as failed.
    GiveUp,
    /// Another message moves it on: acknowledge this one.
    NotOwner,
    /// Nothing to read: only notify `report`.
    Report,
}

/// What a message on (results) means for a shard.
pub fn collect_step(shard: &Shard, arrival: &Arrival<'_>) -> CollectStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Collect;
    let is_past_deadline = now >= shard.deadline;
    let brings_cancel = arrival.brings_cancel(shard) && shard.phase.is_held();
    match &shard.phase {
        _ if is_ours && !brings_cancel && shard.is_driven_by_another(arrival.message, now) => {
            CollectStep::NotOwner
        }
        Phase::Collecting(Collecting {
            lease_until: Some(lease),
            ..
        }) if now < *lease => CollectStep::Wait(*lease),
        Phase::Done {
            next: Some(next), ..
        } => CollectStep::Wake(*next),
        phase if is_ours => match phase.before_held() {
            Phase::Collecting(collecting) => match collecting.unmatched {
                Some(unmatched) if unmatched.buy_again || is_past_deadline => {
                    CollectStep::Finish(collecting.clone())
                }
                // An output of which nothing could be used may yet become whole.
                Some(Unmatched { images: 0, .. }) => CollectStep::Read(collecting.resumed()),
                Some(_) if arrival.stopped => CollectStep::Finish(collecting.clone()),
                Some(_) => CollectStep::Wait(shard.deadline),
                None if is_past_deadline => CollectStep::GiveUp,
                None => CollectStep::Read(collecting.resumed()),
            },
            Phase::Ready { .. } if is_past_deadline => CollectStep::GiveUp,
            Phase::Ready { ended } => CollectStep::Read(Collecting::of(ended.clone())),
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering(_)
            | Phase::Submitted(_)
            | Phase::Done { .. }
            | Phase::Held { .. }
            | Phase::Failed(_)
            | Phase::Cancelled => CollectStep::Report,
        },
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Submitted(_)
        | Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => CollectStep::Report,
    }
}
