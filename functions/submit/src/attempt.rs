//! One attempt: be admitted, upload, write down the intent, ask once.

use clients::{
    deliveries::Disposition,
    gemini::{ApiError, CREATE_TIMEOUT, CreateError},
    metrics::Metric,
    states::{StoredShard, Swap},
};
use darkroom::{
    display_name::DisplayName,
    ledger::{Admission, OVER_BUDGET},
    names::FileName,
    state::{BATCH_DEADLINE, Phase, Shard},
};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::{
    handler::SubmitError,
    input::{self, InputError},
    recovery,
    work::{CONTENDED, Work},
};

/// The shortest wait where nothing was wrong but quota, credit or key: batch quotas free up as batches end. Any shorter,
/// and the message's receives would be used up before the shard's deadline.
const QUOTA_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// What must be left of an invocation to ask for a batch: the call's own time limit, and time to write the answer down.
const ROOM_TO_CREATE: SignedDuration = SignedDuration::from_secs(CREATE_TIMEOUT.as_secs() as i64 + 30);

/// How long another shard's upload of the same reference is left alone between two looks.
const TAKEN_SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// The longest of that: most uploads are over long before their lease.
const TAKEN_LONGEST: SignedDuration = SignedDuration::from_secs(10);

/// How often the name of a created batch is written down before giving up.
const WRITES: u32 = 3;

/// Takes a shard without a batch to one that has a batch, or says why not yet.
pub(crate) async fn submit(work: &Work<'_>, stored: StoredShard, attempt: u32) -> Result<Disposition, SubmitError> {
    let deps = work.deps;
    let planned = planned(&stored.shard, attempt - 1);
    let now = deps.clock.now();
    match deps.books.change(|ledger| ledger.admit(&stored.shard, &deps.limits, now)).await? {
        Admission::Granted => {}
        Admission::Later { why, at } => {
            return work.wait(&stored, planned.waiting(why), at.duration_since(now)).await;
        }
        Admission::Never { why } => return work.hold(&stored, &why).await,
        // Nothing was bought. The keys of a round keep what they have; all are in `retry.jsonl`.
        Admission::OverBudget { why } => return work.end(&stored, planned.failed(OVER_BUDGET, why)).await,
    }

    let uploading = Phase::Uploading { attempt, lease_until: work.deadline };
    let next = stored.shard.enter(uploading, stored.shard.deadline).driven_by(work.message, work.deadline);
    let Swap::Mine(stored) = deps.states.swap(&stored, next).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let (job, shard) = (work.about.job.clone(), work.about.shard);
    let display_name = DisplayName { stack: deps.stack.clone(), job, shard, attempt }.to_string();
    let file = match input::upload(deps, &stored.shard, &display_name).await {
        Ok(file) => file,
        Err(InputError::Gemini(error)) => return not_uploaded(work, &stored, attempt, error).await,
        Err(InputError::Unusable(problem)) => {
            return work.end(&stored, stored.shard.failed("INPUT", problem)).await;
        }
        Err(InputError::Transient(problem)) => return retry(work, &stored, attempt, &problem).await,
        Err(why @ InputError::Taken { until }) => return wait_for_upload(work, &stored, attempt, &why, until).await,
    };

    if deps.clock.now() + ROOM_TO_CREATE > work.deadline {
        discard(work, &file).await;
        return retry(work, &stored, attempt, "the upload left no time to create the batch").await;
    }
    let creating = Phase::Creating { attempt, file: file.clone(), lease_until: work.deadline };
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
            if let Swap::Theirs = write_down(work, &stored, next).await? {
                return Ok(Disposition::Later(CONTENDED));
            }
            deps.polls.send(&work.about).await?;
            work.tell_report().await
        }
        Err(CreateError::NotCreated(error)) => {
            discard(work, &file).await;
            not_created(work, &stored, attempt, error).await
        }
        Err(CreateError::Unknown(error)) => {
            let why = format!("Gemini's answer to creating the batch is unknown: {error}");
            recovery::begin(work, &stored, attempt, file, &why).await
        }
    }
}

