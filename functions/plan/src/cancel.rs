//! A person's cancel that comes before the job is planned.
//!
//! `control` knows a job by its lock, and keeps nothing of a name that it doesn't know. So `plan`
//! looks for what the person dropped below `control/` itself: before it locks the plan, and again
//! afterwards. A cancel that `control` came upon before there was a lock was there before the lock
//! was, and is found by the second look.

use darkroom::{
    manifest::{Diagnostic, Severity},
    names::JobId,
    object_keys::{self, Marker},
    report::{ResultForm, Summary},
    status::{JobPhase, JobStatus},
};
use runtime::{deliveries::Disposition, rejection::write_problems};
use tracing::info;

use crate::{
    deps::Deps,
    drop::Dropped,
    handler::{PlanError, malformed},
};

/// Whether a person has asked for the job to be cancelled.
pub(crate) async fn is_asked(deps: &Deps, job: &JobId) -> Result<bool, PlanError> {
    Ok(deps
        .bucket
        .head(&object_keys::cancel_request(job))
        .await?
        .is_some())
}

/// Ends a job that is not planned and never will be: the documents of a cancelled job without
/// images, its status, and the marker.
pub(crate) async fn end(deps: &Deps, dropped: &Dropped) -> Result<Disposition, PlanError> {
    let (job, now) = (&dropped.job, deps.clock.now());
    let request = object_keys::cancel_request(job);
    let message = format!(
        "{request} was there before the job was planned, so nothing was planned or bought: to have the images after all, \
         drop the manifest with another job.run"
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

    let summary = Summary::unplanned(job, dropped.version.clone(), now);
    let table = ResultForm::default().header()?;
    for (key, content_type, content) in [
        (&summary.links.results, "application/jsonl", Vec::new()),
        (&summary.links.table, "text/csv; charset=utf-8", table),
        (&summary.links.retry, "application/jsonl", Vec::new()),
        (
            &object_keys::document(job, "summary.json"),
            "application/json",
            serde_json::to_vec_pretty(&summary).map_err(malformed("the summary"))?,
        ),
    ] {
        deps.bucket.put(key, content_type, content).await?;
    }
    let status = JobStatus {
        cost_usd: Some(summary.cost.actual_usd),
        ..JobStatus::new(job, &dropped.version.uri, JobPhase::Cancelled, now)
    };
    if !runtime::rejection::write_first_status(&deps.bucket, &status).await? {
        // Another invocation planned it meanwhile, and found the cancel after it had locked the
        // plan.
        return Ok(Disposition::Done);
    }
    deps.bucket
        .create(
            &object_keys::document(job, Marker::Cancelled.name()),
            "text/plain",
            "",
        )
        .await?;
    // A rejection of the same manifest is over with that.
    deps.bucket
        .delete(&object_keys::document(job, Marker::Rejected.name()))
        .await?;
    info!(correlation_id = %job, "cancelled before it was planned");
    Ok(Disposition::Done)
}
