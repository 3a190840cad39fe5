//! The report of a finished job: one result line per expected image, and what it all came to.
//!
//! All of it follows from the plan, the shard states and the parts, so making it again gives the
//! same bytes.

mod form;
mod money;
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

pub use form::ResultForm;
pub use money::{Cost, ModelCost, RoundCost, Unaccounted};
pub use shard_results::ShardResults;
pub use summary::{
    CodeCount, Counts, Integrity, Links, ShardSummary, Summary, Times, UnfetchedBatch,
};
pub use tally::Tally;

/// A finished result line, and what all that was said of its key has cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The line of `results.jsonl`.
    pub line: ResultLine,
    /// What was charged, and in which round.
    pub charges: Vec<(u8, Charge)>,
    /// How many of its requests may have been charged for without a word. Each at its estimate.
    pub unknown: u64,
}

/// Completes what `results` has for a line of the plan: the plan's part, the attempts and the cost
/// of all of them.
pub fn finish(plan: &PlanLine, results: &mut ShardResults, catalog: &Catalog) -> Finished {
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
        // Gemini didn't say: the image was paid for all the same.
        line.warnings
            .push("the reply says nothing of its cost: the estimate is counted".to_owned());
    }
    Finished {
        line,
        charges,
        unknown,
    }
}

/// The image, if there is one; else what was said last.
fn best(tries: Vec<ResultLine>) -> Option<ResultLine> {
    tries.into_iter().reduce(|best, next| {
        if best.status == Status::Succeeded {
            best
        } else {
            next
        }
    })
}