/// The shard before its next attempt.
pub(crate) fn planned(shard: &Shard, attempts: u32) -> Shard {
    shard.enter(Phase::Planned { attempts }, shard.deadline)
}

/// Writes the state of a created batch: were it lost, the batch would have to be searched for.
async fn write_down(work: &Work<'_>, stored: &StoredShard, next: Shard) -> Result<Swap, SubmitError> {
    let mut tries = 1;
    loop {
        match work.deps.states.swap(stored, next.clone()).await {
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
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    error: ApiError,
) -> Result<Disposition, SubmitError> {
    match error {
        ApiError::RateLimited { .. } | ApiError::PrepaymentDepleted { .. } | ApiError::Unauthorized { .. } => {
            not_created(work, stored, attempt, error).await
        }
        ApiError::Invalid { .. }
        | ApiError::NotFound { .. }
        | ApiError::Conflict { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => retry(work, stored, attempt, &error.to_string()).await,
    }
}

/// No batch exists after this attempt: wait, try again, or give up, by what Gemini said.
async fn not_created(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    error: ApiError,
) -> Result<Disposition, SubmitError> {
    match &error {
        ApiError::RateLimited { retry_after, .. } => {
            let wait = retry_after.unwrap_or(QUOTA_WAIT);
            wait_for_leave(work, stored, attempt, error.to_string(), wait).await
        }
        // A person pays, or puts another key: then it goes on by itself.
        ApiError::PrepaymentDepleted { .. } => {
            work.deps.metrics.count(Metric::PrepaymentDepleted);
            let why = format!("held back: {error}; add credit, and it goes on by itself");
            wait_for_leave(work, stored, attempt, why, QUOTA_WAIT).await
        }
        ApiError::Unauthorized { .. } => wait_for_leave(work, stored, attempt, error.to_string(), QUOTA_WAIT).await,
        ApiError::Invalid { message: words } => {
            work.end(stored, planned(&stored.shard, attempt).failed("INVALID_ARGUMENT", words)).await
        }
        ApiError::NotFound { message: words } => {
            work.end(stored, planned(&stored.shard, attempt).failed("NOT_FOUND", words)).await
        }
        ApiError::Conflict { .. } | ApiError::Transient { .. } | ApiError::Malformed { .. } => {
            retry(work, stored, attempt, &error.to_string()).await
        }
    }
}

/// Back to `Planned` for a moment; no error of anybody's. The place in the ledger is kept for so short a time.
async fn wait_for_upload(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    why: &InputError,
    until: Timestamp,
) -> Result<Disposition, SubmitError> {
    let wait = until.duration_since(work.deps.clock.now()).clamp(TAKEN_SHORTEST, TAKEN_LONGEST);
    work.wait(stored, planned(&stored.shard, attempt).waiting(why.to_string()), wait).await
}

/// Back to `Planned`, saying why; no error of anybody's. Others may have the place meanwhile.
async fn wait_for_leave(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    why: String,
    wait: SignedDuration,
) -> Result<Disposition, SubmitError> {
    let planned = planned(&stored.shard, attempt);
    work.free(&planned).await?;
    work.wait(stored, planned.waiting(why), wait.max(QUOTA_WAIT)).await
}

/// Back to `Planned` after an error.
async fn retry(work: &Work<'_>, stored: &StoredShard, attempt: u32, problem: &str) -> Result<Disposition, SubmitError> {
    work.retry(stored, planned(&stored.shard, attempt), problem).await
}

/// Deletes an input file that no batch uses. Google deletes it after 48 hours anyway.
async fn discard(work: &Work<'_>, file: &FileName) {
    if let Err(error) = work.deps.gemini.delete_file(file).await {
        info!("an unused input file stays until it expires: {error}");
    }
}
