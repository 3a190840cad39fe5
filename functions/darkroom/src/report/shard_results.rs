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
    without_batch: Option<(Status, Reason)>,
    stopped: bool,
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
        self.stopped |= shard.stopped;
        let reason = |code: &str, message: &str, retryable| Reason {
            code: code.to_owned(),
            message: message.to_owned(),
            retryable,
        };
        match &shard.phase {
            Phase::Failed { code, message, .. } => {
                self.without_batch = Some((Status::Failed, reason(code, message, false)));
            }
            Phase::Cancelled => {
                let message = "the job was cancelled before this was asked for";
                self.without_batch = Some((Status::Skipped, reason("CANCELLED", message, true)));
            }
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering { .. }
            | Phase::Submitted { .. }
            | Phase::Ready { .. }
            | Phase::Collecting { .. }
            | Phase::Done { .. }
            | Phase::Held { .. } => {}
        }
    }

    /// Whether a person's cancel changed its course.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
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
        let (status, reason) = self.without_batch.clone().unwrap_or_else(|| {
            let message = "no result was collected for this request".to_owned();
            (Status::Failed, Reason { code: "MISSING".to_owned(), message, retryable: true })
        });
        ResultLine { error: Some(reason), shard: Some(plan.shard), ..ResultLine::new(plan.key.clone(), status) }
    }
}
