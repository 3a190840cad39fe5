//! All that was collected for the requests of one shard, over all its rounds.

use std::collections::{BTreeMap, HashMap};

use crate::{
    names::RequestKey,
    parts::{AsideReason, PartLine},
    plan::PlanLine,
    results::{Reason, ResultLine, Status},
    state::{Phase, Shard},
};

/// The results of one shard and its rounds, by request key.
#[derive(Debug, Default)]
pub struct ShardResults {
    tries: HashMap<RequestKey, Vec<ResultLine>>,
    asides: BTreeMap<AsideReason, u64>,
    failure: Option<Reason>,
}

impl ShardResults {
    /// Adds a line of a part; those of earlier rounds must come first.
    pub fn add(&mut self, line: PartLine) {
        match line {
            PartLine::Result(result) => self.tries.entry(result.key.clone()).or_default().push(*result),
            PartLine::Aside(aside) => *self.asides.entry(aside.aside).or_default() += 1,
        }
    }

    /// Notes how a round ended that has no results.
    pub fn ended(&mut self, shard: &Shard) {
        if let Phase::Failed { code, message, .. } = &shard.phase {
            self.failure = Some(Reason { code: code.clone(), message: message.clone(), retryable: false });
        }
    }

    /// How many results were set aside, by why.
    pub fn asides(&self) -> &BTreeMap<AsideReason, u64> {
        &self.asides
    }

    /// Every result of a key, in order of the rounds.
    pub(super) fn take(&mut self, key: &RequestKey) -> Vec<ResultLine> {
        self.tries.remove(key).unwrap_or_default()
    }

    /// The line of a key that has no result: its shard ended without a batch.
    pub(super) fn without_result(&self, plan: &PlanLine) -> ResultLine {
        let reason = self.failure.clone().unwrap_or_else(|| Reason {
            code: "MISSING".to_owned(),
            message: "no result was collected for this request".to_owned(),
            retryable: true,
        });
        ResultLine { error: Some(reason), shard: Some(plan.shard), ..ResultLine::new(plan.key.clone(), Status::Failed) }
    }
}
