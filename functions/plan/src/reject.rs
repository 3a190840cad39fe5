//! Rejects a manifest: its author gets the complete list of errors, and nothing is bought.

use darkroom::{
    folders::Folder,
    manifest::{Diagnostic, Reading, Severity},
    object_keys,
    plan::ContentClaim,
};
use runtime::{deliveries::Disposition, rejection};
use tracing::{info, warn};

use crate::{deps::Deps, drop::Dropped, error::PlanError, terms::Terms};

/// Rejects a manifest that has errors.
pub(crate) async fn reject(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    reading: &Reading,
) -> Result<Disposition, PlanError> {
    // A locked plan means that an earlier version of this program accepted the manifest.
    write(
        deps,
        dropped,
        &reading.problems,
        reading.errors,
        terms.are_locked,
    )
    .await
}

/// Rejects a manifest whose content another job has claimed and therefore bought.
pub(crate) async fn same_content(
    deps: &Deps,
    dropped: &Dropped,
    claim: &ContentClaim,
    is_locked: bool,
) -> Result<Disposition, PlanError> {
    let ContentClaim { job, manifest, .. } = claim;
    let message = format!(
        "the same content was dropped as {} and is job {job}, so nothing was bought again. Its results are in jobs/{job}/. \
         To get all its images again, change job.run, for example with the metadata run=2, and drop the manifest again",
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

/// Writes the rejection, unless the job is already planned.
async fn write(
    deps: &Deps,
    dropped: &Dropped,
    problems: &[Diagnostic],
    errors: u64,
    is_locked: bool,
) -> Result<Disposition, PlanError> {
    let (job, manifest) = (&dropped.job, &dropped.version.uri);
    let folder = dropped.folder.as_ref().map(Folder::of_job);
    if !rejection::reject(
        &deps.bucket,
        job,
        manifest,
        folder.as_ref(),
        problems,
        errors,
        deps.clock.now(),
    )
    .await?
    {
        info!(correlation_id = %job, "not rejected: another invocation has planned the job");
        return Ok(Disposition::Done);
    }
    if is_locked {
        // The lock made it an open job.
        deps.bucket.delete(&object_keys::open_job(job)).await?;
    }
    deps.announcer.announce(job).await?;
    info!(correlation_id = %job, errors, "rejected");
    Ok(Disposition::Done)
}

/// Rejects a job whose manifest was overwritten or deleted while it was read. A job without a lock has
/// no documents and needs no rejection.
pub(crate) async fn overwritten(deps: &Deps, dropped: &Dropped) -> Result<(), PlanError> {
    let (job, manifest) = (&dropped.job, &dropped.version.uri);
    let folder = dropped.folder.as_ref().map(Folder::of_job);
    if deps
        .bucket
        .head(&object_keys::plan_lock(job))
        .await?
        .is_some()
    {
        // The rejection removes the job from the list of open jobs before it writes the marker, and
        // this message is about another job when it returns. `sweep` finds the event if this
        // invocation ends before it is announced.
        deps.announcer.list(job).await?;
        let now = deps.clock.now();
        if !rejection::reject_overwritten(&deps.bucket, job, manifest, folder.as_ref(), now).await?
        {
            return Ok(());
        }
        deps.announcer.announce(job).await?;
        warn!(correlation_id = %job, "rejected: its manifest was overwritten before the plan was written");
    }
    Ok(())
}
