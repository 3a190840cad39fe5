//! Closing a job: the results, the summary, the status, and last the marker.

use std::sync::Arc;

use darkroom::{
    layout::{self, Marker},
    models::Catalog,
    names::JobId,
    plan::PlanLock,
    report::{Counts, Links, ResultForm, ShardSummary, Summary, Times, UnfetchedBatch},
    state::{Collecting, Phase, Shard},
    status::{DocumentVersion, JobPhase, JobStatus, ShardStatus},
};
use runtime::{
    bucket::Conditional, catalog_store::CatalogFault, metrics::Metric, shard_store::Rounds,
};

use crate::{
    deps::Deps,
    documents::{damaged, missing, read_json},
    handler::{ReportError, malformed},
    join::write_results,
};

/// Writes everything that a finished job leaves behind. All of it follows from what is stored:
/// twice is as once.
///
/// # Errors
/// [`ReportError::Blocked`] if a document is missing or damaged. Nothing of what was written is
/// visible then.
pub(crate) async fn close(
    deps: &Deps,
    status: JobStatus,
    chains: &[Rounds],
) -> Result<(), ReportError> {
    let job = &status.job.clone();
    let Some(plan) = &status.plan else {
        return Err(ReportError::NotPlanned(job.clone()));
    };
    let lock: PlanLock = read_json(deps, &layout::plan_lock(job)).await?;
    let deps = &Deps {
        catalog: catalog(deps, job, &lock).await?,
        ..deps.clone()
    };
    let form = ResultForm::new(lock.own_names);
    let tally = write_results(deps, job, plan.images, form, chains).await?;

    let marker = tally.marker();
    let phase = match marker {
        Marker::Success => JobPhase::Succeeded,
        Marker::Partial => JobPhase::Partial,
        Marker::Cancelled => JobPhase::Cancelled,
        Marker::Failed | Marker::Rejected | Marker::DryRun => JobPhase::Failed,
    };
    let shards = || chains.iter().flat_map(Rounds::shards);
    let finished = shards()
        .map(|shard| shard.changed_at)
        .max()
        .unwrap_or(plan.planned_at);
    let summary = Summary {
        job_id: job.clone(),
        manifest: lock.manifest,
        status: phase,
        counts: tally.counts().clone(),
        integrity: tally.integrity().clone(),
        time: Times {
            planned: plan.planned_at,
            finished,
        },
        cost: tally.cost(plan),
        shards: shards().map(summary_of).collect(),
        unfetched: shards().filter_map(UnfetchedBatch::of).collect(),
        unmatched: tally.unmatched(job),
        errors_top: tally.top_errors(),
        links: Links::of(job),
    };
    write_json(deps, &layout::document(job, "summary.json"), &summary).await?;
    let status = JobStatus {
        phase,
        blocker: None,
        finished: summary.counts.succeeded,
        cost_usd: Some(summary.cost.actual_usd),
        unmatched: summary.unmatched.clone(),
        shards: shards().map(ShardStatus::from).collect(),
        updated_at: finished,
        ..status
    };
    write_json(deps, &layout::status(job), &status).await?;
    // Two may close at once, with the same bytes; the one whose marker it is counts the job.
    if let Conditional::Written(_) = deps
        .bucket
        .create(&layout::document(job, marker.name()), "text/plain", "")
        .await?
    {
        deps.metrics.put(&metrics_of(&summary));
        tracing::info!(
            images = summary.counts.succeeded,
            expected = summary.counts.expected,
            "job closed"
        );
    }
    Ok(())
}

/// The models and prices that the job was planned with. With others it would seem to have cost
/// something else.
async fn catalog(deps: &Deps, job: &JobId, lock: &PlanLock) -> Result<Arc<Catalog>, ReportError> {
    let key = layout::job_models(job);
    let catalog = match deps.catalogs.of_job(job).await {
        Ok(catalog) => catalog,
        Err(CatalogFault::Broken { what, .. }) => {
            return Err(not_the_planned(deps, &key, &what).await?);
        }
        Err(error @ CatalogFault::Bucket(_)) => return Err(error.into()),
    };
    if lock.was_planned_with(&catalog) {
        return Ok(catalog);
    }
    Err(not_the_planned(
        deps,
        &key,
        "it is not the one that the job was planned with",
    )
    .await?)
}

async fn not_the_planned(deps: &Deps, key: &str, damage: &str) -> Result<ReportError, ReportError> {
    Ok(match deps.bucket.etag(key).await? {
        None => missing(deps, key),
        etag => damaged(
            deps,
            vec![DocumentVersion {
                key: key.to_owned(),
                etag,
            }],
            damage,
        ),
    })
}

fn metrics_of(summary: &Summary) -> [(Metric, f64); 6] {
    let Counts {
        expected,
        succeeded,
        blocked,
        no_image,
        ..
    } = summary.counts;
    [
        (Metric::JobsClosed, 1.0),
        (Metric::ImagesSucceeded, succeeded as f64),
        (Metric::ImagesRefused, (blocked + no_image) as f64),
        (
            Metric::ImagesFailed,
            (expected - succeeded - blocked - no_image) as f64,
        ),
        (Metric::CostUsd, summary.cost.actual_usd.as_f64()),
        (Metric::SavedUsd, summary.cost.saved_usd.as_f64()),
    ]
}

fn summary_of(shard: &Shard) -> ShardSummary {
    let (state, run_s) = match &shard.phase {
        Phase::Done { ended, .. }
        | Phase::Ready { ended }
        | Phase::Collecting(Collecting { ended, .. }) => (
            ended.state.clone(),
            Some(ended.ended_at.duration_since(ended.submitted_at).as_secs()),
        ),
        Phase::Failed(failed) => (failed.code.clone(), None),
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Submitted(_)
        | Phase::Held { .. }
        | Phase::Cancelled => (shard.phase.name().to_uppercase(), None),
    };
    let batch_name = shard.phase.batch().cloned();
    ShardSummary {
        shard: shard.shard,
        batch_name,
        requests: shard.demand.requests,
        state,
        run_s,
    }
}

async fn write_json(
    deps: &Deps,
    key: &str,
    value: &impl serde::Serialize,
) -> Result<(), ReportError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(malformed(key))?;
    deps.bucket.put(key, "application/json", bytes).await?;
    Ok(())
}
