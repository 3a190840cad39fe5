//! The report of a finished job: one result line per expected image, and a summary.
//!
//! The report is derived from the plan, the shard states and the chunks alone, so creating it again
//! gives the same bytes.

mod cost;
mod form;
mod published_line;
mod shard_results;
mod summary;
mod table;
mod tally;
mod unplanned;

use crate::{
    billing::{Charge, Charged},
    models::Catalog,
    plan::PlanLine,
    results::{ResultLine, Status},
};

pub use cost::{Cost, ModelCost, RoundCost, Unaccounted};
pub use form::ResultForm;
pub use shard_results::ShardResults;
pub use summary::{
    CodeCount, Counts, Integrity, Links, ShardSummary, Summary, Times, UnfetchedBatch,
};
pub use tally::Tally;

/// A complete result line, and the charges for all answers to its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The line of `results.jsonl`.
    pub line: ResultLine,
    /// The charges, each with its round.
    pub charges: Vec<(u8, Charge)>,
    /// The number of requests for which an unknown charge may exist, each at most its estimate.
    pub unknown: u64,
}

/// Completes the result of a line of the plan: adds the fields from the plan, the number of
/// attempts, and the cost of all attempts.
pub fn finish(plan: &PlanLine, results: &mut ShardResults, catalog: &Catalog) -> Finished {
    // The charges of all rounds.
    let answers = results.take(&plan.key);
    let model = catalog.priced(&plan.model);
    let (mut charges, mut unknown) = (Vec::new(), 0);
    for (round, charged) in &answers.charged {
        match charged {
            Charged::Reported(usage) => {
                charges.extend(model.map(|model| (*round, Charge::of(usage, model))))
            }
            Charged::Estimated => charges.push((*round, plan.estimate.into())),
            Charged::Unknown => unknown += 1,
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
        cost_usd: Some(cost.batch),
        ..last
    };
    if line.status == Status::Succeeded && line.usage.is_none() {
        // The image was charged for, although Gemini reported no tokens.
        line.warnings
            .push("the reply reports no tokens, so its cost is estimated".to_owned());
    }
    Finished {
        line,
        charges,
        unknown,
    }
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
