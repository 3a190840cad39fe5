//! One message of (shards): find out where the shard stands, and take it one step further.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use clients::{
    bucket::Bucket,
    clock::Clock,
    deliveries::{Disposition, deliver},
    gemini::{ApiError, CREATE_TIMEOUT, CreateError, Gemini},
    metrics::{Metric, Metrics},
    queue::{Queue, QueueError},
    states::{StateError, States, StoredShard, Swap},
};
use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::FileName,
    state::{BATCH_DEADLINE, HELD_DEADLINE, Phase, Shard, SubmitStep, submit_step},
};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::input::{self, InputError};

/// How long to leave a shard alone that somebody else has just changed.
const CONTENDED: SignedDuration = SignedDuration::from_secs(10);

/// The first wait after an error; each further one in a row doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// The shortest wait where nothing was wrong but quota, credit or key: batch quotas free up as batches end. Any shorter,
/// and the message's receives would be used up before the shard's deadline.
const QUOTA_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// What must be left of an invocation to ask for a batch: the call's own time limit, and time to write the answer down.
const ROOM_TO_CREATE: SignedDuration = SignedDuration::from_secs(CREATE_TIMEOUT.as_secs() as i64 + 30);

/// How often the name of a created batch is written down before giving up.
const WRITES: u32 = 3;

/// What `submit` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Request files and reference pictures.
    pub bucket: Bucket,
    /// Shard states.
    pub states: States,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers it.
    pub shards: Queue,
    /// Where submitted shards go.
    pub polls: Queue,
    /// Where changes are told.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// Begins every display name.
    pub stack: String,
    /// What an operator watches.
    pub metrics: Metrics,
}

/// Why a shard could not be taken further now; its message comes back.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The body is no message of this queue.
    #[error("not a shard message: {0}")]
    Message(#[from] serde_json::Error),
    /// The shard was never planned, or its state was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(darkroom::names::JobId, darkroom::names::ShardId),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Handles one event of (shards). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.shards, event, async |body| process(deps, body, deadline).await).await
}

async fn process(deps: &Deps, body: &str, deadline: Timestamp) -> Result<Disposition, SubmitError> {
    let message: ShardMessage = serde_json::from_str(body)?;
    let Some(stored) = deps.states.read(&message.job, message.shard).await? else {
        return Err(SubmitError::NoState(message.job, message.shard));
    };
    let now = deps.clock.now();
    match submit_step(&stored.shard, now) {
        SubmitStep::Submit { attempt } => submit(deps, &message, stored, attempt, deadline).await,
        SubmitStep::Wait(until) => Ok(Disposition::Later(until.duration_since(now))),
        SubmitStep::Hold => {
            let reason = "a submitter ended between asking Gemini for the batch and writing down its answer: \
                          the batch may exist, and asking again could cost twice";
            hold(deps, &message, &stored, reason).await
        }
        SubmitStep::Poll => {
            deps.polls.send(&message).await?;
            Ok(Disposition::Done)
        }
        SubmitStep::GiveUp => {
            let next = stored.shard.given_up();
            end(deps, &message, &stored, next).await
        }
        SubmitStep::Report => tell_report(deps, &message).await,
    }
}

/// One attempt: upload, write down the intent, ask once.
async fn submit(
    deps: &Deps,
    message: &ShardMessage,
    stored: StoredShard,
    attempt: u32,
    deadline: Timestamp,
) -> Result<Disposition, SubmitError> {
    let uploading = Phase::Uploading { attempt, lease_until: deadline };
    let next = stored.shard.enter(uploading, stored.shard.deadline);
    let Swap::Mine(stored) = deps.states.swap(&stored, next).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let display_name = format!("{}/{}/{}/{attempt}", deps.stack, message.job, message.shard);
    let file = match input::upload(deps, &stored.shard, &display_name).await {
        Ok(file) => file,
        Err(InputError::Gemini(error)) => return not_uploaded(deps, message, stored, attempt, error).await,
        Err(InputError::Unusable(problem)) => {
            return end(deps, message, &stored, stored.shard.failed("INPUT", problem)).await;
        }
        Err(InputError::Transient(problem)) => return retry(deps, message, stored, attempt, &problem).await,
    };

    if deps.clock.now() + ROOM_TO_CREATE > deadline {
        discard(deps, &file).await;
        return retry(deps, message, stored, attempt, "the upload left no time to create the batch").await;
    }
    let creating =
        Phase::Creating { attempt, file: file.clone(), display_name: display_name.clone(), lease_until: deadline };
    let next = stored.shard.enter(creating, stored.shard.deadline);
    let Swap::Mine(stored) = deps.states.swap(&stored, next).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    match deps.gemini.create_batch(&stored.shard.model, &display_name, &file).await {
        Ok(batch) => {
            info!(batch = %batch.name, "batch created");
            let now = deps.clock.now();
            let submitted =
                Phase::Submitted { attempt, batch: batch.name, submitted_at: now, finished: 0, cancelled_at: None };
            let next = stored.shard.enter(submitted, now + BATCH_DEADLINE);
            if let Swap::Theirs = write_down(deps, &stored, next).await? {
                return Ok(Disposition::Later(CONTENDED));
            }
            deps.polls.send(message).await?;
            tell_report(deps, message).await
        }
        Err(CreateError::NotCreated(error)) => {
            discard(deps, &file).await;
            not_created(deps, message, stored, attempt, error).await
        }
        Err(CreateError::Unknown(error)) => {
            deps.metrics.count(Metric::AmbiguousCreates);
            let reason =
                format!("Gemini's answer to creating the batch is unknown, and asking again could cost twice: {error}");
            hold(deps, message, &stored, &reason).await
        }
    }
}

