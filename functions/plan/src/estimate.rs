//! A manifest that asks for an estimate only: what it would cost, and nothing bought.

use clients::deliveries::Disposition;
use darkroom::{
    layout::{self, Marker},
    plan::PlanSummary,
    status::{JobPhase, JobStatus},
};
use jiff::Timestamp;
use tracing::info;

use crate::{
    check::Checked,
    drop::Dropped,
    handler::{Deps, PlanError},
    reject::{write_first_status, write_problems},
};

/// Writes the warnings, the status with the estimate, and the marker.
pub(crate) async fn estimate(
    deps: &Deps,
    dropped: &Dropped,
    checked: &Checked,
    planned_at: Timestamp,
) -> Result<Disposition, PlanError> {
    let (job, reading) = (&dropped.job, &checked.reading);
    write_problems(deps, job, &reading.problems).await?;
    let plan = PlanSummary::of(reading, 0, planned_at);
    let status = JobStatus {
        plan: Some(plan),
        ..JobStatus::new(job, &dropped.version.uri, JobPhase::Estimated, deps.clock.now())
    };
    write_first_status(deps, &status).await?;
    deps.bucket.put(&layout::document(job, Marker::DryRun.name()), "text/plain", "").await?;
    info!(correlation_id = %job, images = reading.images, "estimated");
    Ok(Disposition::Done)
}
