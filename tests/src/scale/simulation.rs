//! What to simulate: a job, the simulated Gemini, and the limits of its project.

use std::iter;

use cli::cloud::CloudConfig;
use darkroom::{
    job::{JobSettings, ShardLimits},
    ledger::{FolderCaps, ProjectLimits},
    models::{Catalog, Tier},
    settings::MaxLiveBatches,
};
use gemini_sim::Scenario;
use jiff::{SignedDuration, Timestamp};
use seam::rng::Rng;

use crate::TINY_SIDE;

/// The moment at which every simulation starts, in seconds since the epoch: 2026-11-21T00:00:00Z.
const START_SECONDS: i64 = 1_795_219_200;

/// The reference pictures that items may have, with the keys of the samples.
pub const REFERENCES: [&str; 5] = [
    "refs/fox.png",
    "refs/bag.png",
    "refs/loafer.png",
    "refs/sneaker-side.png",
    "refs/sneaker-top.png",
];

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The number of images of the job.
    pub images: u64,
    /// How many reference pictures each item has, of [`REFERENCES`]. All items have the same ones.
    pub references: usize,
    /// How long each batch takes.
    pub batch: SignedDuration,
    /// The tier of the Gemini project, which limits enqueued tokens.
    pub tier: Tier,
    /// The limits of a shard.
    pub shard: ShardLimits,
    /// The images that the simulated Gemini draws.
    pub pictures: Pictures,
    /// What an invocation's duration includes.
    pub cpu: CpuTime,
    /// When the simulation ends, even if the job has not.
    pub until: Option<SignedDuration>,
}

/// The images that the simulated Gemini draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// [`TINY_SIDE`] wide, so that drawing and storing them takes little time.
    Tiny,
    /// As large as requested, and padded to this number of bytes.
    Padded(u32),
}

/// Whether the duration of an invocation includes its CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTime {
    /// It does. The CPU time is that of this process, so it includes the work of the stand-ins and
    /// of the simulated Gemini, and is an upper bound.
    Measured,
    /// It does not, so that the schedule does not depend on the machine.
    Ignored,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            images: 1_000,
            references: 0,
            batch: SignedDuration::from_hours(1),
            tier: Tier::Three,
            shard: ShardLimits::default(),
            pictures: Pictures::Tiny,
            cpu: CpuTime::Measured,
            until: None,
        }
    }
}

impl Simulation {
    pub(super) fn scenario(&self) -> anyhow::Result<Scenario> {
        let seconds = u32::try_from(self.batch.as_secs())?;
        let (image_side, image_bytes) = match self.pictures {
            Pictures::Tiny => (Some(TINY_SIDE), None),
            Pictures::Padded(bytes) => (None, Some(bytes)),
        };
        Ok(Scenario {
            shortest_batch_seconds: seconds,
            longest_batch_seconds: seconds,
            image_side,
            image_bytes,
            ..Scenario::default()
        })
    }

    pub(super) fn config(&self) -> CloudConfig {
        CloudConfig {
            settings: JobSettings {
                shard: self.shard.clone(),
                ..JobSettings::default()
            },
            limits: limits(self.tier),
            tier: self.tier,
            rng: Rng::seeded(1),
            ..CloudConfig::default()
        }
    }

    pub(super) fn references(&self) -> &[&'static str] {
        &REFERENCES[..self.references.min(REFERENCES.len())]
    }

    /// Returns the lines of a table with a row for each image.
    pub(super) fn manifest(&self) -> impl Iterator<Item = String> {
        let references = self.references().join("|");
        let row = move |number| format!("SKU-{number:07},\"{}\",{references}\n", prompt(number));
        iter::once("key,prompt,refs\n".to_owned()).chain((0..self.images).map(row))
    }
}

/// Returns the limits of a project of this tier, without caps on dollars.
pub(super) fn limits(tier: Tier) -> ProjectLimits {
    ProjectLimits {
        live_batches: MaxLiveBatches::default(),
        enqueued_tokens: Catalog::built_in().enqueued_tokens(tier),
        daily_usd: None,
        folders: FolderCaps::default(),
    }
}

/// Returns the moment at which every simulation starts.
pub fn start() -> Timestamp {
    Timestamp::from_second(START_SECONDS).unwrap_or_default()
}

/// Returns the prompt of an item. All prompts have about the same length.
pub(super) fn prompt(number: u64) -> String {
    format!(
        "a canvas sneaker in off white, three-quarter view, pure white background, soft shadow, \
         number {number}"
    )
}