/// Writes the state of a created batch: were it lost, nobody would know of the batch.
async fn write_down(deps: &Deps, stored: &StoredShard, next: Shard) -> Result<Swap, SubmitError> {
    let mut tries = 1;
    loop {
        match deps.states.swap(stored, next.clone()).await {
            Err(problem) if tries < WRITES => {
                warn!("the batch's name was not written down: {problem}");
                tries += 1;
            }
            written => return Ok(written?),
        }
    }
}

/// Nothing was asked for yet: what is wrong with an upload may always pass.
async fn not_uploaded(
    deps: &Deps,
    message: &ShardMessage,
    stored: StoredShard,
    attempt: u32,
    error: ApiError,
) -> Result<Disposition, SubmitError> {
    match error {
        ApiError::RateLimited { .. } | ApiError::PrepaymentDepleted { .. } | ApiError::Unauthorized { .. } => {
            not_created(deps, message, stored, attempt, error).await
        }
        ApiError::Invalid { .. }
        | ApiError::NotFound { .. }
        | ApiError::Conflict { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => retry(deps, message, stored, attempt, &error.to_string()).await,
    }
}

/// No batch exists after this attempt: wait, try again, or give up, by what Gemini said.
async fn not_created(
    deps: &Deps,
    message: &ShardMessage,
    stored: StoredShard,
    attempt: u32,
    error: ApiError,
) -> Result<Disposition, SubmitError> {
    match &error {
        ApiError::RateLimited { retry_after, .. } => {
            wait_for_leave(deps, message, stored, attempt, &error, retry_after.unwrap_or(QUOTA_WAIT)).await
        }
        // A person pays, or puts another key: then it goes on by itself.
        ApiError::PrepaymentDepleted { .. } | ApiError::Unauthorized { .. } => {
            wait_for_leave(deps, message, stored, attempt, &error, QUOTA_WAIT).await
        }
        ApiError::Invalid { message: words } => {
            end(deps, message, &stored, stored.shard.failed("INVALID_ARGUMENT", words)).await
        }
        ApiError::NotFound { message: words } => {
            end(deps, message, &stored, stored.shard.failed("NOT_FOUND", words)).await
        }
        ApiError::Conflict { .. } | ApiError::Transient { .. } | ApiError::Malformed { .. } => {
            retry(deps, message, stored, attempt, &error.to_string()).await
        }
    }
}

/// Back to `Planned`, saying why; no error of anybody's.
async fn wait_for_leave(
    deps: &Deps,
    message: &ShardMessage,
    stored: StoredShard,
    attempt: u32,
    why: &ApiError,
    wait: SignedDuration,
) -> Result<Disposition, SubmitError> {
    let planned = stored.shard.enter(Phase::Planned { attempts: attempt }, stored.shard.deadline);
    wait_in(deps, message, &stored, planned.waiting(why.to_string()), wait.max(QUOTA_WAIT)).await
}

/// Back to `Planned` after an error, to be tried again after a growing wait; held after too many.
async fn retry(
    deps: &Deps,
    message: &ShardMessage,
    stored: StoredShard,
    attempt: u32,
    problem: &str,
) -> Result<Disposition, SubmitError> {
    warn!(attempt, "not submitted: {problem}");
    let planned = stored.shard.enter(Phase::Planned { attempts: attempt }, stored.shard.deadline);
    let next = planned.after_error(problem, deps.clock.now());
    let wait = match next.phase {
        Phase::Held { .. } => HELD_DEADLINE,
        _ => FIRST_WAIT * (1 << next.errors.saturating_sub(1).min(8)),
    };
    wait_in(deps, message, &stored, next, wait).await
}

async fn hold(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    reason: &str,
) -> Result<Disposition, SubmitError> {
    warn!("held: {reason}");
    let next = stored.shard.held(reason, deps.clock.now());
    wait_in(deps, message, stored, next, HELD_DEADLINE).await
}

async fn wait_in(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    next: Shard,
    wait: SignedDuration,
) -> Result<Disposition, SubmitError> {
    match deps.states.swap(stored, next).await? {
        Swap::Mine(_) => {
            deps.reports.send(&JobMessage::new(&message.job)).await?;
            Ok(Disposition::Later(wait))
        }
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

async fn end(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    next: Shard,
) -> Result<Disposition, SubmitError> {
    match deps.states.swap(stored, next).await? {
        Swap::Mine(_) => tell_report(deps, message).await,
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

async fn tell_report(deps: &Deps, message: &ShardMessage) -> Result<Disposition, SubmitError> {
    deps.reports.send(&JobMessage::new(&message.job)).await?;
    Ok(Disposition::Done)
}

/// Deletes an input file that no batch uses. Google deletes it after 48 hours anyway.
async fn discard(deps: &Deps, file: &FileName) {
    if let Err(error) = deps.gemini.delete_file(file).await {
        info!("an unused input file stays until it expires: {error}");
    }
}
