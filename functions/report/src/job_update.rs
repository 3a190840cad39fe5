//! Updates a job: merges the states that have changed into `job.json`, and closes the job when all
//! its shards have ended.
//!
//! `job.json` is read before the states, and is replaced only in the version that was read. A state
//! that is merged is therefore at least as new as the entry that it replaces, whatever the order of
//! the messages is. If another invocation has written `job.json` in the meantime, everything is
//! read again.

use darkroom::{
    events::has_news,
    messages::JobMessage,
    names::{JobId, ShardId},
    object_keys::{self, Marker},
    state::{Phase, Shard},
    status::{Blocker, JobStatus, ShardStatus},
};
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use runtime::{
    bucket::{Conditional, ObjectHead},
    deliveries::Disposition,
    document::DocumentError,
    shard_store::Rounds,
};

use crate::{
    blocked,
    changes::Changes,
    close::close,
    deps::Deps,
    documents::{missing, unreadable_state},
    error::ReportError,
    gallery::{self, Cause},
    throttle, thumbnails,
};

/// The number of attempts to update a job that other invocations write at the same time.
const MAX_ATTEMPTS: u32 = 3;

/// How long to wait after [`MAX_ATTEMPTS`] conflicts.
const CONTENDED: SignedDuration = SignedDuration::from_secs(5);

/// The number of states that are read at the same time.
const CONCURRENCY: usize = 16;

/// A stored `job.json`, its ETag and its size in bytes.
pub(crate) struct Stored {
    pub(crate) status: JobStatus,
    pub(crate) etag: String,
    pub(crate) bytes: u64,
}

/// Updates a job with the changes that messages report.
///
/// # Errors
/// [`ReportError`] if the job is not planned yet, or if a document can't be read or written now.
pub(crate) async fn update_job(
    deps: &Deps,
    job: &JobId,
    changes: &Changes,
) -> Result<Disposition, ReportError> {
    let Some(head) = deps.bucket.head(&object_keys::status(job)).await? else {
        return blocked::status_is_missing(deps, job, changes).await;
    };
    if let Some(wait) =
        throttle::wait_before_reading(&head, deps.clock.now()).filter(|_| !changes.waited)
    {
        return Ok(Disposition::Later(wait));
    }
    for _ in 0..MAX_ATTEMPTS {
        match try_update(deps, job, changes, &head).await? {
            Attempt::Conflict => {}
            Attempt::Answered(disposition) => return Ok(disposition),
            Attempt::Shown(status, cause) => {
                return gallery::refresh(deps, &status, changes, cause).await;
            }
        }
    }
    Ok(Disposition::Later(CONTENDED))
}

/// The outcome of one attempt to update a job.
enum Attempt {
    /// Another invocation has written `job.json` in the meantime.
    Conflict,
    /// There is nothing else to do for these messages now.
    Answered(Disposition),
    /// `job.json` shows the states. The gallery may have to follow.
    Shown(Box<JobStatus>, Cause),
}

/// Updates a job once. `head` is that of `job.json` before.
async fn try_update(
    deps: &Deps,
    job: &JobId,
    changes: &Changes,
    head: &ObjectHead,
) -> Result<Attempt, ReportError> {
    let key = object_keys::status(job);
    let Some(object) = deps.bucket.read(&key).await? else {
        return blocked::status_is_missing(deps, job, changes)
            .await
            .map(Attempt::Answered);
    };
    let status: JobStatus = match serde_json::from_slice(&object.bytes) {
        Ok(status) => status,
        Err(error) => {
            return blocked::status_is_damaged(deps, job, &object, error)
                .await
                .map(Attempt::Answered);
        }
    };

    // A job that was rejected, or is already closed, needs no update.
    if status.plan.is_none() {
        return Ok(Attempt::Answered(Disposition::Done));
    }
    if status.phase.is_terminal() && is_closed(deps, job).await? {
        // An earlier delivery may have ended after it had written the marker. The job is then still
        // in the list of open jobs.
        let open = object_keys::open_job(job);
        if deps.bucket.head(&open).await?.is_some() {
            end_open_job(deps, job).await?;
        }
        return Ok(Attempt::Shown(Box::new(status), Cause::Closed));
    }

    // A blocker is recorded in `job.json` like any other change.
    let mut next = status.clone();
    let stored = Stored {
        status,
        etag: object.etag,
        bytes: object.bytes.len() as u64,
    };
    match merge_and_close(deps, &stored, changes, &mut next).await {
        Ok(Updated::Closed) => {
            end_open_job(deps, job).await?;
            Ok(Attempt::Answered(Disposition::Done))
        }
        Ok(Updated::Open) => write_status(deps, &stored, next, changes.waited, head).await,
        Err(ReportError::Blocked(blocker)) => {
            next.blocker = Some(blocked::since_first_noticed(&stored.status, *blocker));
            next.follow_shards();
            write_status(deps, &stored, next, changes.waited, head).await
        }
        Err(error) => Err(error),
    }
}

