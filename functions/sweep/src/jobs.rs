//! Jobs that are not closed: is there still a message for each shard?

use std::collections::BTreeMap;

use darkroom::{
    layout, ledger::Commitment, names::JobId, state::DRIVER_LOST_AFTER, status::JobStatus,
};
use runtime::{
    cas::CasError,
    shard_store::{Rounds, StateError},
};
use tracing::{error, info, warn};

use crate::{deps::Deps, handler::SweepError, overwritten};

/// What was found out about the jobs that are not closed.
#[derive(Debug, Default)]
pub(crate) struct OpenJobs {
    /// The shards and jobs that were sent a message because their own was lost.
    pub(crate) stale: u32,
    /// Jobs that can't be closed because a document is missing or damaged.
    pub(crate) blocked: u32,
    /// All open jobs. Of those that have a budget, what each shard commits; none where the states
    /// can't be read.
    pub(crate) commitments: BTreeMap<JobId, Option<Vec<Commitment>>>,
    /// Why a job could not be looked at, for the last such job.
    pub(crate) problem: Option<SweepError>,
}

/// What was found out about one of them.
#[derive(Debug, Default)]
struct OpenJob {
    stale: u32,
    is_blocked: bool,
    commitments: Option<Vec<Commitment>>,
}

/// Sends a message to every shard whose own must have been lost, and about every job that should
/// long be closed.
pub(crate) async fn wake(deps: &Deps) -> Result<OpenJobs, SweepError> {
    let mut open = OpenJobs::default();
    for key in deps.bucket.keys(layout::OPEN_JOBS).await? {
        let job = JobId::new(key.trim_start_matches(layout::OPEN_JOBS));
        let commitments = match wake_job(deps, &job).await {
            Ok(found) => {
                open.stale += found.stale;
                open.blocked += u32::from(found.is_blocked);
                found.commitments
            }
            // One job that can't be read is no reason to leave the others.
            Err(problem) => {
                error!(correlation_id = %job, "{problem}");
                open.problem = Some(problem);
                None
            }
        };
        open.commitments.insert(job, commitments);
    }
    Ok(open)
}

async fn wake_job(deps: &Deps, job: &JobId) -> Result<OpenJob, SweepError> {
    let key = layout::status(job);
    // While it is being planned, its manifest's message sees to it, as long as there is that
    // manifest.
    let Some(object) = deps.bucket.read(&key).await? else {
        overwritten::reject(deps, job).await?;
        return Ok(OpenJob::default());
    };
    let status: JobStatus = serde_json::from_slice(&object.bytes)
        .map_err(|source| SweepError::Malformed { what: key, source })?;
    let is_blocked = status.blocker.is_some();
    let Some(plan) = status.plan else {
        overwritten::reject(deps, job).await?;
        return Ok(OpenJob {
            is_blocked,
            ..OpenJob::default()
        });
    };
    if let Some(blocker) = &status.blocker
        && !deps.bucket.are_unchanged(&blocker.documents).await?
    {
        info!(correlation_id = %job, "a document that was missing or damaged has changed: the job is looked at again");
        deps.wake.report(job).await?;
    }

    let now = deps.clock.now();
    let shards = match deps.states.read_all(job, plan.shards).await {
        Ok(shards) => shards,
        // One that is missing or damaged blocks the job: people are told in its `job.json`.
        Err(
            StateError::Missing(..)
            | StateError::Keys { .. }
            | StateError::Cas(CasError::Malformed { .. }),
        ) => {
            if status.blocker.is_none() {
                deps.wake.report(job).await?;
            }
            return Ok(OpenJob {
                is_blocked: true,
                ..OpenJob::default()
            });
        }
        Err(error) => return Err(error.into()),
    };
    let mut stale = 0;
    for last in shards
        .iter()
        .filter_map(|rounds| rounds.shards().next_back())
    {
        if last.has_lost_its_driver(now) {
            warn!(correlation_id = %job, shard = %last.shard, phase = last.phase.name(), "its message was lost");
            deps.wake.shard(last).await?;
            stale += 1;
        }
    }
    let last_change = shards
        .iter()
        .flat_map(Rounds::shards)
        .map(|shard| shard.changed_at)
        .max();
    if status.blocker.is_none()
        && shards.iter().all(Rounds::are_over)
        && last_change.is_none_or(|changed| now >= changed + DRIVER_LOST_AFTER)
    {
        warn!(correlation_id = %job, "the message that should close it was lost");
        deps.wake.report(job).await?;
        stale += 1;
    }
    let mut all = shards.iter().flat_map(Rounds::shards).peekable();
    let has_budget = all.peek().is_some_and(|shard| shard.budget.is_some());
    let commitments = has_budget.then(|| all.map(Commitment::of).collect());
    Ok(OpenJob {
        stale,
        is_blocked,
        commitments,
    })
}
