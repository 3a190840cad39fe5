//! What Gemini says of a batch, and what follows from it.
//!
//! A batch that exists was or will be paid for, so it is asked about until its output is found, or
//! until Gemini has deleted that output. What Gemini does not say now, it may say later: an answer
//! that does not come counts as nothing.

use darkroom::{
    names::BatchName,
    state::{
        BATCH_DEADLINE, BATCH_MAX_LIFETIME, BatchFailure, BatchOutput, CANCEL_GRACE, EndedBatch,
        OUTPUT_DOUBTFUL, OUTPUT_LATE, Phase, Shard, Submitted, retry_wait,
    },
};
use gemini::{ApiError, Batch, BatchState};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    deliveries::Disposition,
    metrics::Metric,
    shard_store::{Cas, StoredShard},
};
use tracing::{info, warn};

use crate::{
    handler::PollError,
    work::{CONTENDED, Work},
};

/// How often a batch is asked about whose shard is held: its message must last for weeks.
const HELD_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// Asks about the batch. `cancel` says that it is to be ended, `overdue` that it should have ended
/// long ago.
pub(crate) async fn ask(
    work: &Work<'_>,
    stored: StoredShard,
    batch: &BatchName,
    cancel: bool,
    overdue: bool,
) -> Result<Disposition, PollError> {
    let Phase::Submitted(submitted) = stored.shard.phase.before_held().clone() else {
        return Ok(Disposition::Later(CONTENDED));
    };
    match work.deps.gemini.batch(batch).await {
        Ok(answer) if answer.is_terminal() => match output_of(&answer) {
            Output::There(output) => ended(work, &stored, &submitted, answer, Some(output)).await,
            Output::None => ended(work, &stored, &submitted, answer, None).await,
            owed @ (Output::Owed | Output::Doubtful) => {
                output_missing(work, &stored, submitted, answer, owed).await
            }
        },
        Ok(_) if cancel => cancel_batch(work, &stored, submitted).await,
        Ok(_) if is_abandoned(work, &submitted) => abandon(work, &stored).await,
        Ok(_) if overdue => {
            let reason = format!(
                "the batch did not end after its cancellation; {}",
                submitted.whereabouts()
            );
            work.hold(&stored, &reason).await
        }
        Ok(answer) => running(work, &stored, submitted, &answer).await,
        Err(ApiError::NotFound { .. }) if is_abandoned(work, &submitted) => {
            abandon(work, &stored).await
        }
        Err(ApiError::NotFound { message }) => {
            let reason = format!(
                "Gemini does not know the batch ({message}). Does the API key belong to another project than before? It is \
                 asked again and again, and the job continues by itself once the batch is found; {}",
                submitted.whereabouts()
            );
            work.hold(&stored, &reason).await
        }
        Err(error) => not_answered(work, &stored, &submitted, error, overdue).await,
    }
}

/// What an ended batch says of its output.
enum Output {
    /// Where it is.
    There(BatchOutput),
    /// There is none.
    None,
    /// There must be one: the batch has succeeded, or says that it has made images.
    Owed,
    /// There may be one: the batch was cancelled, and says nothing of what it had done by then.
    Doubtful,
}

fn output_of(answer: &Batch) -> Output {
    if let Some(file) = &answer.output_file {
        return Output::There(BatchOutput::File(file.clone()));
    }
    if answer.inline_output {
        return Output::There(BatchOutput::Inline);
    }
    let has_counts = answer.stats != Default::default();
    match answer.state {
        _ if answer.stats.successful > 0 => Output::Owed,
        BatchState::Failed | BatchState::Expired => Output::None,
        BatchState::Cancelled if has_counts => Output::None,
        BatchState::Cancelled => Output::Doubtful,
        // `done` without an error means success, whatever the state is called.
        BatchState::Pending | BatchState::Running | BatchState::Unknown(_)
            if answer.error.is_some() =>
        {
            Output::None
        }
        BatchState::Succeeded
        | BatchState::Pending
        | BatchState::Running
        | BatchState::Unknown(_) => Output::Owed,
    }
}

