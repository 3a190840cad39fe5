//! Closing a job: results in manifest order, what to retry, the summary, the status, and last the marker.

use std::collections::HashMap;

use clients::{
    bucket::{Conditional, ObjectWriter},
    lines::Lines,
    metrics::Metric,
    parts::read_part,
    states::{Rounds, StateError},
};
use darkroom::{
    layout::{self, Marker},
    names::{JobId, ShardId},
    plan::{PlanLine, PlanLock},
    report::{self, Counts, Finished, Links, ShardResults, ShardSummary, Summary, Tally, Times},
    requests,
    results::{ResultLine, Status},
    state::{Collecting, Failed, Phase, Shard},
    status::{JobPhase, JobStatus},
};
use serde_json::value::RawValue;

use crate::{
    handler::{Deps, ReportError, malformed},
    status,
};

/// The longest line of a plan, a part or a request file.
const LINE_BYTES: usize = 64 << 20;

/// Writes everything that a finished job leaves behind. All of it follows from what is stored: twice is as once.
pub(crate) async fn close(deps: &Deps, job: &JobId, status: JobStatus, chains: &[Rounds]) -> Result<(), ReportError> {
    let tally = write_results(deps, job, chains).await?;
    let marker = tally.marker();
    let phase = match marker {
        Marker::Success => JobPhase::Succeeded,
        Marker::Partial => JobPhase::Partial,
        Marker::Cancelled => JobPhase::Cancelled,
        Marker::Failed | Marker::Rejected | Marker::DryRun => JobPhase::Failed,
    };
    let key = layout::plan_lock(job);
    let Some(lock) = deps.bucket.read(&key).await? else { return Err(ReportError::Missing(key)) };
    let lock: PlanLock = serde_json::from_slice(&lock.bytes).map_err(malformed(&key))?;
    let Some(plan) = &status.plan else { return Err(ReportError::Missing(layout::status(job))) };
    let shards = || chains.iter().flat_map(Rounds::shards);
    let finished = shards().map(|shard| shard.changed_at).max().unwrap_or(plan.planned_at);
    let summary = Summary {
        job_id: job.clone(),
        manifest: lock.manifest,
        status: phase,
        counts: tally.counts().clone(),
        integrity: tally.integrity().clone(),
        time: Times { planned: plan.planned_at, finished },
        cost: tally.cost(plan),
        shards: shards().map(summary_of).collect(),
        errors_top: tally.top_errors(),
        links: Links::of(job),
    };
    write_json(deps, &layout::document(job, "summary.json"), &summary).await?;
    let status = JobStatus {
        phase,
        finished: summary.counts.succeeded,
        cost_usd: Some(summary.cost.actual_usd),
        shards: shards().map(status::for_people).collect(),
        updated_at: finished,
        ..status
    };
    write_json(deps, &layout::status(job), &status).await?;
    // Two may close at once, with the same bytes; the one whose marker it is counts the job.
    if let Conditional::Written(_) = deps.bucket.create(&layout::document(job, marker.name()), "text/plain", "").await?
    {
        deps.metrics.put(&metrics_of(&summary));
        tracing::info!(images = summary.counts.succeeded, expected = summary.counts.expected, "job closed");
    }
    Ok(())
}

fn metrics_of(summary: &Summary) -> [(Metric, f64); 6] {
    let Counts { expected, succeeded, blocked, no_image, .. } = summary.counts;
    [
        (Metric::JobsClosed, 1.0),
        (Metric::ImagesSucceeded, succeeded as f64),
        (Metric::ImagesRefused, (blocked + no_image) as f64),
        (Metric::ImagesFailed, (expected - succeeded - blocked - no_image) as f64),
        (Metric::CostUsd, summary.cost.actual_usd.as_f64()),
        (Metric::SavedUsd, summary.cost.saved_usd.as_f64()),
    ]
}

/// Goes through the plan once. At any time it holds the results of one shard a model.
async fn write_results(deps: &Deps, job: &JobId, chains: &[Rounds]) -> Result<Tally, ReportError> {
    let mut out = Files::new(deps, job).await?;
    let mut tally = Tally::default();
    let mut open: HashMap<ShardId, OpenShard> = HashMap::new();
    let key = layout::plan(job);
    let Some((stream, _)) = deps.bucket.open(&key, None).await? else { return Err(ReportError::Missing(key)) };
    let mut lines = Lines::new(stream, LINE_BYTES);
    while let Some(line) = lines.next().await? {
        let plan: PlanLine = serde_json::from_slice(&line).map_err(malformed(&key))?;
        let mut shard = match open.remove(&plan.shard) {
            Some(shard) => shard,
            None => OpenShard::load(deps, job, chains, plan.shard).await?,
        };
        let finished = report::finish(&plan, &mut shard.results, &deps.catalogue);
        tally.add(&plan, &finished);
        out.write(deps, job, &plan, &finished).await?;
        shard.left = shard.left.saturating_sub(1);
        if shard.left == 0 {
            tally.add_shard(&plan.model, &shard.results, &deps.catalogue);
        } else {
            open.insert(plan.shard, shard);
        }
    }
    out.finish().await?;
    Ok(tally)
}

/// A shard some of whose images are still to come in the plan.
struct OpenShard {
    results: ShardResults,
    left: u32,
}

