//! Gemini's answer about a batch, and what it means for the shard.
//!
//! A batch that exists was or will be paid for, so it is polled until its output is found, or until
//! Gemini has deleted that output. A missing answer proves nothing: Gemini may give it later.

use darkroom::state::{
    BATCH_DEADLINE, BATCH_MAX_LIFETIME, BatchFailure, BatchOutput, CANCEL_GRACE, EndedBatch,
    OUTPUT_DOUBTFUL, OUTPUT_LATE, Outcome, Phase, Shard, Submitted, retry_wait,
};
use gemini::{ApiError, Batch, BatchState};
use jiff::{SignedDuration, Timestamp};
use runtime::{metrics::Metric, turn::Turn};
use tracing::{info, warn};

use crate::deps::Deps;

/// The wait between two polls of a held shard. Its message must last for weeks, and a queue allows
/// 1,000 receives.
const HELD_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// What is known about a batch before Gemini is asked about it.
struct Polled<'a> {
    deps: &'a Deps,
    shard: &'a Shard,
    /// Whether a user has canceled the job.
    cancel_requested: bool,
    submitted: Submitted,
}

/// Asks Gemini about the batch, and decides. `cancel` is whether to cancel a batch that still runs,
/// `overdue` whether it should have ended long ago.
pub(crate) async fn ask(
    deps: &Deps,
    turn: &Turn<'_>,
    submitted: Submitted,
    cancel: bool,
    overdue: bool,
) -> Outcome {
    let answer = deps.gemini.batch(&submitted.batch).await;
    let polled = Polled {
        deps,
        shard: turn.shard(),
        cancel_requested: turn.cancel_requested(),
        submitted,
    };
    match answer {
        Ok(answer) if answer.is_terminal() => match output_of(&answer) {
            Output::There(output) => polled.ended(answer, Some(output)),
            Output::None => polled.ended(answer, None),
            missing @ (Output::Owed | Output::Doubtful) => polled.output_missing(answer, missing),
        },
        Ok(_) if cancel => polled.cancel_batch().await,
        Ok(_) if polled.is_abandoned() => polled.abandon(),
        Ok(_) if overdue => polled.hold(&format!(
            "the batch did not end after it was canceled; {}",
            polled.submitted.describe_batch()
        )),
        Ok(answer) => polled.running(&answer),
        Err(ApiError::NotFound { .. }) if polled.is_abandoned() => polled.abandon(),
        Err(ApiError::NotFound { message }) => polled.hold(&format!(
            "Gemini does not know the batch ({message}). Does the API key belong to another \
             project than before? Polling continues, and so does the job once the batch is found; \
             {}",
            polled.submitted.describe_batch()
        )),
        Err(error) => polled.not_answered(&error, overdue),
    }
}

/// The output of an ended batch, as far as its description names it.
enum Output {
    /// The description names it.
    There(BatchOutput),
    /// There is none.
    None,
    /// There must be one: the batch has succeeded, or reports successful requests.
    Owed,
    /// There may be one: the batch was canceled, and does not report what it had finished by then.
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
        // `done` without an error means success, whatever the name of the state.
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

/// Returns when the batch ended. Gemini's time counts only if it can be true, because the six weeks
/// for which Gemini keeps the output begin then.
fn ended_at(reported: Option<Timestamp>, submitted: &Submitted, now: Timestamp) -> Timestamp {
    reported
        .filter(|reported| (submitted.submitted_at..=now).contains(reported))
        .unwrap_or(now)
}

impl Polled<'_> {
    fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// Returns the wait before the next poll of a batch that has been waited for this long.
    fn pause(&self, waited: SignedDuration) -> SignedDuration {
        self.deps.waits.after(waited, self.deps.rng.fraction())
    }

    /// Records in a state that waits whether the cancel is known, so that later messages don't count
    /// as the one that brings it.
    fn with_cancel(&self, next: Shard) -> Shard {
        Shard {
            cancel_requested: next.cancel_requested || self.cancel_requested,
            ..next
        }
    }

