//! The collected results of one shard, over all its rounds.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Origin;
use crate::{
    billing::{Charged, Meter},
    chunks::{ChunkLine, UnmatchedReason},
    cost::Usage,
    lane::Lane,
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
    /// The number of unmatched results, by reason.
    unmatched: BTreeMap<UnmatchedReason, u64>,
    /// The tokens of answers that belong to no key of the shard, by round and lane.
    unattributed: BTreeMap<Origin, Usage>,
    meter: Meter,
    rounds: Vec<Round>,
    /// The status of a key without a result, and the batch that may contain its image.
    without_batch: Option<(Status, Reason, Option<BatchName>)>,
    /// The number of images of unmatched results.
    unmatched_images: u64,
    /// Why a round was not requested, if it exceeded the job's budget.
    over_budget: Option<Reason>,
    cancel_requested: bool,
}

/// All answers to one key.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The results, in the order of the rounds.
    pub(super) results: Vec<ResultLine>,
    /// The charge that each line shows, with the origin of its answer.
    pub(super) charged: Vec<(Origin, Charged)>,
    /// The last round with a result.
    answered_in: u8,
}

/// A round of the shard, which may have been charged for.
#[derive(Debug)]
struct Round {
    /// Its number, and the lane in which its keys are requested.
    origin: Origin,
    /// The number of keys.
    keys: u32,
    /// The number of keys that Gemini accepted into the batch, or that were requested synchronously.
    requests: u32,
    /// The number of keys with a result.
    answered: u32,
    /// Whether every key must have a result, because `collect` has written a line for each.
    is_done: bool,
    /// Present if the round ended before its output was read completely. The inner value has the
    /// keys of the round, or is `None` if the round has all keys of the shard.
    unread: Option<Option<HashSet<RequestKey>>>,
}

impl Round {
    /// Counts a key whose first result in this round has this status.
    fn count(&mut self, status: Status) {
        self.answered += 1;
        let is_requested = self.origin.lane.is_synchronous() && status != Status::Skipped;
        if is_requested && self.unread.is_none() {
            self.requests += 1;
        }
    }
}

impl ShardResults {
    /// Begins the next round of the shard. The lines that are added from now on belong to it.
    /// `keys` are the keys of the round, or `None` if it has all keys of the shard.
    pub fn begin(&mut self, shard: &Shard, keys: Option<HashSet<RequestKey>>) {
        self.begin_in(shard.lane, shard, keys);
    }

    /// Begins the next round in a lane.
    pub(super) fn begin_in(
        &mut self,
        lane: Lane,
        shard: &Shard,
        keys: Option<HashSet<RequestKey>>,
    ) {
        self.cancel_requested |= shard.cancel_requested;
        let reason = |code: &str, message: &str, retryable| Reason {
            code: code.to_owned(),
            message: message.to_owned(),
            retryable,
        };

        // A round that ended without a batch decides the status of the keys without a result.
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
                let message = "the job was cancelled before this image was requested";
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
            | Phase::Generating(_)
            | Phase::Done { .. }
            | Phase::Held { .. } => None,
        };