/// The batch has ended, and where its output is is known or there is none: `collect` reads it.
async fn ended(
    work: &Work<'_>,
    stored: &StoredShard,
    submitted: &Submitted,
    answer: Batch,
    output: Option<BatchOutput>,
) -> Result<Disposition, PollError> {
    let now = work.deps.clock.now();
    let ended = EndedBatch {
        batch: submitted.batch.clone(),
        attempt: submitted.attempt,
        state: answer
            .state
            .to_string()
            .trim_start_matches("BATCH_STATE_")
            .to_owned(),
        output,
        error: answer.error.map(|error| BatchFailure {
            code: error.code,
            message: error.message,
        }),
        submitted_at: submitted.submitted_at,
        ended_at: ended_at(answer.end_time, submitted, now),
    };
    info!(batch = %ended.batch, state = ended.state, "batch ended");
    let deadline = ended.kept_until();
    match work
        .deps
        .states
        .swap(stored, stored.shard.enter(Phase::Ready { ended }, deadline))
        .await?
    {
        Cas::Written(_) => work.hand_on().await,
        Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
    }
}

/// When the batch ended by Gemini's word, as far as that can be true: the output is kept from then
/// on.
fn ended_at(said: Option<Timestamp>, submitted: &Submitted, now: Timestamp) -> Timestamp {
    said.filter(|said| (submitted.submitted_at..=now).contains(said))
        .unwrap_or(now)
}

/// The batch has ended, and does not say where its output is: it is asked again, as asking for its
/// images again would be paid again.
async fn output_missing(
    work: &Work<'_>,
    stored: &StoredShard,
    submitted: Submitted,
    answer: Batch,
    owed: Output,
) -> Result<Disposition, PollError> {
    let now = work.deps.clock.now();
    let since = submitted.output_missing_since.unwrap_or(now);
    let missing_for = now.duration_since(since);
    // A person who cancelled the job need not wait for an output that may never come.
    let is_doubtful = matches!(owed, Output::Doubtful) || work.stopped;
    if is_doubtful && missing_for >= OUTPUT_DOUBTFUL {
        return ended(work, stored, &submitted, answer, None).await;
    }
    let reason = format!(
        "the batch has ended ({}), but Gemini does not say where its output is; it is asked again and again, and the job \
         continues by itself once it says so; {}",
        answer.state,
        submitted.whereabouts()
    );
    let is_held = stored.shard.phase.is_held();
    let pause = if is_held {
        HELD_PAUSE
    } else {
        work.deps.waits.after(missing_for, work.deps.rng.fraction())
    };
    let is_news = submitted.output_missing_since.is_none() || work.stopped != stored.shard.stopped;
    let submitted = Submitted {
        output_missing_since: Some(since),
        ..submitted
    };
    let next = stored.shard.with_detail(Phase::Submitted(submitted));
    if missing_for >= OUTPUT_LATE && !is_doubtful && !is_held {
        warn!("held: {reason}");
        let reason = format!(
            "{reason}. Approve to have its images made again, which is paid again; cancel to end without them"
        );
        return work.wait(stored, next.held(reason, now), pause).await;
    }
    if !is_news {
        return work.wait_on(stored, pause).await;
    }
    info!("no output yet");
    let waiting = if is_held {
        stored.shard.waiting.clone()
    } else {
        Some(reason)
    };
    work.wait(
        stored,
        Shard {
            errors: 0,
            waiting,
            ..next
        },
        pause,
    )
    .await
}

/// Whether a person has cancelled the job, and Gemini still answers, but not with an end, long
/// after any batch has ended.
fn is_abandoned(work: &Work<'_>, submitted: &Submitted) -> bool {
    let now = work.deps.clock.now();
    let asked_for = submitted.cancelled_at.unwrap_or(submitted.submitted_at) + OUTPUT_DOUBTFUL;
    work.stopped && now >= (submitted.submitted_at + BATCH_MAX_LIFETIME).max(asked_for)
}

/// Ends the shard of a cancelled job without its batch's output.
async fn abandon(work: &Work<'_>, stored: &StoredShard) -> Result<Disposition, PollError> {
    warn!("the job was cancelled, and its batch does not end");
    let next = stored.shard.failed(
        "ABANDONED",
        "the job was cancelled, and Gemini does not say how the batch ended",
    );
    work.end(
        stored,
        Shard {
            stopped: true,
            ..next
        },
    )
    .await
}

