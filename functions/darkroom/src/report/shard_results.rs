//! All that was collected for the requests of one shard, over all its rounds.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    billing::{Charged, Meter},
    chunks::{ChunkLine, UnmatchedReason},
    cost::Usage,
    ledger::OVER_BUDGET,
    names::{BatchName, RequestKey},
    plan::PlanLine,
    results::{Reason, ResultLine, Status},
    state::{Phase, Shard},
};

/// The results of one shard and its rounds, by request key.
#[derive(Debug, Default)]
pub struct ShardResults {
    answers: HashMap<RequestKey, Answers>,
    unmatched_folder: BTreeMap<UnmatchedReason, u64>,
    /// Tokens of answers that belong to no key of the shard, by round.
    strays: BTreeMap<u8, Usage>,
    meter: Meter,
    rounds: Vec<Round>,
    /// What becomes of a key without result, and the batch that may have its image.
    without_batch: Option<(Status, Reason, Option<BatchName>)>,
    /// How many images were set aside.
    aside_images: u64,
    /// Why a round was not asked for, if the job's budget had no room for it.
    over_budget: Option<Reason>,
    stopped: bool,
}

/// All that was said of one key.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Its results, in order of the rounds.
    pub(super) results: Vec<ResultLine>,
    /// What each of its lines says about money, and in which round.
    pub(super) charged: Vec<(u8, Charged)>,
    /// The last round that has a result for it.
    answered_in: u8,
}

/// A round of the shard whose batch may have been charged for.
#[derive(Debug)]
struct Round {
    number: u8,
    /// How many keys it has.
    keys: u32,
    /// How many of them Gemini has taken into its batch.
    requests: u32,
    /// How many of its keys have a result.
    answered: u32,
    /// Whether all of its keys must have one: `collect` has written a line for each of them.
    is_done: bool,
    /// If it ended without its output being read to the end: the keys it asked for, where these
    /// aren't all.
    unread: Option<Option<HashSet<RequestKey>>>,
}

impl ShardResults {
    /// Begins the next round of the shard: what is added from now on belongs to it. `keys` are
    /// those that the round asked for, where these are not all of the shard's.
    pub fn begin(&mut self, shard: &Shard, keys: Option<HashSet<RequestKey>>) {
        self.stopped |= shard.cancel_requested;
        let reason = |code: &str, message: &str, retryable| Reason {
            code: code.to_owned(),
            message: message.to_owned(),
            retryable,
        };
        let unread = match &shard.phase {
            Phase::Failed(failed) if failed.code == OVER_BUDGET => {
                let reason = reason(&failed.code, &failed.message, false);
                self.over_budget = Some(reason.clone());
                self.without_batch = Some((Status::Skipped, reason, None));
                None
            }
            Phase::Failed(failed) => {
                let batch = failed.batch.clone().filter(|_| failed.may_be_billed);
                self.without_batch = Some((
                    Status::Failed,
                    reason(&failed.code, &failed.message, false),
                    batch,
                ));
                failed.may_be_billed.then_some(keys)
            }
            Phase::Cancelled => {
                let message = "the job was cancelled before this was asked for";
                self.without_batch =
                    Some((Status::Skipped, reason("CANCELLED", message, true), None));
                None
            }
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Recovering(_)
            | Phase::Submitted(_)
            | Phase::Ready { .. }
            | Phase::Collecting(_)
            | Phase::Done { .. }
            | Phase::Held { .. } => None,
        };
        let asked = shard.phase.batch().is_some() || unread.is_some();
        let refused = shard.refused.as_ref().map_or(0, |refused| {
            u32::try_from(refused.lines).unwrap_or(u32::MAX)
        });
        let keys = shard.demand.requests;
        let requests = if asked {
            keys.saturating_sub(refused)
        } else {
            0
        };
        let is_done = matches!(shard.phase, Phase::Done { .. });
        self.rounds.push(Round {
            number: shard.shard.round,
            keys,
            requests,
            answered: 0,
            is_done,
            unread,
        });
    }

