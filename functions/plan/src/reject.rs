//! A manifest with errors: all of them for the person who wrote it, and nothing bought.

use clients::{bucket::Conditional, deliveries::Disposition};
use darkroom::{
    layout::{self, Marker},
    manifest::{Problem, Reading, write_validation},
    names::JobId,
    status::{JobPhase, JobStatus},
};
use tracing::info;

use crate::{
    drop::Dropped,
    handler::{Deps, PlanError, malformed},
};

/// Writes the problems, the status, and the marker.
pub(crate) async fn reject(deps: &Deps, dropped: &Dropped, reading: &Reading) -> Result<Disposition, PlanError> {
    let job = &dropped.job;
    write_problems(deps, job, &reading.problems).await?;
    let status = JobStatus {
        errors: Some(reading.errors),
        ..JobStatus::new(job, &dropped.version.uri, JobPhase::Rejected, deps.clock.now())
    };
    if !write_first_status(deps, &status).await? {
        info!(correlation_id = %job, "planned meanwhile by another");
        return Ok(Disposition::Done);
    }
    deps.bucket.put(&layout::document(job, Marker::Rejected.name()), "text/plain", "").await?;
    info!(correlation_id = %job, errors = reading.errors, "rejected");
    Ok(Disposition::Done)
}

/// Writes a job's status unless it was planned already: from then on `report` alone writes it. Whether it was written.
pub(crate) async fn write_first_status(deps: &Deps, status: &JobStatus) -> Result<bool, PlanError> {
    let key = layout::status(&status.job);
    let bytes = serde_json::to_vec_pretty(status).map_err(malformed(&key))?;
    let written = match deps.bucket.read(&key).await? {
        None => deps.bucket.create(&key, "application/json", bytes).await?,
        Some(earlier) => {
            let planned: JobStatus = serde_json::from_slice(&earlier.bytes).map_err(malformed(&key))?;
            if planned.plan.is_some() {
                return Ok(false);
            }
            deps.bucket.replace(&key, &earlier.etag, "application/json", bytes).await?
        }
    };
    Ok(matches!(written, Conditional::Written(_)))
}

/// `validation.csv`: for an accepted manifest, its warnings.
pub(crate) async fn write_problems(deps: &Deps, job: &JobId, problems: &[Problem]) -> Result<(), PlanError> {
    let mut table = Vec::new();
    write_validation(problems, &mut table)?;
    deps.bucket.put(&layout::document(job, "validation.csv"), "text/csv; charset=utf-8", table).await?;
    Ok(())
}
