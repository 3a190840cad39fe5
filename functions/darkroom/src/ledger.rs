//! The ledger of the deployment, `stack/ledger.json`: the batches that count toward the project's
//! limits, the money that may still be spent today, and the jobs that wait for either.
//!
//! A shard is admitted before its request file is uploaded, and released when its batch has ended.
//! Its maximum cost is reserved until its output is read. Then the actual cost replaces the
//! reservation, on the day of the reservation. Every operation names one shard and can be repeated
//! without effect, so a crash in between is harmless. [`Ledger::admit`] is fair between jobs (see
//! `admission`), and keeps each job within its budget (see `account`) and each folder within its
//! caps (see `caps`).

mod account;
mod admission;
mod caps;
mod turns;

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

pub use self::{
    account::{Account, Commitment},
    caps::{Caps, FolderCaps, FolderSpending, Window},
};
use crate::{
    money::Usd,
    names::{FolderPath, JobId, ShardId},
    settings::MaxLiveBatches,
    state::{Demand, Settlement, Shard},
};

/// How long a waiting job keeps its place after the time at which it should have asked again.
const WAITING_JOB_TTL: SignedDuration = SignedDuration::from_mins(30);

/// How long the ledger knows that a shard was closed: longer than any invocation takes.
const CLOSED_TTL: SignedDuration = SignedDuration::from_hours(1);

/// The shortest time after which a waiting shard asks again.
const MIN_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// The longest time after which a waiting shard asks again, unless it waits for the next day of the
/// deployment. A folder's cap may be raised at any time.
const MAX_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// The code of a shard that exceeds the budget of its job.
pub const OVER_BUDGET: &str = "BUDGET";

/// The ledger, `stack/ledger.json`. It is written by compare-and-swap only.
///
/// ```json
/// {"rev":7,"write_id":"…","live":{"catalog-…/0000":{"model":"…","tokens":931,"usd":0.49,"at":"2026-11-21T09:00:00Z",…}},
///  "unsettled":{"shoes-…/0000":{"usd":0.12,"at":"2026-11-21T08:00:00Z"}},
///  "waiting":{},"served":{"catalog-…":"2026-11-21T09:00:00Z"},"spent":{"2026-11-21":0.61},
///  "accounts":{"catalog-…":{"budget_usd":2,"committed_usd":0.61}},
///  "folders":{"inbox/acme/**":{"days":{"2026-11-21":0.61},"months":{"2026-11-01":8.4}}}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The number of writes.
    pub rev: u64,
    /// The unique id of the last write.
    pub write_id: String,
    /// The shards that were admitted and have not ended, by job and shard.
    pub live: BTreeMap<String, Reservation>,
    /// The shards whose batch has ended and whose cost isn't known yet, by job and shard.
    pub unsettled: BTreeMap<String, Unsettled>,
    /// The shards that were closed lately, by job and shard, and when. An invocation that has read
    /// an earlier state may still ask for admission. It can't write its state, so it buys nothing,
    /// and what it reserved would be settled a second time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub closed: BTreeMap<String, Timestamp>,
    /// The jobs that were not admitted and will ask again.
    pub waiting: BTreeMap<JobId, Waiting>,
    /// The time of the last admission of each job that waits or has a live batch.
    pub served: BTreeMap<JobId, Timestamp>,
    /// Dollars by the day (UTC) of the admission: the actual cost of batches if it is known, else
    /// the reservation. The reservation of a batch that was never created is returned.
    pub spent: BTreeMap<Date, Usd>,
    /// The accounts of open jobs that have a budget. `sweep` removes those of closed jobs.
    pub accounts: BTreeMap<JobId, Account>,
    /// What each folder has spent. Ledgers of earlier versions count nothing by folder.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub folders: BTreeMap<FolderPath, FolderSpending>,
}

/// The reservation of a batch that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// The reserved cost.
    pub usd: Usd,
    /// When the shard was admitted.
    pub at: Timestamp,
    /// The folder of its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderPath>,
}