    /// Adds a line of a part of this round.
    pub fn add(&mut self, line: ChunkLine) {
        let round = self.rounds.last().map_or(1, |round| round.number);
        let charged = self.meter.charged(&line);
        match line {
            ChunkLine::Result(result) => {
                let answers = self.answers.entry(result.key.clone()).or_default();
                if answers.answered_in != round {
                    answers.answered_in = round;
                    self.rounds
                        .last_mut()
                        .into_iter()
                        .for_each(|last| last.answered += 1);
                }
                answers.results.push(*result);
                answers.charged.push((round, charged));
            }
            ChunkLine::Unmatched(unmatched) => {
                *self
                    .unmatched_folder
                    .entry(unmatched.unmatched)
                    .or_default() += 1;
                self.aside_images += u64::from(unmatched.image.is_some());
                match (unmatched.unmatched, unmatched.key, charged) {
                    (UnmatchedReason::RepeatedKey, Some(key), _) => {
                        self.answers
                            .entry(key)
                            .or_default()
                            .charged
                            .push((round, charged));
                    }
                    (_, _, Charged::Reported(usage)) => {
                        let sum = self.strays.entry(round).or_default();
                        *sum = *sum + usage;
                    }
                    (_, _, Charged::Estimated | Charged::Unknown | Charged::Nothing) => {}
                }
            }
        }
    }

    /// A round whose parts lack lines: `collect` wrote a result for each of its keys, and fewer
    /// were read. With how many.
    pub fn incomplete_round(&self) -> Option<(u8, u32)> {
        let lacking = |round: &&Round| round.is_done && round.answered < round.keys;
        self.rounds
            .iter()
            .find(lacking)
            .map(|round| (round.number, round.keys - round.answered))
    }

    /// Whether a person's cancel changed its course.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How many results were set aside, by why.
    pub fn unmatched_folder(&self) -> &BTreeMap<UnmatchedReason, u64> {
        &self.unmatched_folder
    }

    /// How many images were set aside.
    pub(super) fn aside_images(&self) -> u64 {
        self.aside_images
    }

    /// Tokens of answers that belong to no key of the shard, by round.
    pub(super) fn strays(&self) -> &BTreeMap<u8, Usage> {
        &self.strays
    }

    /// The requests of each round that has had a batch.
    pub(super) fn requests(&self) -> impl Iterator<Item = (u8, u32)> {
        self.rounds
            .iter()
            .map(|round| (round.number, round.requests))
    }

    /// All that was said of a key, with what nobody could read of it.
    pub(super) fn take(&mut self, key: &RequestKey) -> Answers {
        let mut answers = self.answers.remove(key).unwrap_or_default();
        for Round { number, unread, .. } in &self.rounds {
            let asked = unread
                .as_ref()
                .is_some_and(|keys| keys.as_ref().is_none_or(|keys| keys.contains(key)));
            if asked && answers.charged.iter().all(|(round, _)| round != number) {
                answers.charged.push((*number, Charged::Unknown));
            }
        }
        answers
    }

    /// The last line of a key, which says why it is not asked for again where only the budget is in
    /// the way.
    pub(super) fn within_budget(&self, line: ResultLine) -> ResultLine {
        let Some(budget) = &self.over_budget else {
            return line;
        };
        match &line.error {
            Some(error) if error.retryable && line.status != Status::Succeeded => {
                let message = format!(
                    "{}; the last try ended with {}: {}",
                    budget.message, error.code, error.message
                );
                ResultLine {
                    status: Status::Failed,
                    error: Some(Reason {
                        message,
                        ..budget.clone()
                    }),
                    ..line
                }
            }
            Some(_) | None => line,
        }
    }

    /// The line of a key that has no result: its shard ended without a batch.
    pub(super) fn without_result(&self, plan: &PlanLine) -> ResultLine {
        let (status, reason, batch_name) = self.without_batch.clone().unwrap_or_else(|| {
            let message = "no result was collected for this request".to_owned();
            (
                Status::Failed,
                Reason {
                    code: "MISSING".to_owned(),
                    message,
                    retryable: true,
                },
                None,
            )
        });
        ResultLine {
            error: Some(reason),
            shard: Some(plan.shard),
            batch_name,
            ..ResultLine::new(plan.key.clone(), status)
        }
    }
}
