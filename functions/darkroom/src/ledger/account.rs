//! What each job may cost in all: its `budget_usd`, over all its shards and rounds.
//!
//! A manifest is accepted only if all its images, each asked for once, fit its budget at the most
//! that they may cost. The account begins with that sum. As batches end, what they did cost takes
//! the place of what they might have cost, and what is left over may be used for rounds. It goes by
//! shard and can be repeated, as all else in the ledger; what a crash leaves behind, `sweep` counts
//! again from the states.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Ledger, job_of, name};
use crate::{
    money::Usd,
    names::{JobId, ShardId},
    state::{Budget, Settlement, Shard},
};

/// The money of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What the job may cost.
    pub budget_usd: Usd,
    /// What its shards have cost, and what those may cost whose cost isn't known yet. Shards of the
    /// first round are in it from the beginning, rounds from their admission on.
    pub committed_usd: Usd,
    /// Shards of the first round that found no room any more, because others cost more than was
    /// reserved for them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<ShardId>,
}

/// What one shard adds to its job's account, by the state in which it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    shard: ShardId,
    usd: Usd,
}

impl Commitment {
    /// That of a shard for which the ledger has no reservation.
    pub fn of(shard: &Shard) -> Self {
        let usd = match shard.settlement() {
            Some(Settlement::NeverBought) => Usd::ZERO,
            Some(Settlement::Billed(Some(cost))) => cost,
            Some(Settlement::Billed(None)) => shard.demand.usd,
            // A round has no claim before it is admitted.
            None if shard.shard.round > 1 => Usd::ZERO,
            None => shard.demand.usd,
        };
        Self {
            shard: shard.shard,
            usd,
        }
    }
}

impl Ledger {
    /// Why the budget of its job has no room for a shard, if it has none. The sums of a shard of
    /// the first round are in the account already; refused, it makes room for others.
    pub(super) fn over_budget(&mut self, shard: &Shard) -> Option<String> {
        let Budget {
            usd: budget_usd,
            first_round_usd,
        } = shard.budget?;
        let new = Account {
            budget_usd,
            committed_usd: first_round_usd,
            refused: BTreeSet::new(),
        };
        let account = self.accounts.entry(shard.job.clone()).or_insert(new);
        let (cost, is_first) = (shard.demand.usd, shard.shard.round == 1);
        let others = account.committed_usd - if is_first { cost } else { Usd::ZERO };
        if account.refused.contains(&shard.shard) {
            return Some(explain(shard, budget_usd, account.committed_usd));
        }
        if others + cost <= budget_usd {
            return None;
        }
        if is_first {
            account.committed_usd = others;
            account.refused.insert(shard.shard);
        }
        Some(explain(shard, budget_usd, others))
    }

    /// Adds an admitted round to its job's account.
    pub(super) fn commit(&mut self, shard: &Shard) {
        if shard.shard.round > 1 {
            self.replace_commitment(&shard.job, Usd::ZERO, shard.demand.usd);
        }
    }

    /// Puts what is known now in place of what was committed.
    pub(super) fn replace_commitment(&mut self, job: &JobId, before: Usd, now: Usd) {
        if let Some(account) = self.accounts.get_mut(job) {
            account.committed_usd = (account.committed_usd - before + now).max(Usd::ZERO);
        }
    }

    /// Counts an account again from the states of all the job's shards and rounds. `seen` is the
    /// account as it was before they were read: one that has changed since then is left for the
    /// next time.
    pub fn recount(&mut self, job: &JobId, seen: &Account, shards: &[Commitment]) {
        // What is reserved counts whatever the state says: when it is settled, the cost takes its
        // place.
        let mut sums: BTreeMap<String, Usd> = BTreeMap::new();
        for Commitment { shard, usd } in
            shards.iter().filter(|of| !seen.refused.contains(&of.shard))
        {
            sums.insert(name(job, *shard), *usd);
        }
        sums.extend(
            self.reservations_of(job)
                .map(|(name, usd)| (name.to_owned(), usd)),
        );
        if let Some(account) = self
            .accounts
            .get_mut(job)
            .filter(|account| *account == seen)
        {
            account.committed_usd = sums.into_values().sum();
        }
    }

    /// Removes the account of a job that is closed, unless it has changed since it was `seen`.
    pub fn close_account(&mut self, job: &JobId, seen: &Account) {
        if self.accounts.get(job) == Some(seen) {
            self.accounts.remove(job);
        }
    }

    fn reservations_of<'a>(&'a self, job: &'a JobId) -> impl Iterator<Item = (&'a str, Usd)> {
        let live = self
            .live
            .iter()
            .map(|(name, live)| (name.as_str(), live.usd));
        let ended = self
            .unsettled
            .iter()
            .map(|(name, ended)| (name.as_str(), ended.usd));
        live.chain(ended)
            .filter(|(name, _)| job_of(name) == job.as_str())
    }
}

fn explain(shard: &Shard, budget: Usd, others: Usd) -> String {
    let (requests, cost) = (shard.demand.requests, shard.demand.usd);
    let again = if shard.shard.round > 1 { " again" } else { "" };
    format!(
        "asking{again} for {requests} images may cost {cost}, and {others} of the job's budget_usd of {budget} are spent or \
         reserved: drop retry.jsonl as a new manifest if they are worth more money"
    )
}
