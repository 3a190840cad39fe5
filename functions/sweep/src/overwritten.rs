//! Jobs whose plan was locked and never written, because their manifest was overwritten or deleted
//! in between.
//!
//! `plan` ends such a job when it comes upon it. If the invocation that wrote the lock was killed,
//! the next one finds another manifest, which is another job, and knows nothing of the first.

use darkroom::{layout, names::JobId, plan::PlanLock};
use jiff::SignedDuration;
use runtime::rejection;
use tracing::warn;

use crate::{deps::Deps, handler::SweepError};

/// How long after its lock a plan may still be written by the invocation that wrote the lock.
const PLANNING: SignedDuration = SignedDuration::from_hours(1);

/// Rejects an open job that isn't planned, if its manifest is not there any more. As long as the
/// manifest is there, its message comes back, and the job is planned.
pub(crate) async fn reject(deps: &Deps, job: &JobId) -> Result<(), SweepError> {
    let key = layout::plan_lock(job);
    let Some(object) = deps.bucket.read(&key).await? else {
        return Ok(());
    };
    let lock: PlanLock = serde_json::from_slice(&object.bytes)
        .map_err(|source| SweepError::Malformed { what: key, source })?;
    let now = deps.clock.now();
    if now < lock.planned_at + PLANNING {
        return Ok(());
    }
    let manifest = &lock.manifest;
    let stored = deps.bucket.head(&manifest.uri.key).await?;
    if stored.is_some_and(|stored| stored.etag == manifest.etag) {
        return Ok(());
    }
    if rejection::reject_overwritten(&deps.bucket, job, &manifest.uri, now).await? {
        warn!(correlation_id = %job, "rejected: its manifest was overwritten before the plan was written");
    }
    Ok(())
}
