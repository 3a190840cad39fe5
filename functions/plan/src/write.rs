//! The second reading of a manifest: the plan, the request files and the states.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use darkroom::{
    batch_bounds::BatchBounds,
    image_paths::ImagePaths,
    manifest::{self, Expected},
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
    rejection::write_problems,
    shard_store::Cas,
};
use tokio::sync::mpsc;

use crate::{
    check::{Good, Setting},
    deps::Deps,
    drop::Dropped,
    handler::{PlanError, malformed},
    terms::Terms,
    time::{TO_RETURN, TimeLimit},
};

/// Images between the thread that reads the manifest and the task that writes the plan. Few: one
/// with inline pictures may have megabytes.
const AHEAD: usize = 2;

/// ShardStore written at once.
const AT_ONCE: usize = 16;

/// Writes all that `submit` needs. Without the status, which comes after it, the job isn't planned,
/// and is planned again.
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

    // The plan and the request files.
    let mut images = read_again(deps, dropped, terms, good).await?;
    let mut writer = Writer::new(deps, job, &terms.bounds);
    while let Some(expected) = images.receiver.recv().await {
        time.check().map_err(|_| PlanError::TimeUp)?;
        writer.add(expected).await?;
    }
    images.reading.await??;
    let shards = writer.finish(budget, deps.clock.now()).await?;

    // The states.
    stream::iter(shards)
        .map(|shard| async move {
            // Theirs is the state of an earlier planning of the same drop, or already further on.
            let (Cas::Written(_) | Cas::Conflict) = deps.states.create(shard).await?;
            Ok::<_, PlanError>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(summary)
}

struct Images {
    receiver: mpsc::Receiver<Expected>,
    reading: tokio::task::JoinHandle<Result<(), PlanError>>,
}

async fn read_again(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    good: Good,
) -> Result<Images, PlanError> {
    let Good { header, copies, .. } = good;
    let setting = Setting::new(
        deps,
        terms.planned_at,
        &terms.bounds,
        &dropped.beside,
        copies,
    );
    let source = dropped.reader(deps).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || {
        manifest::read(source, &header, &setting.context(), |expected| {
            sender
                .blocking_send(expected)
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        })?;
        Ok(())
    });
    Ok(Images { receiver, reading })
}

/// Writes images as they come; holds a part of the plan and of each open request file.
struct Writer<'a> {
    bucket: &'a Bucket,
    catalog: &'a Catalog,
    job: &'a JobId,
    paths: ImagePaths,
    sharder: Sharder,
    plan: ObjectWriter,
    requests: HashMap<ShardId, ObjectWriter>,
    /// The bytes of the plan, from and up to, between which the lines of each shard are.
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

    async fn add(&mut self, expected: Expected) -> Result<(), PlanError> {
        if !expected.web.is_empty() {
            return Err(PlanError::NotCopied);
        }
        let request = requests::line(&expected.key, &expected.request);
        let placement = self
            .sharder
            .place(&expected.model, RequestSize::of(&expected, self.catalog));
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
        let line = self.plan_line(expected, shard);
        let mut line = serde_json::to_vec(&line).map_err(malformed("the plan"))?;
        line.push(b'\n');
        self.plan.write(&line).await?;
        self.plan_bytes.entry(shard).or_insert((start, start)).1 = self.plan.len();
        Ok(())
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
            thinking: expected.thinking,
            path,
            prompt: expected.prompt,
            refs: expected.refs,
            estimate: expected.estimate,
            retry: expected.retry,
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
