//! The request keys that a shard's output should contain, and what was found of them.

use std::collections::{HashMap, HashSet};

use darkroom::{
    billing::{Charged, Meter},
    chunks::{Chunk, ChunkLine, UnmatchedReason},
    cost,
    models::Rates,
    money::Usd,
    names::{RequestKey, ShardId},
    object_keys,
    plan::PlanLine,
    results::{ResultLine, Status},
    state::Shard,
};
use runtime::{chunks::read_chunk, lines::Lines};

use crate::{
    deps::Deps,
    error::{CollectError, malformed},
};

/// The request keys of a shard, at most a few thousand, and the cost of its answers so far.
#[derive(Debug, Default)]
pub(crate) struct ShardExpectations {
    keys: HashMap<RequestKey, Wanted>,
    /// What was found in the output.
    pub(crate) found: Found,
    meter: Meter,
    /// The prices of the shard's model, if the catalog has it.
    rates: Option<Rates>,
    cost: Usd,
}

/// What was found in the output so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// The number of lines, without blank ones.
    pub(crate) lines: u64,
    /// How many lines have the key of a request of this shard.
    pub(crate) matched: u64,
    /// How many images belong to no request of this shard. They are stored as unmatched.
    pub(crate) unmatched_images: u64,
    /// How many of these have no key at all. Each of them must belong to some request.
    pub(crate) keyless_images: u64,
    /// How many lines were skipped because every reader crashed at them.
    pub(crate) skipped_lines: u64,
}

/// One request key of a shard.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The path of its image below `images/`, without extension.
    pub(crate) path: String,
    /// The requested ratio.
    pub(crate) aspect_ratio: Option<String>,
    /// The requested size.
    pub(crate) image_size: Option<String>,
    /// The maximum cost of one image, for an answer that reports no usage.
    pub(crate) ceiling: Usd,
    /// What was found of it so far.
    pub(crate) seen: Seen,
}

/// What was found of a request key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
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
    /// [`CollectError`] if one of these documents is missing or can't be read.
    pub(crate) async fn load(
        deps: &Deps,
        shard: &Shard,
        chunks: &[Chunk],
    ) -> Result<Self, CollectError> {
        // A later round requests only some keys of its first round.
        let key = object_keys::plan(&shard.job);
        let only: Option<HashSet<RequestKey>> = deps
            .states
            .keys(shard)
            .await?
            .map(|keys| keys.into_iter().collect());
        let first_round = ShardId::first(shard.shard.number);
        let catalog = deps.catalogs.of_job(&shard.job).await?;
        let model = catalog.priced(&shard.model);
        let mut expectations = Self {
            rates: model.map(|model| model.batch.clone()),
            ..Self::default()
        };

        // Other shards' lines may lie in the same range of the plan.
        let mut lines = Lines::of_document(deps.bucket.open_range(&key, shard.plan_bytes).await?);
        while let Some(line) = lines.next().await? {
            let line: PlanLine = serde_json::from_slice(&line).map_err(malformed(&key))?;
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
                let ceiling = model.map_or(estimate.batch_usd, |model| {
                    cost::ceiling(model, thinking, estimate)
                });
                expectations.keys.insert(
                    key,
                    Wanted {
                        path,
                        aspect_ratio,
                        image_size,
                        ceiling,
                        seen: Seen::No,
                    },
                );
            }
        }

        // What earlier invocations and `submit` recorded is part of the result.
        if let Some(chunk) = &shard.refused {
            read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, |line| {
                expectations.see(&line)
            })
            .await?;
        }
        // Refused requests are not in the output, so they don't count as found there.
        expectations.found = Found::default();
        for chunk in chunks {
            read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, |line| {
                let has_image =
                    matches!(&line, ChunkLine::Unmatched(unmatched) if unmatched.image.is_some());
                expectations.see_output(&line, has_image);
            })
            .await?;
        }
        Ok(expectations)
    }

    /// Returns what is known about a key; None if this shard does not request it.
    pub(crate) fn wanted(&self, key: &RequestKey) -> Option<&Wanted> {
        self.keys.get(key)
    }

    /// Counts a line of the output: the result of its key, its cost, and whether it belongs to a
    /// request. `has_image` is whether a line that belongs to none has an image.
    pub(crate) fn see_output(&mut self, line: &ChunkLine, has_image: bool) {
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
    pub(crate) fn see(&mut self, line: &ChunkLine) {
        let charged = self.meter.charged(line);
        let ceiling = match line {
            ChunkLine::Result(result) => self.see_result(result),
            ChunkLine::Unmatched(_) => Usd::ZERO,
        };
        self.cost += match (charged, &self.rates) {
            (Charged::Reported(usage), Some(rates)) => cost::actual(&usage, rates),
            (Charged::Estimated | Charged::Unknown, _) => ceiling,
            (Charged::Reported(_), None) | (Charged::Nothing, _) => Usd::ZERO,
        };
    }

    /// Returns the maximum cost of the batch, by what was found of it, rounded up as documents hold
    /// it; None for a model without prices.
    pub(crate) fn cost(&self) -> Option<Usd> {
        self.rates.is_some().then(|| self.cost.rounded_up())
    }

    /// Records the result of a key, and returns the maximum cost of its image.
    fn see_result(&mut self, result: &ResultLine) -> Usd {
        let Some(wanted) = self.keys.get_mut(&result.key) else {
            return Usd::ZERO;
        };
        wanted.seen = match result.status {
            Status::Succeeded => Seen::Image,
            _ => Seen::Reason {
                retryable: result.error.as_ref().is_some_and(|reason| reason.retryable),
            },
        };
        wanted.ceiling
    }

    /// Returns the keys of which nothing was found, in order.
    pub(crate) fn missing(&self) -> Vec<RequestKey> {
        self.keys(|seen| seen == Seen::No)
    }

    /// Returns the keys whose images may succeed in another round, in order.
    pub(crate) fn retryable(&self) -> Vec<RequestKey> {
        self.keys(|seen| seen == Seen::Reason { retryable: true })
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
