//! What a job cost, for those who pay: by model, and by round.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    billing::Charge,
    money::Usd,
    plan::{ModelShare, PlanSummary},
};

/// Decimals of a percentage.
const PERCENT_DECIMALS: u32 = 2;

/// What a job cost.
///
/// ```json
/// {"estimated_usd":0.627404,"actual_usd":0.65935,"variance_percent":5.09,"interactive_usd":1.3187,"saved_usd":0.65935,
///  "unattributed_usd":0,"unaccounted":{"requests":0,"estimated_usd":0},"by_model":[…],"by_round":[…]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// What was foretold: each image once, without thoughts and without rounds.
    pub estimated_usd: Usd,
    /// What all the tokens that Gemini told come to at batch prices: images, refusals, every round,
    /// and what was set aside.
    pub actual_usd: Usd,
    /// How far the actual cost is above the estimate, in per cent of the estimate; below it, it is
    /// negative.
    #[serde(
        with = "rust_decimal::serde::float_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub variance_percent: Option<Decimal>,
    /// What the same tokens cost interactively.
    pub interactive_usd: Usd,
    /// The difference: interactive less actual.
    pub saved_usd: Usd,
    /// The part of the actual cost that belongs to no image of the plan: answers whose key nobody
    /// asked for, or that have none. The rest is the sum of `cost_usd` of all result lines.
    pub unattributed_usd: Usd,
    /// What Gemini may have charged for beside that, and doesn't tell.
    pub unaccounted: Unaccounted,
    /// By model, in order of their names.
    pub by_model: Vec<ModelCost>,
    /// By round: the first asking is 1, what was asked for again is 2, 3, ….
    pub by_round: Vec<RoundCost>,
}

/// Requests that may have been charged for, and whose answer was lost, can't be read, or tells no
/// tokens. They are not in the actual cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unaccounted {
    /// How many, each time they were asked for.
    pub requests: u64,
    /// What they were estimated at.
    pub estimated_usd: Usd,
}

/// What one model cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCost {
    /// The model, a full id.
    pub model: String,
    /// Images it made.
    pub images: u64,
    /// What was foretold.
    pub estimated_usd: Usd,
    /// What it cost.
    pub actual_usd: Usd,
    /// How far that is above the estimate, in per cent of the estimate.
    #[serde(
        with = "rust_decimal::serde::float_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub variance_percent: Option<Decimal>,
    /// What the same tokens cost interactively.
    pub interactive_usd: Usd,
    /// The difference.
    pub saved_usd: Usd,
    /// Its rounds.
    pub by_round: Vec<RoundCost>,
}

/// What one round cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundCost {
    /// From 1, the first asking.
    pub round: u8,
    /// Requests in its batches.
    pub requests: u64,
    /// Images that came of it.
    pub images: u64,
    /// What it cost.
    pub actual_usd: Usd,
    /// What the same tokens cost interactively.
    pub interactive_usd: Usd,
    /// The difference.
    pub saved_usd: Usd,
}

/// What is summed up for one model in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) requests: u64,
    pub(super) images: u64,
    pub(super) charge: Charge,
}

/// The sums over a job, exact: rounding is for whoever writes them down.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) unmatched: Usd,
    pub(super) unaccounted: Unaccounted,
    cells: BTreeMap<(String, u8), Cell>,
}

impl Sums {
    pub(super) fn of(&mut self, model: &str, round: u8) -> &mut Cell {
        self.cells.entry((model.to_owned(), round)).or_default()
    }

    pub(super) fn cost(&self, plan: &PlanSummary) -> Cost {
        let total: Charge = self.cells.values().map(|cell| cell.charge).sum();
        let estimated_usd = plan.estimate.batch_usd;
        Cost {
            estimated_usd,
            actual_usd: total.batch,
            variance_percent: variance(total.batch, estimated_usd),
            interactive_usd: total.interactive,
            saved_usd: total.interactive - total.batch,
            unattributed_usd: self.unmatched,
            unaccounted: self.unaccounted,
            by_model: plan
                .models
                .iter()
                .map(|share| self.of_model(share))
                .collect(),
            by_round: rounds(self.cells.iter()),
        }
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
            estimated_usd: estimate.batch_usd,
            actual_usd: total.batch,
            variance_percent: variance(total.batch, estimate.batch_usd),
            interactive_usd: total.interactive,
            saved_usd: total.interactive - total.batch,
            by_round: rounds(cells()),
        }
    }
}

fn variance(actual: Usd, estimated: Usd) -> Option<Decimal> {
    actual
        .percent_above(estimated)
        .map(|percent| percent.round_dp(PERCENT_DECIMALS))
}

fn rounds<'a>(cells: impl Iterator<Item = (&'a (String, u8), &'a Cell)>) -> Vec<RoundCost> {
    let mut sums: BTreeMap<u8, Cell> = BTreeMap::new();
    for ((_, round), cell) in cells {
        let sum = sums.entry(*round).or_default();
        sum.requests += cell.requests;
        sum.images += cell.images;
        sum.charge += cell.charge;
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
        actual_usd: charge.batch,
        interactive_usd: charge.interactive,
        saved_usd: charge.interactive - charge.batch,
    };
    sums.into_iter().map(cost).collect()
}
