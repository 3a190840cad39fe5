//! What became of a create call that went unanswered.
//!
//! The call may still take effect, and lists may be behind. So the batch is not asked for again
//! before three things have happened: its input file is deleted, which makes a late call fail; as
//! long has passed as a call can be on its way and a list behind; and two whole lists, some time
//! apart, were without the batch. Either of the first two alone keeps a second create from being a
//! second bill, where the other one fails.
//!
//! A list that fails says nothing. It is read again after a growing wait; after a day a person is
//! told, and it is still read again: a batch that exists costs money whether or not it can be
//! listed.

use darkroom::{
    display_name::DisplayName,
    messages::JobMessage,
    names::FileName,
    state::{
        BATCH_DEADLINE, BETWEEN_LISTS, Look, Phase, RECOVER_DEADLINE, Recovering, SUBMIT_DEADLINE,
        Shard, Submitted, retry_wait,
    },
};
use gemini::{ApiError, Batch};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    deliveries::Disposition,
    metrics::Metric,
    shard_store::{Cas, StoredShard},
};
use tracing::{info, warn};

use crate::{
    attempt::planned,
    handler::SubmitError,
    work::{CONTENDED, Work},
};

/// How often a shard that is held is looked for, where lists work and do not have its batch.
const HELD_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// Writes down that this attempt's call will not be sent any more, then takes its file away.
pub(crate) async fn begin(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    file: FileName,
    why: &str,
) -> Result<Disposition, SubmitError> {
    warn!(attempt, "finding out whether there is a batch: {why}");
    let now = work.deps.clock.now();
    let quiet_until = now + work.deps.quiet.duration();
    let recovering = Phase::Recovering(Recovering {
        attempt,
        file: file.clone(),
        quiet_until,
        missed_at: None,
    });
    let next = Shard {
        unknown_creates: stored.shard.unknown_creates + 1,
        ..stored.shard.enter(recovering, now + RECOVER_DEADLINE)
    };
    let next = next.waiting(format!(
        "{why}; Gemini is asked for its batches after {quiet_until}"
    ));
    let Cas::Written(stored) = work
        .deps
        .states
        .swap(stored, next.driven_by(work.message, quiet_until))
        .await?
    else {
        return Ok(Disposition::Later(CONTENDED));
    };
    work.deps
        .reports
        .send(&JobMessage::of_shard(&work.about.job, work.about.shard))
        .await?;
    fence(work, &stored, &file, quiet_until).await
}

/// Deletes the attempt's file, and waits on. It is tried at each message, and once more before the
/// lists are read.
pub(crate) async fn fence(
    work: &Work<'_>,
    stored: &StoredShard,
    file: &FileName,
    until: Timestamp,
) -> Result<Disposition, SubmitError> {
    if let Err(error) = delete(work, file).await {
        info!("the input file is not deleted yet: {error}");
    }
    work.wait_on(stored, until).await
}

/// Looks for the shard's batch in a whole list.
pub(crate) async fn look(
    work: &Work<'_>,
    stored: &StoredShard,
    look: Look,
) -> Result<Disposition, SubmitError> {
    match find(work, &look.recovering).await {
        Ok(found) => match found.split_first() {
            Some(((name, oldest), others)) => {
                adopt(work, stored, name.attempt, oldest, others).await
            }
            None => missed(work, stored, look).await,
        },
        // Not knowing is not the same as there being no batch.
        Err(error) => not_listed(work, stored, look, &error).await,
    }
}

