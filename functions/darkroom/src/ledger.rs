//! The ledger of the whole deployment, `stack/ledger.json`: which batches take up the project's
//! limits, what may still be spent today, and who waits for it.
//!
//! A shard is admitted before its request file is uploaded, and leaves when its batch has ended.
//! What it may cost at the most is reserved until its output is read; then what it did cost takes
//! that place, on the day of the reservation. All of this is by shard and can be repeated, so that
//! a crash in between costs nothing. [`Ledger::admit`] is fair between jobs (see `admission`), and
//! keeps each job within its own budget (see `account`).

mod account;
mod admission;

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

pub use self::account::{Account, Commitment};
use crate::{
    money::Usd,
    names::{JobId, ShardId},
    settings::MaxLiveBatches,
    state::{Demand, Settlement, Shard},
};

/// How long after it should have asked again a waiting job keeps its place.
const PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// The shortest and the longest wait of a shard for its turn.
const WAITS: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_mins(15));

/// The code of a shard that its job's budget has no room for.
pub const OVER_BUDGET: &str = "BUDGET";

/// `stack/ledger.json`, written by compare-and-swap alone.
///
/// ```json
/// {"rev":7,"write_id":"…","live":{"catalog-…/0000":{"model":"…","tokens":931,"usd":0.49,"at":"2026-11-21T09:00:00Z",…}},
///  "unsettled":{"shoes-…/0000":{"usd":0.12,"at":"2026-11-21T08:00:00Z"}},
///  "waiting":{},"served":{"catalog-…":"2026-11-21T09:00:00Z"},"spent":{"2026-11-21":0.61},
///  "accounts":{"catalog-…":{"budget_usd":2,"committed_usd":0.61}}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Counts the writes.
    pub rev: u64,
    /// Unique to one write.
    pub write_id: String,
    /// The shards that were admitted and have not ended, by job and shard.
    pub live: BTreeMap<String, Reservation>,
    /// The shards whose batch has ended and whose cost isn't known yet, by job and shard.
    pub unsettled: BTreeMap<String, Unsettled>,
    /// The jobs that were refused and will ask again.
    pub waiting: BTreeMap<JobId, Waiting>,
    /// When each job that waits or has a live batch had its last turn.
    pub served: BTreeMap<JobId, Timestamp>,
    /// Dollars, by the day (UTC) of the admission: what batches cost, where that is known, else
    /// what is reserved for them. What was never asked for is taken back.
    pub spent: BTreeMap<Date, Usd>,
    /// The money of each open job that has a budget. `sweep` removes those of jobs that are closed.
    pub accounts: BTreeMap<JobId, Account>,
}

/// What is reserved for a batch that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// What it may have cost at the most.
    pub usd: Usd,
    /// When it was admitted.
    pub at: Timestamp,
}

/// What one shard takes up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The model of the batch.
    pub model: String,
    /// Its input tokens, about.
    pub tokens: u64,
    /// What it may cost at the most.
    pub usd: Usd,
    /// When it was admitted.
    pub at: Timestamp,
    /// When it last asked whether it is.
    pub asked_at: Timestamp,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Since when.
    pub since: Timestamp,
    /// When it asks again.
    pub back_at: Timestamp,
    /// The model of the shard that asked last.
    pub model: String,
    /// That shard's input tokens.
    pub tokens: u64,
    /// What that shard may cost.
    pub usd: Usd,
}

/// What a project allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectLimits {
    /// Batches that may be pending or running at once. Google: 100
    /// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11).
    pub live_batches: MaxLiveBatches,
    /// Input tokens of pending and running batches, by model; a model that isn't named has no
    /// limit.
    pub enqueued_tokens: BTreeMap<String, u64>,
    /// What may be spent or reserved on one day (UTC), by the day of the admission.
    pub daily_usd: Option<Usd>,
}

/// The answer to a shard that wants to be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Granted,
    /// Not now: why, for people, and when to ask again.
    Later {
        /// What it waits for.
        why: String,
        /// When to ask again.
        at: Timestamp,
    },
    /// Never, as long as the limits are what they are.
    Never {
        /// Why, for people.
        why: String,
    },
    /// Never: the job's own budget has no room for it.
    OverBudget {
        /// The sums, and what to do, for people.
        why: String,
    },
}

/// How a shard is called in the ledger.
pub fn name(job: &JobId, shard: ShardId) -> String {
    format!("{job}/{shard}")
}

/// The job that a name in the ledger belongs to.
fn job_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(job, _)| job)
}

