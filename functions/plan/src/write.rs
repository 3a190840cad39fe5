//! The second reading of a manifest: the plan, the request files and the states.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use clients::{
    bucket::{Bucket, ObjectWriter},
    states::Swap,
};
use darkroom::{
    cost::{self, Usd},
    keys::ImagePaths,
    layout,
    manifest::{self, Copies, Expected, Header},
    models::Catalogue,
    names::{JobId, ShardId},
    plan::{PlanLine, PlanSummary, RequestSize, Sharder},
    state::{Demand, Shard},
    status::{JobPhase, JobStatus},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    check::{Checked, Setting},
    drop::Dropped,
    handler::{Deps, PlanError, malformed},
    reject::{write_first_status, write_problems},
};

/// Images between the thread that reads the manifest and the task that writes the plan. Few: one with inline pictures
/// may have megabytes.
const AHEAD: usize = 2;

/// States written at once.
const AT_ONCE: usize = 16;

/// Bytes of a response per pixel: JPEG of a detailed picture, as base64, with room.
const RESPONSE_BYTES_PER_PIXEL: u64 = 2;

/// Bytes of a response beside its image.
const RESPONSE_BYTES: u64 = 4096;

/// Writes all that `submit` needs. The status comes last: without it the job isn't planned, and is planned again.
pub(crate) async fn write(
    deps: &Deps,
    dropped: &Dropped,
    checked: Checked,
    planned_at: Timestamp,
) -> Result<PlanSummary, PlanError> {
    let job = &dropped.job;
    write_problems(deps, job, &checked.reading.problems).await?;
    let mut images = read_again(deps, dropped, checked.header, checked.copies, planned_at).await?;
    let mut writer = Writer::new(deps, job);
    while let Some(expected) = images.receiver.recv().await {
        writer.add(expected).await?;
    }
    images.reading.await??;
    let shards = writer.finish(deps.clock.now()).await?;

    let count = u32::try_from(shards.len()).unwrap_or(u32::MAX);
    let summary = PlanSummary::of(&checked.reading, count, planned_at);
    stream::iter(shards)
        .map(|shard| async move {
            // Theirs is the state of an earlier planning of the same drop, or already further on.
            let (Swap::Mine(_) | Swap::Theirs) = deps.states.create(shard).await?;
            Ok::<_, PlanError>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    write_status(deps, dropped, &summary).await?;
    Ok(summary)
}

async fn write_status(deps: &Deps, dropped: &Dropped, summary: &PlanSummary) -> Result<(), PlanError> {
    let status = JobStatus {
        plan: Some(summary.clone()),
        ..JobStatus::new(&dropped.job, &dropped.version.uri, JobPhase::Submitting, deps.clock.now())
    };
    write_first_status(deps, &status).await?;
    Ok(())
}

struct Images {
    receiver: mpsc::Receiver<Expected>,
    reading: tokio::task::JoinHandle<Result<(), PlanError>>,
}

async fn read_again(
    deps: &Deps,
    dropped: &Dropped,
    header: Header,
    copies: Copies,
    planned_at: Timestamp,
) -> Result<Images, PlanError> {
    let setting = Setting::new(deps, planned_at, &dropped.beside, copies);
    let source = dropped.reader(deps).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || {
        manifest::read(source, &header, &setting.context(), |expected| {
            sender.blocking_send(expected).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        })?;
        Ok(())
    });
    Ok(Images { receiver, reading })
}

/// Writes images as they come; holds a part of the plan and of each open request file.
struct Writer<'a> {
    bucket: &'a Bucket,
    catalogue: &'a Catalogue,
    job: &'a JobId,
    paths: ImagePaths,
    sharder: Sharder,
    plan: ObjectWriter,
    requests: HashMap<ShardId, ObjectWriter>,
    shards: BTreeMap<ShardId, Planned>,
}

struct Planned {
    model: String,
    demand: Demand,
    plan_bytes: (u64, u64),
}

impl<'a> Writer<'a> {
    fn new(deps: &'a Deps, job: &'a JobId) -> Self {
        Self {
            bucket: &deps.bucket,
            catalogue: &deps.catalogue,
            job,
            paths: ImagePaths::default(),
            sharder: Sharder::new(deps.settings.shard.clone()),
            plan: deps.bucket.writer(&layout::plan(job), "application/jsonl"),
            requests: HashMap::new(),
            shards: BTreeMap::new(),
        }
    }

