//! What a message on each queue means, for every phase of its shard.

use jiff::{SignedDuration, Timestamp};

use super::{
    BETWEEN_LISTS, CANCEL_GRACE, Collecting, Generating, Owner, Phase, Recovering, Rescue, Shard,
    Submitted, UNKNOWN_CREATES_BEFORE_HELD, Unmatched,
};
use crate::{
    lane::Lane,
    names::{FileName, ShardId},
};

/// A message about a shard, as a function receives it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its SQS message id.
    pub message: &'a str,
    /// When it was received.
    pub at: Timestamp,
    /// Whether a user has canceled the job.
    pub cancel_requested: bool,
}

impl Arrival<'_> {
    /// Whether this message may be the first since a user canceled the job. A cancel arrives with
    /// its own message, which does not wait for the driver.
    fn brings_cancel(&self, shard: &Shard) -> bool {
        self.cancel_requested && !shard.cancel_requested
    }
}

/// What `submit` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitStep {
    /// Upload the request file and create the batch, as this attempt.
    Submit {
        /// Which attempt, from 1.
        attempt: u32,
        /// Whether the previous submitter crashed while it uploaded.
        crashed: bool,
    },
    /// Another submitter may be alive, or an operator must decide: check again at this time.
    Wait(Timestamp),
    /// The create call of a submitter that has ended may have taken effect: begin the quiet period
    /// after which the batch is looked up.
    Recover {
        /// The submitter's attempt.
        attempt: u32,
        /// Its request file.
        file: FileName,
    },
    /// Delete the request file, so that a create call which arrives late fails, and check again at
    /// this time.
    Fence {
        /// The request file to delete.
        file: FileName,
        /// The end of the quiet period.
        until: Timestamp,
    },
    /// List all batches and adopt the shard's own.
    Look(Look),
    /// The batch exists, but a crash may have prevented the message to `poll`: send it again.
    Poll,
    /// A batch that is created now would come too late for the job: request the images one by one.
    Rescue(Rescue),
    /// The shard was rescued, but a crash may have prevented the message to `generate`: send it
    /// again.
    Generate,
    /// A user has canceled the job, and there is no batch: end the shard.
    Stop,
    /// The deadline has passed: end the shard as failed.
    GiveUp,
    /// Another message drives the shard: acknowledge this one.
    NotOwner,
    /// A later function owns the shard, or it has ended: only notify `report`.
    Report,
}

/// A lookup of the batch of a create call that was not answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The attempt whose batch is looked up, and the progress of the search.
    pub recovering: Recovering,
    /// Whether an earlier list lacked the batch too, so that a second one proves that there is
    /// none.
    pub last: bool,
    /// Whether an operator must approve another attempt if there is no batch.
    pub ask_operator: bool,
    /// Whether the shard ends if there is no batch, because the job was canceled.
    pub stop: bool,
    /// Whether the search has taken so long that the shard is held if this lookup fails too.
    pub overdue: bool,
}

