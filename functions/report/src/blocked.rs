//! A job that can't be closed because a document is missing or damaged: what people are told, and
//! when it is tried again.
//!
//! The messages are acknowledged, as `job.json` says all that they could say. The next message
//! about the job, or the hourly sweep, finds that a document has changed, and the job is closed.

use darkroom::{
    layout,
    names::{JobId, ObjectUri, ShardId},
    plan::PlanLock,
    state::Phase,
    status::{Blocker, DocumentVersion, JobPhase, JobStatus},
};
use jiff::SignedDuration;
use runtime::{
    bucket::{Conditional, Object},
    deliveries::Disposition,
};

use crate::{
    deps::Deps,
    handler::{News, ReportError, malformed},
};

/// How long to wait where `job.json` appears in the moment in which it is found missing.
const CONTENDED: SignedDuration = SignedDuration::from_secs(5);

/// Whether the documents that block a job are as they were found. A job that isn't blocked has
/// none.
pub(crate) async fn persists(deps: &Deps, status: &JobStatus) -> Result<bool, ReportError> {
    let Some(blocker) = &status.blocker else {
        return Ok(false);
    };
    Ok(deps.bucket.are_unchanged(&blocker.documents).await?)
}

/// The blocker as it was noticed first, if `status` says the same already.
pub(crate) fn since_first_noticed(status: &JobStatus, blocker: Blocker) -> Blocker {
    match &status.blocker {
        Some(known) if known.is_same_as(&blocker) => known.clone(),
        Some(_) | None => blocker,
    }
}

/// There is no `job.json`. A job whose shards are under way had one: people are told in its place
/// that it was removed.
///
/// # Errors
/// [`ReportError::NotPlanned`] if the job is still being planned, or if there is no such job.
pub(crate) async fn status_is_missing(
    deps: &Deps,
    job: &JobId,
    news: &News,
) -> Result<Disposition, ReportError> {
    let shard = news.shards.first().copied().unwrap_or(ShardId::first(0));
    let stored = deps.states.read(job, shard).await?;
    // `plan` wakes the shards after it has written `job.json`.
    let is_begun = stored.is_some_and(|stored| {
        stored.shard.driver.is_some() || !matches!(stored.shard.phase, Phase::Planned { .. })
    });
    if !is_begun {
        return Err(ReportError::NotPlanned(job.clone()));
    }
    let key = layout::status(job);
    let document = DocumentVersion {
        key: key.clone(),
        etag: None,
    };
    let status = stand_in(deps, job, format!("{key} was removed"), document).await?;
    let bytes = serde_json::to_vec_pretty(&status).map_err(malformed(&key))?;
    told(
        deps.bucket.create(&key, "application/json", bytes).await?,
        &status,
    )
}

/// `job.json` can't be read. What stands there is no `job.json` at all, or else that of another
/// version of Darkroom, which is left alone.
///
/// # Errors
/// [`ReportError::Malformed`] if it may be of another version.
pub(crate) async fn status_is_damaged(
    deps: &Deps,
    job: &JobId,
    object: &Object,
    error: serde_json::Error,
) -> Result<Disposition, ReportError> {
    let key = layout::status(job);
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&object.bytes).is_ok() {
        return Err(malformed(&key)(error));
    }
    let document = DocumentVersion {
        key: key.clone(),
        etag: Some(object.etag.clone()),
    };
    let status = stand_in(deps, job, format!("{key} was damaged"), document).await?;
    let bytes = serde_json::to_vec_pretty(&status).map_err(malformed(&key))?;
    told(
        deps.bucket
            .replace(&key, &object.etag, "application/json", bytes)
            .await?,
        &status,
    )
}

/// A `job.json` that says no more than that the job's own is gone. It has no plan, so `plan` writes
/// another one in its place when the manifest is uploaded again.
async fn stand_in(
    deps: &Deps,
    job: &JobId,
    what: String,
    document: DocumentVersion,
) -> Result<JobStatus, ReportError> {
    let lock = deps.bucket.read(&layout::plan_lock(job)).await?;
    let lock = lock.and_then(|object| serde_json::from_slice::<PlanLock>(&object.bytes).ok());
    // Without its lock it isn't known which manifest the job was made from.
    let unknown = || ObjectUri {
        bucket: deps.bucket.name().to_owned(),
        key: "inbox/".to_owned(),
    };
    let manifest = lock.map_or_else(unknown, |lock| lock.manifest.uri);
    let now = deps.clock.now();
    let blocker = Blocker {
        what,
        what_to_do: format!(
            "Restore it from an earlier version of the object, or upload the same manifest to {manifest} again. The job \
             is then closed within two hours after its last shard is over. Nothing is bought again, and every image \
             that was collected is kept."
        ),
        since: now,
        documents: vec![document],
    };
    Ok(JobStatus {
        blocker: Some(blocker),
        ..JobStatus::new(job, &manifest, JobPhase::Blocked, now)
    })
}

fn told(written: Conditional, status: &JobStatus) -> Result<Disposition, ReportError> {
    match written {
        Conditional::Written(_) => {
            if let Some(blocker) = &status.blocker {
                tracing::error!("{}. {}", blocker.what, blocker.what_to_do);
            }
            Ok(Disposition::Done)
        }
        Conditional::Refused => Ok(Disposition::Later(CONTENDED)),
    }
}