    async fn add(&mut self, expected: Expected) -> Result<(), PlanError> {
        if !expected.web.is_empty() {
            return Err(PlanError::NotCopied);
        }
        let request = request_line(&expected)?;
        let size = RequestSize {
            input_bytes: request.len() as u64,
            response_bytes: self.response_bytes(&expected),
            tokens: expected.input_tokens,
        };
        let placement = self.sharder.place(&expected.model, size);
        if let Some(full) = placement.closed.and_then(|shard| self.requests.remove(&shard)) {
            full.finish().await?;
        }
        let shard = placement.shard;
        let (bucket, job) = (self.bucket, self.job);
        let requests = self
            .requests
            .entry(shard)
            .or_insert_with(|| bucket.writer(&layout::requests(job, shard.number), "application/jsonl"));
        requests.write(&request).await?;

        let start = self.plan.len();
        let model = expected.model.clone();
        let usd = self.ceiling(&expected);
        let line = self.plan_line(expected, shard);
        let mut line = serde_json::to_vec(&line).map_err(malformed("the plan"))?;
        line.push(b'\n');
        self.plan.write(&line).await?;

        let planned = self.shards.entry(shard).or_insert(Planned {
            model,
            demand: Demand::default(),
            plan_bytes: (start, start),
        });
        planned.demand.requests += 1;
        planned.demand.tokens += size.tokens;
        planned.demand.usd += usd;
        planned.plan_bytes.1 = self.plan.len();
        Ok(())
    }

    fn response_bytes(&self, expected: &Expected) -> u64 {
        let ratio = expected.aspect_ratio.as_deref().unwrap_or("1:1");
        let size = expected.image_size.as_deref();
        let model = self.catalogue.priced(&expected.model);
        let pixels = model.and_then(|model| model.pixels(ratio, size)).unwrap_or((1024, 1024));
        RESPONSE_BYTES + u64::from(pixels.0) * u64::from(pixels.1) * RESPONSE_BYTES_PER_PIXEL
    }

    /// What the image may cost at the most: what is estimated, and more thoughts than are expected.
    fn ceiling(&self, expected: &Expected) -> Usd {
        let model = self.catalogue.priced(&expected.model);
        let thoughts = model.map(|model| model.batch.text.per_million(cost::reserved_thoughts(model)));
        expected.estimate.batch_usd + thoughts.unwrap_or_default()
    }

    fn plan_line(&mut self, expected: Expected, shard: ShardId) -> PlanLine {
        let path = self.paths.assign(&expected.path, &expected.key);
        PlanLine {
            key: expected.key,
            item: expected.item,
            key_name: expected.key_name.map(str::to_owned),
            vars: expected.vars,
            variant: expected.variant,
            line: expected.line,
            shard,
            model: expected.model,
            aspect_ratio: expected.aspect_ratio,
            image_size: expected.image_size,
            path,
            prompt: expected.prompt,
            refs: expected.refs,
            estimate: expected.estimate,
            retry: expected.retry,
        }
    }

    async fn finish(self, now: Timestamp) -> Result<Vec<Shard>, PlanError> {
        for (_, requests) in self.requests {
            requests.finish().await?;
        }
        self.plan.finish().await?;
        let shards = self.shards.into_iter();
        let shards = shards
            .map(|(id, planned)| Shard::planned(self.job, id, &planned.model, planned.demand, planned.plan_bytes, now));
        Ok(shards.collect())
    }
}

/// `{"key":…,"request":…}` on one line. A request in Google's form may be spread over several lines of a JSON document:
/// outside of texts, where alone line breaks can stand, a space means the same.
fn request_line(expected: &Expected) -> Result<Vec<u8>, PlanError> {
    let mut line = b"{\"key\":".to_vec();
    serde_json::to_writer(&mut line, &expected.key).map_err(malformed("a key"))?;
    line.extend_from_slice(b",\"request\":");
    line.extend(expected.request.get().bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    line.extend_from_slice(b"}\n");
    Ok(line)
}