/// What a message on (shards) means for a shard.
pub fn submit_step(shard: &Shard, arrival: &Arrival<'_>) -> SubmitStep {
    let now = arrival.at;
    let is_ours = shard.phase.owner() == Owner::Submit;
    let is_past_deadline = now >= shard.deadline;
    match &shard.phase {
        Phase::Planned { .. } if arrival.cancel_requested => SubmitStep::Stop,
        Phase::Held { before, .. }
            if arrival.cancel_requested && !before.may_have_live_batch() && is_ours =>
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
        Phase::Uploading { .. } if arrival.cancel_requested => SubmitStep::Stop,
        // Nothing was bought, so ending the shard loses no image.
        Phase::Planned { .. } | Phase::Uploading { .. } if is_past_deadline => SubmitStep::GiveUp,
        Phase::Planned { .. } | Phase::Uploading { .. }
            if let Some(rescue) = shard.rescue.filter(|rescue| now >= rescue.at) =>
        {
            SubmitStep::Rescue(rescue)
        }
        Phase::Planned { attempts } => SubmitStep::Submit {
            attempt: attempts + 1,
            crashed: false,
        },
        Phase::Uploading { attempt, .. } => SubmitStep::Submit {
            attempt: attempt + 1,
            crashed: true,
        },
        Phase::Creating { attempt, file, .. } => SubmitStep::Recover {
            attempt: *attempt,
            file: file.clone(),
        },
        Phase::Recovering(recovering) => look(shard, recovering, arrival),
        Phase::Generating(_) if shard.driver.is_none() => SubmitStep::Generate,
        // A driver proves that `poll` has received its message.
        Phase::Submitted(_) if shard.driver.is_none() => SubmitStep::Poll,
        Phase::Held { .. } if is_ours && is_past_deadline => SubmitStep::GiveUp,
        Phase::Held { before, .. } if is_ours => match &**before {
            // A lookup costs nothing, and the batch may show up, or lists may work again.
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
            | Phase::Generating(_)
            | Phase::Done { .. }
            | Phase::Held { .. }
            | Phase::Failed(_)
            | Phase::Cancelled => SubmitStep::Wait(shard.deadline),
        },
        Phase::Submitted(_)
        | Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Generating(_)
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => SubmitStep::Report,
    }
}

/// What to do about a create call that was not answered: fence it, wait, or look its batch up.
fn look(shard: &Shard, recovering: &Recovering, arrival: &Arrival<'_>) -> SubmitStep {
    let (now, recovering) = (arrival.at, recovering.clone());
    let Recovering {
        quiet_until,
        missed_at,
        ..
    } = recovering;
    // Until then the call may still arrive, and lists may lag behind.
    if now < quiet_until {
        return SubmitStep::Fence {
            file: recovering.file,
            until: quiet_until,
        };
    }
    // Two lists prove more than one only if some time lies between them.
    if let Some(missed) = missed_at
        && now < missed + BETWEEN_LISTS
    {
        return SubmitStep::Wait(missed + BETWEEN_LISTS);
    }
    SubmitStep::Look(Look {
        recovering,
        last: missed_at.is_some(),
        ask_operator: shard.unknown_creates >= UNKNOWN_CREATES_BEFORE_HELD,
        stop: arrival.cancel_requested,
        overdue: now >= shard.deadline,
    })
}

/// What `poll` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum PollStep {
    /// Ask Gemini about the batch.
    Ask {
        /// The batch.
        submitted: Submitted,
        /// Whether to cancel it, because its deadline has passed or the job was canceled.
        cancel: bool,
        /// Whether to hold the shard, because the batch should have ended long ago.
        overdue: bool,
    },
    /// The batch has ended, but a crash may have prevented the message to `collect`: send it again.
    Collect,
    /// The deadline has passed: end the shard as failed.
    GiveUp,
    /// Another message drives the shard: acknowledge this one.
    NotOwner,
    /// There is no batch to wait for: only notify `report`.
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
        Phase::Submitted(submitted) => {
            let is_cancelled = submitted.cancelled_at.is_some();
            // The deadline of a canceled batch includes the grace period already.
            let grace = if is_cancelled {
                SignedDuration::ZERO
            } else {
                CANCEL_GRACE
            };
            PollStep::Ask {
                submitted: submitted.clone(),
                cancel: !is_cancelled && (arrival.cancel_requested || now >= shard.deadline),
                overdue: now >= shard.deadline + grace,
            }
        }
        Phase::Ready { .. } if shard.driver.is_none() => PollStep::Collect,
        Phase::Held { .. } if is_ours && now >= shard.deadline => PollStep::GiveUp,
        Phase::Held { before, .. } => match &**before {
            // A request costs nothing, and the batch may still end well.
            Phase::Submitted(submitted) => PollStep::Ask {
                submitted: submitted.clone(),
                cancel: arrival.cancel_requested && submitted.cancelled_at.is_none(),
                overdue: false,
            },
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering(_)
            | Phase::Ready { .. }
            | Phase::Collecting(_)
            | Phase::Generating(_)
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
        | Phase::Generating(_)
        | Phase::Done { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => PollStep::Report,
    }
}

