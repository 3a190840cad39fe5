//! How many images a stack can make in a day, from the limits of Gemini's tiers, of the stack and of
//! AWS.

use anyhow::Context;
use darkroom::{
    chain::CHAIN,
    cost,
    job::{JobSettings, ShardLimits},
    models::{Catalog, Model, Tier},
    settings::{MaxLiveBatches, PollBackoff},
};
use jiff::SignedDuration;

use super::simulation::{CpuTime, Simulation, prompt};

/// Every tier, with its number.
pub const TIERS: [(u8, Tier); 3] = [(1, Tier::One), (2, Tier::Two), (3, Tier::Three)];

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The images of a job, and how long Gemini takes for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Reference pictures of each image.
    pub references: usize,
    /// How long a batch takes.
    pub batch: SignedDuration,
}

/// What limits the batches in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The input tokens of the model that may be enqueued.
    EnqueuedTokens,
    /// The number of live batches.
    LiveBatches,
}

impl LimitedBy {
    /// Returns its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::EnqueuedTokens => "enqueued tokens",
            Self::LiveBatches => "live batches",
        }
    }
}

/// What a tier allows for a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// The input tokens of one image.
    pub tokens_per_image: u64,
    /// The images of a full batch.
    pub images_per_batch: u64,
    /// The batches that may be live at the same time.
    pub batches: u64,
    /// What limits them.
    pub limited_by: LimitedBy,
    /// The images that are in flight.
    pub images_in_flight: u64,
    /// The images of a day, if there is always another batch to submit.
    pub images_a_day: f64,
}

impl Capacity {
    /// Computes the capacity of a model. A batch makes room for the next one when `poll` notices its
    /// end, on average half a wait after it has ended.
    pub fn of(model: &Model, tier: Tier, load: Load) -> Self {
        let tokens_per_image = cost::input_tokens(model, prompt(0).chars().count(), load.references);
        let shard = ShardLimits::default();
        let limit = Catalog::built_in()
            .enqueued_tokens(tier)
            .get(&model.id)
            .copied()
            .unwrap_or(u64::MAX);

        // Shards are cut so that one fits the limit of the tier on its own.
        let images_per_batch = u64::from(shard.requests)
            .min(shard.tokens.min(limit) / tokens_per_image)
            .max(1);
        let by_tokens = limit / (images_per_batch * tokens_per_image);
        let by_batches = u64::from(MaxLiveBatches::default().get());
        let (batches, limited_by) = if by_tokens < by_batches {
            (by_tokens, LimitedBy::EnqueuedTokens)
        } else {
            (by_batches, LimitedBy::LiveBatches)
        };

        let images_in_flight = batches * images_per_batch;
        let notice = PollBackoff::default().after(load.batch, 0.5) / 2;
        let turns = DAY.as_secs_f64() / (load.batch + notice).as_secs_f64();
        Self {
            tokens_per_image,
            images_per_batch,
            batches,
            limited_by,
            images_in_flight,
            images_a_day: images_in_flight as f64 * turns,
        }
    }
}

/// Returns the model that items get if they name none, at the time of the simulations.
///
/// # Errors
/// If the catalog has no such model.
pub fn default_model() -> anyhow::Result<Model> {
    let id = super::bill::GeminiPrice::of_default_model(super::simulation::start())?.model;
    let catalog = Catalog::built_in();
    catalog.model(&id).cloned().context("the model is unknown")
}

/// Returns a simulation of one day with more images than the capacity allows.
pub fn day(capacity: &Capacity, tier: Tier, load: Load) -> Simulation {
    Simulation {
        images: (capacity.images_a_day * 1.5) as u64,
        references: load.references,
        batch: load.batch,
        tier,
        cpu: CpuTime::Ignored,
        until: Some(DAY),
        ..Simulation::default()
    }
}

/// Returns how many invocations of a stack run at the same time at most, with `sweep`.
pub fn concurrent_invocations() -> usize {
    CHAIN.iter().map(|source| source.concurrency).sum::<usize>() + 1
}

/// Returns the defaults that the capacity assumes, for the caption of a table.
pub fn assumptions() -> String {
    let shard = JobSettings::default().shard;
    format!(
        "ShardRequests {}, ShardTokens {}, MaxLiveBatches {}",
        shard.requests,
        shard.tokens,
        MaxLiveBatches::default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(tier: Tier, references: usize, hours: i64) -> Capacity {
        let load = Load {
            references,
            batch: SignedDuration::from_hours(hours),
        };
        Capacity::of(&default_model().unwrap(), tier, load)
    }

    #[test]
    fn the_lowest_tier_is_limited_by_tokens_and_the_highest_by_batches() {
        let lowest = capacity(Tier::One, 1, 6);
        assert_eq!(lowest.limited_by, LimitedBy::EnqueuedTokens);
        assert_eq!(capacity(Tier::Three, 0, 6).limited_by, LimitedBy::LiveBatches);
        let limit = default_model().unwrap().enqueued_tokens[0];
        assert!(lowest.images_in_flight * lowest.tokens_per_image <= limit);
    }

    #[test]
    fn half_the_time_makes_almost_twice_the_images() {
        let (slow, quick) = (capacity(Tier::Two, 0, 24), capacity(Tier::Two, 0, 12));
        let ratio = quick.images_a_day / slow.images_a_day;
        assert!((1.9..=2.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn more_references_never_make_more_images() {
        for (_, tier) in TIERS {
            let of = |references| capacity(tier, references, 6).images_a_day;
            assert!((1..6).all(|references| of(references) <= of(references - 1)));
        }
    }
}
