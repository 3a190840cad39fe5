//! A manifest that asks for an estimate only: what it would cost, and nothing bought.

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

use crate::{check::Good, deps::Deps, drop::Dropped, handler::PlanError, terms::Terms};

/// Writes the warnings, the status with the estimate, and the marker.
pub(crate) async fn estimate(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    good: &Good,
) -> Result<Disposition, PlanError> {
    let (job, reading) = (&dropped.job, &good.reading);
    write_problems(&deps.bucket, job, &reading.problems).await?;
    // Nothing is planned: there are no shards that somebody could look for.
    let plan = PlanSummary {
        shards: 0,
        ..good.summary(deps, terms)
    };
    let status = JobStatus {
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
