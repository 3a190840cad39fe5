//! The third time that a manifest is opened: the plan, the request files and the shard states are
//! written.

use std::collections::{BTreeMap, HashMap};

use darkroom::{
    cost,
    digest::hex,
    image_paths::ImagePaths,
    lane::Lane,
    manifest::PlannedImage,
    models::Catalog,
    money::Usd,
    names::{FolderPath, JobId, ShardId},
    object_keys,
    plan::{PlanLine, PlanSummary, PlannedShard, RequestSize, ShardGroup, Sharder},
    requests,
    state::{Budget, HELD_DEADLINE, Rescue, Shard},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    bucket::{Bucket, ObjectWriter},
    document::DocumentError,
    rejection::write_problems,
    shard_store::Cas,
};
use sha2::{Digest, Sha256};

use crate::{
    check::Good,
    deps::Deps,
    drop::Dropped,
    error::PlanError,
    pieces::{Piece, read_again},
    terms::Terms,
    time::{TO_RETURN, TimeLimit},
};

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
    let wishes = Wishes::of(&good, terms);

    // The rows, the plan and the request files grow together, so that no image is held longer than
    // a line.
    let mut writer = Writer::new(deps, job, terms, wishes);
    let mut pieces = read_again(deps, dropped, terms, good);
    while let Some(Piece { rows, image }) = pieces.receiver.recv().await {
        time.check().map_err(|_| PlanError::TimeUp)?;
        writer.add_rows(&rows).await?;
        if let Some(image) = image {
            writer.add(image).await?;
        }
    }
    pieces.reading.await??;
    let shards = writer.finish(deps.clock.now()).await?;

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

/// What a manifest asks for that concerns its shards.
#[derive(Clone, Debug)]
struct Wishes {
    budget: Option<Usd>,
    /// The images outside the proof, if there is one.
    proof: Option<HeldImages>,
    /// When the images must have arrived, how much time there is in total, and the lane of images
    /// whose batch would come too late.
    rescue: Option<(Timestamp, SignedDuration, Lane)>,
    /// Where images of the flex lane go if Gemini has no capacity.
    fallback: Lane,
}

/// The images that wait for the proof.
#[derive(Clone, Copy, Debug)]
struct HeldImages {
    /// Whether they wait for the approval of the proof, or only for its success.
    hold: bool,
    images: u64,
    /// Their estimated cost.
    usd: Usd,
}

impl Wishes {
    fn of(good: &Good, terms: &Terms) -> Self {
        let (job, reading) = (good.header.job(), &good.reading);
        Self {
            budget: job.budget_usd,
            proof: reading.proof.as_ref().map(|proof| HeldImages {
                hold: proof.hold,
                images: reading.images - proof.images,
                usd: reading.estimate.usd() - proof.estimate.usd(),
            }),
            rescue: job
                .within
                .zip(job.rescue_lane())
                .map(|(within, lane)| (terms.planned_at + within, within, lane)),
            fallback: job.fallback(),
        }
    }
}

/// Writes images and rows as they come. In memory are one part of the plan, one of the rows, and one
/// of each open request file.
struct Writer<'a> {
    bucket: &'a Bucket,
    catalog: &'a Catalog,
    job: &'a JobId,
    paths: ImagePaths,
    sharder: Sharder,
    plan: ObjectWriter,
    /// The rows of the manifest, if it is a table. They are written only if there are any.
    rows: ObjectWriter,
    requests: BTreeMap<ShardId, ObjectWriter>,
    /// The range of bytes of the plan that holds the lines of each shard: start and exclusive end.
    plan_bytes: BTreeMap<ShardId, (u64, u64)>,
    /// The folder of the job.
    folder: Option<FolderPath>,
    wishes: Wishes,
    /// The digests of request files, if they are frozen for a proof.
    digests: HashMap<ShardId, Sha256>,
    /// The most that the images of each shard can cost if its batch comes too late.
    rescue_usd: HashMap<ShardId, Usd>,
}

impl<'a> Writer<'a> {
    fn new(deps: &'a Deps, job: &'a JobId, terms: &Terms, wishes: Wishes) -> Self {
        Self {
            folder: terms.folder.as_ref().map(|folder| folder.path.clone()),
            wishes,
            digests: HashMap::new(),
            rescue_usd: HashMap::new(),
            bucket: &deps.bucket,
            catalog: &deps.catalog,
            job,
            paths: ImagePaths::default(),
            sharder: Sharder::new(deps.settings.shard.clone(), terms.bounds.clone()),
            plan: deps
                .bucket
                .writer(&object_keys::plan(job), "application/jsonl"),
            rows: deps
                .bucket
                .writer(&object_keys::table_rows(job), "application/jsonl"),
            requests: BTreeMap::new(),
            plan_bytes: BTreeMap::new(),
        }
    }