/// What `collect` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectStep {
    /// Read the output, from the offset of this reading.
    Read(Collecting),
    /// Another reader may be alive, or an operator must decide: check again at this time.
    Wait(Timestamp),
    /// The output was read, and none of its lines belongs to a request: end the shard without
    /// reading it again, and plan a round for its keys only if an operator has approved that.
    Finish(Collecting),
    /// The shard is done, but a crash may have prevented the message of its next round: send it
    /// again.
    SendRound {
        /// The round.
        round: ShardId,
        /// Its lane, which determines its queue.
        lane: Lane,
    },
    /// Gemini has deleted the output by now: end the shard as failed.
    GiveUp,
    /// Another message drives the shard: acknowledge this one.
    NotOwner,
    /// There is no output to read: only notify `report`.
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
            next: Some(next),
            next_lane,
            ..
        } => CollectStep::SendRound {
            round: *next,
            lane: *next_lane,
        },
        phase if is_ours => match phase.before_held() {
            Phase::Collecting(collecting) => match collecting.unmatched {
                Some(unmatched) if unmatched.buy_again || is_past_deadline => {
                    CollectStep::Finish(collecting.clone())
                }
                // An output in which nothing was usable may still become complete.
                Some(Unmatched { images: 0, .. }) => CollectStep::Read(collecting.resumed()),
                Some(_) if arrival.cancel_requested => CollectStep::Finish(collecting.clone()),
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
            | Phase::Generating(_)
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
        | Phase::Generating(_)
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => CollectStep::Report,
    }
}

/// What `generate` does about a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerateStep {
    /// Request the images that have no result yet.
    Generate(Generating),
    /// Another invocation may be alive, or an operator must decide: check again at this time.
    Wait(Timestamp),
    /// End the shard with the images that it has.
    Finish {
        /// Its progress.
        generating: Generating,
        /// Why.
        end: GenerateEnd,
    },
    /// A user has canceled the job before any call was made: end the shard.
    Stop,
    /// The shard was held, and no operator has decided in time: end it as failed.
    GiveUp,
    /// The shard is done, but a crash may have prevented the message of its next round: send it
    /// again.
    SendRound {
        /// The round.
        round: ShardId,
        /// Its lane, which determines its queue.
        lane: Lane,
    },
    /// Another message drives the shard: acknowledge this one.
    NotOwner,
    /// There is nothing to request: only notify `report`.
    Report,
}

/// Why a shard of a synchronous lane ends without all of its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerateEnd {
    /// A user has canceled the job.
    Cancelled,
    /// Its deadline has passed.
    Deadline,
}

/// What a message on (generations) means for a shard.
pub fn generate_step(shard: &Shard, arrival: &Arrival<'_>) -> GenerateStep {
    let now = arrival.at;
    if let Phase::Done {
        next: Some(next),
        next_lane,
        ..
    } = &shard.phase
    {
        return GenerateStep::SendRound {
            round: *next,
            lane: *next_lane,
        };
    }
    let Phase::Generating(generating) = shard.phase.before_held() else {
        return GenerateStep::Report;
    };
    if !arrival.brings_cancel(shard) && shard.is_driven_by_another(arrival.message, now) {
        return GenerateStep::NotOwner;
    }
    let is_held = shard.phase.is_held();
    let is_past_deadline = now >= shard.deadline;
    match generating.lease_until {
        Some(lease) if !is_held && now < lease => GenerateStep::Wait(lease),
        _ if arrival.cancel_requested && !generating.has_begun() => GenerateStep::Stop,
        _ if arrival.cancel_requested => GenerateStep::Finish {
            generating: generating.clone(),
            end: GenerateEnd::Cancelled,
        },
        _ if is_held && is_past_deadline => GenerateStep::GiveUp,
        _ if is_held => GenerateStep::Wait(shard.deadline),
        _ if is_past_deadline => GenerateStep::Finish {
            generating: generating.clone(),
            end: GenerateEnd::Deadline,
        },
        _ => GenerateStep::Generate(generating.clone()),
    }
}
