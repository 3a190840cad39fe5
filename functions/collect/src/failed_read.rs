//! A reading that failed: when the output is read again, and when the shard is held.
//!
//! The batch was paid for, so its output is read for as long as Gemini keeps it. Failures make the
//! waits longer, and after a few of them the shard is held so that an operator looks at it.

use darkroom::state::{
    COLLECT_PATIENCE, Collecting, Outcome, READS_BEFORE_HELD, Shard, Unmatched, read_wait,
    retry_wait,
};
use exchange::error::RecordError;
use gemini::ApiError;
use jiff::SignedDuration;
use runtime::turn::TurnError;
use tracing::warn;

use crate::{error::CollectError, reading::Reading};

/// Turns a failed reading into an outcome that gives the lease back. Only a reader that crashes
/// keeps its lease.
///
/// # Errors
/// A conflict: the state is another invocation's now, and so is the lease.
pub(crate) fn give_lease_back(
    reading: &Reading<'_, '_>,
    outcome: Result<Outcome, CollectError>,
) -> Result<Outcome, CollectError> {
    match outcome {
        Err(CollectError::Turn(TurnError::Conflict)) | Ok(_) => outcome,
        Err(problem) => Ok(after(reading, &problem)),
    }
}

/// Decides after a reading that failed because of `problem`.
fn after(reading: &Reading<'_, '_>, problem: &CollectError) -> Outcome {
    let shard = reading.turn.shard();
    let now = reading.deps.clock.now();
    warn!("reading failed: {problem}");

    // A reading that failed for another reason than the output does not count as a try.
    let counts = counts_as_try(problem);
    let tries = reading.collecting.tries.saturating_sub(u32::from(!counts));
    let errors = shard.errors.saturating_add(1);
    let wait = if counts {
        read_wait(tries)
    } else {
        retry_wait(errors)
    };
    let wait = wait.max(requested_wait(problem));

    // An output without any usable line may be incomplete, so all of it is read again.
    let mut collecting = Collecting {
        tries,
        ..reading.collecting.clone()
    };
    let has_nothing = matches!(problem, CollectError::NothingUsable { .. });
    if has_nothing {
        collecting = collecting.from_the_start();
    }

    let is_overdue = now >= collecting.ended.ended_at + COLLECT_PATIENCE;
    if tries < READS_BEFORE_HELD && !is_overdue {
        let next = Shard {
            errors,
            ..reading
                .without_lease(collecting)
                .waiting(problem.to_string())
        };
        return Outcome::retry_after(next, wait);
    }

    // Approval buys images again only if the output has none.
    let effect_of_approval = if has_nothing {
        collecting.unmatched = Some(Unmatched {
            images: 0,
            buy_again: false,
        });
        "Approve to have its images made again, which is paid again; cancel to end without them"
    } else {
        "Approve to read it again at once"
    };
    let problem = problem.to_string();
    let reason = format!(
        "the output could not be read: {problem}. Reading is retried, and the job continues \
         automatically once that works; {}. {effect_of_approval}",
        collecting.ended.describe_output(),
        problem = problem.trim_end_matches('.')
    );
    let tried = Shard {
        errors,
        // A cancel takes effect on a held shard, and need not be brought by its own message from
        // now on.
        cancel_requested: shard.cancel_requested || reading.turn.cancel_requested(),
        ..reading.without_lease(collecting)
    };
    Outcome::hold(tried.held(reason, now), wait)
}

/// Whether a failed reading counts as a try: not if a quota, the credit, the API key or the bucket
/// is the reason.
fn counts_as_try(problem: &CollectError) -> bool {
    match problem {
        // The output itself was not the reason.
        CollectError::Gemini(
            ApiError::RateLimited { .. }
            | ApiError::PrepaymentDepleted { .. }
            | ApiError::Unauthorized { .. },
        )
        | CollectError::Turn(_)
        | CollectError::Bucket(_)
        | CollectError::Record(
            RecordError::Catalog(_)
            | RecordError::State(_)
            | RecordError::Bucket(_)
            | RecordError::Lines(_)
            | RecordError::Chunk(_)
            | RecordError::Missing(_)
            | RecordError::Turn(_),
        ) => false,
        // The output, or the documents of this shard, may stay unreadable.
        CollectError::Gemini(
            ApiError::NotFound { .. }
            | ApiError::Conflict { .. }
            | ApiError::Invalid { .. }
            | ApiError::Transient { .. }
            | ApiError::Malformed { .. },
        )
        | CollectError::Record(
            RecordError::Document(_) | RecordError::NoState(..) | RecordError::RoundBegun(_),
        )
        | CollectError::NothingUsable { .. }
        | CollectError::Shrunk
        | CollectError::OutOfTime => true,
    }
}

/// Returns how long Gemini asks to wait.
fn requested_wait(problem: &CollectError) -> SignedDuration {
    match problem {
        CollectError::Gemini(ApiError::RateLimited {
            retry_after: Some(wait),
            ..
        }) => *wait,
        _ => SignedDuration::ZERO,
    }
}
