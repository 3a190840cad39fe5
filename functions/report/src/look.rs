//! One look at a job: the states that have changed are merged into `job.json`, and the job is
//! closed when all its shards are over.
//!
//! `job.json` is read before the states and replaced only in the version that was read. So a state
//! that is merged is at least as new as the entry that it replaces, whatever the order in which
//! messages come; and if another invocation has written `job.json` meanwhile, everything is read
//! again.

use darkroom::{
    layout::{self, Marker},
    names::{JobId, ShardId},
    state::{Phase, Shard},
    status::{Blocker, JobStatus, ShardStatus},
};
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use runtime::{bucket::Conditional, deliveries::Disposition, shard_store::Rounds};

use crate::{
    blocked,
    close::close,
    deps::Deps,
    documents::{missing, unreadable_state},
    handler::{News, ReportError, malformed},
    pace,
};

/// How often a look is begun anew because another invocation has written `job.json` meanwhile.
const MAX_ATTEMPTS: u32 = 3;

/// How long to leave a job alone that others keep changing.
const CONTENDED: SignedDuration = SignedDuration::from_secs(5);

/// How many states are read at once.
const CONCURRENCY: usize = 16;

/// `job.json` as it is stored.
pub(crate) struct Stored {
    pub(crate) status: JobStatus,
    pub(crate) etag: String,
    pub(crate) bytes: u64,
}

/// Looks at a job, of which messages say that something has changed.
pub(crate) async fn look(
    deps: &Deps,
    job: &JobId,
    news: &News,
) -> Result<Disposition, ReportError> {
    let Some(head) = deps.bucket.head(&layout::status(job)).await? else {
        return blocked::status_is_missing(deps, job, news).await;
    };
    if let Some(wait) = pace::wait_before_reading(&head, deps.clock.now()).filter(|_| !news.waited)
    {
        return Ok(Disposition::Later(wait));
    }
    for _ in 0..MAX_ATTEMPTS {
        if let Some(disposition) = look_once(deps, job, news).await? {
            return Ok(disposition);
        }
    }
    Ok(Disposition::Later(CONTENDED))
}

/// None if another invocation has written `job.json` meanwhile.
async fn look_once(
    deps: &Deps,
    job: &JobId,
    news: &News,
) -> Result<Option<Disposition>, ReportError> {
    let key = layout::status(job);
    let Some(object) = deps.bucket.read(&key).await? else {
        return blocked::status_is_missing(deps, job, news).await.map(Some);
    };
    let status: JobStatus = match serde_json::from_slice(&object.bytes) {
        Ok(status) => status,
        Err(error) => {
            return blocked::status_is_damaged(deps, job, &object, error)
                .await
                .map(Some);
        }
    };
    if status.plan.is_none() {
        return Ok(Some(Disposition::Done));
    }
    if status.phase.is_over() && is_closed(deps, job).await? {
        deps.bucket.delete(&layout::open_job(job)).await?;
        return Ok(Some(Disposition::Done));
    }

    let mut next = status.clone();
    let stored = Stored {
        status,
        etag: object.etag,
        bytes: object.bytes.len() as u64,
    };
    match update(deps, &stored, news, &mut next).await {
        Ok(Updated::Closed) => {
            deps.bucket.delete(&layout::open_job(job)).await?;
            Ok(Some(Disposition::Done))
        }
        Ok(Updated::Open) => refresh(deps, &stored, next, news.waited).await,
        Err(ReportError::Blocked(blocker)) => {
            next.blocker = Some(blocked::since_first_noticed(&stored.status, *blocker));
            next.follow_shards();
            refresh(deps, &stored, next, news.waited).await
        }
        Err(error) => Err(error),
    }
}

/// What a look has come to.
enum Updated {
    /// Shards are not over, or the job can't be closed yet: `job.json` is to be refreshed.
    Open,
    /// Everything is written.
    Closed,
}

