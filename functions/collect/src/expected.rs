//! What a shard's output should hold, and what of it was seen.

use std::collections::{HashMap, HashSet};

use clients::lines::Lines;
use darkroom::{
    billing::{Charged, Meter},
    cost::{self, Usd},
    layout,
    models::Rates,
    names::{RequestKey, ShardId},
    parts::PartLine,
    plan::PlanLine,
    results::{ResultLine, Status},
    state::{Phase, Shard},
};

use crate::handler::{CollectError, Deps, malformed};

/// The longest line of a plan or of a part.
const LINE_BYTES: usize = 64 << 20;

/// The request keys of a shard, at most a few thousand, and what its answers cost so far.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    keys: HashMap<RequestKey, Wanted>,
    meter: Meter,
    /// The prices of the shard's model, if the catalogue has it.
    rates: Option<Rates>,
    cost: Usd,
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
        let only: Option<HashSet<&RequestKey>> = shard.keys.as_ref().map(|keys| keys.iter().collect());
        let first_round = ShardId::first(shard.shard.number);
        let catalogue = deps.catalogues.of_job(&shard.job).await?;
        let model = catalogue.priced(&shard.model);
        let mut expected = Self { rates: model.map(|model| model.batch.clone()), ..Self::default() };
        let mut lines = Lines::new(deps.bucket.open_range(&key, shard.plan_bytes).await?, LINE_BYTES);
        while let Some(line) = lines.next().await? {
            let line: PlanLine = serde_json::from_slice(&line).map_err(malformed(&key))?;
            if line.shard == first_round && only.as_ref().is_none_or(|only| only.contains(&line.key)) {
                let PlanLine { key, path, aspect_ratio, image_size, estimate, .. } = line;
                let ceiling = model.map_or(estimate.batch_usd, |model| cost::ceiling(model, estimate));
                expected.keys.insert(key, Wanted { path, aspect_ratio, image_size, ceiling, seen: Seen::No });
            }
        }
        if let Phase::Collecting { parts, .. } = &shard.phase {
            for part in parts {
                expected.see_part(deps, &layout::part(&shard.job, shard.shard, *part)).await?;
            }
        }
        Ok(expected)
    }

    async fn see_part(&mut self, deps: &Deps, key: &str) -> Result<(), CollectError> {
        let Some((stream, _)) = deps.bucket.open(key, None).await? else {
            return Err(CollectError::Missing(key.to_owned()));
        };
        let mut lines = Lines::new(stream, LINE_BYTES);
        while let Some(line) = lines.next().await? {
            self.see(&serde_json::from_slice(&line).map_err(malformed(key))?);
        }
        Ok(())
    }

    /// What is known of a key; nothing if it was not asked for in this shard.
    pub(crate) fn wanted(&self, key: &RequestKey) -> Option<&Wanted> {
        self.keys.get(key)
    }

    /// Notes a line of a part: what became of its key, and what it cost.
    pub(crate) fn see(&mut self, line: &PartLine) {
        let charged = self.meter.charged(line);
        let ceiling = match line {
            PartLine::Result(result) => self.see_result(result),
            PartLine::Aside(_) => Usd::ZERO,
        };
        self.cost += match (charged, &self.rates) {
            (Charged::Told(usage), Some(rates)) => cost::actual(&usage, rates),
            (Charged::Estimated | Charged::Unknown, _) => ceiling,
            (Charged::Told(_), None) | (Charged::Nothing, _) => Usd::ZERO,
        };
    }

    /// What the batch has cost at the most, by what was seen of it, as a document holds it; nothing for a model without
    /// prices.
    pub(crate) fn cost(&self) -> Option<Usd> {
        self.rates.is_some().then(|| self.cost.rounded_up())
    }

    /// Notes what became of a key, and answers with what its image may have cost at the most.
    fn see_result(&mut self, result: &ResultLine) -> Usd {
        let Some(wanted) = self.keys.get_mut(&result.key) else { return Usd::ZERO };
        wanted.seen = match result.status {
            Status::Succeeded => Seen::Image,
            _ => Seen::Reason { retryable: result.error.as_ref().is_some_and(|reason| reason.retryable) },
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
        let mut keys: Vec<RequestKey> =
            self.keys.iter().filter(|(_, wanted)| which(wanted.seen)).map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }
}
