//! A reading that failed: when the output is read again, and when a person is told.
//!
//! The batch was paid for, so its output is read as long as Gemini keeps it. What changes with the
//! failures are the waits, and that a person is told.

use darkroom::state::{
    COLLECT_PATIENCE, Collecting, Phase, READS_BEFORE_HELD, Shard, Unmatched, read_wait, retry_wait,
};
use gemini::ApiError;
use jiff::SignedDuration;
use runtime::{deliveries::Disposition, shard_store::StoredShard};
use tracing::warn;

use crate::{
    handler::CollectError,
    work::{CONTENDED, Work},
};

/// Gives the lease back after `problem`, and has the message come back.
pub(crate) async fn after(
    work: &Work<'_>,
    stored: &StoredShard,
    problem: CollectError,
) -> Result<Disposition, CollectError> {
    let Phase::Collecting(collecting) = &stored.shard.phase else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let now = work.deps.clock.now();
    warn!("not collected to the end: {problem}");

    // A reading that something else prevented says nothing about the output.
    let counts = counts(&problem);
    let tries = collecting.tries.saturating_sub(u32::from(!counts));
    let errors = stored.shard.errors.saturating_add(1);
    let wait = if counts {
        read_wait(tries)
    } else {
        retry_wait(errors)
    }
    .max(asked(&problem));
    let mut collecting = Collecting {
        tries,
        lease_until: None,
        ..collecting.clone()
    };
    let has_nothing = matches!(problem, CollectError::NothingUsable { .. });
    if has_nothing {
        collecting = collecting.from_the_start();
    }

    let is_overdue = now >= collecting.ended.ended_at + COLLECT_PATIENCE;
    if tries < READS_BEFORE_HELD && !is_overdue {
        let next = Shard {
            errors,
            phase: Phase::Collecting(collecting),
            ..stored.shard.clone()
        };
        return work
            .wait(stored, next.waiting(problem.to_string()), wait)
            .await;
    }
    let what_approving_does = if has_nothing {
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
        "the output could not be read: {problem}. It is read again and again, and the job continues by itself once that \
         works; {}. {what_approving_does}",
        collecting.ended.whereabouts(),
        problem = problem.trim_end_matches('.')
    );
    let tried = Shard {
        phase: Phase::Collecting(collecting),
        ..stored.shard.clone()
    };
    let held = Shard {
        errors,
        ..tried.held(reason, now)
    };
    work.wait(stored, held, wait).await
}

/// Whether a failed reading counts as a try: not where a quota, the credit, the API key or the
/// bucket prevented it.
fn counts(problem: &CollectError) -> bool {
    match problem {
        CollectError::Gemini(
            ApiError::RateLimited { .. }
            | ApiError::PrepaymentDepleted { .. }
            | ApiError::Unauthorized { .. },
        )
        | CollectError::Catalog(_)
        | CollectError::State(_)
        | CollectError::Bucket(_)
        | CollectError::Lines(_)
        | CollectError::Chunk(_)
        | CollectError::Ledger(_)
        | CollectError::Queue(_)
        | CollectError::Missing(_)
        | CollectError::Contended => false,
        CollectError::Gemini(
            ApiError::NotFound { .. }
            | ApiError::Conflict { .. }
            | ApiError::Invalid { .. }
            | ApiError::Transient { .. }
            | ApiError::Malformed { .. },
        )
        | CollectError::Malformed { .. }
        | CollectError::NoState(..)
        | CollectError::NothingUsable { .. }
        | CollectError::Shrunk
        | CollectError::OutOfTime
        | CollectError::RoundBegun(_) => true,
    }
}

/// How long Gemini asks to wait.
fn asked(problem: &CollectError) -> SignedDuration {
    match problem {
        CollectError::Gemini(ApiError::RateLimited {
            retry_after: Some(wait),
            ..
        }) => *wait,
        _ => SignedDuration::ZERO,
    }
}
