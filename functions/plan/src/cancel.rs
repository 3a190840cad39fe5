//! Cancels a job that is not planned yet.
//!
//! `control` ignores a job without a lock, because users can write any name below `control/`. So
//! `plan` looks for a cancel request itself: before it locks the plan, and again afterwards. A request
//! that `control` ignored was written before the lock, so the second lookup finds it.

use darkroom::{
    folders::Folder,
    gallery::{Head, Page, Sums},
    manifest::{Diagnostic, Severity},
    names::JobId,
    object_keys::{self, Marker},
    report::{ResultForm, Summary},
    status::{JobPhase, JobStatus},
};
use runtime::{
    deliveries::Disposition,
    document::DocumentError,
    rejection::{write_first_status, write_problems},
};
use tracing::info;

use crate::{deps::Deps, drop::Dropped, error::PlanError};

/// Whether a user has requested that the job be canceled.
pub(crate) async fn is_requested(deps: &Deps, job: &JobId) -> Result<bool, PlanError> {
    Ok(deps
        .bucket
        .head(&object_keys::cancel_request(job))
        .await?
        .is_some())
}

/// Ends a job that is not planned and never will be: writes the documents of a canceled job without
/// images, its status and the marker.
pub(crate) async fn end(deps: &Deps, dropped: &Dropped) -> Result<Disposition, PlanError> {
    // The reason, as a warning in validation.csv.
    let (job, now) = (&dropped.job, deps.clock.now());
    let request = object_keys::cancel_request(job);
    let message = format!(
        "{request} existed before the job was planned, so nothing was planned or bought. To get the images after all, drop \
         the manifest with another job.run"
    );
    let code = "cancelled".to_owned();
    let warning = Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Warning,
        code,
        message,
    };
    write_problems(&deps.bucket, job, &[warning]).await?;

    // The same documents as those of a job that is canceled later, so that they can be read alike.
    let summary = Summary::unplanned(job, dropped.version.clone(), now);
    let status = JobStatus {
        folder: dropped.folder.as_ref().map(Folder::of_job),
        cost_usd: Some(summary.cost.actual_usd),
        ..JobStatus::new(job, &dropped.version.uri, JobPhase::Cancelled, now)
    };
    let table = ResultForm::default().header()?;
    let (page, mut gallery) = Page::begin(&Head::of(&status, Vec::new(), &deps.catalog));
    gallery.extend(page.end(&Sums::default())?);
    for (key, content_type, content) in [
        (&summary.links.results, "application/jsonl", Vec::new()),
        (&summary.links.table, "text/csv; charset=utf-8", table),
        (&summary.links.retry, "application/jsonl", Vec::new()),
        (&summary.links.gallery, "text/html; charset=utf-8", gallery),
        (
            &summary.links.summary,
            "text/markdown; charset=utf-8",
            summary.to_markdown().into_bytes(),
        ),
        (
            &object_keys::document(job, "summary.json"),
            "application/json",
            serde_json::to_vec_pretty(&summary).map_err(DocumentError::at(
                &object_keys::document(job, "summary.json"),
            ))?,
        ),
    ] {
        deps.bucket.put(key, content_type, content).await?;
    }

    // The marker comes last: it means that all other documents are there.
    if !write_first_status(&deps.bucket, &status).await? {
        // Another invocation has planned the job in the meantime, and found the request after it had
        // locked the plan.
        return Ok(Disposition::Done);
    }
    deps.bucket
        .create(
            &object_keys::document(job, Marker::Cancelled.name()),
            "text/plain",
            "",
        )
        .await?;
    // An earlier rejection of the same manifest no longer applies.
    deps.bucket
        .delete(&object_keys::document(job, Marker::Rejected.name()))
        .await?;
    deps.announcer.announce(job).await?;
    info!(correlation_id = %job, "canceled before it was planned");
    Ok(Disposition::Done)
}
