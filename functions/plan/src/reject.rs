//! A manifest with errors: all of them for the person who wrote it, and nothing bought.

use darkroom::{
    manifest::{Diagnostic, Reading, Severity},
    object_keys,
    plan::ContentClaim,
};
use runtime::{deliveries::Disposition, rejection};
use tracing::{info, warn};

use crate::{deps::Deps, drop::Dropped, handler::PlanError, terms::Terms};

/// Writes the problems, the status, and the marker.
pub(crate) async fn reject(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    reading: &Reading,
) -> Result<Disposition, PlanError> {
    // If the plan is locked, the manifest was found good before: another version of this program
    // knows better.
    write(
        deps,
        dropped,
        &reading.problems,
        reading.errors,
        terms.are_locked,
    )
    .await
}

/// Refuses a content that another job has claimed: its images are bought already.
pub(crate) async fn same_content(
    deps: &Deps,
    dropped: &Dropped,
    claim: &ContentClaim,
    is_locked: bool,
) -> Result<Disposition, PlanError> {
    let ContentClaim { job, manifest, .. } = claim;
    let message = format!(
        "the same content was dropped as {} and is job {job}: nothing was bought again. Look for its results in jobs/{job}/; \
         to have all its images made once more, change job.run, for example by the metadata run=2, and drop it again",
        manifest.key
    );
    let code = "same_content".to_owned();
    let problem = Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Error,
        code,
        message,
    };
    write(deps, dropped, &[problem], 1, is_locked).await
}

async fn write(
    deps: &Deps,
    dropped: &Dropped,
    problems: &[Diagnostic],
    errors: u64,
    is_locked: bool,
) -> Result<Disposition, PlanError> {
    let (job, manifest) = (&dropped.job, &dropped.version.uri);
    if !rejection::reject(
        &deps.bucket,
        job,
        manifest,
        problems,
        errors,
        deps.clock.now(),
    )
    .await?
    {
        info!(correlation_id = %job, "planned meanwhile by another");
        return Ok(Disposition::Done);
    }
    if is_locked {
        // The job is not open any more.
        deps.bucket.delete(&object_keys::open_job(job)).await?;
    }
    info!(correlation_id = %job, errors, "rejected");
    Ok(Disposition::Done)
}

/// Ends a job whose manifest was overwritten or deleted while it was read. Before the lock nothing
/// was written of it that has to be ended.
pub(crate) async fn overwritten(deps: &Deps, dropped: &Dropped) -> Result<(), PlanError> {
    let (job, manifest) = (&dropped.job, &dropped.version.uri);
    if deps
        .bucket
        .head(&object_keys::plan_lock(job))
        .await?
        .is_some()
        && rejection::reject_overwritten(&deps.bucket, job, manifest, deps.clock.now()).await?
    {
        warn!(correlation_id = %job, "rejected: its manifest was overwritten before the plan was written");
    }
    Ok(())
}
