//! Writes jobs as the other functions leave them, without running those.
//!
//! A function that can't do its work panics, because the test has failed then.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

use std::{borrow::Cow, collections::BTreeMap};

use cli::cloud::Cloud;
use darkroom::{
    batch_bounds::BatchBounds,
    chunks::{Chunk, ChunkLine},
    cost::{Estimate, Usage},
    job::{JobSettings, ShardLimits},
    lane::Lane,
    manifest::Reading,
    models::Catalog,
    names::{BatchName, JobId, ObjectUri, RequestKey, ShardId},
    object_keys,
    plan::{
        CustomNames, ManifestVersion, PlanLine, PlanLock, PlanSummary, RequestSize, ShardGroup,
        Sharder, TableRow,
    },
    results::{Reason, ResultLine, Status},
    state::{Demand, EndedBatch, Phase, Shard},
    status::{JobPhase, JobStatus},
};
use jiff::Timestamp;
use runtime::{bucket::ObjectWriter, shard_store::Cas};
use serde_json::json;

use crate::cloud::put;

/// The number of result lines of a chunk.
const PART_LINES: usize = 200;

/// The variables of the items.
pub const VARIABLES: [&str; 4] = ["title", "material", "color", "status"];

/// The size and kind of a job.
#[derive(Clone, Copy, Debug)]
pub struct JobSpec {
    /// The number of items, each with one image.
    pub items: usize,
    /// The number of models, which alternate from line to line.
    pub models: usize,
    /// The number of requests of a full shard.
    pub shard_requests: u32,
    /// One of this number of items fails, for all models alike. Its request is looked up in the
    /// request file.
    pub every_failed: usize,
}

/// A job whose shards are all done. The bucket has everything except what `report` writes, and no
/// image.
#[derive(Debug)]
pub struct MadeJob {
    /// The job.
    pub job: JobId,
    /// Its shards, in their order.
    pub shards: Vec<ShardId>,
    /// The number of chunks of all shards.
    pub chunks: u64,
}

/// A shard that still gets lines.
struct Building {
    model: String,
    start: u64,
    end: u64,
    requests: ObjectWriter,
    lines: Vec<String>,
    count: u32,
}

/// Writes the job. Its `job.json` only states that it is planned.
pub async fn make(cloud: &Cloud, spec: JobSpec) -> MadeJob {
    let (bucket, now) = (&cloud.bucket, cloud.time.now());
    let job = JobId::new(format!("made-{}-{}", spec.items, spec.models));
    let models: Vec<String> = Catalog::built_in()
        .models()
        .iter()
        .map(|model| model.id.clone())
        .collect();
    let models: Vec<&String> = (0..spec.models)
        .map(|number| &models[number % models.len()])
        .collect();
    write_lock(cloud, &job, now).await;

    // The plan and the request files, as `plan` writes them, and the outcome of each request.
    let limits = ShardLimits {
        requests: spec.shard_requests,
        ..ShardLimits::default()
    };
    let mut sharder = Sharder::new(limits, BatchBounds::default());
    // The shards that can still get a line: one for each model.
    let mut open: BTreeMap<ShardId, Building> = BTreeMap::new();
    let (mut ids, mut chunks) = (Vec::new(), 0);
    let mut plan = bucket.writer(&object_keys::plan(&job), "application/jsonl");
    let mut rows = bucket.writer(&object_keys::table_rows(&job), "application/jsonl");
    rows.write(row(0, &["key", "status", "Handle", "Image Src"]).as_bytes())
        .await
        .unwrap();
    for number in 0..spec.items {
        let model = models[number % models.len()];
        let id = sharder
            .place(&ShardGroup::batch(model), RequestSize::default())
            .shard;
        let line = plan_line(number, model, id);
        let cells = [&line.item, "=draft", "café", "https://example.com/1.jpg"];
        rows.write(row(line.line, &cells).as_bytes()).await.unwrap();
        let start = plan.len();
        plan.write(format!("{}\n", serde_json::to_string(&line).unwrap()).as_bytes())
            .await
            .unwrap();
        if !open.contains_key(&id) {
            let full = open.iter().find(|(_, shard)| shard.model == *model);
            if let Some(full) = full.map(|(full, _)| *full)
                && let Some(shard) = open.remove(&full)
            {
                chunks += finish_shard(cloud, &job, full, shard, now).await;
            }
            ids.push(id);
        }
        let shard = open.entry(id).or_insert_with(|| Building {
            model: model.clone(),
            start,
            end: start,
            requests: bucket.writer(&object_keys::requests(&job, id.number), "application/jsonl"),
            lines: Vec::new(),
            count: 0,
        });
        let request = json!({ "key": line.key, "request": { "contents": [{ "parts": [{ "text": "a stone" }] }] } });
        shard
            .requests
            .write(format!("{request}\n").as_bytes())
            .await
            .unwrap();
        shard.end = plan.len();
        shard.count += 1;
        shard.lines.push(chunk_line(
            &line.key,
            id,
            is_failed(number, spec.every_failed),
        ));
    }
    plan.finish().await.unwrap();
    rows.finish().await.unwrap();

    for (id, shard) in open {
        chunks += finish_shard(cloud, &job, id, shard, now).await;
    }
    ids.sort_unstable();
    write_status(cloud, &job, spec, ids.len(), now).await;
    MadeJob {
        job,
        shards: ids,
        chunks,
    }
}