/// The reservation of a live shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The model of the batch.
    pub model: String,
    /// Its estimated input tokens.
    pub tokens: u64,
    /// The reserved cost.
    pub usd: Usd,
    /// When the shard was admitted.
    pub at: Timestamp,
    /// When the shard last asked for admission.
    pub asked_at: Timestamp,
    /// The folder of its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderPath>,
}

/// A job that waits for admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The time since which it waits.
    pub since: Timestamp,
    /// The time at which it asks again.
    pub back_at: Timestamp,
    /// The model of the shard that asked last.
    pub model: String,
    /// That shard's input tokens.
    pub tokens: u64,
    /// That shard's maximum cost.
    pub usd: Usd,
    /// The folder of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderPath>,
}

/// The limits of a Gemini project, and of the folders that share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectLimits {
    /// The number of batches that may be pending or running at the same time. Google allows 100
    /// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11).
    pub live_batches: MaxLiveBatches,
    /// The input tokens of pending and running batches, by model. A model that isn't listed has no
    /// limit.
    pub enqueued_tokens: BTreeMap<String, u64>,
    /// The dollars that may be spent or reserved on one day (UTC), by the day of the admission.
    pub daily_usd: Option<Usd>,
    /// The dollars that each folder may spend or reserve. They are not a setting of the deployment,
    /// but are read from the bucket when a shard asks for admission.
    pub folders: FolderCaps,
}

/// The answer to a shard that asks for admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The shard may be submitted.
    Granted,
    /// The shard must wait.
    Later {
        /// The reason, as a message for the user.
        why: String,
        /// When to ask again.
        at: Timestamp,
    },
    /// The shard exceeds a limit on its own. It is not admitted unless the limits change.
    Never {
        /// The reason and the remedy, as a message for the user.
        why: String,
    },
    /// The shard exceeds the budget of its job.
    OverBudget {
        /// The sums and the remedy, as a message for the user.
        why: String,
    },
}

/// Returns the name of a shard in the ledger.
pub fn name(job: &JobId, shard: ShardId) -> String {
    format!("{job}/{shard}")
}

/// Returns the job that a name in the ledger belongs to.
fn job_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(job, _)| job)
}