        // The requests that Gemini refused are not in the batch. Synchronous requests are counted by
        // their results.
        let has_batch = !lane.is_synchronous() && shard.phase.batch().is_some();
        let asked = has_batch || unread.is_some();
        let refused = shard.refused.as_ref().map_or(0, |refused| {
            u32::try_from(refused.lines).unwrap_or(u32::MAX)
        });
        let keys = shard.demand.requests;
        let requests = if asked {
            keys.saturating_sub(refused)
        } else {
            0
        };
        self.rounds.push(Round {
            origin: Origin {
                round: shard.shard.round,
                lane,
            },
            keys,
            requests,
            answered: 0,
            is_done: matches!(shard.phase, Phase::Done { .. }),
            unread,
        });
    }

    /// Adds a line of a chunk of this round.
    pub fn add(&mut self, line: ChunkLine) {
        let first = Origin {
            round: 1,
            lane: Lane::Batch,
        };
        let origin = self.rounds.last().map_or(first, |round| round.origin);
        let charged = self.meter.charged(&line);
        match line {
            // A key counts as answered once per round, however many lines it has.
            ChunkLine::Result(result) => {
                let answers = self.answers.entry(result.key.clone()).or_default();
                if answers.answered_in != origin.round {
                    answers.answered_in = origin.round;
                    self.rounds
                        .last_mut()
                        .into_iter()
                        .for_each(|last| last.count(result.status));
                }
                let origin = Origin {
                    lane: result.lane.unwrap_or(origin.lane),
                    ..origin
                };
                answers.results.push(*result);
                answers.charged.push((origin, charged));
            }
            // The charge of a repeated key belongs to that key. Any other charge is unattributed.
            ChunkLine::Unmatched(unmatched) => {
                *self.unmatched.entry(unmatched.unmatched).or_default() += 1;
                self.unmatched_images += u64::from(unmatched.image.is_some());
                match (unmatched.unmatched, unmatched.key, charged) {
                    (UnmatchedReason::RepeatedKey, Some(key), _) => {
                        self.answers
                            .entry(key)
                            .or_default()
                            .charged
                            .push((origin, charged));
                    }
                    (_, _, Charged::Reported(usage)) => {
                        let sum = self.unattributed.entry(origin).or_default();
                        *sum = *sum + usage;
                    }
                    (_, _, Charged::Estimated | Charged::Unknown | Charged::Nothing) => {}
                }
            }
        }
    }

    /// Whether the result of a key can't change any more while the shard is open: it has an image,
    /// or a reason that is not retried.
    pub(super) fn is_settled(&self, key: &RequestKey) -> bool {
        let is_final = |result: &ResultLine| match &result.error {
            _ if result.status == Status::Succeeded => true,
            Some(reason) => !reason.retryable,
            None => false,
        };
        let answers = self.answers.get(key);
        answers.is_some_and(|answers| answers.results.iter().any(is_final))
    }

    /// Returns a finished round whose chunks lack results, and the number of missing results.
    /// `collect` writes a result for each key of a finished round.
    pub fn incomplete_round(&self) -> Option<(u8, u32)> {
        let is_incomplete = |round: &&Round| round.is_done && round.answered < round.keys;
        self.rounds
            .iter()
            .find(is_incomplete)
            .map(|round| (round.origin.round, round.keys - round.answered))
    }

    /// Returns the lane in which the images of the shard are planned, which is that of its first
    /// round.
    pub(super) fn lane(&self) -> Lane {
        self.rounds
            .first()
            .map_or(Lane::Batch, |round| round.origin.lane)
    }

    /// Whether a user's cancel request has affected the shard.
    pub(super) fn cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// Returns the number of unmatched results, by reason.
    pub fn unmatched(&self) -> &BTreeMap<UnmatchedReason, u64> {
        &self.unmatched
    }

    /// Returns the number of images of unmatched results.
    pub(super) fn unmatched_images(&self) -> u64 {
        self.unmatched_images
    }

    /// Returns the tokens of answers that belong to no key of the shard, by round and lane.
    pub(super) fn unattributed(&self) -> &BTreeMap<Origin, Usage> {
        &self.unattributed
    }

    /// Returns the number of requests of each round, with the lane in which they were made.
    pub(super) fn requests(&self) -> impl Iterator<Item = (Origin, u32)> {
        self.rounds
            .iter()
            .map(|round| (round.origin, round.requests))
    }

    /// Removes and returns all answers to a key. A round whose output was not read adds an unknown
    /// charge.
    pub(super) fn take(&mut self, key: &RequestKey) -> Answers {
        let mut answers = self.answers.remove(key).unwrap_or_default();
        for Round { origin, unread, .. } in &self.rounds {
            let asked = unread
                .as_ref()
                .is_some_and(|keys| keys.as_ref().is_none_or(|keys| keys.contains(key)));
            let is_answered = |(answer, _): &(Origin, Charged)| answer.round == origin.round;
            if asked && !answers.charged.iter().any(is_answered) {
                answers.charged.push((*origin, Charged::Unknown));
            }
        }
        answers
    }

    /// Returns the last result of a key. If only the budget prevented a retry, its error states
    /// that.
    pub(super) fn within_budget(&self, line: ResultLine) -> ResultLine {
        let Some(budget) = &self.over_budget else {
            return line;
        };
        match &line.error {
            Some(error) if error.retryable && line.status != Status::Succeeded => {
                let message = format!(
                    "{}; the last attempt ended with {}: {}",
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

    /// Returns the line of a key without a result, whose shard ended without a batch.
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
