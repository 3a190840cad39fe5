//! One message of (polls): ask Gemini about the batch, and have the message come back, or hand the shard on.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use clients::{
    chance::Chance,
    clock::Clock,
    deliveries::{Disposition, deliver},
    gemini::{ApiError, Batch, Gemini},
    metrics::{Metric, Metrics},
    queue::{Queue, QueueError},
    states::{StateError, States, StoredShard, Swap},
};
use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::{BatchName, JobId, ShardId},
    state::{
        BATCH_DEADLINE, BatchFailure, CANCEL_GRACE, COLLECT_DEADLINE, EndedBatch, Phase, PollStep, Shard, poll_step,
    },
};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

/// How long to leave a shard alone that somebody else has just changed.
const CONTENDED: SignedDuration = SignedDuration::from_secs(10);

/// How long a batch is left alone between two questions about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// At first.
    pub shortest: SignedDuration,
    /// Once it has taken hours, and after errors.
    pub longest: SignedDuration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { shortest: SignedDuration::from_mins(1), longest: SignedDuration::from_mins(15) }
    }
}

/// What `poll` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Shard states.
    pub states: States,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers it.
    pub polls: Queue,
    /// Where ended batches go.
    pub results: Queue,
    /// Where changes are told.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// Jitter.
    pub chance: Chance,
    /// How often to ask.
    pub waits: Waits,
    /// What an operator watches.
    pub metrics: Metrics,
}

/// Why a batch could not be asked about now; its message comes back.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The body is no message of this queue.
    #[error("not a shard message: {0}")]
    Message(#[from] serde_json::Error),
    /// The shard's state was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(JobId, ShardId),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Handles one event of (polls).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.polls, event, async |body| process(deps, body).await).await
}

async fn process(deps: &Deps, body: &str) -> Result<Disposition, PollError> {
    let message: ShardMessage = serde_json::from_str(body)?;
    let Some(stored) = deps.states.read(&message.job, message.shard).await? else {
        return Err(PollError::NoState(message.job, message.shard));
    };
    let now = deps.clock.now();
    match poll_step(&stored.shard, now) {
        PollStep::Ask { batch, cancel, overdue } => match deps.gemini.batch(&batch).await {
            Ok(answer) if answer.is_terminal() && !has_lost_output(&answer) => {
                hand_on(deps, &message, &stored, answer).await
            }
            Ok(answer) if answer.is_terminal() => {
                let reason = format!("Gemini made {} images and doesn't say where they are", answer.stats.successful);
                hold(deps, &message, &stored, &reason).await
            }
            Ok(_) if overdue => hold(deps, &message, &stored, "the batch did not end after its cancellation").await,
            Ok(_) if cancel => cancel_batch(deps, &message, &stored, &batch).await,
            Ok(answer) => wait(deps, &message, stored, answer).await,
            Err(error) => not_answered(deps, &message, &stored, error).await,
        },
        PollStep::Collect => {
            deps.results.send(&message).await?;
            Ok(Disposition::Done)
        }
        PollStep::Wait(until) => Ok(Disposition::Later(until.duration_since(now))),
        PollStep::GiveUp => match deps.states.swap(&stored, stored.shard.given_up()).await? {
            Swap::Mine(_) => tell_report(deps, &message, Disposition::Done).await,
            Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
        },
        PollStep::Report => tell_report(deps, &message, Disposition::Done).await,
    }
}

/// Asking again for what was made would be paid again.
fn has_lost_output(answer: &Batch) -> bool {
    answer.output_file.is_none() && answer.stats.successful > 0
}

