//! Closes a job: writes the results, the summary and the status, and then the marker.

use std::sync::Arc;

use darkroom::{
    gallery::{Head, Sums},
    models::Catalog,
    names::JobId,
    object_keys::{self, Marker},
    plan::PlanLock,
    report::{Counts, ResultForm, ShardSummary, Summary, Tally, Times, UnfetchedBatch},
    state::{Collecting, Phase, Shard},
    status::{DocumentVersion, JobPhase, JobStatus, ShardStatus},
};
use runtime::{
    bucket::Conditional, catalog_store::CatalogFault, document::DocumentError, metrics::Metric,
    shard_store::Rounds,
};

use crate::{
    deps::Deps,
    documents::{damaged, missing, read_json},
    error::ReportError,
    own_table::OwnTables,
    results::{Results, write_results},
};

/// Writes all documents of a finished job. They are derived from stored documents alone, so closing
/// a job twice has the same result.
///
/// # Errors
/// [`ReportError::Blocked`] if a document is missing or damaged. In that case none of the results
/// are visible.
pub(crate) async fn close(
    deps: &Deps,
    status: JobStatus,
    chains: &[Rounds],
) -> Result<(), ReportError> {
    let job = &status.job.clone();
    let Some(plan) = &status.plan else {
        return Err(ReportError::NotPlanned(job.clone()));
    };

    // The results, at the prices that the job was planned with.
    let (lock, deps) = planned_with(deps, job).await?;
    let deps = &deps;
    let mut own_tables = OwnTables::open(deps, job, &lock).await?;
    let shards = || chains.iter().flat_map(Rounds::shards);
    let finished = shards()
        .map(|shard| shard.changed_at)
        .max()
        .unwrap_or(plan.planned_at);
    let variables = lock.custom_names.variables.clone();
    let mut head = Head::of(&status, variables, &deps.catalog);
    (head.updated, head.closed) = (finished, true);
    let results = Results {
        plan,
        form: ResultForm::new(lock.custom_names),
        head,
    };
    let (tally, gallery) = write_results(deps, job, results, chains, &mut own_tables).await?;
    let (links, notes) = own_tables.finish().await?;

    // The summary, for programs and for people.
    let (marker, phase) = (tally.marker(), phase_after(&tally));
    let summary = Summary {
        job_id: job.clone(),
        manifest: lock.manifest,
        status: phase,
        counts: tally.counts().clone(),
        integrity: tally.integrity().clone(),
        provenance: tally.provenance(),
        time: Times {
            planned: plan.planned_at,
            finished,
        },
        cost: tally.cost(plan),
        shards: shards().map(summary_of).collect(),
        unfetched: shards().filter_map(UnfetchedBatch::of).collect(),
        unmatched: tally.unmatched(job),
        errors_top: tally.top_errors(),
        notes,
        links,
    };
    write_json(deps, &object_keys::document(job, "summary.json"), &summary).await?;
    let page = summary.to_markdown();
    deps.bucket
        .put(&summary.links.summary, "text/markdown; charset=utf-8", page)
        .await?;

    // The status, with entries for all shards.
    let status = JobStatus {
        phase,
        blocker: None,
        finished: summary.counts.succeeded,
        lanes: tally.lanes(),
        cost_usd: Some(summary.cost.actual_usd),
        unmatched: summary.unmatched.clone(),
        shards: shards().map(ShardStatus::from).collect(),
        updated_at: finished,
        ..status
    };
    write_json(deps, &object_keys::status(job), &status).await?;

    // The page follows the status. An invocation that refreshes the page of an open job looks at the
    // page first and then at the status. If the page was final before the status is, that invocation
    // would take the job for open and replace its final page.
    let (counts, cost) = (tally.counts(), summary.cost.actual_usd);
    let sums = Sums::new(counts, (0, 0), cost, tally.provenance());
    gallery.finish(phase, &sums).await?;

    // Two invocations may close a job at the same time, with the same bytes. The one that creates
    // the marker counts the job in the metrics.
    if let Conditional::Written(_) = deps
        .bucket
        .create(&object_keys::document(job, marker.name()), "text/plain", "")
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

/// Returns the final phase of a job with these results.
fn phase_after(tally: &Tally) -> JobPhase {
    match tally.marker() {
        Marker::Success => JobPhase::Succeeded,
        Marker::Partial => JobPhase::Partial,
        Marker::Cancelled => JobPhase::Cancelled,
        Marker::Failed | Marker::Rejected | Marker::DryRun => JobPhase::Failed,
    }
}

/// Reads the lock of a job's plan, and returns it with the dependencies that bill the job: they have
/// the catalog that it was planned with.
///
/// # Errors
/// [`ReportError::Blocked`] if either is missing or damaged.
pub(crate) async fn planned_with(
    deps: &Deps,
    job: &JobId,
) -> Result<(PlanLock, Deps), ReportError> {
    let lock: PlanLock = read_json(deps, &object_keys::plan_lock(job)).await?;
    let deps = Deps {
        catalog: catalog(deps, job, &lock).await?.into(),
        ..deps.clone()
    };
    Ok((lock, deps))
}

/// Reads the models and prices that the job was planned with. Other prices would give a wrong cost.
async fn catalog(deps: &Deps, job: &JobId, lock: &PlanLock) -> Result<Arc<Catalog>, ReportError> {
    let key = object_keys::job_models(job);
    let catalog = match deps.catalogs.of_job(job).await {
        Ok(catalog) => catalog,
        Err(CatalogFault::Broken { what, .. }) => {
            return Err(unusable_catalog(deps, &key, &what).await?);
        }
        Err(error @ CatalogFault::Bucket(_)) => return Err(error.into()),
    };
    if lock.was_planned_with(&catalog) {
        return Ok(catalog);
    }
    Err(unusable_catalog(
        deps,
        &key,
        "it is not the catalog that the job was planned with",
    )
    .await?)
}

/// Returns the error for a job's catalog that is missing, or that is damaged in this way.
async fn unusable_catalog(
    deps: &Deps,
    key: &str,
    damage: &str,
) -> Result<ReportError, ReportError> {
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
        Phase::Done {
            ended: Some(ended), ..
        }
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
        | Phase::Generating(_)
        | Phase::Done { ended: None, .. }
        | Phase::Held { .. }
        | Phase::Cancelled => (shard.phase.name().to_uppercase(), None),
    };
    let batch_name = shard.phase.batch().cloned();
    ShardSummary {
        shard: shard.shard,
        lane: shard.lane,
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
    let bytes = serde_json::to_vec_pretty(value).map_err(DocumentError::at(key))?;
    deps.bucket.put(key, "application/json", bytes).await?;
    Ok(())
}