impl OpenShard {
    async fn load(deps: &Deps, job: &JobId, chains: &[Rounds], id: ShardId) -> Result<Self, ReportError> {
        let no_state = || StateError::Missing(job.clone(), id);
        let chain = usize::try_from(id.number).ok().and_then(|number| chains.get(number)).ok_or_else(no_state)?;
        let mut results = ShardResults::default();
        for shard in chain.shards() {
            let keys = match &shard.phase {
                Phase::Failed(failed) if failed.may_be_billed => deps.states.keys(shard).await?,
                _ => None,
            };
            results.begin(shard, keys.map(|keys| keys.into_iter().collect()));
            let parts = match &shard.phase {
                Phase::Done { parts, .. } | Phase::Failed(Failed { parts, .. }) => parts.as_slice(),
                _ => &[],
            };
            for part in shard.refused.iter().chain(parts) {
                read_part(&deps.bucket, job, shard.shard, part, |line| results.add(line)).await?;
            }
        }
        Ok(Self { results, left: chain.shards().next().map_or(0, |shard| shard.demand.requests) })
    }
}

/// The three files that have a line per image.
struct Files {
    results: ObjectWriter,
    table: ObjectWriter,
    retry: ObjectWriter,
    requests: Option<RequestLines>,
}

impl Files {
    async fn new(deps: &Deps, job: &JobId) -> Result<Self, ReportError> {
        let links = Links::of(job);
        let mut table = deps.bucket.writer(&links.table, "text/csv; charset=utf-8");
        let mut header = Vec::new();
        report::write_header(&mut header).map_err(|error| malformed("the table")(serde_json::Error::io(error)))?;
        table.write(&header).await?;
        Ok(Self {
            results: deps.bucket.writer(&links.results, "application/jsonl"),
            table,
            retry: deps.bucket.writer(&links.retry, "application/jsonl"),
            requests: None,
        })
    }

    async fn write(
        &mut self,
        deps: &Deps,
        job: &JobId,
        plan: &PlanLine,
        finished: &Finished,
    ) -> Result<(), ReportError> {
        let result =
            WithOwnId { line: &finished.line, id: plan.key_name.iter().map(|name| (name, &plan.item)).collect() };
        let mut line = serde_json::to_vec(&result).map_err(malformed("a result"))?;
        line.push(b'\n');
        self.results.write(&line).await?;
        let mut row = Vec::new();
        report::row(&mut row, finished).map_err(|error| malformed("the table")(serde_json::Error::io(error)))?;
        self.table.write(&row).await?;
        if finished.line.status != Status::Succeeded {
            let mut item = match &plan.retry {
                Some(item) => serde_json::to_vec(item).map_err(malformed("the plan"))?,
                None => self.retry_of_request(deps, job, plan).await?,
            };
            item.push(b'\n');
            self.retry.write(&item).await?;
        }
        Ok(())
    }

    /// The manifest line of a request too large for the plan, made of its line in the request file.
    async fn retry_of_request(&mut self, deps: &Deps, job: &JobId, plan: &PlanLine) -> Result<Vec<u8>, ReportError> {
        let requests = match self.requests.take() {
            Some(requests) if requests.shard == plan.shard => requests,
            _ => RequestLines::open(deps, job, plan.shard).await?,
        };
        let requests = self.requests.insert(requests);
        while let Some(line) = requests.lines.next().await? {
            if requests::key_of(&line).is_ok_and(|key| key == plan.key) {
                return native_item(&line, plan);
            }
        }
        Err(ReportError::Missing(format!(
            "the request of {} in {}",
            plan.key,
            layout::requests(job, plan.shard.number)
        )))
    }

    async fn finish(self) -> Result<(), ReportError> {
        self.results.finish().await?;
        self.table.finish().await?;
        self.retry.finish().await?;
        Ok(())
    }
}

/// A result line with the caller's own id beside the key, by the caller's name for it: `"custom_id": "a-1"`.
#[derive(serde::Serialize)]
struct WithOwnId<'a> {
    #[serde(flatten)]
    line: &'a ResultLine,
    #[serde(flatten)]
    id: HashMap<&'a String, &'a String>,
}

/// A shard's request file, read as far as it was needed.
struct RequestLines {
    shard: ShardId,
    lines: Lines,
}

impl RequestLines {
    async fn open(deps: &Deps, job: &JobId, shard: ShardId) -> Result<Self, ReportError> {
        let key = layout::requests(job, shard.number);
        let Some((stream, _)) = deps.bucket.open(&key, None).await? else { return Err(ReportError::Missing(key)) };
        Ok(Self { shard, lines: Lines::new(stream, LINE_BYTES) })
    }
}

fn native_item(line: &[u8], plan: &PlanLine) -> Result<Vec<u8>, ReportError> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Item<'a> {
        key: std::borrow::Cow<'a, str>,
        #[serde(default)]
        model: String,
        #[serde(default)]
        output: Output,
        #[serde(borrow)]
        request: &'a RawValue,
    }
    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Output {
        path: String,
    }
    let item: Item<'_> = serde_json::from_slice(line).map_err(malformed("the request file"))?;
    let (model, output) = (plan.model.clone(), Output { path: plan.path.clone() });
    serde_json::to_vec(&Item { model, output, ..item }).map_err(malformed("the request file"))
}

fn summary_of(shard: &Shard) -> ShardSummary {
    let (state, run_s) = match &shard.phase {
        Phase::Done { ended, .. } | Phase::Ready { ended } | Phase::Collecting(Collecting { ended, .. }) => {
            (ended.state.clone(), Some(ended.ended_at.duration_since(ended.submitted_at).as_secs()))
        }
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
    ShardSummary { shard: shard.shard, batch_name, requests: shard.demand.requests, state, run_s }
}

async fn write_json(deps: &Deps, key: &str, value: &impl serde::Serialize) -> Result<(), ReportError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(malformed(key))?;
    deps.bucket.put(key, "application/json", bytes).await?;
    Ok(())
}