impl Ledger {
    /// Admits a shard, or records that its job waits.
    pub fn admit(&mut self, shard: &Shard, limits: &ProjectLimits, now: Timestamp) -> Admission {
        let name = name(&shard.job, shard.shard);
        if self.closed.contains_key(&name) {
            return Admission::Granted;
        }
        if shard.lane.is_synchronous() {
            return self.admit_synchronous(shard, limits, now);
        }

        // A shard that is already admitted keeps its reservation.
        if let Some(reservation) = self.live.get_mut(&name) {
            reservation.asked_at = now;
            return Admission::Granted;
        }
        if let Some(why) = limits.folders.unknown(shard.folder.as_ref()) {
            return Admission::Later {
                why,
                at: now + MAX_WAIT,
            };
        }

        // A shard that can never be admitted must not wait.
        if let Some(why) = self.over_budget(shard) {
            return Admission::OverBudget { why };
        }
        if let Some(why) = impossible(shard, limits) {
            return Admission::Never { why };
        }

        // The reservation or the place in the queue is decided by the limits and by fairness.
        self.remove_stale(now);
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
                        folder: shard.folder.clone(),
                    },
                );
                self.reserve(shard, now);
                self.waiting.remove(&shard.job);
                self.served.insert(shard.job.clone(), now);
                self.note_turn(shard.folder.as_ref(), now);
                Admission::Granted
            }
            Some(refusal) => {
                // The longer a job has waited, the less often it asks.
                let soon = now + (now.duration_since(since) / 10).clamp(MIN_WAIT, MAX_WAIT);
                let at = refusal.ask_again.at(soon);
                let model = shard.model.clone();
                self.waiting.insert(
                    shard.job.clone(),
                    Waiting {
                        since,
                        back_at: at,
                        model,
                        tokens,
                        usd,
                        folder: shard.folder.clone(),
                    },
                );
                Admission::Later {
                    why: refusal.why,
                    at,
                }
            }
        }
    }

    /// Admits a shard of a synchronous lane. It takes up no batch and no enqueued tokens, so only
    /// money limits it: its reservation is that of a batch that has ended.
    fn admit_synchronous(
        &mut self,
        shard: &Shard,
        limits: &ProjectLimits,
        now: Timestamp,
    ) -> Admission {
        let name = name(&shard.job, shard.shard);
        // A shard that was rescued before it had a batch gives up the reservation for the batch.
        if self.live.contains_key(&name) {
            self.free(&shard.job, shard.shard);
        }
        if self.unsettled.contains_key(&name) {
            return Admission::Granted;
        }
        if let Some(why) = limits.folders.unknown(shard.folder.as_ref()) {
            return Admission::Later {
                why,
                at: now + MAX_WAIT,
            };
        }
        if let Some(why) = self.over_budget(shard) {
            return Admission::OverBudget { why };
        }
        if let Some(why) = above_cap(shard, limits) {
            return Admission::Never { why };
        }
        self.remove_stale(now);
        let (usd, today) = (shard.demand.usd, day(now));
        let caps = self.caps_of(shard.folder.as_ref(), limits, today);
        // Jobs that wait for batches are not considered, because a user waits for this one.
        if let Some(cap) = caps.into_iter().find(|cap| usd > cap.left()) {
            return Admission::Later {
                why: cap.explain(
                    shard,
                    today,
                    "",
                    ", or sooner if others cost less than is reserved for them",
                ),
                at: cap.window.end(today).min(now + MAX_WAIT),
            };
        }
        let folder = shard.folder.clone();
        self.unsettled.insert(
            name,
            Unsettled {
                usd,
                at: now,
                folder,
            },
        );
        self.reserve(shard, now);
        Admission::Granted
    }

    /// Removes entries that no later decision depends on, so that the document stays small however
    /// many jobs there have been.
    fn remove_stale(&mut self, now: Timestamp) {
        let today = day(now);
        let oldest = today.yesterday().unwrap_or(today);
        self.waiting
            .retain(|_, waiting| now < waiting.back_at + WAITING_JOB_TTL);
        self.closed.retain(|_, at| now < *at + CLOSED_TTL);
        self.spent.retain(|day, _| *day >= oldest);
        // The account of an open job needs the cost of its batches, however late it is known. So
        // does the month of a folder.
        let (accounts, oldest_month) = (&self.accounts, caps::oldest_month(today));
        self.unsettled.retain(|name, reserved| {
            day(reserved.at) >= oldest
                || accounts.contains_key(&JobId::new(job_of(name)))
                || reserved.folder.is_some() && day(reserved.at) >= oldest_month
        });
        self.remove_stale_spending(today);
        // The last admission matters only for jobs that still wait or have a live batch.
        let live: HashSet<&str> = self.live.keys().map(|name| job_of(name)).collect();
        let waiting = &self.waiting;
        self.served
            .retain(|job, _| live.contains(job.as_str()) || waiting.contains_key(job));
    }

    /// Releases an ended batch from the project's limits. Its cost stays reserved until it is
    /// settled.
    pub fn release(&mut self, job: &JobId, shard: ShardId) {
        let name = name(job, shard);
        if let Some(live) = self.live.remove(&name) {
            let Reservation {
                usd, at, folder, ..
            } = live;
            self.unsettled.insert(name, Unsettled { usd, at, folder });
        }
    }

    /// Replaces the reservation of an ended batch by its actual cost, on the day of the
    /// reservation. If the cost is unknown, the reserved amount stays. Settling again has no
    /// effect, because there is no reservation any longer.
    pub fn settle(&mut self, job: &JobId, shard: ShardId, cost: Option<Usd>) {
        self.release(job, shard);
        if let Some(Unsettled { usd, at, folder }) = self.unsettled.remove(&name(job, shard))
            && let Some(cost) = cost
        {
            self.replace_spent(folder.as_ref(), at, usd, cost);
            self.replace_commitment(job, usd, cost);
        }
    }

    /// Returns the reservation of a shard that has no batch. The shard may ask again, so the job's
    /// account keeps the money if the shard belongs to the first round.
    pub fn refund(&mut self, job: &JobId, shard: ShardId) {
        if let Some(usd) = self.free(job, shard)
            && shard.round > 1
        {
            self.replace_commitment(job, usd, Usd::ZERO);
        }
    }

    /// Ends the reservation of a shard that has ended. Closing again has no effect.
    pub fn close(&mut self, job: &JobId, shard: ShardId, settlement: Settlement, now: Timestamp) {
        // The reservation of a synchronous shard is among those of ended batches.
        self.release(job, shard);
        let name = name(job, shard);
        if self.unsettled.contains_key(&name) {
            self.closed.insert(name.clone(), now);
        }
        match settlement {
            Settlement::Billed(cost) => self.settle(job, shard, cost),
            Settlement::NeverBought => {
                if let Some(Unsettled { usd, at, folder }) = self.unsettled.remove(&name) {
                    self.replace_spent(folder.as_ref(), at, usd, Usd::ZERO);
                    self.replace_commitment(job, usd, Usd::ZERO);
                }
            }
        }
    }

    /// Removes a live reservation, and returns the money to its day. Returns the amount, if there
    /// was a reservation.
    fn free(&mut self, job: &JobId, shard: ShardId) -> Option<Usd> {
        let Reservation {
            usd, at, folder, ..
        } = self.live.remove(&name(job, shard))?;
        self.replace_spent(folder.as_ref(), at, usd, Usd::ZERO);
        Some(usd)
    }

    /// Counts the maximum cost of an admitted shard for the day, its folder and its job.
    fn reserve(&mut self, shard: &Shard, now: Timestamp) {
        let usd = shard.demand.usd;
        *self.spent.entry(day(now)).or_default() += usd;
        if let Some(folder) = &shard.folder {
            self.folders
                .entry(folder.clone())
                .or_default()
                .add(usd, day(now));
        }
        self.commit(shard);
    }

    /// Replaces an amount that was reserved at a moment, unless its day or month is forgotten.
    fn replace_spent(
        &mut self,
        folder: Option<&FolderPath>,
        at: Timestamp,
        before: Usd,
        after: Usd,
    ) {
        let today = day(at);
        if let Some(spent) = self.spent.get_mut(&today) {
            *spent = (*spent - before + after).max(Usd::ZERO);
        }
        if let Some(spending) = folder.and_then(|folder| self.folders.get_mut(folder)) {
            spending.replace(before, after, today);
        }
    }

    /// Returns the money that is spent or reserved on the day of `now`.
    pub fn spent_today(&self, now: Timestamp) -> Usd {
        self.spent.get(&day(now)).copied().unwrap_or_default()
    }
}