impl Ledger {
    /// Admits a shard, or notes that its job waits.
    pub fn admit(&mut self, shard: &Shard, limits: &ProjectLimits, now: Timestamp) -> Admission {
        let name = name(&shard.job, shard.shard);
        if let Some(reservation) = self.live.get_mut(&name) {
            reservation.asked_at = now;
            return Admission::Granted;
        }
        if let Some(why) = self.over_budget(shard) {
            return Admission::OverBudget { why };
        }
        if let Some(why) = impossible(shard, limits) {
            return Admission::Never { why };
        }
        self.forget(now);
        let Demand { tokens, usd, .. } = shard.demand;
        let since = self
            .waiting
            .get(&shard.job)
            .map_or(now, |waiting| waiting.since);
        match self.refusal(shard, limits, since, now) {
            None => {
                let model = shard.model.clone();
                self.live.insert(
                    name,
                    Reservation {
                        model,
                        tokens,
                        usd,
                        at: now,
                        asked_at: now,
                    },
                );
                *self.spent.entry(day(now)).or_default() += usd;
                self.commit(shard);
                self.waiting.remove(&shard.job);
                self.served.insert(shard.job.clone(), now);
                Admission::Granted
            }
            Some(refusal) => {
                let soon = now + (now.duration_since(since) / 10).clamp(WAITS.0, WAITS.1);
                let at = refusal.ask_again_at(soon, midnight_after(day(now)));
                let model = shard.model.clone();
                self.waiting.insert(
                    shard.job.clone(),
                    Waiting {
                        since,
                        back_at: at,
                        model,
                        tokens,
                        usd,
                    },
                );
                Admission::Later {
                    why: refusal.why,
                    at,
                }
            }
        }
    }

    /// Drops what no later decision depends on, so that the document stays small however many jobs
    /// there have been.
    fn forget(&mut self, now: Timestamp) {
        let today = day(now);
        let oldest = today.yesterday().unwrap_or(today);
        self.waiting
            .retain(|_, waiting| now < waiting.back_at + PATIENCE);
        self.spent.retain(|day, _| *day >= oldest);
        // A job's account needs its cost however late that is known.
        let accounts = &self.accounts;
        self.unsettled.retain(|name, reserved| {
            day(reserved.at) >= oldest || accounts.contains_key(&JobId::new(job_of(name)))
        });
        // A turn counts only against a job that asks again soon, or that has something to show for
        // it.
        let live: HashSet<&str> = self.live.keys().map(|name| job_of(name)).collect();
        let waiting = &self.waiting;
        self.served
            .retain(|job, _| live.contains(job.as_str()) || waiting.contains_key(job));
    }

    /// Frees what an ended batch took up. What it may have cost stays reserved until it is settled.
    pub fn release(&mut self, job: &JobId, shard: ShardId) {
        let name = name(job, shard);
        if let Some(Reservation { usd, at, .. }) = self.live.remove(&name) {
            self.unsettled.insert(name, Unsettled { usd, at });
        }
    }

    /// Puts what an ended batch did cost in place of what was reserved for it, on the day of the
    /// reservation. Where no one knows, what was reserved stays. Settled again, nothing changes:
    /// there is no reservation any more.
    pub fn settle(&mut self, job: &JobId, shard: ShardId, cost: Option<Usd>) {
        self.release(job, shard);
        if let Some(Unsettled { usd, at }) = self.unsettled.remove(&name(job, shard))
            && let Some(cost) = cost
        {
            if let Some(spent) = self.spent.get_mut(&day(at)) {
                *spent = (*spent - usd + cost).max(Usd::ZERO);
            }
            self.replace_commitment(job, usd, cost);
        }
    }

    /// Frees what a shard took up that has no batch yet, and the money. The shard may ask again:
    /// its job's account keeps the money of a first round for it.
    pub fn refund(&mut self, job: &JobId, shard: ShardId) {
        if let Some(usd) = self.free(job, shard)
            && shard.round > 1
        {
            self.replace_commitment(job, usd, Usd::ZERO);
        }
    }

    /// Ends what a shard took up once the shard is over. Ended again, nothing changes.
    pub fn close(&mut self, job: &JobId, shard: ShardId, settlement: Settlement) {
        match settlement {
            Settlement::Billed(cost) => self.settle(job, shard, cost),
            Settlement::NeverBought => {
                if let Some(usd) = self.free(job, shard) {
                    self.replace_commitment(job, usd, Usd::ZERO);
                }
            }
        }
    }

    /// Takes a live reservation out of the ledger and its money off the day. The money, if there
    /// was any.
    fn free(&mut self, job: &JobId, shard: ShardId) -> Option<Usd> {
        let reservation = self.live.remove(&name(job, shard))?;
        if let Some(spent) = self.spent.get_mut(&day(reservation.at)) {
            *spent = (*spent - reservation.usd).max(Usd::ZERO);
        }
        Some(reservation.usd)
    }

    /// The money spent or reserved on the day of `now`.
    pub fn spent_today(&self, now: Timestamp) -> Usd {
        self.spent.get(&day(now)).copied().unwrap_or_default()
    }
}

/// Why a shard could not even be admitted alone.
fn impossible(shard: &Shard, limits: &ProjectLimits) -> Option<String> {
    let Demand { tokens, usd, .. } = shard.demand;
    if let Some(cap) = limits.daily_usd
        && usd > cap
    {
        return Some(format!(
            "this batch alone may cost {usd}, above the daily cap of {cap}: raise the cap, or make shards smaller"
        ));
    }
    let limit = limits.enqueued_tokens.get(&shard.model).copied()?;
    (tokens > limit).then(|| {
        format!(
            "this batch alone has {tokens} input tokens, above the {limit} of {} that this tier may enqueue: \
             make shards smaller",
            shard.model
        )
    })
}

fn day(moment: Timestamp) -> Date {
    moment.to_zoned(TimeZone::UTC).date()
}

fn midnight_after(day: Date) -> Timestamp {
    let tomorrow = day.tomorrow().unwrap_or(day).to_zoned(TimeZone::UTC);
    tomorrow.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests;