    /// Waits for nothing new: the state changes only if the driver's heartbeat is due.
    fn keep_waiting(wait: SignedDuration) -> Outcome {
        Outcome::KeepWaiting {
            wait,
            notify: false,
        }
    }

    /// The batch has ended, and its output is known, or there is none: `collect` continues.
    fn ended(self, answer: Batch, output: Option<BatchOutput>) -> Outcome {
        let now = self.now();
        let ended = EndedBatch {
            attempt: self.submitted.attempt,
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
            submitted_at: self.submitted.submitted_at,
            ended_at: ended_at(answer.end_time, &self.submitted, now),
            batch: self.submitted.batch,
        };
        info!(batch = %ended.batch, state = ended.state, "batch ended");
        let deadline = ended.kept_until();
        Outcome::forward(self.shard.enter(Phase::Ready { ended }, deadline))
    }

    /// The batch has ended without naming its output: it is polled again, because requesting its
    /// images again would be paid again.
    fn output_missing(self, answer: Batch, missing: Output) -> Outcome {
        let now = self.now();
        let since = self.submitted.output_missing_since.unwrap_or(now);
        let missing_for = now.duration_since(since);

        // After a cancel, the output may never appear, so the wait for it ends after a day.
        let is_doubtful = matches!(missing, Output::Doubtful) || self.cancel_requested;
        if is_doubtful && missing_for >= OUTPUT_DOUBTFUL {
            return self.ended(answer, None);
        }

        let reason = format!(
            "the batch has ended ({}), but Gemini does not name its output; polling continues, and \
             so does the job once the output is named; {}",
            answer.state,
            self.submitted.describe_batch()
        );
        let is_held = self.shard.phase.is_held();
        let pause = if is_held {
            HELD_PAUSE
        } else {
            self.pause(missing_for)
        };
        let is_news = self.submitted.output_missing_since.is_none()
            || self.cancel_requested != self.shard.cancel_requested;
        let next = self
            .with_cancel(self.shard.clone())
            .with_detail(Phase::Submitted(Submitted {
                output_missing_since: Some(since),
                ..self.submitted.clone()
            }));

        // A success whose output does not appear needs an operator's attention.
        if missing_for >= OUTPUT_LATE && !is_doubtful && !is_held {
            let reason = format!(
                "{reason}. Approve to have its images made again, which is paid again; cancel to \
                 end without them"
            );
            return Outcome::hold(next.held(reason, now), pause);
        }
        if !is_news {
            return Self::keep_waiting(pause);
        }

        // A held shard keeps the reason for which it is held.
        let waiting = if is_held {
            self.shard.waiting.clone()
        } else {
            Some(reason)
        };
        let next = Shard {
            errors: 0,
            waiting,
            ..next
        };
        Outcome::wait(next, pause)
    }

    /// Whether a user has canceled the job, and Gemini still reports no end, long after any batch
    /// has ended.
    fn is_abandoned(&self) -> bool {
        let Submitted {
            submitted_at,
            cancelled_at,
            ..
        } = self.submitted;
        let cancel_patience = cancelled_at.unwrap_or(submitted_at) + OUTPUT_DOUBTFUL;
        let longest_life = submitted_at + BATCH_MAX_LIFETIME;
        self.cancel_requested && self.now() >= longest_life.max(cancel_patience)
    }

    /// Ends the shard of a canceled job without its batch's output.
    fn abandon(&self) -> Outcome {
        warn!("the job was canceled, and its batch does not end");
        let next = self.shard.failed(
            "ABANDONED",
            "the job was canceled, and Gemini does not report how the batch ended",
        );
        Outcome::end(Shard {
            cancel_requested: true,
            ..next
        })
    }

