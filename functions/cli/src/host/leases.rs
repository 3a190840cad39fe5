//! Leases of invocations that have ended.
//!
//! A function on Lambda takes a lease until its deadline, after which another invocation may take
//! over. On one machine there is no deadline. Instead, the host knows when an invocation has ended,
//! because its folder is locked and no other process works in it.
//!
//! A panic counts as a failure of the result line that was being read. The end of the process does
//! not, since it has nothing to do with the line.

use aws_sim::queue::Delivery;
use darkroom::{messages::ShardMessage, names::JobId, object_keys, status::JobStatus};
use runtime::shard_store::{Cas, ShardStore, StoredShard};
use tracing::error;

use crate::cloud::Cloud;

/// Releases the leases on all shards of open jobs. No invocation may be running.
pub(super) async fn release_all(cloud: &Cloud) -> anyhow::Result<()> {
    for key in cloud.bucket.keys(object_keys::OPEN_JOBS).await? {
        let job = JobId::new(key.trim_start_matches(object_keys::OPEN_JOBS));
        // One unreadable job must not block the others.
        if let Err(error) = release_job(cloud, &job).await {
            error!(correlation_id = %job, "can't release the leases of the job: {error:#}");
        }
    }
    Ok(())
}

async fn release_job(cloud: &Cloud, job: &JobId) -> anyhow::Result<()> {
    // A job without a plan has no shards yet.
    let Some(status) = cloud.bucket.read(&object_keys::status(job)).await? else {
        return Ok(());
    };
    let status: JobStatus = serde_json::from_slice(&status.bytes)?;
    let Some(plan) = status.plan else {
        return Ok(());
    };
    let states = &cloud.deps.collect.states;
    for rounds in states.read_all(job, plan.shards).await? {
        if let Some(last) = rounds.0.last() {
            release(cloud, states, last, false).await?;
        }
    }
    Ok(())
}

/// Releases the leases that an invocation with these messages may have taken. It has failed without
/// releasing them.
pub(super) async fn release_held_by(cloud: &Cloud, deliveries: &[Delivery]) -> anyhow::Result<()> {
    let states = &cloud.deps.collect.states;
    for delivery in deliveries {
        // Only messages about shards lead to leases.
        let Ok(message) = serde_json::from_str::<ShardMessage>(&delivery.body) else {
            continue;
        };
        if let Some(stored) = states.read(&message.job, message.shard).await? {
            release(cloud, states, &stored, true).await?;
        }
    }
    Ok(())
}

/// Releases the lease on a shard, if there is one. `failed` counts a failure of the line that was
/// being read.
async fn release(
    cloud: &Cloud,
    states: &ShardStore,
    stored: &StoredShard,
    failed: bool,
) -> anyhow::Result<()> {
    if let Some(next) = stored.shard.without_lease(failed, cloud.time.now()) {
        // A conflict means that the state was replaced in the meantime, so this lease is gone.
        let (Cas::Written(_) | Cas::Conflict) = states.swap(stored, next).await?;
    }
    Ok(())
}