/// Returns a row of the manifest as `plan` stores it. The header counts as line 0.
fn row(line: u64, cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| Cow::Borrowed(*cell)).collect();
    serde_json::to_string(&TableRow { line, cells }).unwrap() + "\n"
}

/// Whether an item fails: one in each row of `of` items, at a different place in each row.
fn is_failed(number: usize, of: usize) -> bool {
    number % of == (number / of) % of
}

fn plan_line(number: usize, model: &str, shard: ShardId) -> PlanLine {
    PlanLine {
        key: RequestKey::new(format!("stone-{number:06}")),
        item: format!("stone-{number:06}"),
        key_name: None,
        vars: vars(number),
        variant: 1,
        line: number as u64 + 1,
        shard,
        model: model.to_owned(),
        aspect_ratio: Some("1:1".to_owned()),
        image_size: Some("1K".to_owned()),
        thinking: None,
        path: format!("stone-{number:06}"),
        prompt: Some("a stone on a beach, seen from above".to_owned()),
        refs: Vec::new(),
        lane: Lane::Batch,
        proof: false,
        estimate: Estimate::default(),
        retry: None,
    }
}

/// Returns the variables of an item: the first, and one of the others.
fn vars(number: usize) -> BTreeMap<String, String> {
    let own = VARIABLES[1 + number % (VARIABLES.len() - 1)];
    [VARIABLES[0], own]
        .map(|name| (name.to_owned(), format!("{name} of café {number}")))
        .into()
}

/// Returns the chunk line of a request.
fn chunk_line(key: &RequestKey, shard: ShardId, failed: bool) -> String {
    let status = if failed {
        Status::Blocked
    } else {
        Status::Succeeded
    };
    let reason = Reason {
        code: "IMAGE_SAFETY".to_owned(),
        message: "withheld".to_owned(),
        retryable: false,
    };
    let usage = Usage {
        prompt_tokens: 12,
        output_image_tokens: 1120,
        output_text_tokens: 0,
        thought_tokens: 300,
    };
    let line = ResultLine {
        usage: Some(usage),
        response_id: Some(format!("response-{key}")),
        attempts: Some(1),
        batch_name: Some(BatchName::new("batches/b")),
        shard: Some(shard),
        error: failed.then_some(reason),
        ..ResultLine::new(key.clone(), status)
    };
    serde_json::to_string(&ChunkLine::Result(Box::new(line))).unwrap() + "\n"
}

