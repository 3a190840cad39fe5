//! Jobs that are not closed: is there still a message for each shard?

use clients::{
    states::{Rounds, StateError},
    swap::SwapError,
};
use darkroom::{
    layout,
    names::JobId,
    state::OVERDUE,
    status::{Blocker, JobStatus},
};
use tracing::{error, info, warn};

use crate::handler::{Deps, SweepError};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Messages that were lost, and sent again.
    pub(crate) stale: u32,
    /// Jobs that can't be closed because a document is missing or damaged.
    pub(crate) blocked: u32,
}

/// Sends a message to every shard whose own must have been lost, and about every job that should long be closed.
pub(crate) async fn wake(deps: &Deps) -> Result<Found, SweepError> {
    let mut all = Found::default();
    let mut last_problem = None;
    for key in deps.bucket.keys(layout::OPEN_JOBS).await? {
        let job = JobId::new(key.trim_start_matches(layout::OPEN_JOBS));
        match wake_job(deps, &job).await {
            Ok(found) => {
                all.stale += found.stale;
                all.blocked += found.blocked;
            }
            // One job that can't be read is no reason to leave the others.
            Err(problem) => {
                error!(correlation_id = %job, "{problem}");
                last_problem = Some(problem);
            }
        }
    }
    last_problem.map_or(Ok(all), Err)
}

async fn wake_job(deps: &Deps, job: &JobId) -> Result<Found, SweepError> {
    let key = layout::status(job);
    // While it is being planned, its manifest's message sees to it.
    let Some(object) = deps.bucket.read(&key).await? else { return Ok(Found::default()) };
    let status: JobStatus =
        serde_json::from_slice(&object.bytes).map_err(|source| SweepError::Malformed { what: key, source })?;
    let blocked = u32::from(status.blocker.is_some());
    let Some(plan) = status.plan else { return Ok(Found { stale: 0, blocked }) };
    if let Some(blocker) = &status.blocker
        && has_changed(deps, blocker).await?
    {
        info!(correlation_id = %job, "a document that was missing or damaged has changed: the job is looked at again");
        deps.wake.report(job).await?;
    }

    let now = deps.clock.now();
    let shards = match deps.states.read_all(job, plan.shards).await {
        Ok(shards) => shards,
        // One that is missing or damaged blocks the job: people are told in its `job.json`.
        Err(StateError::Missing(..) | StateError::Swap(SwapError::Malformed { .. })) => {
            if status.blocker.is_none() {
                deps.wake.report(job).await?;
            }
            return Ok(Found { stale: 0, blocked: 1 });
        }
        Err(error) => return Err(error.into()),
    };
    let mut stale = 0;
    for last in shards.iter().filter_map(|rounds| rounds.shards().next_back()) {
        if last.has_lost_its_driver(now) {
            warn!(correlation_id = %job, shard = %last.shard, phase = last.phase.name(), "its message was lost");
            deps.wake.shard(last).await?;
            stale += 1;
        }
    }
    let last_change = shards.iter().flat_map(Rounds::shards).map(|shard| shard.changed_at).max();
    if status.blocker.is_none()
        && shards.iter().all(Rounds::are_over)
        && last_change.is_none_or(|changed| now >= changed + OVERDUE)
    {
        warn!(correlation_id = %job, "the message that should close it was lost");
        deps.wake.report(job).await?;
        stale += 1;
    }
    Ok(Found { stale, blocked })
}

/// Whether a document that blocks the job is another than the one that was found missing or damaged.
async fn has_changed(deps: &Deps, blocker: &Blocker) -> Result<bool, SweepError> {
    for document in &blocker.documents {
        if deps.bucket.etag(&document.key).await? != document.etag {
            return Ok(true);
        }
    }
    Ok(false)
}
