//! The report of a finished job: one result line per expected image, and what it all came to.
//!
//! All of it follows from the plan, the shard states and the parts, so making it again gives the same bytes.

mod shard_results;
mod summary;
mod table;
mod tally;

use crate::{
    cost::{self, Usd},
    models::Catalogue,
    plan::PlanLine,
    results::{ResultLine, Status},
};

pub use shard_results::ShardResults;
pub use summary::{CodeCount, Cost, Counts, Integrity, Links, ModelCost, ShardSummary, Summary, Times};
pub use table::{row, write_header};
pub use tally::Tally;

/// A finished result line with what it would have cost otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The line of `results.jsonl`.
    pub line: ResultLine,
    /// What the same usage costs interactively.
    pub interactive: Usd,
}

/// Completes what `results` has for a line of the plan: the plan's part, the attempts and the cost of all of them.
pub fn finish(plan: &PlanLine, results: &mut ShardResults, catalogue: &Catalogue) -> Finished {
    let tries = results.take(&plan.key);
    let mut cost = Usd::ZERO;
    let mut interactive = Usd::ZERO;
    for usage in tries.iter().filter_map(|result| result.usage.as_ref()) {
        if let Some(model) = catalogue.priced(&plan.model) {
            cost += cost::actual(usage, &model.batch);
            interactive += cost::actual(usage, &model.standard);
        }
    }
    let attempts = tries.iter().filter_map(|result| result.attempts).max();
    let last = best(tries).unwrap_or_else(|| results.without_result(plan));
    let mut line = ResultLine {
        variant: Some(plan.variant),
        line: Some(plan.line),
        model: Some(plan.model.clone()),
        attempts,
        prompt: plan.prompt.clone(),
        vars: plan.vars.clone(),
        cost_usd: Some(cost),
        ..last
    };
    if line.status == Status::Succeeded && line.usage.is_none() {
        // Gemini didn't say: the image was paid for all the same.
        line.warnings.push("the reply says nothing of its cost: the estimate is counted".to_owned());
        line.cost_usd = Some(cost + plan.estimate.batch_usd);
        interactive += plan.estimate.interactive_usd;
    }
    Finished { line, interactive }
}

/// The image, if there is one; else what was said last.
fn best(tries: Vec<ResultLine>) -> Option<ResultLine> {
    tries.into_iter().reduce(|best, next| if best.status == Status::Succeeded { best } else { next })
}