/// Announces the end of a job, and then removes it from the list of open jobs. Until it is removed,
/// a repeated message or a sweep leads here again.
async fn end_open_job(deps: &Deps, job: &JobId) -> Result<(), ReportError> {
    deps.announcer.announce(job).await?;
    Ok(deps.bucket.delete(&object_keys::open_job(job)).await?)
}

/// The state of a job after an update.
enum Updated {
    /// Some shards have not ended, or the job is blocked: `job.json` must be written.
    Open,
    /// All documents are written.
    Closed,
}

/// Brings the entries of `next` up to date, and closes the job if all shards have ended.
///
/// # Errors
/// [`ReportError::Blocked`] if a document is missing or damaged. `next` has the entries that were
/// read.
async fn merge_and_close(
    deps: &Deps,
    stored: &Stored,
    changes: &Changes,
    next: &mut JobStatus,
) -> Result<Updated, ReportError> {
    let (job, shards) = (
        &stored.status.job,
        stored.status.plan.as_ref().map_or(0, |plan| plan.shards),
    );
    // Once a document that blocked the job has changed, everything is read again. A message about
    // the whole job has the same effect even if the documents seem unchanged.
    let is_blocked = !changes.whole_job && blocked::persists(deps, &stored.status).await?;
    let whole_job = changes.whole_job || (stored.status.blocker.is_some() && !is_blocked);
    if !is_blocked {
        next.blocker = None;
    }

    // Merge the states that have changed. They are merged even if another state can't be read.
    let mut chains = None;
    if whole_job {
        match read_all(deps, job, shards, next).await {
            Ok(all) => chains = Some(all),
            Err(error) => {
                merge_changed(deps, job, shards, changes, next).await?;
                return Err(error);
            }
        }
    } else {
        merge_changed(deps, job, shards, changes, next).await?;
    }
    next.follow_shards();
    if next.may_follow_proof() {
        // `control` reads the states, which show whether all images of the proof have succeeded.
        deps.controls.send(&JobMessage::new(job)).await?;
    }
    if !next.all_shards_ended() || next.blocker.is_some() {
        return Ok(Updated::Open);
    }

    // By their entries all shards have ended. Entries may be stale, so the states decide.
    let chains = match chains {
        Some(chains) => chains,
        None => read_all(deps, job, shards, next).await?,
    };
    if !chains.iter().all(Rounds::are_over) {
        next.follow_shards();
        return Ok(Updated::Open);
    }
    thumbnails::request(deps, &stored.status, next).await?;
    close(deps, next.clone(), &chains).await?;
    Ok(Updated::Closed)
}

/// Reads the states of all shards, and replaces all entries.
async fn read_all(
    deps: &Deps,
    job: &JobId,
    shards: u32,
    next: &mut JobStatus,
) -> Result<Vec<Rounds>, ReportError> {
    let chains = match deps.states.read_all(job, shards).await {
        Ok(chains) => chains,
        Err(error) => return Err(unreadable_state(deps, error).await?),
    };
    next.shards = chains
        .iter()
        .flat_map(Rounds::shards)
        .map(ShardStatus::from)
        .collect();
    Ok(chains)
}