/// Brings the entries of `next` up to date, and closes the job if all shards are over.
///
/// # Errors
/// [`ReportError::Blocked`] if a document is missing or damaged; the entries that were read are in
/// `next`.
async fn update(
    deps: &Deps,
    stored: &Stored,
    news: &News,
    next: &mut JobStatus,
) -> Result<Updated, ReportError> {
    let (job, shards) = (
        &stored.status.job,
        stored.status.plan.as_ref().map_or(0, |plan| plan.shards),
    );
    // Once a document that blocked the job has changed, everything is read again. A person who asks
    // for a look at the whole job has it read again though the documents seem unchanged.
    let is_blocked = !news.whole_job && blocked::persists(deps, &stored.status).await?;
    let whole_job = news.whole_job || (stored.status.blocker.is_some() && !is_blocked);
    if !is_blocked {
        next.blocker = None;
    }

    // What has changed.
    let mut chains = None;
    if whole_job {
        match read_all(deps, job, shards, next).await {
            Ok(all) => chains = Some(all),
            Err(error) => {
                merge_changed(deps, job, shards, news, next).await?;
                return Err(error);
            }
        }
    } else {
        merge_changed(deps, job, shards, news, next).await?;
    }
    next.follow_shards();
    if !next.shards_are_over() || next.blocker.is_some() {
        return Ok(Updated::Open);
    }

    // All shards are over by their entries. Their states decide.
    let chains = match chains {
        Some(chains) => chains,
        None => read_all(deps, job, shards, next).await?,
    };
    if !chains.iter().all(Rounds::are_over) {
        next.follow_shards();
        return Ok(Updated::Open);
    }
    close(deps, next.clone(), &chains).await?;
    Ok(Updated::Closed)
}

/// Reads the states of all shards, and makes all entries anew.
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

/// Reads the states of the shards that have changed, and puts in their entries. A round that such a
/// shard names, and of which nothing was heard yet, has an entry from then on.
///
/// # Errors
/// [`ReportError::Blocked`] for a state that is missing or damaged; the entries of the others are
/// put in all the same, as their messages will not come again.
async fn merge_changed(
    deps: &Deps,
    job: &JobId,
    shards: u32,
    news: &News,
    next: &mut JobStatus,
) -> Result<(), ReportError> {
    let mut wanted: Vec<ShardId> = news.shards.iter().copied().collect();
    let mut blocked = None;
    while !wanted.is_empty() {
        let read: Vec<_> = stream::iter(std::mem::take(&mut wanted))
            .map(async |id| (id, read_state(deps, job, id).await))
            .buffered(CONCURRENCY)
            .collect()
            .await;
        for (id, state) in read {
            match state {
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
                    blocked.get_or_insert(missing(deps, &layout::state(job, id)));
                }
                Ok(None) => tracing::warn!(shard = %id, "ignored: the job has no such shard"),
                Err(error @ ReportError::Blocked(_)) => drop(blocked.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
    }
    blocked.map_or(Ok(()), Err)
}

/// Whether there must be a state of this shard: it is in the plan, or was heard of before.
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

/// Whether the job's marker is there. Before it is, the status says already how the job ends.
async fn is_closed(deps: &Deps, job: &JobId) -> Result<bool, ReportError> {
    for marker in Marker::LAST {
        if deps
            .bucket
            .head(&layout::document(job, marker.name()))
            .await?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rewrites `job.json` if it says something new. If it was written just now, the messages come back
/// first, unless they have `waited`. None if another invocation has written it meanwhile.
async fn refresh(
    deps: &Deps,
    stored: &Stored,
    next: JobStatus,
    waited: bool,
) -> Result<Option<Disposition>, ReportError> {
    let says_more = JobStatus {
        updated_at: stored.status.updated_at,
        ..next.clone()
    } != stored.status;
    if !says_more {
        return Ok(Some(Disposition::Done));
    }
    let next = JobStatus {
        updated_at: deps.clock.now(),
        ..next
    };
    if let Some(wait) =
        pace::wait_before_writing(&stored.status, stored.bytes, &next).filter(|_| !waited)
    {
        return Ok(Some(Disposition::Later(wait)));
    }
    let key = layout::status(&next.job);
    let bytes = serde_json::to_vec_pretty(&next).map_err(malformed(&key))?;
    match deps
        .bucket
        .replace(&key, &stored.etag, "application/json", bytes)
        .await?
    {
        Conditional::Written(_) => {
            if let Some(blocker) = next
                .blocker
                .as_ref()
                .filter(|blocker| is_news(&stored.status, blocker))
            {
                tracing::error!("{}. {}", blocker.what, blocker.what_to_do);
            }
            Ok(Some(Disposition::Done))
        }
        Conditional::Refused => Ok(None),
    }
}

fn is_news(status: &JobStatus, blocker: &Blocker) -> bool {
    status.blocker.as_ref() != Some(blocker)
}
