//! The cost of a job by model, by round and by lane.

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign},
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::Origin;
use crate::{
    billing::Charge,
    lane::Lane,
    money::Usd,
    plan::{ModelShare, PlanSummary},
};

/// The decimals of a percentage.
const PERCENT_DECIMALS: u32 = 2;

/// The cost of a job.
///
/// ```json
/// {"estimated_usd":0.627404,"actual_usd":0.65935,"variance_percent":5.09,"interactive_usd":1.3187,"saved_usd":0.65935,
///  "unattributed_usd":0,"unaccounted":{"requests":0,"estimated_usd":0},"by_model":[…],"by_round":[…]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The estimate: each image once, in the lane in which it is planned, without thinking tokens
    /// and retries.
    pub estimated_usd: Usd,
    /// The cost of all tokens that Gemini reported, at the prices of the lanes that served the
    /// answers: images, refusals, every round, and unmatched results.
    pub actual_usd: Usd,
    /// The difference between the actual cost and the estimate, in percent of the estimate. It is
    /// negative if the actual cost is lower.
    #[serde(
        with = "rust_decimal::serde::float_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub variance_percent: Option<Decimal>,
    /// The cost of the same tokens in the interactive lane.
    pub interactive_usd: Usd,
    /// The saving: the interactive cost minus the actual cost.
    pub saved_usd: Usd,
    /// The part of the actual cost that belongs to no image of the plan: answers with an unknown key
    /// or without a key. The rest is the sum of `cost_usd` of all result lines.
    pub unattributed_usd: Usd,
    /// Further requests for which Gemini may have charged.
    pub unaccounted: Unaccounted,
    /// The cost of each model, in the order of their names.
    pub by_model: Vec<ModelCost>,
    /// The cost of each round: 1 for the first requests, and 2 and up for retries.
    pub by_round: Vec<RoundCost>,
    /// The cost of each lane, in the order of [`Lane::ALL`]. It is empty if there are only batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_lane: Vec<LaneCost>,
}

/// Requests that may have been charged for, but whose answer was lost, can't be read, or reports no
/// tokens. The actual cost doesn't include them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unaccounted {
    /// The number of requests. A retry counts again.
    pub requests: u64,
    /// Their estimated cost.
    pub estimated_usd: Usd,
}

impl AddAssign for Unaccounted {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.estimated_usd += other.estimated_usd;
    }
}

/// The cost of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCost {
    /// The model, a full id.
    pub model: String,
    /// The number of images that exist.
    pub images: u64,
    /// The estimate.
    pub estimated_usd: Usd,
    /// The actual cost.
    pub actual_usd: Usd,
    /// The difference between the actual cost and the estimate, in percent of the estimate.
    #[serde(
        with = "rust_decimal::serde::float_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub variance_percent: Option<Decimal>,
    /// The cost of the same tokens in the interactive lane.
    pub interactive_usd: Usd,
    /// The saving.
    pub saved_usd: Usd,
    /// The cost of each of its rounds.
    pub by_round: Vec<RoundCost>,
}

/// The cost of one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundCost {
    /// The number of the round, from 1.
    pub round: u8,
    /// The number of requests that were made in it.
    pub requests: u64,
    /// The number of images that it produced.
    pub images: u64,
    /// The actual cost.
    pub actual_usd: Usd,
    /// The cost of the same tokens in the interactive lane.
    pub interactive_usd: Usd,
    /// The saving.
    pub saved_usd: Usd,
}

/// The cost of one lane.
///
/// Gemini may serve a request in another lane, for example one of the flex tier at full price. The
/// request and its estimate then belong to the lane in which it was made, and the image and its
/// cost to the lane that served it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCost {
    /// The lane.
    pub lane: Lane,
    /// The number of requests that were made in it.
    pub requests: u64,
    /// The number of images that it produced.
    pub images: u64,
    /// The estimate of the images that are planned in it.
    pub estimated_usd: Usd,
    /// The actual cost.
    pub actual_usd: Usd,
    /// The cost of the same tokens in the interactive lane.
    pub interactive_usd: Usd,
    /// The saving.
    pub saved_usd: Usd,
}

