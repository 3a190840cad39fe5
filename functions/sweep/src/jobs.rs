//! Checks that every shard of an open job still has a message, and sends lost messages again.

use std::collections::BTreeMap;

use darkroom::{
    ledger::Commitment, names::JobId, object_keys, state::DRIVER_LOST_AFTER, status::JobStatus,
};
use runtime::{
    cas::CasError,
    shard_store::{Rounds, StateError},
};
use tracing::{error, info, warn};

use crate::{abandoned_plans, deps::Deps, error::SweepError};

/// The findings about all open jobs.
#[derive(Debug, Default)]
pub(crate) struct OpenJobs {
    /// The number of shards and jobs whose lost message was sent again.
    pub(crate) stale: u32,
    /// The number of jobs that can't be closed because a document is missing or damaged.
    pub(crate) blocked: u32,
    /// All open jobs. A job with a budget has the commitments of its shards; the value is `None`
    /// for a job without a budget, and for a job whose states can't be read.
    pub(crate) commitments: BTreeMap<JobId, Option<Vec<Commitment>>>,
    /// Why a job could not be checked. The last such failure is kept.
    pub(crate) problem: Option<SweepError>,
}

/// The findings about one open job.
#[derive(Debug, Default)]
struct OpenJob {
    stale: u32,
    is_blocked: bool,
    commitments: Option<Vec<Commitment>>,
}

/// Sends a message about every shard whose message must have been lost, and about every job whose
/// closing is overdue.
///
/// # Errors
/// [`SweepError::Bucket`] if the open jobs can't be listed.
pub(crate) async fn resend_lost_messages(deps: &Deps) -> Result<OpenJobs, SweepError> {
    let mut open = OpenJobs::default();
    for key in deps.bucket.keys(object_keys::OPEN_JOBS).await? {
        let job = JobId::new(key.trim_start_matches(object_keys::OPEN_JOBS));
        let commitments = match check_job(deps, &job).await {
            Ok(found) => {
                open.stale += found.stale;
                open.blocked += u32::from(found.is_blocked);
                found.commitments
            }
            // A job that can't be read must not stop the others.
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

async fn check_job(deps: &Deps, job: &JobId) -> Result<OpenJob, SweepError> {
    // A job without a plan is driven by its manifest's message, as long as that manifest exists.
    let key = object_keys::status(job);
    let Some(object) = deps.bucket.read(&key).await? else {
        abandoned_plans::reject_if_overwritten(deps, job).await?;
        return Ok(OpenJob::default());
    };
    let status: JobStatus = serde_json::from_slice(&object.bytes)
        .map_err(|error| SweepError::Malformed { key, error })?;
    let is_blocked = status.blocker.is_some();
    let Some(plan) = status.plan else {
        abandoned_plans::reject_if_overwritten(deps, job).await?;
        return Ok(OpenJob {
            is_blocked,
            ..OpenJob::default()
        });
    };

    // A blocked job is tried again once one of the documents that block it has changed.
    if let Some(blocker) = &status.blocker
        && !deps.bucket.are_unchanged(&blocker.documents).await?
    {
        info!(correlation_id = %job, "document that blocked the job has changed: job is updated again");
        deps.wake.report(job).await?;
    }

    // A state that is missing or damaged blocks the job. `report` records that in `job.json`.
    let now = deps.clock.now();
    let shards = match deps.states.read_all(job, plan.shards).await {
        Ok(shards) => shards,
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

    // Only the last round of a shard can be under way.
    let mut stale = 0;
    for last in shards
        .iter()
        .filter_map(|rounds| rounds.shards().next_back())
    {
        if last.has_lost_its_driver(now) {
            warn!(correlation_id = %job, shard = %last.shard, phase = last.phase.name(), "message about a shard was lost: sent again");
            deps.wake.shard(last).await?;
            stale += 1;
        }
    }

    // All shards have ended long ago, so the message that closes the job must have been lost.
    let last_change = shards
        .iter()
        .flat_map(Rounds::shards)
        .map(|shard| shard.changed_at)
        .max();
    if status.blocker.is_none()
        && shards.iter().all(Rounds::are_over)
        && last_change.is_none_or(|changed| now >= changed + DRIVER_LOST_AFTER)
    {
        warn!(correlation_id = %job, "message that closes the job was lost: sent again");
        deps.wake.report(job).await?;
        stale += 1;
    }

    // The ledger recounts the account of a job with a budget from these commitments.
    let mut all = shards.iter().flat_map(Rounds::shards).peekable();
    let has_budget = all.peek().is_some_and(|shard| shard.budget.is_some());
    let commitments = has_budget.then(|| all.map(Commitment::of).collect());
    Ok(OpenJob {
        stale,
        is_blocked,
        commitments,
    })
}