/// Reads the states of the shards that have changed, and updates their entries. If such a shard
/// names a next round that has no entry yet, that round is read too.
///
/// # Errors
/// [`ReportError::Blocked`] for a state that is missing or damaged. The entries of the other shards
/// are updated nevertheless, because their messages are not delivered again.
async fn merge_changed(
    deps: &Deps,
    job: &JobId,
    shards: u32,
    changes: &Changes,
    next: &mut JobStatus,
) -> Result<(), ReportError> {
    let mut wanted: Vec<ShardId> = changes.shards.iter().copied().collect();
    let mut blocked = None;
    while !wanted.is_empty() {
        let read: Vec<_> = stream::iter(std::mem::take(&mut wanted))
            .map(async |id| (id, read_state(deps, job, id).await))
            .buffered(CONCURRENCY)
            .collect()
            .await;
        for (id, state) in read {
            match state {
                // A finished round may have a next one, which is read in the next pass.
                Ok(Some(shard)) => {
                    if let Phase::Done {
                        next: Some(round), ..
                    } = shard.phase
                        && next.shard(round).is_none()
                    {
                        wanted.push(round);
                    }
                    next.put_shard(ShardStatus::from(&shard));
                }
                Ok(None) if is_known(next, id, shards) => {
                    blocked.get_or_insert(missing(deps, &object_keys::state(job, id)));
                }
                Ok(None) => {
                    tracing::warn!(shard = %id, "message ignored: the job has no such shard")
                }
                Err(error @ ReportError::Blocked(_)) => drop(blocked.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
    }
    blocked.map_or(Ok(()), Err)
}

/// Whether a state of this shard must exist, because the plan or an entry of `job.json` names it.
fn is_known(status: &JobStatus, id: ShardId, shards: u32) -> bool {
    let is_planned = id.round == 1 && id.number < shards;
    let is_named = || {
        status
            .shards
            .iter()
            .any(|entry| entry.shard == id || entry.next == Some(id))
    };
    is_planned || is_named()
}

async fn read_state(deps: &Deps, job: &JobId, id: ShardId) -> Result<Option<Shard>, ReportError> {
    match deps.states.read(job, id).await {
        Ok(stored) => Ok(stored.map(|stored| stored.shard)),
        Err(error) => Err(unreadable_state(deps, error).await?),
    }
}

/// Whether the job's marker exists. The status is terminal before the marker is written, so it does
/// not show that the job is closed.
async fn is_closed(deps: &Deps, job: &JobId) -> Result<bool, ReportError> {
    for marker in Marker::LAST {
        if deps
            .bucket
            .head(&object_keys::document(job, marker.name()))
            .await?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replaces `job.json` if something in it has changed. If it was written too recently, the messages
/// return later, unless they have `waited`.
async fn write_status(
    deps: &Deps,
    stored: &Stored,
    next: JobStatus,
    waited: bool,
    head: &ObjectHead,
) -> Result<Attempt, ReportError> {
    let unchanged = Cause::Unchanged(head.last_modified);
    let has_changed = JobStatus {
        updated_at: stored.status.updated_at,
        ..next.clone()
    } != stored.status;
    if !has_changed {
        return Ok(Attempt::Shown(Box::new(next), unchanged));
    }

    // Frequent changes are merged in one write.
    let next = JobStatus {
        updated_at: deps.clock.now(),
        ..next
    };
    if let Some(wait) =
        throttle::wait_before_writing(&stored.status, stored.bytes, &next).filter(|_| !waited)
    {
        return Ok(Attempt::Answered(Disposition::Later(wait)));
    }

    thumbnails::request(deps, &stored.status, &next).await?;

    // A blocker is logged once, by the invocation that records it.
    let key = object_keys::status(&next.job);
    let bytes = serde_json::to_vec_pretty(&next).map_err(DocumentError::at(&key))?;
    match deps
        .bucket
        .replace(&key, &stored.etag, "application/json", bytes)
        .await?
    {
        Conditional::Written(_) => {
            if let Some(blocker) = next
                .blocker
                .as_ref()
                .filter(|blocker| is_new(&stored.status, blocker))
            {
                tracing::error!("{}. {}", blocker.what, blocker.what_to_do);
            }
            if has_news(&stored.status, &next) {
                deps.announcer.announce(&next.job).await?;
            }
            let is_visible = next.changes_gallery(&stored.status);
            let cause = if is_visible {
                Cause::Written
            } else {
                unchanged
            };
            Ok(Attempt::Shown(Box::new(next), cause))
        }
        Conditional::Refused => Ok(Attempt::Conflict),
    }
}

/// Whether `status` does not record this blocker yet.
fn is_new(status: &JobStatus, blocker: &Blocker) -> bool {
    status.blocker.as_ref() != Some(blocker)
}
