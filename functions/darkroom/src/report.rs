//! The report of a finished job: one result line per expected image, and a summary.
//!
//! The report is derived from the plan, the shard states and the chunks alone, so creating it again
//! gives the same bytes.

mod cost;
mod form;
mod own_table;
mod published_line;
mod shard_results;
mod shopify;
mod summary;
mod summary_text;
mod table;
mod tally;
mod unplanned;

use crate::{
    billing::{Charge, Charged},
    lane::Lane,
    models::Catalog,
    plan::PlanLine,
    results::{ResultLine, Status},
};

pub use cost::{Cost, LaneCost, ModelCost, RoundCost, Unaccounted};
pub use form::ResultForm;
pub use own_table::OwnTable;
pub use shard_results::ShardResults;
pub use shopify::{NewImage, ShopifyTable};
pub use summary::{
    CodeCount, Counts, Integrity, Links, ProvenanceCounts, ShardSummary, Summary, Times,
    UnfetchedBatch,
};
pub use tally::Tally;

/// The round of an answer, and the lane that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The number of the round, from 1.
    pub round: u8,
    /// The lane.
    pub lane: Lane,
}

/// A complete result line, and the charges for all answers to its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The line of `results.jsonl`.
    pub line: ResultLine,
    /// The lane in which the image is planned.
    pub lane: Lane,
    /// The charges, each with the origin of its answer.
    pub charges: Vec<(Origin, Charge)>,
    /// The requests for which an unknown charge may exist.
    pub unaccounted: Unaccounted,
}

/// Completes the result of a line of the plan: adds the fields from the plan, the number of
/// attempts, and the cost of all attempts.
pub fn finish(plan: &PlanLine, results: &mut ShardResults, catalog: &Catalog) -> Finished {
    // The charges of all rounds.
    let answers = results.take(&plan.key);
    let model = catalog.priced(&plan.model);
    let (mut charges, mut unaccounted) = (Vec::new(), Unaccounted::default());
    for (origin, charged) in answers.charged {
        let estimated = Charge::estimated(plan.estimate, origin.lane);
        match charged {
            Charged::Reported(usage) => {
                charges.extend(model.map(|model| (origin, Charge::of(&usage, model, origin.lane))))
            }
            Charged::Estimated => charges.push((origin, estimated)),
            Charged::Unknown => {
                unaccounted += Unaccounted {
                    requests: 1,
                    estimated_usd: estimated.actual,
                }
            }
            Charged::Nothing => {}
        }
    }

    // The best result of all rounds, with the fields that only the plan has.
    let cost: Charge = charges.iter().map(|(_, charge)| *charge).sum();
    let attempts = answers
        .results
        .iter()
        .filter_map(|result| result.attempts)
        .max();
    let last = best(answers.results).map(|line| results.within_budget(line));
    let last = last.unwrap_or_else(|| results.without_result(plan));
    let mut line = ResultLine {
        variant: Some(plan.variant),
        line: Some(plan.line),
        model: Some(plan.model.clone()),
        attempts,
        prompt: plan.prompt.clone(),
        vars: plan.vars.clone(),
        cost_usd: Some(cost.actual),
        ..last
    };
    if line.status == Status::Succeeded && line.usage.is_none() {
        // The image was charged for, although Gemini reported no tokens.
        line.warnings
            .push("the reply reports no tokens, so its cost is estimated".to_owned());
    }
    Finished {
        line,
        lane: results.lane(),
        charges,
        unaccounted,
    }
}

/// Completes the result of a line of the plan whose shard may still be working on it. Returns
/// `None` if its image is still expected.
pub fn finish_if_settled(
    plan: &PlanLine,
    results: &mut ShardResults,
    catalog: &Catalog,
) -> Option<Finished> {
    results
        .is_settled(&plan.key)
        .then(|| finish(plan, results, catalog))
}

/// Returns the first result with an image, or else the last result.
fn best(results: Vec<ResultLine>) -> Option<ResultLine> {
    results.into_iter().reduce(|best, next| {
        if best.status == Status::Succeeded {
            best
        } else {
            next
        }
    })
}

#[cfg(test)]
mod tests;
