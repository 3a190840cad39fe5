//! Leases of invocations that have ended.
//!
//! A function on Lambda takes a lease until its deadline, and after that another may take over. On
//! one machine there is no deadline, and the host knows when an invocation has ended: its folder is
//! locked, so no other process works in it. The end of the process says nothing about the line that
//! was being read; a panic of the function does.

use aws_sim::queue::Delivery;
use darkroom::{messages::ShardMessage, names::JobId, object_keys, status::JobStatus};
use runtime::shard_store::{Cas, ShardStore, StoredShard};
use tracing::error;

use crate::cloud::Cloud;

/// Ends the leases on all shards of open jobs: no invocation is under way.
pub(super) async fn end_all(cloud: &Cloud) -> anyhow::Result<()> {
    for key in cloud.bucket.keys(object_keys::OPEN_JOBS).await? {
        let job = JobId::new(key.trim_start_matches(object_keys::OPEN_JOBS));
        // A job that can't be read is no reason to leave the others.
        if let Err(problem) = end_those_of_job(cloud, &job).await {
            error!(correlation_id = %job, "{problem}");
        }
    }
    Ok(())
}

async fn end_those_of_job(cloud: &Cloud, job: &JobId) -> anyhow::Result<()> {
    let states = &cloud.deps.collect.states;
    // A job without a plan has no shards yet.
    let Some(status) = cloud.bucket.read(&object_keys::status(job)).await? else {
        return Ok(());
    };
    let status: JobStatus = serde_json::from_slice(&status.bytes)?;
    let Some(plan) = status.plan else {
        return Ok(());
    };
    for rounds in states.read_all(job, plan.shards).await? {
        if let Some(last) = rounds.0.last() {
            end_one(cloud, states, last, false).await?;
        }
    }
    Ok(())
}

/// Ends the leases that an invocation with these messages may have taken: it has failed without
/// giving them back.
pub(super) async fn end_those_of(cloud: &Cloud, deliveries: &[Delivery]) -> anyhow::Result<()> {
    let states = &cloud.deps.collect.states;
    for delivery in deliveries {
        // Only messages about shards lead to leases.
        let Ok(about) = serde_json::from_str::<ShardMessage>(&delivery.body) else {
            continue;
        };
        if let Some(stored) = states.read(&about.job, about.shard).await? {
            end_one(cloud, states, &stored, true).await?;
        }
    }
    Ok(())
}

async fn end_one(
    cloud: &Cloud,
    states: &ShardStore,
    stored: &StoredShard,
    failed: bool,
) -> anyhow::Result<()> {
    if let Some(next) = stored.shard.without_lease(failed, cloud.time.now()) {
        // Theirs would be a newer state, which has a holder or none.
        let (Cas::Written(_) | Cas::Conflict) = states.swap(stored, next).await?;
    }
    Ok(())
}
