//! Jobs whose plan was locked but never written, because their manifest was overwritten or deleted
//! in the meantime.
//!
//! `plan` ends such a job when it reads the manifest again. If the invocation that wrote the lock
//! was killed, the next invocation finds a different manifest, which is a different job, and has no
//! record of the first one.

use darkroom::{names::JobId, object_keys, plan::PlanLock};
use jiff::SignedDuration;
use runtime::{document::DocumentError, rejection};
use tracing::warn;

use crate::{deps::Deps, error::SweepError};

/// How long after its lock a plan may still be written by the invocation that wrote the lock.
const PLANNING_TIMEOUT: SignedDuration = SignedDuration::from_hours(1);

/// Rejects an open job without a plan if its manifest no longer exists in the locked version. As
/// long as that version exists, its message is delivered again and the job is planned.
///
/// # Errors
/// [`SweepError`] if a document can't be read or the job can't be rejected.
pub(crate) async fn reject_if_overwritten(deps: &Deps, job: &JobId) -> Result<(), SweepError> {
    let key = object_keys::plan_lock(job);
    let Some(object) = deps.bucket.read(&key).await? else {
        return Ok(());
    };
    let lock: PlanLock = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(&key))?;
    let now = deps.clock.now();
    if now < lock.planned_at + PLANNING_TIMEOUT {
        return Ok(());
    }

    let (manifest, folder) = (&lock.manifest, lock.folder.as_ref());
    let stored = deps.bucket.head(&manifest.uri.key).await?;
    if stored.is_some_and(|stored| stored.etag == manifest.etag) {
        return Ok(());
    }
    // The rejection removes the job from the list of open jobs, where this sweep has found it, before
    // it writes the marker. The next sweep finds the event if this one ends before it is announced.
    deps.announcer.list(job).await?;
    if rejection::reject_overwritten(&deps.bucket, job, &manifest.uri, folder, now).await? {
        deps.announcer.announce(job).await?;
        warn!(correlation_id = %job, "job rejected: its manifest was overwritten before the plan was written");
    }
    Ok(())
}