/// Gemini could not say which batches there are.
async fn not_listed(
    work: &Work<'_>,
    stored: &StoredShard,
    look: Look,
    error: &ApiError,
) -> Result<Disposition, SubmitError> {
    let why =
        format!("Gemini did not answer whether it made the batch: {error}; it is asked again");
    let tried = Shard {
        stopped: stored.shard.stopped || look.stop,
        ..stored.shard.after_error(why)
    };
    let asked = match error {
        ApiError::RateLimited {
            retry_after: Some(wait),
            ..
        } => *wait,
        ApiError::RateLimited {
            retry_after: None, ..
        }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Unauthorized { .. }
        | ApiError::NotFound { .. }
        | ApiError::Conflict { .. }
        | ApiError::Invalid { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => SignedDuration::ZERO,
    };
    let wait = retry_wait(tried.errors).max(asked);
    if look.overdue && !tried.phase.is_held() {
        warn!("held: no list for a day");
        let reason = format!(
            "for a day Gemini has not said whether it made the batch, and asking for another could cost twice: {error}. It \
             is asked for its list of batches again and again, and the job continues by itself once that works"
        );
        let errors = tried.errors;
        let held = Shard {
            errors,
            ..tried.held(reason, work.deps.clock.now())
        };
        return work.wait(stored, held, wait).await;
    }
    work.wait(stored, tried, wait).await
}

/// A whole list is without the batch.
async fn missed(
    work: &Work<'_>,
    stored: &StoredShard,
    look: Look,
) -> Result<Disposition, SubmitError> {
    let now = work.deps.clock.now();
    let Look {
        recovering,
        last,
        ask_person,
        stop,
        ..
    } = look;
    let attempt = recovering.attempt;
    if !last {
        // One list is not enough.
        let phase = Phase::Recovering(Recovering {
            missed_at: Some(now),
            ..recovering
        });
        let stopped = stored.shard.stopped || stop;
        let next = Shard {
            errors: 0,
            stopped,
            ..stored.shard.with_detail(phase)
        };
        return work.wait(stored, next, BETWEEN_LISTS).await;
    }
    if stop {
        return work
            .end(stored, planned(&stored.shard, attempt).cancelled())
            .await;
    }
    if !ask_person {
        info!(attempt, "there is no batch: it is asked for again");
        let next = Shard {
            deadline: now + SUBMIT_DEADLINE,
            ..planned(&stored.shard, attempt)
        };
        return work.wait(stored, next, SignedDuration::ZERO).await;
    }
    if stored.shard.phase.is_held() {
        return work.wait_on(stored, now + HELD_WAIT).await;
    }
    let reason = format!(
        "{} times Gemini did not answer when it was asked for the batch, and did not list the batch afterwards. Another call \
         could cost twice. Approve to ask for the batch again, cancel to end without these images",
        stored.shard.unknown_creates
    );
    let looked_for = stored.shard.with_detail(Phase::Recovering(recovering));
    warn!("held: {reason}");
    work.wait(stored, looked_for.held(reason, now), HELD_WAIT)
        .await
}

/// All batches that attempts of this shard have made, oldest first. The attempt's file is surely
/// gone then. A batch of an attempt that this state has not made yet is of another state, which
/// must have been copied from this one.
async fn find(
    work: &Work<'_>,
    recovering: &Recovering,
) -> Result<Vec<(DisplayName, Batch)>, ApiError> {
    delete(work, &recovering.file).await?;
    let (stack, about) = (&work.deps.stack, &work.about);
    let ours = |batch: Batch| {
        let name: DisplayName = batch.display_name.parse().ok()?;
        let is_ours =
            name.is_of(stack, &about.job, about.shard) && name.attempt <= recovering.attempt;
        is_ours.then_some((name, batch))
    };
    let mut found: Vec<_> = work
        .deps
        .gemini
        .batches()
        .await?
        .into_iter()
        .filter_map(ours)
        .collect();
    found.sort_by(|(_, one), (_, other)| {
        (one.create_time, &one.name).cmp(&(other.create_time, &other.name))
    });
    Ok(found)
}

/// The shard's batch is the oldest; the sweep sees to others that can't be cancelled now.
async fn adopt(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    oldest: &Batch,
    others: &[(DisplayName, Batch)],
) -> Result<Disposition, SubmitError> {
    let deps = work.deps;
    info!(batch = %oldest.name, attempt, "the batch was found");
    // Deadlines are counted from here. A clock that is ahead of ours must not put them off.
    let now = deps.clock.now();
    let submitted_at = oldest.create_time.unwrap_or(now).min(now);
    let submitted = Submitted {
        attempt,
        batch: oldest.name.clone(),
        submitted_at,
        finished: 0,
        cancelled_at: None,
        output_missing_since: None,
    };
    let next = stored
        .shard
        .enter(Phase::Submitted(submitted), submitted_at + BATCH_DEADLINE);
    let next = Shard {
        unknown_creates: 0,
        ..next
    };
    let Cas::Written(_) = deps.states.swap(stored, next).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    deps.metrics.count(Metric::Adoptions);
    for (_, extra) in others.iter().filter(|(_, batch)| !batch.is_terminal()) {
        warn!(batch = %extra.name, "a second batch of this shard: cancelled");
        deps.metrics.count(Metric::ExtraBatches);
        if let Err(error) = deps.gemini.cancel(&extra.name).await {
            warn!(batch = %extra.name, "it could not be cancelled: {error}");
        }
    }
    deps.polls.send(&work.about).await?;
    work.tell_report().await
}

/// Deletes the input file, unless it is gone already.
async fn delete(work: &Work<'_>, file: &FileName) -> Result<(), ApiError> {
    match work.deps.gemini.delete_file(file).await {
        Ok(()) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