/// Still running: note the progress, if there is any, and come back.
async fn running(
    work: &Work<'_>,
    stored: &StoredShard,
    submitted: Submitted,
    answer: &Batch,
) -> Result<Disposition, PollError> {
    let deps = work.deps;
    let is_held = stored.shard.phase.is_held();
    let waited = deps.clock.now().duration_since(submitted.submitted_at);
    deps.metrics
        .put(&[(Metric::BatchAge, waited.as_secs_f64())]);
    let pause = deps.waits.after(waited, deps.rng.fraction());
    let done = answer.stats.successful.saturating_add(answer.stats.failed);
    let finished = u32::try_from(done).unwrap_or(u32::MAX);
    let says_nothing = finished == submitted.finished && stored.shard.errors == 0 && !is_held;
    if says_nothing {
        return work.wait_on(stored, pause).await;
    }
    // Held because it doesn't end: that has not changed.
    if is_held && submitted.cancelled_at.is_some() {
        return work.wait_on(stored, HELD_PAUSE).await;
    }
    let deadline = if is_held {
        submitted.submitted_at + BATCH_DEADLINE
    } else {
        stored.shard.deadline
    };
    let waiting = stored
        .shard
        .waiting
        .clone()
        .filter(|_| submitted.cancelled_at.is_some());
    let submitted = Submitted {
        finished,
        output_missing_since: None,
        ..submitted
    };
    let next = stored.shard.enter(Phase::Submitted(submitted), deadline);
    work.wait(
        stored,
        Shard {
            errors: 0,
            waiting,
            ..next
        },
        pause,
    )
    .await
}

/// Asks for the batch's end, then writes down that it did: a batch that is cancelled twice ends all
/// the same.
async fn cancel_batch(
    work: &Work<'_>,
    stored: &StoredShard,
    submitted: Submitted,
) -> Result<Disposition, PollError> {
    let why = if work.stopped {
        "as a person asked"
    } else {
        "after its deadline"
    };
    warn!(batch = %submitted.batch, "the batch is cancelled {why}");
    match work.deps.gemini.cancel(&submitted.batch).await {
        // What has ended meanwhile can't be cancelled, nor need it be; the next question tells.
        Ok(()) | Err(ApiError::Conflict { .. } | ApiError::Invalid { .. }) => {}
        Err(error) => return not_answered(work, stored, &submitted, error, false).await,
    }
    let now = work.deps.clock.now();
    let phase = Phase::Submitted(Submitted {
        cancelled_at: Some(now),
        ..submitted
    });
    let mut next = stored.shard.enter(phase, now + CANCEL_GRACE);
    next.stopped |= work.stopped;
    let next = next.waiting(format!(
        "cancelled {why}; what it produced will be collected"
    ));
    work.wait(stored, next, work.deps.waits.shortest()).await
}

/// Gemini gave no answer about the batch: it is asked again, however long that takes. Where the
/// batch should have ended long ago, a person is told.
async fn not_answered(
    work: &Work<'_>,
    stored: &StoredShard,
    submitted: &Submitted,
    error: ApiError,
    overdue: bool,
) -> Result<Disposition, PollError> {
    warn!("no answer about the batch: {error}");
    let waits = work.deps.waits;
    let asked = match &error {
        ApiError::RateLimited { retry_after, .. } => retry_after.unwrap_or(waits.longest()),
        ApiError::Unauthorized { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::NotFound { .. }
        | ApiError::Conflict { .. }
        | ApiError::Invalid { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => waits.shortest(),
    };
    let why = format!("Gemini does not answer about the batch: {error}; it is asked again");
    let next = stored.shard.after_error(why);
    let wait = retry_wait(next.errors).max(asked);
    if !overdue || next.phase.is_held() {
        return work.wait(stored, next, wait).await;
    }
    let reason = format!(
        "for hours Gemini has not answered how the batch ended: {error}. It is asked again and again, and the job continues by \
         itself once it answers; {}",
        submitted.whereabouts()
    );
    warn!("held: {reason}");
    let errors = next.errors;
    work.wait(
        stored,
        Shard {
            errors,
            ..next.held(reason, work.deps.clock.now())
        },
        wait,
    )
    .await
}
