//! What Gemini says of a batch, and what follows from it.

use clients::{
    deliveries::Disposition,
    gemini::{ApiError, Batch},
    metrics::Metric,
    states::{StoredShard, Swap},
};
use darkroom::{
    names::BatchName,
    state::{BATCH_DEADLINE, BatchFailure, CANCEL_GRACE, COLLECT_DEADLINE, EndedBatch, Phase},
};
use tracing::{info, warn};

use crate::{
    handler::PollError,
    work::{CONTENDED, Work},
};

/// Asks about the batch. `cancel` says that it is to be ended, `overdue` that it should have ended long ago.
pub(crate) async fn ask(
    work: &Work<'_>,
    stored: StoredShard,
    batch: &BatchName,
    cancel: bool,
    overdue: bool,
) -> Result<Disposition, PollError> {
    match work.deps.gemini.batch(batch).await {
        Ok(answer) if answer.is_terminal() && !has_lost_output(&answer) => ended(work, &stored, answer).await,
        Ok(answer) if answer.is_terminal() => {
            let reason = format!("Gemini made {} images and doesn't say where they are", answer.stats.successful);
            work.hold(&stored, &reason).await
        }
        Ok(_) if cancel => cancel_batch(work, &stored, batch).await,
        Ok(_) if overdue => work.hold(&stored, "the batch did not end after its cancellation").await,
        Ok(answer) => running(work, &stored, &answer).await,
        Err(error) if overdue => {
            work.hold(&stored, &format!("for hours Gemini has not said what became of the batch: {error}")).await
        }
        Err(error) => not_answered(work, &stored, error).await,
    }
}

/// Asking again for what was made would be paid again.
fn has_lost_output(answer: &Batch) -> bool {
    answer.output_file.is_none() && answer.stats.successful > 0
}

/// The batch ended: write down how, then let `collect` look for output, whatever the state is called.
async fn ended(work: &Work<'_>, stored: &StoredShard, answer: Batch) -> Result<Disposition, PollError> {
    let Phase::Submitted { attempt, batch, submitted_at, .. } = stored.shard.phase.before_held() else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let now = work.deps.clock.now();
    let ended = EndedBatch {
        batch: batch.clone(),
        attempt: *attempt,
        state: answer.state.to_string().trim_start_matches("BATCH_STATE_").to_owned(),
        output: answer.output_file,
        error: answer.error.map(|error| BatchFailure { code: error.code, message: error.message }),
        submitted_at: *submitted_at,
        ended_at: now,
    };
    info!(batch = %batch, state = ended.state, "batch ended");
    let next = stored.shard.enter(Phase::Ready { ended }, now + COLLECT_DEADLINE);
    match work.deps.states.swap(stored, next).await? {
        Swap::Mine(_) => work.hand_on().await,
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

/// Still running: note the progress, if there is any, and come back.
async fn running(work: &Work<'_>, stored: &StoredShard, answer: &Batch) -> Result<Disposition, PollError> {
    let Phase::Submitted { submitted_at, finished, cancelled_at, .. } = stored.shard.phase.before_held() else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let deps = work.deps;
    let is_held = matches!(stored.shard.phase, Phase::Held { .. });
    let waited = deps.clock.now().duration_since(*submitted_at);
    deps.metrics.put(&[(Metric::BatchAge, waited.as_secs_f64())]);
    let pause = deps.waits.after(waited, deps.chance.fraction());
    let now_finished = u32::try_from(answer.stats.successful.saturating_add(answer.stats.failed)).unwrap_or(u32::MAX);
    let says_nothing = now_finished == *finished && stored.shard.errors == 0 && !is_held;
    // Held because it doesn't end: that hasn't changed.
    if says_nothing || (is_held && cancelled_at.is_some()) {
        return work.wait_on(stored, pause).await;
    }
    let deadline = if is_held { *submitted_at + BATCH_DEADLINE } else { stored.shard.deadline };
    let waiting = stored.shard.waiting.clone().filter(|_| cancelled_at.is_some());
    let mut next = stored.shard.enter(stored.shard.phase.before_held().clone(), deadline);
    (next.errors, next.waiting) = (0, waiting);
    if let Phase::Submitted { finished, .. } = &mut next.phase {
        *finished = now_finished;
    }
    work.wait(stored, next, pause).await
}

/// Asks for the batch's end, then writes down that it did: asked twice, it ends all the same.
async fn cancel_batch(work: &Work<'_>, stored: &StoredShard, batch: &BatchName) -> Result<Disposition, PollError> {
    let why = if work.stopped { "as a person asked" } else { "after its deadline" };
    warn!(batch = %batch, "the batch is cancelled {why}");
    match work.deps.gemini.cancel(batch).await {
        // What has ended meanwhile can't be cancelled, nor need it be; the next question tells.
        Ok(()) | Err(ApiError::Conflict { .. } | ApiError::Invalid { .. }) => {}
        Err(error) => return not_answered(work, stored, error).await,
    }
    let now = work.deps.clock.now();
    let mut phase = stored.shard.phase.before_held().clone();
    if let Phase::Submitted { cancelled_at, .. } = &mut phase {
        *cancelled_at = Some(now);
    }
    let mut next = stored.shard.enter(phase, now + CANCEL_GRACE);
    next.stopped |= work.stopped;
    let next = next.waiting(format!("cancelled {why}; what it produced will be collected"));
    work.wait(stored, next, work.deps.waits.shortest).await
}

/// Gemini gave no answer about the batch: come back, or hold the shard when that can't help.
async fn not_answered(work: &Work<'_>, stored: &StoredShard, error: ApiError) -> Result<Disposition, PollError> {
    let waits = work.deps.waits;
    match error {
        ApiError::RateLimited { retry_after, .. } => {
            work.wait_on(stored, retry_after.unwrap_or(waits.longest).max(waits.shortest)).await
        }
        ApiError::NotFound { .. } => {
            let reason = format!("Gemini doesn't know the batch (was the key moved to another project?): {error}");
            work.hold(stored, &reason).await
        }
        ApiError::Unauthorized { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Conflict { .. }
        | ApiError::Invalid { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => {
            warn!("no answer about the batch: {error}");
            if let Phase::Held { .. } = stored.shard.phase {
                return work.wait_on(stored, waits.longest).await;
            }
            let next = stored.shard.after_error(&error.to_string(), work.deps.clock.now());
            work.wait(stored, next, waits.longest).await
        }
    }
}