async fn finish_shard(
    cloud: &Cloud,
    job: &JobId,
    id: ShardId,
    shard: Building,
    now: Timestamp,
) -> u64 {
    shard.requests.finish().await.unwrap();
    let lines_by_chunk: Vec<&[String]> = shard.lines.chunks(PART_LINES).collect();
    let mut chunks = Vec::new();
    for (number, chunk) in lines_by_chunk.iter().enumerate() {
        let is_last = number + 1 == lines_by_chunk.len();
        let part = if is_last {
            Chunk::rest(chunk.len())
        } else {
            Chunk::up_to(1_000 * (number as u64 + 1), chunk.len())
        };
        let key = object_keys::chunk(job, id, &part);
        put(cloud, &key, chunk.concat()).await;
        chunks.push(part);
    }
    let count = chunks.len() as u64;
    let demand = Demand {
        requests: shard.count,
        ..Demand::default()
    };
    let planned = Shard::planned(job, id, &shard.model, demand, (shard.start, shard.end), now);
    let done = Phase::Done {
        ended: Some(ended(now)),
        chunks,
        next: None,
        next_lane: Lane::Batch,
        succeeded: None,
        cost_usd: None,
    };
    create(
        cloud,
        Shard {
            phase: done,
            ..planned
        },
    )
    .await;
    count
}

/// Returns the end of a batch.
pub fn ended(now: Timestamp) -> EndedBatch {
    EndedBatch {
        batch: BatchName::new("batches/b"),
        attempt: 1,
        state: "SUCCEEDED".to_owned(),
        output: None,
        error: None,
        submitted_at: now,
        ended_at: now,
    }
}

/// Writes the first state of a shard.
pub async fn create(cloud: &Cloud, shard: Shard) {
    let Cas::Written(_) = cloud.deps.report.states.create(shard).await.unwrap() else {
        panic!("the state exists already")
    };
}

/// Writes the lock, the catalog and the mark of an open job.
pub async fn write_lock(cloud: &Cloud, job: &JobId, now: Timestamp) {
    // The prices differ from the built-in ones, so that a job without its catalog has another cost.
    let catalog = Catalog::parse(&format!(
        "{}# of the deployment\n",
        Catalog::built_in().text()
    ))
    .unwrap();
    let manifest = ManifestVersion {
        uri: ObjectUri {
            bucket: "darkroom".to_owned(),
            key: "inbox/made.csv".to_owned(),
        },
        etag: "\"e\"".to_owned(),
        sha256: String::new(),
        size_bytes: 1,
    };
    let lock = PlanLock {
        v: 1,
        job: job.clone(),
        manifest,
        folder: None,
        settings: JobSettings::default(),
        bounds: BatchBounds::default(),
        templates: BTreeMap::new(),
        catalog_sha256: PlanLock::hash_of(&catalog),
        planned_at: now,
        custom_names: CustomNames {
            keys: Vec::new(),
            variables: VARIABLES.map(str::to_owned).to_vec(),
        },
        has_rows: true,
    };
    put(
        cloud,
        &object_keys::plan_lock(job),
        serde_json::to_vec(&lock).unwrap(),
    )
    .await;
    put(cloud, &object_keys::job_models(job), catalog.text()).await;
    put(cloud, &object_keys::open_job(job), "").await;
}

async fn write_status(cloud: &Cloud, job: &JobId, spec: JobSpec, shards: usize, now: Timestamp) {
    let reading = Reading {
        images: spec.items as u64,
        ..Reading::default()
    };
    let plan = PlanSummary::of(&reading, u32::try_from(shards).unwrap(), now);
    write_plan(cloud, job, plan, now).await;
}

/// Writes the status of a planned job.
pub async fn write_plan(cloud: &Cloud, job: &JobId, plan: PlanSummary, now: Timestamp) {
    let manifest = ObjectUri {
        bucket: "darkroom".to_owned(),
        key: "inbox/made.csv".to_owned(),
    };
    let status = JobStatus {
        plan: Some(plan),
        ..JobStatus::new(job, &manifest, JobPhase::Submitting, now)
    };
    put(
        cloud,
        &object_keys::status(job),
        serde_json::to_vec_pretty(&status).unwrap(),
    )
    .await;
}
