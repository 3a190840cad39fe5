//! What a shard's output should hold, and what of it was seen.

use std::collections::{HashMap, HashSet};

use darkroom::{
    billing::{Charged, Meter},
    chunks::{ChunkLine, UnmatchedReason},
    cost::{self, Usd},
    layout,
    models::Rates,
    names::{RequestKey, ShardId},
    plan::PlanLine,
    results::{ResultLine, Status},
    state::{Collecting, Phase, Shard},
};
use runtime::{chunks::read_chunk, lines::Lines};

use crate::{
    deps::Deps,
    handler::{CollectError, malformed},
};

/// The request keys of a shard, at most a few thousand, and what its answers cost so far.
#[derive(Debug, Default)]
pub(crate) struct Expected {
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
    /// Lines, blank ones apart.
    pub(crate) lines: u64,
    /// Of these, those with the key of a request of this shard.
    pub(crate) matched: u64,
    /// Images of lines that belong to no request of this shard. They are stored as unmatched.
    pub(crate) unmatched_images: u64,
    /// Of these, those whose line has no key at all: each must belong to some request.
    pub(crate) keyless_images: u64,
    /// Lines that were passed over, because each reader ended at them.
    pub(crate) skipped_lines: u64,
}

/// What is known of one request key.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The path of its image below `images/`, without extension.
    pub(crate) path: String,
    /// The ratio that was asked for.
    pub(crate) aspect_ratio: Option<String>,
    /// The size that was asked for.
    pub(crate) image_size: Option<String>,
    /// What one image may have cost at the most, if nothing tells what it did cost.
    pub(crate) ceiling: Usd,
    /// What was found so far.
    pub(crate) seen: Seen,
}

/// What was found of a request key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing.
    No,
    /// A reason why there is no image, and whether asking again may help.
    Reason {
        /// Whether it may.
        retryable: bool,
    },
    /// Its image.
    Image,
}

impl Expected {
    /// Reads the shard's lines of the plan, and the parts written so far.
    pub(crate) async fn load(deps: &Deps, shard: &Shard) -> Result<Self, CollectError> {
        let key = layout::plan(&shard.job);
        let only: Option<HashSet<RequestKey>> = deps
            .states
            .keys(shard)
            .await?
            .map(|keys| keys.into_iter().collect());
        let first_round = ShardId::first(shard.shard.number);
        let catalog = deps.catalogs.of_job(&shard.job).await?;
        let model = catalog.priced(&shard.model);
        let mut expected = Self {
            rates: model.map(|model| model.batch.clone()),
            ..Self::default()
        };
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
                expected.keys.insert(
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
        if let Some(chunk) = &shard.refused {
            read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, |line| {
                expected.see(&line)
            })
            .await?;
        }
        // What Gemini refused to take is not in the output.
        expected.found = Found::default();
        if let Phase::Collecting(Collecting { chunks, .. }) = &shard.phase {
            for chunk in chunks {
                read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, |line| {
                    let has_image =
                        matches!(&line, ChunkLine::Unmatched(unmatched) if unmatched.image.is_some());
                    expected.see_output(&line, has_image);
                })
                .await?;
            }
        }
        Ok(expected)
    }

    /// What is known of a key; nothing if it was not asked for in this shard.
    pub(crate) fn wanted(&self, key: &RequestKey) -> Option<&Wanted> {
        self.keys.get(key)
    }

    /// Notes a line that came of the output: what became of its key, what it cost, and whether it
    /// belongs to a request. `has_image` says whether it has an image, if it belongs to none.
    pub(crate) fn see_output(&mut self, line: &ChunkLine, has_image: bool) {
        let image = u64::from(has_image);
        self.found.lines += 1;
        match line {
            ChunkLine::Result(_) => self.found.matched += 1,
            ChunkLine::Unmatched(unmatched) => match unmatched.unmatched {
                // Its key is one of this shard's.
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

    /// Notes a line of a part: what became of its key, and what it cost.
    pub(crate) fn see(&mut self, line: &ChunkLine) {
        let charged = self.meter.charged(line);
        let ceiling = match line {
            ChunkLine::Result(result) => self.see_result(result),
            ChunkLine::Unmatched(_) => Usd::ZERO,
        };
        self.cost += match (charged, &self.rates) {
            (Charged::Told(usage), Some(rates)) => cost::actual(&usage, rates),
            (Charged::Estimated | Charged::Unknown, _) => ceiling,
            (Charged::Told(_), None) | (Charged::Nothing, _) => Usd::ZERO,
        };
    }

    /// What the batch has cost at the most, by what was seen of it, as a document holds it; nothing
    /// for a model without prices.
    pub(crate) fn cost(&self) -> Option<Usd> {
        self.rates.is_some().then(|| self.cost.rounded_up())
    }

    /// Notes what became of a key, and answers with what its image may have cost at the most.
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

    /// The keys of which nothing was found, in order.
    pub(crate) fn missing(&self) -> Vec<RequestKey> {
        self.keys(|seen| seen == Seen::No)
    }

    /// The keys that are worth asking again, in order.
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
