//! A manifest with errors: all of them for the person who wrote it, and nothing bought.

use clients::{deliveries::Disposition, rejection};
use darkroom::{layout, manifest::Reading};
use tracing::{info, warn};

use crate::{
    drop::Dropped,
    handler::{Deps, PlanError},
    terms::Terms,
};

/// Writes the problems, the status, and the marker.
pub(crate) async fn reject(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    reading: &Reading,
) -> Result<Disposition, PlanError> {
    let (job, manifest) = (&dropped.job, &dropped.version.uri);
    let Reading { problems, errors, .. } = reading;
    if !rejection::reject(&deps.bucket, job, manifest, problems, *errors, deps.clock.now()).await? {
        info!(correlation_id = %job, "planned meanwhile by another");
        return Ok(Disposition::Done);
    }
    if terms.are_locked {
        // It was found good before: another version of this program knows better. The job is not open any more.
        deps.bucket.delete(&layout::open_job(job)).await?;
    }
    info!(correlation_id = %job, errors, "rejected");
    Ok(Disposition::Done)
}

/// Ends a job whose manifest was overwritten or deleted while it was read. Before the lock nothing was written of it that
/// has to be ended.
pub(crate) async fn overwritten(deps: &Deps, dropped: &Dropped) -> Result<(), PlanError> {
    let (job, manifest) = (&dropped.job, &dropped.version.uri);
    if deps.bucket.head(&layout::plan_lock(job)).await?.is_some()
        && rejection::reject_overwritten(&deps.bucket, job, manifest, deps.clock.now()).await?
    {
        warn!(correlation_id = %job, "rejected: its manifest was overwritten before the plan was written");
    }
    Ok(())
}