/// Returns why a shard can't be admitted even without any other batch.
fn impossible(shard: &Shard, limits: &ProjectLimits) -> Option<String> {
    if let Some(why) = above_cap(shard, limits) {
        return Some(why);
    }
    let tokens = shard.demand.tokens;
    let limit = limits.enqueued_tokens.get(&shard.model).copied()?;
    (tokens > limit).then(|| {
        format!(
            "this batch alone has {tokens} input tokens, above the {limit} of {} that this tier may enqueue: \
             reduce the size of shards",
            shard.model
        )
    })
}

/// Returns why a shard exceeds a cap on its own, if it does.
fn above_cap(shard: &Shard, limits: &ProjectLimits) -> Option<String> {
    // On an empty day, nothing is spent yet.
    let empty = Ledger::default();
    let caps = empty.caps_of(shard.folder.as_ref(), limits, Date::MIN);
    let usd = shard.demand.usd;
    let cap = caps.into_iter().find(|cap| usd > cap.usd)?;
    let what = if shard.lane.is_synchronous() {
        "this shard"
    } else {
        "this batch"
    };
    let remedy = match cap.folder {
        None => "raise the cap",
        Some(_) => "raise the cap in stack/folders.toml",
    };
    Some(format!(
        "{what} alone may cost {usd}, above the {cap}: {remedy}, or reduce the size of shards"
    ))
}

/// Returns the day (UTC) of a moment.
fn day(moment: Timestamp) -> Date {
    moment.to_zoned(TimeZone::UTC).date()
}

/// Returns the end of a day (UTC).
fn midnight_after(day: Date) -> Timestamp {
    let tomorrow = day.tomorrow().unwrap_or(day).to_zoned(TimeZone::UTC);
    tomorrow.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests;
