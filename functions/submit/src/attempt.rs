//! One attempt: be admitted, upload, write down the intent, ask once.
//!
//! Before the one create call nothing was bought, so an attempt that fails there is repeated until
//! the shard's deadline, with its reason in the state. After the call there are three cases: a
//! batch, surely none, or unknown ([`crate::recovery`]).

use darkroom::{
    display_name::DisplayName,
    ledger::{Admission, OVER_BUDGET},
    names::FileName,
    state::{BATCH_DEADLINE, Phase, REFUSED_CREATES_BEFORE_HELD, Shard, Submitted, retry_wait},
};
use gemini::{ApiError, CREATE_TIMEOUT, CreateError};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    deliveries::Disposition,
    metrics::Metric,
    shard_store::{Cas, StoredShard},
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    handler::SubmitError,
    input::{self, InputError},
    recovery, refused,
    work::{CONTENDED, Work},
};

/// The shortest wait where only quota, credit or the key prevented a call: batch quotas free up as
/// batches end. Any shorter, and the message's receives would be used up before the shard's
/// deadline.
pub(crate) const QUOTA_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// How often a shard asks again that today's limits could not admit even alone.
const LIMITS_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// What must be left of an invocation to ask for a batch: the call's own time limit, and time to
/// write the answer down.
const ROOM_TO_CREATE: SignedDuration =
    SignedDuration::from_secs(CREATE_TIMEOUT.as_secs() as i64 + 30);

/// The shortest time between two looks at another shard's upload of the same reference.
const TAKEN_SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// The longest time between them: most uploads are over long before their lease.
const TAKEN_LONGEST: SignedDuration = SignedDuration::from_secs(10);

/// How often the name of a created batch is written down before giving up.
const WRITES: u32 = 3;

/// Takes a shard without a batch to one that has a batch, or says why not yet. `died` says that the
/// submitter before this one ended while it uploaded.
pub(crate) async fn submit(
    work: &Work<'_>,
    stored: StoredShard,
    attempt: u32,
    died: bool,
) -> Result<Disposition, SubmitError> {
    let deps = work.deps;
    let mut planned = planned(&stored.shard, attempt - 1);
    if died {
        planned = planned.after_error(format!(
            "attempt {} ended while the requests were uploaded: the function was stopped, or ran out of time or memory",
            attempt - 1
        ));
    }

    // A shard has its place in the ledger before anything is uploaded for it.
    let now = deps.clock.now();
    match deps
        .ledger
        .change(|ledger| ledger.admit(&stored.shard, &deps.limits, now))
        .await?
    {
        Admission::Granted => {}
        Admission::Later { why, at } => {
            return work
                .wait(&stored, planned.waiting(why), at.duration_since(now))
                .await;
        }
        Admission::Never { why } => {
            let why = format!("{why}. It is submitted as soon as the limits allow it");
            return work.wait(&stored, planned.waiting(why), LIMITS_WAIT).await;
        }
        // Nothing was bought. The keys of a round keep what they have; all are in `retry.jsonl`.
        Admission::OverBudget { why } => {
            return work.end(&stored, planned.failed(OVER_BUDGET, why)).await;
        }
    }

    match upload(work, stored, planned, attempt).await? {
        Uploaded::File(stored, file) => create(work, *stored, attempt, file).await,
        Uploaded::Not(disposition) => Ok(disposition),
    }
}

/// What came of an upload.
enum Uploaded {
    /// The input file, and the state that says that it was being uploaded.
    File(Box<StoredShard>, FileName),
    /// None now: what becomes of the message.
    Not(Disposition),
}