/// The sums of one model in one round and one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) requests: u64,
    pub(super) images: u64,
    pub(super) charge: Charge,
}

impl Add for Cell {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            images: self.images + other.images,
            charge: self.charge + other.charge,
        }
    }
}

/// The exact sums over a job. They are rounded only when they are written.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) unmatched: Usd,
    pub(super) unaccounted: Unaccounted,
    /// The estimates of the planned images.
    pub(super) estimates: BTreeMap<Lane, Usd>,
    cells: BTreeMap<(String, Origin), Cell>,
}

impl Sums {
    /// Returns the sums of a model in a round and a lane.
    pub(super) fn of(&mut self, model: &str, origin: Origin) -> &mut Cell {
        self.cells.entry((model.to_owned(), origin)).or_default()
    }

    /// Returns the cost of the job.
    pub(super) fn cost(&self, plan: &PlanSummary) -> Cost {
        let total: Charge = self.cells.values().map(|cell| cell.charge).sum();
        let estimated_usd = plan.estimate.usd();
        Cost {
            estimated_usd,
            actual_usd: total.actual,
            variance_percent: variance(total.actual, estimated_usd),
            interactive_usd: total.interactive,
            saved_usd: total.interactive - total.actual,
            unattributed_usd: self.unmatched,
            unaccounted: self.unaccounted,
            by_model: plan
                .models
                .iter()
                .map(|share| self.of_model(share))
                .collect(),
            by_round: rounds(self.cells.iter()),
            by_lane: self.lanes(),
        }
    }

    /// Returns the cost of each lane, or nothing if there are only batches.
    fn lanes(&self) -> Vec<LaneCost> {
        let mut lanes: BTreeMap<Lane, Cell> = BTreeMap::new();
        for lane in self.estimates.keys() {
            lanes.entry(*lane).or_default();
        }
        for ((_, origin), cell) in &self.cells {
            let sum = lanes.entry(origin.lane).or_default();
            *sum = *sum + *cell;
        }
        if lanes.keys().all(Lane::is_batch) {
            return Vec::new();
        }
        let cost = |(
            lane,
            Cell {
                requests,
                images,
                charge,
            },
        )| LaneCost {
            lane,
            requests,
            images,
            estimated_usd: self.estimates.get(&lane).copied().unwrap_or_default(),
            actual_usd: charge.actual,
            interactive_usd: charge.interactive,
            saved_usd: charge.interactive - charge.actual,
        };
        lanes.into_iter().map(cost).collect()
    }

    fn of_model(
        &self,
        ModelShare {
            model, estimate, ..
        }: &ModelShare,
    ) -> ModelCost {
        let cells = || self.cells.iter().filter(|((of, _), _)| of == model);
        let total: Charge = cells().map(|(_, cell)| cell.charge).sum();
        ModelCost {
            model: model.clone(),
            images: cells().map(|(_, cell)| cell.images).sum(),
            estimated_usd: estimate.usd(),
            actual_usd: total.actual,
            variance_percent: variance(total.actual, estimate.usd()),
            interactive_usd: total.interactive,
            saved_usd: total.interactive - total.actual,
            by_round: rounds(cells()),
        }
    }
}

fn variance(actual: Usd, estimated: Usd) -> Option<Decimal> {
    actual
        .percent_above(estimated)
        .map(|percent| percent.round_dp(PERCENT_DECIMALS))
}

/// Adds the cells of each round.
fn rounds<'a>(cells: impl Iterator<Item = (&'a (String, Origin), &'a Cell)>) -> Vec<RoundCost> {
    let mut sums: BTreeMap<u8, Cell> = BTreeMap::new();
    for ((_, origin), cell) in cells {
        let sum = sums.entry(origin.round).or_default();
        *sum = *sum + *cell;
    }
    let cost = |(
        round,
        Cell {
            requests,
            images,
            charge,
        },
    )| RoundCost {
        round,
        requests,
        images,
        actual_usd: charge.actual,
        interactive_usd: charge.interactive,
        saved_usd: charge.interactive - charge.actual,
    };
    sums.into_iter().map(cost).collect()
}
