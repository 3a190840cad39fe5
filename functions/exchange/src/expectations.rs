//! The request keys that a shard's output should contain, and what was found of them.

use std::collections::{HashMap, HashSet};

use darkroom::{
    billing::{Charged, Meter},
    chunks::{Chunk, ChunkLine, UnmatchedReason},
    cost::{self, Estimate},
    lane::Lane,
    models::{Model, ThinkingLevel},
    money::Usd,
    names::{RequestKey, ShardId},
    object_keys,
    plan::PlanLine,
    results::{ResultLine, Status},
    state::Shard,
};
use runtime::{
    bucket::Bucket, catalog_store::CatalogStore, chunks::read_chunk, document::DocumentError,
    lines::Lines, shard_store::ShardStore,
};

use crate::error::RecordError;

/// Where the documents are that say what a shard requests.
#[derive(Clone, Copy, Debug)]
pub struct Stores<'a> {
    /// The plan, and chunks.
    pub bucket: &'a Bucket,
    /// The keys of rounds.
    pub states: &'a ShardStore,
    /// The prices of jobs.
    pub catalogs: &'a CatalogStore,
}

/// The request keys of a shard, at most a few thousand, and the cost of its answers so far.
#[derive(Debug, Default)]
pub struct ShardExpectations {
    keys: HashMap<RequestKey, Wanted>,
    /// What was found in the output.
    pub found: Found,
    meter: Meter,
    /// The shard's model, if the catalog has prices for it.
    model: Option<Model>,
    /// The shard's lane, which is that of every line that names none.
    lane: Lane,
    cost: Usd,
}

/// What was found in the output so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The number of lines, without blank ones.
    pub lines: u64,
    /// How many lines have the key of a request of this shard.
    pub matched: u64,
    /// How many images belong to no request of this shard. They are stored as unmatched.
    pub unmatched_images: u64,
    /// How many of these have no key at all. Each of them must belong to some request.
    pub keyless_images: u64,
    /// How many lines were skipped because every reader crashed at them.
    pub skipped_lines: u64,
}

/// One request key of a shard.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The path of its image below `images/`, without extension.
    pub path: String,
    /// The requested ratio.
    pub aspect_ratio: Option<String>,
    /// The requested size.
    pub image_size: Option<String>,
    /// The requested thinking level.
    pub thinking: Option<ThinkingLevel>,
    /// The estimated cost of the image.
    pub estimate: Estimate,
    /// What was found of it so far.
    pub seen: Seen,
}

/// What was found of a request key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    No,
    /// A reason why there is no image.
    Reason {
        /// Whether requesting the image again may help.
        retryable: bool,
    },
    /// Its image.
    Image,
}

impl ShardExpectations {
    /// Reads the shard's lines of the plan, and the chunks written so far.
    ///
    /// # Errors
    /// [`RecordError`] if one of these documents is missing or can't be read.
    pub async fn load(
        stores: Stores<'_>,
        shard: &Shard,
        chunks: &[Chunk],
    ) -> Result<Self, RecordError> {
        let Stores {
            bucket,
            states,
            catalogs,
        } = stores;
        // A later round requests only some keys of its first round.
        let key = object_keys::plan(&shard.job);
        let only: Option<HashSet<RequestKey>> = states
            .keys(shard)
            .await?
            .map(|keys| keys.into_iter().collect());
        let first_round = ShardId::first(shard.shard.number);
        let catalog = catalogs.of_job(&shard.job).await?;
        let model = catalog.priced(&shard.model);
        let mut expectations = Self {
            model: model.cloned(),
            lane: shard.lane,
            ..Self::default()
        };

        // Other shards' lines may lie in the same range of the plan.
        let mut lines = Lines::of_document(bucket.open_range(&key, shard.plan_bytes).await?);
        while let Some(line) = lines.next().await? {
            let line: PlanLine = serde_json::from_slice(&line).map_err(DocumentError::at(&key))?;
            if line.shard == first_round
                && only.as_ref().is_none_or(|only| only.contains(&line.key))
            {
                let PlanLine {
                    key,
                    path,
                    aspect_ratio,
                    image_size,
                    thinking,
                    estimate,
                    ..
                } = line;
                expectations.keys.insert(
                    key,
                    Wanted {
                        path,
                        aspect_ratio,
                        image_size,
                        thinking,
                        estimate,
                        seen: Seen::No,
                    },
                );
            }
        }

        // What earlier invocations and `submit` recorded is part of the result.
        if let Some(chunk) = &shard.refused {
            read_chunk(bucket, &shard.job, shard.shard, chunk, |line| {
                expectations.see(&line)
            })
            .await?;
        }
        // Refused requests are not in the output, so they don't count as found there.
        expectations.found = Found::default();
        for chunk in chunks {
            read_chunk(bucket, &shard.job, shard.shard, chunk, |line| {
                let has_image =
                    matches!(&line, ChunkLine::Unmatched(unmatched) if unmatched.image.is_some());
                expectations.see_output(&line, has_image);
            })
            .await?;
        }
        Ok(expectations)
    }