/// The batch ended: write down how, then let `collect` look for output, whatever the state is called.
async fn hand_on(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    answer: Batch,
) -> Result<Disposition, PollError> {
    let Phase::Submitted { attempt, batch, submitted_at, .. } = stored.shard.phase.before_held() else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let now = deps.clock.now();
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
    match deps.states.swap(stored, stored.shard.enter(Phase::Ready { ended }, now + COLLECT_DEADLINE)).await? {
        Swap::Mine(_) => {
            deps.results.send(message).await?;
            tell_report(deps, message, Disposition::Done).await
        }
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

/// Still running: note the progress, if there is any, and come back.
async fn wait(
    deps: &Deps,
    message: &ShardMessage,
    stored: StoredShard,
    answer: Batch,
) -> Result<Disposition, PollError> {
    let Phase::Submitted { submitted_at, finished, cancelled_at, .. } = stored.shard.phase.before_held() else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let is_held = matches!(stored.shard.phase, Phase::Held { .. });
    let waited = deps.clock.now().duration_since(*submitted_at);
    deps.metrics.put(&[(Metric::BatchAge, waited.as_secs_f64())]);
    let pause = Disposition::Later(deps.waits.after(waited, deps.chance.fraction()));
    let now_finished = u32::try_from(answer.stats.successful + answer.stats.failed).unwrap_or(u32::MAX);
    let says_nothing = now_finished == *finished && stored.shard.errors == 0 && !is_held;
    // Held because it doesn't end: that hasn't changed.
    if says_nothing || (is_held && cancelled_at.is_some()) {
        return Ok(pause);
    }
    let deadline = if is_held { *submitted_at + BATCH_DEADLINE } else { stored.shard.deadline };
    let mut next = stored.shard.enter(stored.shard.phase.before_held().clone(), deadline);
    (next.errors, next.waiting) = (0, None);
    if let Phase::Submitted { finished, .. } = &mut next.phase {
        *finished = now_finished;
    }
    match deps.states.swap(&stored, next).await? {
        Swap::Mine(_) => tell_report(deps, message, pause).await,
        Swap::Theirs => Ok(pause),
    }
}

async fn cancel_batch(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    batch: &BatchName,
) -> Result<Disposition, PollError> {
    warn!(batch = %batch, "the batch is past its deadline: cancelled");
    if let Err(error) = deps.gemini.cancel(batch).await {
        return not_answered(deps, message, stored, error).await;
    }
    let now = deps.clock.now();
    let mut next = stored.shard.waiting("cancelled after its deadline; what it produced will be collected");
    next.deadline = now + CANCEL_GRACE;
    if let Phase::Submitted { cancelled_at, .. } = &mut next.phase {
        *cancelled_at = Some(now);
    }
    match deps.states.swap(stored, next).await? {
        Swap::Mine(_) => tell_report(deps, message, Disposition::Later(deps.waits.shortest)).await,
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

/// Gemini gave no answer about the batch: come back, or hold the shard when that can't help.
async fn not_answered(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    error: ApiError,
) -> Result<Disposition, PollError> {
    match error {
        ApiError::RateLimited { retry_after, .. } => {
            Ok(Disposition::Later(retry_after.unwrap_or(deps.waits.longest).max(deps.waits.shortest)))
        }
        ApiError::NotFound { .. } => {
            let reason = format!("Gemini doesn't know the batch (was the key moved to another project?): {error}");
            hold(deps, message, stored, &reason).await
        }
        ApiError::Unauthorized { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Conflict { .. }
        | ApiError::Invalid { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => {
            warn!("no answer about the batch: {error}");
            if let Phase::Held { .. } = stored.shard.phase {
                return Ok(Disposition::Later(deps.waits.longest));
            }
            let next = stored.shard.after_error(&error.to_string(), deps.clock.now());
            write_and_wait(deps, message, stored, next, deps.waits.longest).await
        }
    }
}

async fn hold(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    reason: &str,
) -> Result<Disposition, PollError> {
    if let Phase::Held { .. } = stored.shard.phase {
        return Ok(Disposition::Later(deps.waits.longest));
    }
    warn!("held: {reason}");
    write_and_wait(deps, message, stored, stored.shard.held(reason, deps.clock.now()), deps.waits.longest).await
}

async fn write_and_wait(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    next: Shard,
    wait: SignedDuration,
) -> Result<Disposition, PollError> {
    match deps.states.swap(stored, next).await? {
        Swap::Mine(_) => tell_report(deps, message, Disposition::Later(wait)).await,
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

async fn tell_report(deps: &Deps, message: &ShardMessage, then: Disposition) -> Result<Disposition, PollError> {
    deps.reports.send(&JobMessage::new(&message.job)).await?;
    Ok(then)
}

impl Waits {
    /// A tenth of the time already waited, within the bounds, give or take a tenth, so that shards submitted together
    /// don't ask together.
    fn after(self, waited: SignedDuration, chance: f64) -> SignedDuration {
        let pause = (waited / 10).clamp(self.shortest, self.longest.max(self.shortest));
        pause.mul_f64(0.9 + 0.2 * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_minute_to_a_quarter_of_an_hour() {
        let pause = |minutes, chance| Waits::default().after(SignedDuration::from_mins(minutes), chance).as_secs();
        assert_eq!(pause(0, 0.5), 60);
        assert_eq!(pause(60, 0.5), 360);
        assert_eq!(pause(60 * 24, 0.5), 900);
        assert!(pause(60, 0.0) < pause(60, 0.99));
    }
}
