//! One attempt: be admitted, upload, record the intent, make one create call.
//!
//! Nothing is bought before the create call, so an attempt that fails there is repeated until the
//! shard's deadline, with the reason in its state. After the call there are three cases: a batch,
//! certainly none, or unknown ([`crate::recovery`]).

use std::ops::ControlFlow;

use darkroom::{
    display_name::DisplayName,
    names::FileName,
    state::{BATCH_DEADLINE, Outcome, Owner, Phase, Shard, Submitted},
};
use exchange::error::{InputError, wait_for_claim};
use gemini::{ApiError, Batch, CREATE_TIMEOUT, CreateError};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    metrics::Metric,
    turn::{Turn, TurnError},
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    deps::Deps,
    error::SubmitError,
    input, recovery, refused,
    replan::{QUOTA_WAIT, planned, refused_as_a_whole, retry, wait_for_key, wait_for_quota},
};

/// What must be left of an invocation for a create call: the call's own time limit, and time to
/// record the answer.
const ROOM_TO_CREATE: SignedDuration =
    SignedDuration::from_secs(CREATE_TIMEOUT.as_secs() as i64 + 30);

/// How many times the write that names a created batch is tried.
const MAX_WRITES: u32 = 3;

/// Makes attempt number `attempt` for a shard without a batch. `crashed` is true if the previous
/// submitter crashed while it uploaded.
pub(crate) async fn submit(
    deps: &Deps,
    turn: &mut Turn<'_>,
    attempt: u32,
    crashed: bool,
) -> Result<Outcome, SubmitError> {
    let mut planned = planned(turn.shard(), attempt - 1);
    if crashed {
        planned = planned.after_error(format!(
            "attempt {} ended while the requests were uploaded: the function was stopped, or ran \
             out of time or memory",
            attempt - 1
        ));
    }

    // A shard has its place in the ledger before anything is uploaded for it.
    let hint = "The shard is submitted once the limits allow it";
    if let ControlFlow::Break(outcome) = turn
        .admit(&deps.limits, &deps.folders, &planned, hint)
        .await?
    {
        return Ok(outcome);
    }

    match upload(deps, turn, &planned, attempt).await? {
        ControlFlow::Continue(file) => create(deps, turn, attempt, file).await,
        ControlFlow::Break(outcome) => Ok(outcome),
    }
}

/// Uploads the input file, within the time that the invocation has before its create call. Breaks
/// with an outcome if there is no input file.
async fn upload(
    deps: &Deps,
    turn: &mut Turn<'_>,
    planned: &Shard,
    attempt: u32,
) -> Result<ControlFlow<Outcome, FileName>, SubmitError> {
    // The lease keeps other submitters away. One that is left over proves a crash to the next.
    let uploading = Phase::Uploading {
        attempt,
        lease_until: turn.deadline(),
    };
    let next = Shard {
        waiting: planned.waiting.clone(),
        ..planned.enter(uploading, planned.deadline)
    };
    turn.enter(next).await?;

    let time_left = turn.deadline().duration_since(deps.clock.now()) - ROOM_TO_CREATE;
    let name = display_name(deps, turn, attempt);
    let upload = input::upload(deps, turn.shard(), &name);
    let uploaded = timeout(time_left.try_into().unwrap_or_default(), upload).await;

    let shard = turn.shard();
    Ok(ControlFlow::Break(match uploaded {
        Ok(Ok(file)) => return Ok(ControlFlow::Continue(file)),
        Ok(Err(InputError::Gemini(error))) => not_uploaded(deps, turn, attempt, error).await?,
        Ok(Err(InputError::Unusable(problem))) => Outcome::end(shard.failed("INPUT", problem)),
        Ok(Err(InputError::Transient(problem))) => {
            let problem = format!("the requests were not uploaded: {problem}");
            retry(shard, attempt, &problem)
        }
        Ok(Err(why @ InputError::Taken { until })) => {
            wait_for_upload(shard, attempt, &why, until, deps.clock.now())
        }
        Err(_) => retry(
            shard,
            attempt,
            "the requests were not uploaded within the time that a function has",
        ),
    }))
}

/// Records the intent, then makes the one create call.
async fn create(
    deps: &Deps,
    turn: &mut Turn<'_>,
    attempt: u32,
    file: FileName,
) -> Result<Outcome, SubmitError> {
    // A call that Lambda cuts off has an unknown outcome, which costs a quiet period.
    if deps.clock.now() + ROOM_TO_CREATE > turn.deadline() {
        discard(deps, &file).await;
        return Ok(retry(
            turn.shard(),
            attempt,
            "the upload left no time to create the batch",
        ));
    }

    // A user may have canceled the job while its requests were uploaded.
    if turn.cancel_requested_meanwhile().await? {
        discard(deps, &file).await;
        return Ok(Outcome::end(turn.shard().cancelled()));
    }

    // From this write on, every later submitter assumes that the call was made.
    let creating = Phase::Creating {
        attempt,
        file: file.clone(),
        lease_until: turn.deadline(),
    };
    let next = turn.shard().enter(creating, turn.shard().deadline);
    turn.enter(next).await?;

    let name = display_name(deps, turn, attempt);
    let model = &turn.shard().model;
    match deps.gemini.create_batch(model, &name, &file).await {
        Ok(batch) => created(deps, turn, attempt, batch).await,
        Err(CreateError::NotCreated(error)) => {
            discard(deps, &file).await;
            not_created(deps, turn, attempt, error).await
        }
        Err(CreateError::Unknown(error)) => {
            let why = format!("Gemini's answer to creating the batch is unknown: {error}");
            recovery::begin(deps, turn, attempt, file, &why).await
        }
    }
}

