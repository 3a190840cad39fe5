//! Manifests with `mode: dry_run`: they get an estimate, and nothing is bought.

use darkroom::{
    object_keys::{self, Marker},
    plan::PlanSummary,
    status::{JobPhase, JobStatus},
};
use runtime::{
    deliveries::Disposition,
    rejection::{write_first_status, write_problems},
};
use tracing::info;

use crate::{check::Good, deps::Deps, drop::Dropped, error::PlanError, terms::Terms};

/// Writes the warnings, the status with the estimate, and the marker.
pub(crate) async fn estimate(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    good: &Good,
) -> Result<Disposition, PlanError> {
    let (job, reading) = (&dropped.job, &good.reading);

    // Warnings are written too: the user reads them before the real run.
    write_problems(&deps.bucket, job, &reading.problems).await?;
    // A dry run plans nothing, so the status must not announce shards.
    let plan = PlanSummary {
        shards: 0,
        ..good.summary(deps, terms)
    };
    let status = JobStatus {
        folder: terms.folder.clone(),
        plan: Some(plan),
        ..JobStatus::new(
            job,
            &dropped.version.uri,
            JobPhase::Estimated,
            deps.clock.now(),
        )
    };
    write_first_status(&deps.bucket, &status).await?;
    deps.bucket
        .put(
            &object_keys::document(job, Marker::DryRun.name()),
            "text/plain",
            "",
        )
        .await?;
    info!(correlation_id = %job, images = reading.images, "estimated");
    Ok(Disposition::Done)
}
