//! The budget of each job: its `budget_usd`, over all its shards and rounds.
//!
//! A manifest is accepted only if the maximum cost of all its images, each requested once, fits its
//! budget. The account starts with that sum. As batches end, their actual cost replaces their
//! maximum cost, and the difference may be used for retries. Like everything in the ledger, each
//! operation names one shard and can be repeated. `sweep` recounts accounts from the shard states,
//! in case a crash has left an error.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Ledger, job_of, name};
use crate::{
    money::Usd,
    names::{JobId, ShardId},
    state::{Budget, Settlement, Shard},
};

/// The account of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The budget.
    pub budget_usd: Usd,
    /// The actual cost of the job's shards, or their maximum cost if the actual cost isn't known
    /// yet. It includes shards of the first round from the start, and later rounds from their
    /// admission.
    pub committed_usd: Usd,
    /// Shards of the first round that no longer fit the budget, because other shards cost more than
    /// was reserved for them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<ShardId>,
}

/// The amount that one shard adds to its job's account, according to the shard's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    shard: ShardId,
    usd: Usd,
}

impl Commitment {
    /// Returns the commitment of a shard for which the ledger has no reservation.
    pub fn of(shard: &Shard) -> Self {
        let usd = match shard.settlement() {
            Some(Settlement::NeverBought) => Usd::ZERO,
            Some(Settlement::Billed(Some(cost))) => cost,
            Some(Settlement::Billed(None)) => shard.demand.usd,
            // A later round has no claim before it is admitted.
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
    /// Returns why a shard exceeds the budget of its job, if it does. The account already includes
    /// the cost of a shard of the first round. If such a shard is refused, its share becomes
    /// available to others.
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
        // The account is created by the first shard that asks for admission.
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

    /// Adds an admitted later round to its job's account.
    pub(super) fn commit(&mut self, shard: &Shard) {
        if shard.shard.round > 1 {
            self.replace_commitment(&shard.job, Usd::ZERO, shard.demand.usd);
        }
    }

    /// Replaces an amount that was committed.
    pub(super) fn replace_commitment(&mut self, job: &JobId, before: Usd, now: Usd) {
        if let Some(account) = self.accounts.get_mut(job) {
            account.committed_usd = (account.committed_usd - before + now).max(Usd::ZERO);
        }
    }

    /// Recounts an account from the states of all shards and rounds of the job. `seen` is the
    /// account before the states were read. An account that has changed since then is not touched;
    /// the next sweep recounts it.
    pub fn recount(&mut self, job: &JobId, seen: &Account, shards: &[Commitment]) {
        // A reservation takes precedence over the state, because settling it will replace exactly
        // that amount.
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

    /// Removes the account of a closed job, unless it has changed since it was `seen`.
    pub fn close_account(&mut self, job: &JobId, seen: &Account) {
        if self.accounts.get(job) == Some(seen) {
            self.accounts.remove(job);
        }
    }

    /// Iterates over the reservations of a job, by their names.
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

/// Returns the message about a shard that exceeds the budget.
fn explain(shard: &Shard, budget: Usd, others: Usd) -> String {
    let (requests, cost) = (shard.demand.requests, shard.demand.usd);
    let verb = if shard.shard.round > 1 {
        "retrying"
    } else {
        "requesting"
    };
    format!(
        "{verb} {requests} images may cost {cost}, and {others} of the job's budget_usd of {budget} is spent or \
         reserved: to buy them anyway, drop retry.jsonl as a new manifest"
    )
}