    /// The batch still runs: records its progress, if there is any, and waits.
    fn running(&self, answer: &Batch) -> Outcome {
        let (deps, shard, submitted) = (self.deps, self.shard, &self.submitted);
        let is_held = shard.phase.is_held();
        let waited = self.now().duration_since(submitted.submitted_at);
        deps.metrics
            .put(&[(Metric::BatchAge, waited.as_secs_f64())]);
        let pause = self.pause(waited);

        // Most polls find nothing new, and the state is not written for them.
        let done = answer.stats.successful.saturating_add(answer.stats.failed);
        let finished = u32::try_from(done).unwrap_or(u32::MAX);
        let is_unchanged = finished == submitted.finished && shard.errors == 0 && !is_held;
        if is_unchanged {
            return Self::keep_waiting(pause);
        }

        // A shard that is held because its batch did not end after a cancel stays held: it still
        // has not ended.
        if is_held && submitted.cancelled_at.is_some() {
            return Self::keep_waiting(HELD_PAUSE);
        }

        // An answer ends every other reason to hold the shard.
        let deadline = if is_held {
            submitted.submitted_at + BATCH_DEADLINE
        } else {
            shard.deadline
        };
        let waiting = shard
            .waiting
            .clone()
            .filter(|_| submitted.cancelled_at.is_some());
        let running = Phase::Submitted(Submitted {
            finished,
            output_missing_since: None,
            ..submitted.clone()
        });
        let next = Shard {
            errors: 0,
            waiting,
            ..self.with_cancel(shard.enter(running, deadline))
        };
        Outcome::wait(next, pause)
    }

    /// Cancels the batch, then records that. A crash in between repeats the cancel, which changes
    /// nothing.
    async fn cancel_batch(&self) -> Outcome {
        let why = if self.cancel_requested {
            "at a user's request"
        } else {
            "after its deadline"
        };
        warn!(batch = %self.submitted.batch, "canceling the batch {why}");
        match self.deps.gemini.cancel(&self.submitted.batch).await {
            // A batch that has ended meanwhile can't be canceled; the next poll finds its end.
            Ok(()) | Err(ApiError::Conflict { .. } | ApiError::Invalid { .. }) => {}
            Err(error) => return self.not_answered(&error, false),
        }
        let now = self.now();
        let phase = Phase::Submitted(Submitted {
            cancelled_at: Some(now),
            ..self.submitted.clone()
        });
        let next = self
            .with_cancel(self.shard.enter(phase, now + CANCEL_GRACE))
            .waiting(format!(
                "canceled {why}; the images made by then will be collected"
            ));
        Outcome::wait(next, self.deps.waits.shortest)
    }

    /// Holds the shard for an operator. Polling continues after growing waits.
    fn hold(&self, reason: &str) -> Outcome {
        let errors = self.shard.errors.saturating_add(1);
        let wait = retry_wait(errors);
        let tried = Shard {
            errors,
            ..self.with_cancel(self.shard.clone())
        };
        if tried.phase.is_held() {
            return Outcome::wait(tried, wait);
        }
        Outcome::hold(tried.held(reason, self.now()), wait)
    }

    /// Gemini gave no answer about the batch: it is polled again, for as long as that takes. If the
    /// batch should have ended long ago, the shard is held.
    fn not_answered(&self, error: &ApiError, overdue: bool) -> Outcome {
        let waits = self.deps.waits;
        let asked = match error {
            ApiError::RateLimited { retry_after, .. } => retry_after.unwrap_or(waits.longest),
            ApiError::Unauthorized { .. }
            | ApiError::PrepaymentDepleted { .. }
            | ApiError::NotFound { .. }
            | ApiError::Conflict { .. }
            | ApiError::Invalid { .. }
            | ApiError::Transient { .. }
            | ApiError::Malformed { .. } => waits.shortest,
        };
        let why = format!("Gemini does not answer about the batch: {error}; polling continues");
        let tried = self.with_cancel(self.shard.after_error(why));
        let wait = retry_wait(tried.errors).max(asked);
        if !overdue || tried.phase.is_held() {
            return Outcome::retry_after(tried, wait);
        }
        let reason = format!(
            "for hours Gemini has not answered how the batch ended: {error}. Polling continues, \
             and so does the job once Gemini answers; {}",
            self.submitted.describe_batch()
        );
        Outcome::hold(tried.held(reason, self.now()), wait)
    }
}
