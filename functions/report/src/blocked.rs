//! Jobs that can't be closed because a document is missing or damaged: what `job.json` reports, and
//! when the job is tried again.
//!
//! The messages about such a job are acknowledged, because `job.json` already reports the blocker.
//! When a document has changed, the next message about the job or the hourly sweep finds that, and
//! the job is closed.

use darkroom::{
    names::{JobId, ObjectUri, ShardId},
    object_keys,
    plan::PlanLock,
    state::Phase,
    status::{Blocker, DocumentVersion, JobPhase, JobStatus},
};
use jiff::SignedDuration;
use runtime::{
    bucket::{Conditional, Object},
    deliveries::Disposition,
    document::DocumentError,
};

use crate::{changes::Changes, deps::Deps, error::ReportError};

/// How long to wait if another invocation writes `job.json` at the same time.
const CONTENDED: SignedDuration = SignedDuration::from_secs(5);

/// Whether the documents that block a job are unchanged since the blocker was recorded. It is false
/// for a job that isn't blocked.
pub(crate) async fn persists(deps: &Deps, status: &JobStatus) -> Result<bool, ReportError> {
    let Some(blocker) = &status.blocker else {
        return Ok(false);
    };
    Ok(deps.bucket.are_unchanged(&blocker.documents).await?)
}

/// Returns the blocker that `status` already records if it is the same, so that its time stays that
/// of the first notice. Otherwise returns `blocker`.
pub(crate) fn since_first_noticed(status: &JobStatus, blocker: Blocker) -> Blocker {
    match &status.blocker {
        Some(known) if known.is_same_as(&blocker) => known.clone(),
        Some(_) | None => blocker,
    }
}

/// Handles a job without `job.json`. If a shard of the job has started, there was a `job.json`: a
/// placeholder takes its place and reports that it was removed.
///
/// # Errors
/// [`ReportError::NotPlanned`] if the job is still being planned, or if there is no such job.
pub(crate) async fn status_is_missing(
    deps: &Deps,
    job: &JobId,
    changes: &Changes,
) -> Result<Disposition, ReportError> {
    let shard = changes.shards.first().copied().unwrap_or(ShardId::first(0));
    let stored = deps.states.read(job, shard).await?;
    // `plan` sends the messages that start shards only after it has written `job.json`.
    let has_started = stored.is_some_and(|stored| {
        stored.shard.driver.is_some() || !matches!(stored.shard.phase, Phase::Planned { .. })
    });
    if !has_started {
        return Err(ReportError::NotPlanned(job.clone()));
    }
    let key = object_keys::status(job);
    let document = DocumentVersion {
        key: key.clone(),
        etag: None,
    };
    let status = placeholder(deps, job, format!("{key} was removed"), document).await?;
    let bytes = serde_json::to_vec_pretty(&status).map_err(DocumentError::at(&key))?;
    let written = deps.bucket.create(&key, "application/json", bytes).await?;
    disposition(deps, written, &status).await
}

/// Handles a `job.json` that can't be parsed. If it is not a JSON object, a placeholder takes its
/// place. A JSON object may come from another version of Darkroom, and is not changed.
///
/// # Errors
/// [`ReportError::Document`] if `job.json` may come from another version.
pub(crate) async fn status_is_damaged(
    deps: &Deps,
    job: &JobId,
    object: &Object,
    error: serde_json::Error,
) -> Result<Disposition, ReportError> {
    let key = object_keys::status(job);
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&object.bytes).is_ok() {
        return Err(DocumentError::at(&key)(error).into());
    }
    let document = DocumentVersion {
        key: key.clone(),
        etag: Some(object.etag.clone()),
    };
    let status = placeholder(deps, job, format!("{key} was damaged"), document).await?;
    let bytes = serde_json::to_vec_pretty(&status).map_err(DocumentError::at(&key))?;
    let written = deps
        .bucket
        .replace(&key, &object.etag, "application/json", bytes)
        .await?;
    disposition(deps, written, &status).await
}

/// Creates a `job.json` that reports only that the original is gone. It has no plan, so that `plan`
/// replaces it when the manifest is uploaded again.
async fn placeholder(
    deps: &Deps,
    job: &JobId,
    what: String,
    document: DocumentVersion,
) -> Result<JobStatus, ReportError> {
    // The lock is the only other document that names the manifest.
    let lock = deps.bucket.read(&object_keys::plan_lock(job)).await?;
    let lock = lock.and_then(|object| serde_json::from_slice::<PlanLock>(&object.bytes).ok());
    let unknown = || ObjectUri {
        bucket: deps.bucket.name().to_owned(),
        key: "inbox/".to_owned(),
    };
    let (manifest, folder) = lock.map_or_else(
        || (unknown(), None),
        |lock| (lock.manifest.uri, lock.folder),
    );
    let now = deps.clock.now();
    let blocker = Blocker {
        what,
        what_to_do: format!(
            "Restore it from an earlier version of the object, or upload the same manifest to {manifest} again. The job \
             is then closed within two hours after its last shard has ended. No image is bought again, and every image \
             that was collected is kept."
        ),
        since: now,
        documents: vec![document],
    };
    Ok(JobStatus {
        folder,
        blocker: Some(blocker),
        ..JobStatus::new(job, &manifest, JobPhase::Blocked, now)
    })
}

/// Logs and announces the blocker if this invocation recorded it, and tries again if another one
/// wrote first.
async fn disposition(
    deps: &Deps,
    written: Conditional,
    status: &JobStatus,
) -> Result<Disposition, ReportError> {
    match written {
        Conditional::Written(_) => {
            deps.announcer.announce(&status.job).await?;
            if let Some(blocker) = &status.blocker {
                tracing::error!("{}. {}", blocker.what, blocker.what_to_do);
            }
            Ok(Disposition::Done)
        }
        Conditional::Refused => Ok(Disposition::Later(CONTENDED)),
    }
}
