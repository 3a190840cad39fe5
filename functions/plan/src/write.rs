//! The third time that a manifest is opened: the plan, the request files and the shard states are
//! written.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use darkroom::{
    batch_bounds::BatchBounds,
    image_paths::ImagePaths,
    manifest::{self, PlannedImage, SourceSet},
    models::Catalog,
    money::Usd,
    names::{JobId, ShardId},
    object_keys,
    plan::{PlanLine, PlanSummary, PlannedShard, RequestSize, Sharder},
    requests,
    state::{Budget, Shard},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use runtime::{
    bucket::{Bucket, ObjectWriter},
    document::DocumentError,
    rejection::write_problems,
    shard_store::Cas,
};
use tokio::sync::mpsc;

use crate::{
    check::{Good, ReadContext},
    deps::Deps,
    drop::Dropped,
    error::PlanError,
    terms::Terms,
    time::{TO_RETURN, TimeLimit},
};

/// How many images wait between the thread that reads the manifest and the task that writes the
/// plan. The number is small, because an image with inline pictures takes megabytes.
const CHANNEL_CAPACITY: usize = 2;

/// How many shard states are written at the same time.
const CONCURRENCY: usize = 16;

/// Writes everything that `submit` needs. The status is not part of it and is written afterwards:
/// until then the job counts as not planned, and is planned again after a crash.
pub(crate) async fn write(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    good: Good,
    deadline: Timestamp,
) -> Result<PlanSummary, PlanError> {
    let (job, time) = (
        &dropped.job,
        TimeLimit::before(deadline, TO_RETURN, &deps.clock),
    );
    write_problems(&deps.bucket, job, &good.reading.problems).await?;
    let summary = good.summary(deps, terms);
    let budget = good.header.job().budget_usd;

    // The plan and the request files grow together, so that no image is held longer than a line.
    let mut images = read_again(deps, dropped, terms, good);
    let mut writer = Writer::new(deps, job, &terms.bounds);
    while let Some(image) = images.receiver.recv().await {
        time.check().map_err(|_| PlanError::TimeUp)?;
        writer.add(image).await?;
    }
    images.reading.await??;
    let shards = writer.finish(budget, deps.clock.now()).await?;

    // The states come last: a shard with a state must have its requests.
    stream::iter(shards)
        .map(|shard| async move {
            // A conflict is the state that an earlier planning of the same manifest wrote. It may
            // have advanced since, so it stays.
            let (Cas::Written(_) | Cas::Conflict) = deps.states.create(shard).await?;
            Ok::<_, PlanError>(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    Ok(summary)
}

/// The images of a manifest, in order, and the thread that reads them.
struct Images {
    receiver: mpsc::Receiver<PlannedImage>,
    reading: tokio::task::JoinHandle<Result<(), PlanError>>,
}

fn read_again(deps: &Deps, dropped: &Dropped, terms: &Terms, good: Good) -> Images {
    let Good { header, copies, .. } = good;
    let context = ReadContext::new(deps, dropped, terms, copies);
    let sources = dropped.sources.clone();
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    let reading = tokio::task::spawn_blocking(move || {
        manifest::read(sources.manifest()?, &header, &context.context(), |image| {
            // The receiver is gone if writing failed. That error is the one to report.
            sender
                .blocking_send(image)
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        })?;
        Ok(())
    });
    Images { receiver, reading }
}

/// Writes images as they come. In memory are one part of the plan, and one of each open request
/// file.
struct Writer<'a> {
    bucket: &'a Bucket,
    catalog: &'a Catalog,
    job: &'a JobId,
    paths: ImagePaths,
    sharder: Sharder,
    plan: ObjectWriter,
    requests: HashMap<ShardId, ObjectWriter>,
    /// The range of bytes of the plan that holds the lines of each shard: start and exclusive end.
    plan_bytes: BTreeMap<ShardId, (u64, u64)>,
}

impl<'a> Writer<'a> {
    fn new(deps: &'a Deps, job: &'a JobId, bounds: &BatchBounds) -> Self {
        Self {
            bucket: &deps.bucket,
            catalog: &deps.catalog,
            job,
            paths: ImagePaths::default(),
            sharder: Sharder::new(deps.settings.shard.clone(), bounds.clone()),
            plan: deps
                .bucket
                .writer(&object_keys::plan(job), "application/jsonl"),
            requests: HashMap::new(),
            plan_bytes: BTreeMap::new(),
        }
    }

    async fn add(&mut self, image: PlannedImage) -> Result<(), PlanError> {
        if !image.web.is_empty() {
            return Err(PlanError::NotCopied);
        }

        // A shard that is full is finished before the next one begins.
        let request = requests::line(&image.key, &image.request);
        let placement = self
            .sharder
            .place(&image.model, RequestSize::of(&image, self.catalog));
        if let Some(full) = placement
            .closed
            .and_then(|shard| self.requests.remove(&shard))
        {
            full.finish().await?;
        }
        let shard = placement.shard;
        let (bucket, job) = (self.bucket, self.job);
        let requests = self.requests.entry(shard).or_insert_with(|| {
            bucket.writer(
                &object_keys::requests(job, shard.number),
                "application/jsonl",
            )
        });
        requests.write(&request).await?;

        let start = self.plan.len();
        let line = self.plan_line(image, shard);
        let mut line = serde_json::to_vec(&line).map_err(|source| DocumentError {
            key: object_keys::plan(job),
            source,
        })?;
        line.push(b'\n');
        self.plan.write(&line).await?;
        self.plan_bytes.entry(shard).or_insert((start, start)).1 = self.plan.len();
        Ok(())
    }

    fn plan_line(&mut self, image: PlannedImage, shard: ShardId) -> PlanLine {
        let path = self.paths.assign(&image.path, &image.key);
        PlanLine {
            key: image.key,
            item: image.item,
            key_name: image.key_name.map(str::to_owned),
            vars: image.vars,
            variant: image.variant,
            line: image.line,
            shard,
            model: image.model,
            aspect_ratio: image.aspect_ratio,
            image_size: image.image_size,
            thinking: image.thinking,
            path,
            prompt: image.prompt,
            refs: image.refs,
            estimate: image.estimate,
            retry: image.retry,
        }
    }

    async fn finish(self, budget: Option<Usd>, now: Timestamp) -> Result<Vec<Shard>, PlanError> {
        for (_, requests) in self.requests {
            requests.finish().await?;
        }
        self.plan.finish().await?;
        let planned = self.sharder.planned();
        let first_round_usd = planned.iter().map(|planned| planned.demand.usd).sum();
        let budget = budget.map(|usd| Budget {
            usd,
            first_round_usd,
        });
        let shards = self.plan_bytes.into_iter().zip(planned).map(
            |((id, plan_bytes), PlannedShard { model, demand })| Shard {
                budget,
                ..Shard::planned(self.job, id, &model, demand, plan_bytes, now)
            },
        );
        Ok(shards.collect())
    }
}