/// Uploads the input file, within the time that the invocation has before it must ask for the
/// batch.
async fn upload(
    work: &Work<'_>,
    stored: StoredShard,
    planned: Shard,
    attempt: u32,
) -> Result<Uploaded, SubmitError> {
    let deps = work.deps;
    let uploading = Phase::Uploading {
        attempt,
        lease_until: work.deadline,
    };
    let next = Shard {
        waiting: planned.waiting.clone(),
        ..planned.enter(uploading, planned.deadline)
    };
    let Cas::Written(stored) = deps
        .states
        .swap(&stored, next.driven_by(work.message, work.deadline))
        .await?
    else {
        return Ok(Uploaded::Not(Disposition::Later(CONTENDED)));
    };

    let display_name = display_name(work, attempt);
    let time_left = work.deadline.duration_since(deps.clock.now()) - ROOM_TO_CREATE;
    let upload = input::upload(deps, &stored.shard, &display_name);
    let disposition = match timeout(time_left.try_into().unwrap_or_default(), upload).await {
        Ok(Ok(file)) => return Ok(Uploaded::File(Box::new(stored), file)),
        Ok(Err(InputError::Gemini(error))) => not_uploaded(work, &stored, attempt, error).await,
        Ok(Err(InputError::Unusable(problem))) => {
            work.end(&stored, stored.shard.failed("INPUT", problem))
                .await
        }
        Ok(Err(InputError::Transient(problem))) => {
            retry(
                work,
                &stored,
                attempt,
                &format!("the requests were not uploaded: {problem}"),
            )
            .await
        }
        Ok(Err(why @ InputError::Taken { until })) => {
            wait_for_upload(work, &stored, attempt, &why, until).await
        }
        Err(_) => {
            retry(
                work,
                &stored,
                attempt,
                "the requests were not uploaded within the time that a function has",
            )
            .await
        }
    };
    disposition.map(Uploaded::Not)
}

