//! Recovery from a create call that went unanswered.
//!
//! The call may still take effect, and lists may lag behind. So the create call is repeated only
//! after three things: its input file is deleted, which makes a late call fail; a quiet period has
//! passed, longer than a call can be in flight or a list can lag; and two complete lists, some time
//! apart, lacked the batch. Each of the first two alone keeps a second create call from being a
//! second bill if the other one fails.
//!
//! A list that fails proves nothing. It is read again after a growing wait. After a day the shard
//! is held, and the list is still read again: a batch that exists costs money whether or not it can
//! be listed.

use darkroom::{
    display_name::DisplayName,
    names::FileName,
    state::{
        BATCH_DEADLINE, BETWEEN_LISTS, Look, Outcome, Owner, Phase, RECOVER_DEADLINE, Recovering,
        SUBMIT_DEADLINE, Shard, Submitted, retry_wait,
    },
};
use gemini::{ApiError, Batch};
use jiff::{SignedDuration, Timestamp};
use runtime::{metrics::Metric, turn::Turn};
use tracing::{info, warn};

use crate::{deps::Deps, error::SubmitError, replan::planned};

/// The wait between two lookups of a held shard, where lists work and lack its batch.
const HELD_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// Records that the attempt's call is not sent again, then deletes its file.
pub(crate) async fn begin(
    deps: &Deps,
    turn: &mut Turn<'_>,
    attempt: u32,
    file: FileName,
    why: &str,
) -> Result<Outcome, SubmitError> {
    warn!(attempt, "unknown whether there is a batch: {why}");
    let now = deps.clock.now();
    let quiet_until = now + deps.quiet.duration();
    let recovering = Phase::Recovering(Recovering {
        attempt,
        file: file.clone(),
        quiet_until,
        missed_at: None,
    });
    let next = Shard {
        unknown_creates: turn.shard().unknown_creates + 1,
        ..turn.shard().enter(recovering, now + RECOVER_DEADLINE)
    };
    let next = next.waiting(format!(
        "{why}; Gemini's batches are listed after {quiet_until}"
    ));

    // The state comes first: after a conflict, the file may belong to another invocation's attempt.
    turn.enter_until(next, quiet_until).await?;
    turn.notify().await?;
    Ok(fence(deps, &file, quiet_until).await)
}

/// Deletes the attempt's file, and keeps waiting. The deletion is tried at each message, and again
/// before the lists are read.
pub(crate) async fn fence(deps: &Deps, file: &FileName, until: Timestamp) -> Outcome {
    if let Err(error) = delete(deps, file).await {
        info!("the input file is not deleted yet: {error}");
    }
    Outcome::KeepWaiting {
        wait: until.duration_since(deps.clock.now()),
        notify: true,
    }
}

/// Looks for the shard's batch in a complete list.
pub(crate) async fn look(
    deps: &Deps,
    turn: &mut Turn<'_>,
    look: Look,
) -> Result<Outcome, SubmitError> {
    let now = || deps.clock.now();
    match find(deps, turn.shard(), &look.recovering).await {
        Ok(found) => match found.split_first() {
            Some(((name, oldest), others)) => adopt(deps, turn, name.attempt, oldest, others).await,
            None => Ok(missed(turn.shard(), look, now())),
        },
        // A failed list does not prove that there is no batch.
        Err(error) => Ok(not_listed(turn.shard(), &look, &error, now())),
    }
}

/// Decides after Gemini failed to list its batches.
fn not_listed(shard: &Shard, look: &Look, error: &ApiError, now: Timestamp) -> Outcome {
    let why = format!("it is unknown whether Gemini made the batch: {error}; the list is retried");
    let tried = Shard {
        cancel_requested: shard.cancel_requested || look.stop,
        ..shard.after_error(why)
    };

    // Gemini's own wait counts if it is longer than the growing one.
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
    if !look.overdue || tried.phase.is_held() {
        return Outcome::retry_after(tried, wait);
    }

    // After a day an operator must know, but only a list can decide, so lists are still read.
    let reason = format!(
        "for a day Gemini has not listed its batches, so it is unknown whether it made this one, \
         and another create call could cost twice: {error}. The list is retried, and the job \
         continues automatically once that works"
    );
    Outcome::hold(tried.held(reason, now), wait)
}

/// Decides after a complete list that lacks the batch.
fn missed(shard: &Shard, look: Look, now: Timestamp) -> Outcome {
    let Look {
        recovering,
        last,
        ask_operator,
        stop,
        ..
    } = look;
    let attempt = recovering.attempt;

    // One list may lag behind the create call, so a second one must confirm it.
    if !last {
        let phase = Phase::Recovering(Recovering {
            missed_at: Some(now),
            ..recovering
        });
        let next = Shard {
            errors: 0,
            cancel_requested: shard.cancel_requested || stop,
            ..shard.with_detail(phase)
        };
        return Outcome::wait(next, BETWEEN_LISTS);
    }

    // There is no batch: end a canceled shard, or make the next attempt at once.
    if stop {
        return Outcome::end(planned(shard, attempt).cancelled());
    }
    if !ask_operator {
        info!(attempt, "there is no batch; the create call is repeated");
        let next = Shard {
            deadline: now + SUBMIT_DEADLINE,
            ..planned(shard, attempt)
        };
        return Outcome::wait(next, SignedDuration::ZERO);
    }

    // This many unanswered calls suggest a cause that the lists don't show, so an operator decides
    // whether to risk another one. Lookups cost nothing and continue.
    if shard.phase.is_held() {
        return Outcome::KeepWaiting {
            wait: HELD_WAIT,
            notify: true,
        };
    }
    let reason = format!(
        "{} times Gemini did not answer the create call of the batch, and did not list the batch \
         afterwards. Another call could cost twice. Approve to make another call, cancel to end \
         without these images",
        shard.unknown_creates
    );
    let looked_up = shard.with_detail(Phase::Recovering(recovering));
    Outcome::hold(looked_up.held(reason, now), HELD_WAIT)
}