/// Records the created batch. If that write were lost, the batch would have to be looked up, so a
/// failed write is repeated at once.
async fn created(
    deps: &Deps,
    turn: &mut Turn<'_>,
    attempt: u32,
    batch: Batch,
) -> Result<Outcome, SubmitError> {
    info!(batch = %batch.name, "batch created");
    let now = deps.clock.now();
    let submitted = Submitted {
        attempt,
        batch: batch.name,
        submitted_at: now,
        finished: 0,
        cancelled_at: None,
        output_missing_since: None,
    };
    // A batch that would come too late for the job is given up earlier.
    let shard = turn.shard();
    let deadline = now + BATCH_DEADLINE;
    let deadline = shard
        .rescue
        .map_or(deadline, |rescue| deadline.min(rescue.at));
    let next = shard.enter(Phase::Submitted(submitted), deadline);

    // A failed write may have happened. Then the next one is a conflict, and the next message finds
    // the batch in the state.
    let mut writes = 1;
    loop {
        match turn.enter(next.clone()).await {
            Err(TurnError::State(problem)) if writes < MAX_WRITES => {
                warn!("the batch's name was not recorded: {problem}");
                writes += 1;
            }
            written => break written?,
        }
    }
    Ok(Outcome::forward_again(turn.shard_id(), Owner::Poll))
}

/// Returns the name that the attempt's input file and batch have at Gemini.
fn display_name(deps: &Deps, turn: &Turn<'_>, attempt: u32) -> String {
    DisplayName {
        stack: deps.stack.clone(),
        job: turn.job().clone(),
        shard: turn.shard_id(),
        attempt,
    }
    .to_string()
}

/// Decides after a failed upload. No create call was made, so any upload may be retried.
async fn not_uploaded(
    deps: &Deps,
    turn: &Turn<'_>,
    attempt: u32,
    error: ApiError,
) -> Result<Outcome, SubmitError> {
    match error {
        ApiError::RateLimited { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Unauthorized { .. } => not_created(deps, turn, attempt, error).await,
        ApiError::Invalid { .. }
        | ApiError::NotFound { .. }
        | ApiError::Conflict { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => {
            let problem = format!("the requests were not uploaded: {error}");
            Ok(retry(turn.shard(), attempt, &problem))
        }
    }
}

/// Decides after an attempt that certainly left no batch: wait, retry, or end, by Gemini's answer.
async fn not_created(
    deps: &Deps,
    turn: &Turn<'_>,
    attempt: u32,
    error: ApiError,
) -> Result<Outcome, SubmitError> {
    let shard = turn.shard();
    Ok(match &error {
        ApiError::RateLimited { retry_after, .. } => {
            let wait = retry_after.unwrap_or(QUOTA_WAIT);
            wait_for_quota(shard, attempt, error.to_string(), wait)
        }
        // The shard is retried until an operator adds credit, or stores another key.
        ApiError::PrepaymentDepleted { .. } => {
            deps.metrics.count(Metric::PrepaymentDepleted);
            let why = format!("{error}. It continues automatically once credit is added");
            wait_for_quota(shard, attempt, why, QUOTA_WAIT)
        }
        ApiError::Unauthorized { .. } => wait_for_key(shard, attempt, error.to_string()),
        ApiError::Invalid { lines, .. } if !lines.is_empty() => {
            refused::leave_out(deps, shard, attempt, lines, &error).await?
        }
        ApiError::Invalid { .. } | ApiError::NotFound { .. } => {
            refused_as_a_whole(shard, attempt, &error, deps.clock.now())
        }
        ApiError::Conflict { .. } | ApiError::Transient { .. } | ApiError::Malformed { .. } => {
            let problem = format!("the batch was not created: {error}");
            retry(shard, attempt, &problem)
        }
    })
}

/// Waits a few seconds for another shard's upload, which is not an error. The shard keeps its place
/// in the ledger for so short a time.
fn wait_for_upload(
    shard: &Shard,
    attempt: u32,
    why: &InputError,
    until: Timestamp,
    now: Timestamp,
) -> Outcome {
    let wait = wait_for_claim(until, now);
    Outcome::wait(planned(shard, attempt).waiting(why.to_string()), wait)
}

/// Deletes an input file that no batch uses. Google deletes it after 48 hours anyway.
async fn discard(deps: &Deps, file: &FileName) {
    if let Err(error) = deps.gemini.delete_file(file).await {
        info!("an unused input file stays until it expires: {error}");
    }
}