/// Writes down that the batch is asked for, then asks once.
async fn create(
    work: &Work<'_>,
    stored: StoredShard,
    attempt: u32,
    file: FileName,
) -> Result<Disposition, SubmitError> {
    let deps = work.deps;
    if deps.clock.now() + ROOM_TO_CREATE > work.deadline {
        discard(work, &file).await;
        return retry(
            work,
            &stored,
            attempt,
            "the upload left no time to create the batch",
        )
        .await;
    }
    // A person may have cancelled the job while its requests were uploaded.
    if deps.states.is_stopped(&work.about.job).await? {
        discard(work, &file).await;
        return work.end(&stored, stored.shard.cancelled()).await;
    }
    let creating = Phase::Creating {
        attempt,
        file: file.clone(),
        lease_until: work.deadline,
    };
    let next = stored.shard.enter(creating, stored.shard.deadline);
    let Cas::Written(stored) = deps.states.swap(&stored, next).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    match deps
        .gemini
        .create_batch(&stored.shard.model, &display_name(work, attempt), &file)
        .await
    {
        Ok(batch) => {
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
            let next = stored
                .shard
                .enter(Phase::Submitted(submitted), now + BATCH_DEADLINE);
            if let Cas::Conflict = write_down(work, &stored, next).await? {
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

/// What the attempt's input file and batch are called at Gemini.
fn display_name(work: &Work<'_>, attempt: u32) -> String {
    let (job, shard) = (work.about.job.clone(), work.about.shard);
    DisplayName {
        stack: work.deps.stack.clone(),
        job,
        shard,
        attempt,
    }
    .to_string()
}

/// The shard before its next attempt.
pub(crate) fn planned(shard: &Shard, attempts: u32) -> Shard {
    shard.enter(Phase::Planned { attempts }, shard.deadline)
}

/// Writes the state of a created batch: were it lost, the batch would have to be searched for.
async fn write_down(
    work: &Work<'_>,
    stored: &StoredShard,
    next: Shard,
) -> Result<Cas, SubmitError> {
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

/// Nothing was asked for yet: an upload may always be tried again.
async fn not_uploaded(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    error: ApiError,
) -> Result<Disposition, SubmitError> {
    match error {
        ApiError::RateLimited { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Unauthorized { .. } => not_created(work, stored, attempt, error).await,
        ApiError::Invalid { .. }
        | ApiError::NotFound { .. }
        | ApiError::Conflict { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => {
            retry(
                work,
                stored,
                attempt,
                &format!("the requests were not uploaded: {error}"),
            )
            .await
        }
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
        // A person pays, or stores another key: then it continues by itself.
        ApiError::PrepaymentDepleted { .. } => {
            work.deps.metrics.count(Metric::PrepaymentDepleted);
            let why = format!("{error}. It continues by itself once credit is added");
            wait_for_leave(work, stored, attempt, why, QUOTA_WAIT).await
        }
        ApiError::Unauthorized { .. } => {
            let planned = Shard {
                refused_key: true,
                ..planned(&stored.shard, attempt)
            };
            work.free(&planned).await?;
            work.wait(stored, planned.waiting(error.to_string()), QUOTA_WAIT)
                .await
        }
        ApiError::Invalid { lines, .. } if !lines.is_empty() => {
            refused::leave_out(work, stored, attempt, lines, &error).await
        }
        ApiError::Invalid { .. } | ApiError::NotFound { .. } => {
            refused_whole(work, stored, attempt, &error).await
        }
        ApiError::Conflict { .. } | ApiError::Transient { .. } | ApiError::Malformed { .. } => {
            retry(
                work,
                stored,
                attempt,
                &format!("the batch was not created: {error}"),
            )
            .await
        }
    }
}

/// Gemini refused the batch and named no request: its words may be a passing fault of the service,
/// so it is asked again a few times. Then a person looks at it; where the model is not there, the
/// shard ends.
pub(crate) async fn refused_whole(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    error: &ApiError,
) -> Result<Disposition, SubmitError> {
    let refused_creates = stored.shard.refused_creates + 1;
    let tried = Shard {
        refused_creates,
        ..planned(&stored.shard, attempt)
    };
    if refused_creates < REFUSED_CREATES_BEFORE_HELD {
        return work
            .retry(stored, tried, &format!("Gemini refused the batch: {error}"))
            .await;
    }
    match error {
        ApiError::NotFound { message } => {
            work.end(stored, tried.failed("NOT_FOUND", message)).await
        }
        ApiError::RateLimited { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Unauthorized { .. }
        | ApiError::Conflict { .. }
        | ApiError::Invalid { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => {
            let reason = format!(
                "Gemini refused the batch {refused_creates} times without naming a request that is wrong: {error}. Nothing was \
                 bought. Approve to try again, cancel to end without these images"
            );
            work.hold(stored, &tried, &reason).await
        }
    }
}

/// Back to `Planned` for a moment, which is no error. The place in the ledger is kept for so short
/// a time.
async fn wait_for_upload(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    why: &InputError,
    until: Timestamp,
) -> Result<Disposition, SubmitError> {
    let wait = until
        .duration_since(work.deps.clock.now())
        .clamp(TAKEN_SHORTEST, TAKEN_LONGEST);
    work.wait(
        stored,
        planned(&stored.shard, attempt).waiting(why.to_string()),
        wait,
    )
    .await
}

/// Back to `Planned`, saying why, which is no error of the shard. Others may have its place
/// meanwhile.
async fn wait_for_leave(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    why: String,
    wait: SignedDuration,
) -> Result<Disposition, SubmitError> {
    let planned = planned(&stored.shard, attempt);
    work.free(&planned).await?;
    work.wait(stored, planned.waiting(why), wait.max(QUOTA_WAIT))
        .await
}

/// Back to `Planned` after an error. Where the next try is far away, others may have the shard's
/// place.
async fn retry(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    problem: &str,
) -> Result<Disposition, SubmitError> {
    let tried = planned(&stored.shard, attempt);
    if retry_wait(tried.errors + 1) >= QUOTA_WAIT {
        work.free(&tried).await?;
    }
    work.retry(stored, tried, problem).await
}

/// Deletes an input file that no batch uses. Google deletes it after 48 hours anyway.
pub(crate) async fn discard(work: &Work<'_>, file: &FileName) {
    if let Err(error) = work.deps.gemini.delete_file(file).await {
        info!("an unused input file stays until it expires: {error}");
    }
}