/// Finds all batches that attempts of this shard have made, oldest first, after making sure that
/// the attempt's file is deleted.
async fn find(
    deps: &Deps,
    shard: &Shard,
    recovering: &Recovering,
) -> Result<Vec<(DisplayName, Batch)>, ApiError> {
    delete(deps, &recovering.file).await?;
    // A batch of an attempt that this state has not made yet belongs to another state, which must
    // be a copy of this one.
    let ours = |batch: Batch| {
        let name: DisplayName = batch.display_name.parse().ok()?;
        let is_ours =
            name.is_of(&deps.stack, &shard.job, shard.shard) && name.attempt <= recovering.attempt;
        is_ours.then_some((name, batch))
    };
    let mut found: Vec<_> = deps
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

/// Adopts the oldest batch and cancels the others. `sweep` cancels those that can't be canceled
/// now.
async fn adopt(
    deps: &Deps,
    turn: &mut Turn<'_>,
    attempt: u32,
    oldest: &Batch,
    others: &[(DisplayName, Batch)],
) -> Result<Outcome, SubmitError> {
    info!(batch = %oldest.name, attempt, "batch found");
    // Deadlines count from the creation. A Gemini clock that is ahead must not extend them.
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
    let deadline = submitted_at + BATCH_DEADLINE;
    let next = Shard {
        unknown_creates: 0,
        ..turn.shard().enter(Phase::Submitted(submitted), deadline)
    };

    // The state names its batch before any other one is canceled.
    turn.enter(next).await?;
    deps.metrics.count(Metric::Adoptions);
    for (_, extra) in others.iter().filter(|(_, batch)| !batch.is_terminal()) {
        warn!(batch = %extra.name, "second batch of this shard; canceling it");
        deps.metrics.count(Metric::ExtraBatches);
        if let Err(error) = deps.gemini.cancel(&extra.name).await {
            warn!(batch = %extra.name, "the batch was not canceled: {error}");
        }
    }
    Ok(Outcome::forward_again(turn.shard_id(), Owner::Poll))
}

/// Deletes the input file, unless it is deleted already.
async fn delete(deps: &Deps, file: &FileName) -> Result<(), ApiError> {
    match deps.gemini.delete_file(file).await {
        Ok(()) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use darkroom::{
        names::{JobId, ShardId},
        state::{Demand, Pause},
    };

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn recovering() -> Recovering {
        Recovering {
            attempt: 2,
            file: FileName::new("files/f"),
            quiet_until: NOW,
            missed_at: None,
        }
    }

    fn shard() -> Shard {
        let demand = Demand::default();
        let id = ShardId::first(0);
        let shard = Shard::planned(&JobId::new("job"), id, "model", demand, (0, 9), NOW);
        shard.enter(Phase::Recovering(recovering()), NOW)
    }

    fn lookup() -> Look {
        Look {
            recovering: recovering(),
            last: true,
            ask_operator: false,
            stop: false,
            overdue: false,
        }
    }

    #[test]
    fn one_list_without_the_batch_is_confirmed_by_a_second_one() {
        let first = Look {
            last: false,
            ..lookup()
        };
        let Outcome::Wait(Pause { next, wait, refund }) = missed(&shard(), first, NOW) else {
            panic!("one list proves nothing")
        };
        assert_eq!((next.phase.name(), wait), ("recovering", BETWEEN_LISTS));
        assert!(!refund, "the batch may exist");
        let Outcome::Wait(pause) = missed(&shard(), lookup(), NOW) else {
            panic!("there is no batch")
        };
        assert_eq!(pause.next.phase, Phase::Planned { attempts: 2 });
    }

    #[test]
    fn without_a_batch_a_canceled_shard_ends_and_a_doubtful_one_is_held() {
        let stop = Look {
            stop: true,
            ..lookup()
        };
        let Outcome::End(ended) = missed(&shard(), stop, NOW) else {
            panic!("the job was canceled")
        };
        assert_eq!(ended.phase, Phase::Cancelled);
        let ask = || Look {
            ask_operator: true,
            ..lookup()
        };
        let Outcome::Hold(Pause { next, refund, .. }) = missed(&shard(), ask(), NOW) else {
            panic!("another call could cost twice")
        };
        assert!(!refund && next.phase.is_held());
        assert!(matches!(
            missed(&next, ask(), NOW),
            Outcome::KeepWaiting { notify: true, .. }
        ));
    }

    #[test]
    fn a_failed_list_is_retried_and_holds_the_shard_only_once_it_is_overdue() {
        let error = ApiError::Conflict {
            message: "busy".to_owned(),
        };
        let retried = not_listed(&shard(), &lookup(), &error, NOW);
        assert!(matches!(retried, Outcome::Retry(_)));
        let overdue = Look {
            overdue: true,
            ..lookup()
        };
        let held = not_listed(&shard(), &overdue, &error, NOW);
        assert!(matches!(held, Outcome::Hold(Pause { refund: false, .. })));
    }
}