    async fn add_rows(&mut self, rows: &[u8]) -> Result<(), PlanError> {
        Ok(self.rows.write(rows).await?)
    }

    async fn add(&mut self, image: PlannedImage) -> Result<(), PlanError> {
        if !image.web.is_empty() {
            return Err(PlanError::NotCopied);
        }

        // A shard that is full is finished before the next one begins.
        let request = requests::line(&image.key, &image.request);
        let placement = self.sharder.place(
            &ShardGroup::of(&image),
            RequestSize::of(&image, self.catalog),
        );
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
        self.note(shard, &image, &request);

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

    /// Counts what the state of the image's shard will say about all its images.
    fn note(&mut self, shard: ShardId, image: &PlannedImage, request: &[u8]) {
        if self.wishes.proof.is_some() && !image.proof {
            self.digests.entry(shard).or_default().update(request);
        }
        if let Some((.., lane)) = self.wishes.rescue
            && image.lane == Lane::Batch
            && let Some(model) = self.catalog.priced(&image.model)
        {
            *self.rescue_usd.entry(shard).or_default() +=
                cost::ceiling(model, lane, image.thinking, image.estimate);
        }
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
            lane: image.lane,
            proof: image.proof,
            estimate: image.estimate,
            retry: image.retry,
        }
    }

    async fn finish(mut self, now: Timestamp) -> Result<Vec<Shard>, PlanError> {
        for (_, requests) in self.requests {
            requests.finish().await?;
        }
        if !self.rows.is_empty() {
            self.rows.finish().await?;
        }
        self.plan.finish().await?;
        let planned = self.sharder.planned();
        let first_round_usd = planned.iter().map(|planned| planned.demand.usd).sum();
        let budget = self.wishes.budget.map(|usd| Budget {
            usd,
            first_round_usd,
        });

        let proof = self.wishes.proof;
        let shards = self.plan_bytes.into_iter().zip(planned).map(
            |((id, plan_bytes), PlannedShard { group, demand })| {
                let ShardGroup {
                    model,
                    lane,
                    is_proof,
                } = group;
                let rescue = self.wishes.rescue.zip(self.rescue_usd.remove(&id)).map(
                    |((end, within, lane), usd)| Rescue {
                        at: end - time_to_rescue(demand.requests, within),
                        lane,
                        usd,
                    },
                );
                let shard = Shard {
                    folder: self.folder.clone(),
                    budget,
                    is_proof,
                    rescue,
                    fallback: (lane == Lane::Flex).then_some(self.wishes.fallback),
                    ..Shard::planned(self.job, id, &model, demand, plan_bytes, now).in_lane(lane)
                };
                match (proof, self.digests.remove(&id)) {
                    (Some(held), Some(digest)) => Shard {
                        frozen: Some(hex(&digest.finalize())),
                        follows_proof: !held.hold,
                        ..shard.held(held.reason(self.job, now), now)
                    },
                    _ => shard,
                }
            },
        );
        Ok(shards.collect())
    }
}

/// How long before the end of a job a late batch is given up: the time in which its images are
/// requested one by one, at two seconds each because several are in flight, and ten minutes for the
/// batch to end and to be read. At least half of the job's time is left to the batch.
fn time_to_rescue(requests: u32, within: SignedDuration) -> SignedDuration {
    let needed = SignedDuration::from_mins(10) + SignedDuration::from_secs(2 * i64::from(requests));
    needed.min(within / 2)
}

impl HeldImages {
    /// Returns why they wait, how to release them, until when, and what they will cost.
    fn reason(self, job: &JobId, now: Timestamp) -> String {
        let Self { hold, images, usd } = self;
        let until = (now + HELD_DEADLINE).strftime("%Y-%m-%d %H:%M UTC");
        let how = format!(
            "to approve, upload an empty object as control/{job}/approve; to end the job with the \
             proof only, upload it as control/{job}/cancel"
        );
        if hold {
            format!(
                "held until the proof is approved: {images} images, about {usd}. Look at the proof in \
                 jobs/{job}/images/; {how}. Without an answer until {until} they are not made"
            )
        } else {
            format!(
                "held until all images of the proof have succeeded: {images} images, about {usd}. If \
                 one fails, decide: {how}. Without an answer until {until} they are not made"
            )
        }
    }
}
