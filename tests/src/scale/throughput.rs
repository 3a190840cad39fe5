//! How many images a stack can make in a day, from the limits of Gemini's tiers, of the stack and
//! of AWS.

use anyhow::Context;
use darkroom::{
    batch_bounds::BatchBounds,
    chain::CHAIN,
    cost,
    job::ShardLimits,
    models::{Catalog, Model, Tier},
    plan::{Forecast, Limit, RequestSize, ShardGroup, Sharder},
    settings::{MaxLiveBatches, PollBackoff},
};
use jiff::SignedDuration;

use super::{
    bill::GeminiPrice,
    simulation::{CpuTime, Simulation, limits, prompt, start},
};

/// Every tier, with its number.
pub const TIERS: [(u8, Tier); 3] = [(1, Tier::One), (2, Tier::Two), (3, Tier::Three)];

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The images of a job, and how long Gemini takes for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The size of each image.
    pub size: &'static str,
    /// Reference pictures of each image.
    pub references: usize,
    /// How long a batch takes.
    pub batch: SignedDuration,
}

/// What a tier allows for a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// The input tokens of one image.
    pub tokens_per_image: u64,
    /// The images of a full batch.
    pub images_per_batch: u32,
    /// The batches that may be live at the same time.
    pub batches: u32,
    /// What limits them.
    pub limited_by: Limit,
    /// The images of a day, if there is always another batch to submit.
    pub images_a_day: f64,
}

impl Capacity {
    /// Computes the capacity of a model with the limits that `plan` applies: shards are cut as for
    /// a job that takes more than one turn of all batches, and its forecast names the limit.
    ///
    /// A batch makes room for the next one when `poll` notices its end, on average half a wait
    /// after it has ended. That the next one uses it only when its shard asks for admission again,
    /// after up to 15 minutes, is not included: of many waiting shards, one asks soon.
    ///
    /// # Errors
    /// If the model does not have the size.
    pub fn of(model: &Model, tier: Tier, load: Load) -> anyhow::Result<Self> {
        let characters = prompt(0).chars().count();
        let tokens_per_image = cost::input_tokens(model, characters, load.references);
        let pixels = model
            .pixels("1:1", Some(load.size))
            .context("the model lacks the size")?;
        let size = RequestSize {
            response_bytes: RequestSize::response_bytes(pixels),
            tokens: tokens_per_image,
            ..RequestSize::default()
        };

        // More images than any tier allows at the same time.
        let (limits, shard) = (limits(tier), ShardLimits::default());
        let bounds = BatchBounds::of(&limits, &Catalog::built_in(), tier);
        let mut sharder = Sharder::new(shard.clone(), bounds.clone());
        let group = ShardGroup::batch(&model.id);
        for _ in 0..=shard.requests * limits.live_batches.get() {
            sharder.place(&group, size);
        }
        let shards = sharder.planned();
        let images_per_batch = shards.first().map_or(0, |shard| shard.demand.requests);
        let forecast = Forecast::of(&shards, limits.live_batches.get(), &bounds)
            .context("all batches fit at the same time")?;

        let notice = PollBackoff::default().after(load.batch, 0.5) / 2;
        let turns = DAY.as_secs_f64() / (load.batch + notice).as_secs_f64();
        let images_in_flight = f64::from(forecast.at_once) * f64::from(images_per_batch);
        Ok(Self {
            tokens_per_image,
            images_per_batch,
            batches: forecast.at_once,
            limited_by: forecast.limit,
            images_a_day: images_in_flight * turns,
        })
    }

    /// Returns how many images are in flight.
    pub fn images_in_flight(&self) -> u64 {
        u64::from(self.batches) * u64::from(self.images_per_batch)
    }

    /// Returns what limits the batches, in words.
    pub fn limit(&self) -> &'static str {
        match self.limited_by {
            Limit::LiveBatches => "live batches",
            Limit::EnqueuedTokens => "enqueued tokens",
            Limit::DailyCap | Limit::FolderCap => "money",
        }
    }
}

/// Returns the model that items get if they name none, at the time of the simulations.
///
/// # Errors
/// If the catalog has no such model.
pub fn default_model() -> anyhow::Result<Model> {
    let id = GeminiPrice::of_default_model(start())?.model;
    let catalog = Catalog::built_in();
    catalog.model(&id).cloned().context("the model is unknown")
}

/// Returns a simulation of one day with more full batches than the capacity allows.
pub fn day(capacity: &Capacity, tier: Tier, load: Load) -> Simulation {
    let in_batch = u64::from(capacity.images_per_batch);
    let batches = (capacity.images_a_day * 1.5) as u64 / in_batch + 1;
    Simulation {
        images: batches * in_batch,
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

/// Returns the settings that the capacity assumes, for the caption of a table.
pub fn assumptions() -> String {
    let shard = ShardLimits::default();
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

    fn capacity(tier: Tier, size: &'static str, references: usize, hours: i64) -> Capacity {
        let load = Load {
            size,
            references,
            batch: SignedDuration::from_hours(hours),
        };
        Capacity::of(&default_model().unwrap(), tier, load).unwrap()
    }

    #[test]
    fn the_lowest_tier_is_limited_by_tokens_and_the_highest_by_batches() {
        let lowest = capacity(Tier::One, "1K", 1, 6);
        assert_eq!(lowest.limited_by, Limit::EnqueuedTokens);
        let limit = default_model().unwrap().enqueued_tokens[0];
        assert!(lowest.images_in_flight() * lowest.tokens_per_image <= limit);
        let highest = capacity(Tier::Three, "1K", 0, 6);
        assert_eq!(highest.limited_by, Limit::LiveBatches);
        assert_eq!((highest.batches, highest.images_per_batch), (100, 1_000));
    }

    #[test]
    fn half_the_time_makes_almost_twice_the_images() {
        let images = |hours| capacity(Tier::Two, "1K", 0, hours).images_a_day;
        let ratio = images(12) / images(24);
        assert!((1.9..=2.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn larger_images_and_more_references_never_make_more_images() {
        for (_, tier) in TIERS {
            let of = |size, references| capacity(tier, size, references, 6).images_a_day;
            assert!((1..6).all(|count| of("1K", count) <= of("1K", count - 1)));
            assert!(of("4K", 0) <= of("1K", 0));
        }
    }
}
