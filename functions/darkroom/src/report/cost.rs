//! The cost of a job by model and by round.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    billing::Charge,
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
    /// The estimate: each image once, without thinking tokens and retries.
    pub estimated_usd: Usd,
    /// The cost of all tokens that Gemini reported, at batch prices: images, refusals, every round,
    /// and unmatched results.
    pub actual_usd: Usd,
    /// The difference between the actual cost and the estimate, in percent of the estimate. It is
    /// negative if the actual cost is lower.
    #[serde(
        with = "rust_decimal::serde::float_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub variance_percent: Option<Decimal>,
    /// The cost of the same tokens in synchronous requests.
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
    /// The cost of the same tokens in synchronous requests.
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
    /// The number of requests in its batches.
    pub requests: u64,
    /// The number of images that it produced.
    pub images: u64,
    /// The actual cost.
    pub actual_usd: Usd,
    /// The cost of the same tokens in synchronous requests.
    pub interactive_usd: Usd,
    /// The saving.
    pub saved_usd: Usd,
}

/// The sums of one model in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) requests: u64,
    pub(super) images: u64,
    pub(super) charge: Charge,
}

/// The exact sums over a job. They are rounded only when they are written.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) unmatched: Usd,
    pub(super) unaccounted: Unaccounted,
    cells: BTreeMap<(String, u8), Cell>,
}

impl Sums {
    /// Returns the sums of a model in a round.
    pub(super) fn of(&mut self, model: &str, round: u8) -> &mut Cell {
        self.cells.entry((model.to_owned(), round)).or_default()
    }

    /// Returns the cost of the job.
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

/// Adds the cells of each round.
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