    /// Returns what is known about a key; None if this shard does not request it.
    pub fn wanted(&self, key: &RequestKey) -> Option<&Wanted> {
        self.keys.get(key)
    }

    /// Counts a line of the output: the result of its key, its cost, and whether it belongs to a
    /// request. `has_image` is whether a line that belongs to none has an image.
    pub fn see_output(&mut self, line: &ChunkLine, has_image: bool) {
        let image = u64::from(has_image);
        self.found.lines += 1;
        match line {
            ChunkLine::Result(_) => self.found.matched += 1,
            ChunkLine::Unmatched(unmatched) => match unmatched.unmatched {
                // Its key belongs to this shard.
                UnmatchedReason::RepeatedKey => self.found.matched += 1,
                UnmatchedReason::SkippedLine => self.found.skipped_lines += 1,
                UnmatchedReason::UnknownKey => self.found.unmatched_images += image,
                UnmatchedReason::NoKey => {
                    self.found.unmatched_images += image;
                    self.found.keyless_images += image;
                }
            },
        }
        self.see(line);
    }

    /// Counts a line of a chunk: the result of its key, and its cost.
    pub fn see(&mut self, line: &ChunkLine) {
        let charged = self.meter.charged(line);
        let ceiling = match line {
            ChunkLine::Result(result) => self.see_result(result),
            ChunkLine::Unmatched(_) => Usd::ZERO,
        };
        // The lane that served an answer decides its price.
        let lane = match line {
            ChunkLine::Result(result) => result.lane.unwrap_or(self.lane),
            ChunkLine::Unmatched(_) => self.lane,
        };
        let rates = self
            .model
            .as_ref()
            .map(|model| model.rates(lane).unwrap_or(&model.standard));
        self.cost += match (charged, rates) {
            (Charged::Reported(usage), Some(rates)) => cost::actual(&usage, rates),
            (Charged::Estimated | Charged::Unknown, _) => ceiling,
            (Charged::Reported(_), None) | (Charged::Nothing, _) => Usd::ZERO,
        };
    }

    /// Returns the maximum cost of the shard, by what was found of it, rounded up as documents hold
    /// it; None for a model without prices.
    pub fn cost(&self) -> Option<Usd> {
        self.model.is_some().then(|| self.cost.rounded_up())
    }

    /// Records the result of a key, and returns the maximum cost of its image.
    fn see_result(&mut self, result: &ResultLine) -> Usd {
        let lane = result.lane.unwrap_or(self.lane);
        let Some(wanted) = self.keys.get_mut(&result.key) else {
            return Usd::ZERO;
        };
        wanted.seen = match result.status {
            Status::Succeeded => Seen::Image,
            _ => Seen::Reason {
                retryable: result.error.as_ref().is_some_and(|reason| reason.retryable),
            },
        };
        ceiling(self.model.as_ref(), lane, wanted)
    }

    /// Returns the most that the images of `keys` can cost in `lane`.
    pub fn ceiling(&self, keys: &[RequestKey], lane: Lane) -> Usd {
        keys.iter()
            .filter_map(|key| self.keys.get(key))
            .map(|wanted| ceiling(self.model.as_ref(), lane, wanted))
            .sum()
    }

    /// Returns the keys of which nothing was found, in order.
    pub fn missing(&self) -> Vec<RequestKey> {
        self.keys(|seen| seen == Seen::No)
    }

    /// Returns the keys whose images may succeed in another round, in order.
    pub fn retryable(&self) -> Vec<RequestKey> {
        self.keys(|seen| seen == Seen::Reason { retryable: true })
    }

    /// Returns the number of keys that have their image.
    pub fn succeeded(&self) -> u32 {
        let images = self
            .keys
            .values()
            .filter(|wanted| wanted.seen == Seen::Image);
        u32::try_from(images.count()).unwrap_or(u32::MAX)
    }

    /// Whether a key has no result yet.
    pub fn is_missing(&self, key: &RequestKey) -> bool {
        self.keys
            .get(key)
            .is_some_and(|wanted| wanted.seen == Seen::No)
    }

    fn keys(&self, which: impl Fn(Seen) -> bool) -> Vec<RequestKey> {
        let mut keys: Vec<RequestKey> = self
            .keys
            .iter()
            .filter(|(_, wanted)| which(wanted.seen))
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// Returns the most that one image can cost in a lane.
fn ceiling(model: Option<&Model>, lane: Lane, wanted: &Wanted) -> Usd {
    model.map_or(wanted.estimate.in_lane(lane), |model| {
        cost::ceiling(model, lane, wanted.thinking, wanted.estimate)
    })
}
