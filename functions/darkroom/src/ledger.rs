//! The ledger of the whole deployment, `stack/ledger.json`: which batches take up the project's limits, what may still be
//! spent today, and who waits for it.
//!
//! A shard is admitted before its request file is uploaded, and leaves when its batch has ended. What it may cost at the
//! most is reserved until its output is read; then what it did cost takes that place, on the day of the reservation.
//! All of this is by shard and can be repeated, so that a crash in between costs nothing. Admission is fair between jobs: the job with the fewest live
//! batches comes first, of these the one whose last turn, or whose coming, is longest ago, and what those before it wait
//! for is left to them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    cost::Usd,
    names::{JobId, ShardId},
    state::{Demand, Shard},
};

/// How long after it should have asked again a waiting job keeps its place.
const PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// How long ago a turn may be to count against the next one.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The shortest and the longest wait of a shard for its turn.
const WAITS: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_mins(15));

/// `stack/ledger.json`, written by compare-and-swap alone.
///
/// ```json
/// {"rev":7,"write_id":"…","live":{"catalog-…/0000":{"model":"…","tokens":931,"usd":0.49,"at":"2026-11-21T09:00:00Z",…}},
///  "unsettled":{"shoes-…/0000":{"usd":0.12,"at":"2026-11-21T08:00:00Z"}},
///  "waiting":{},"served":{"catalog-…":"2026-11-21T09:00:00Z"},"spent":{"2026-11-21":0.61}}
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
    /// When each job had its last turn.
    pub served: BTreeMap<JobId, Timestamp>,
    /// Dollars, by the day (UTC) of the admission: what batches cost, where that is known, else what is reserved for
    /// them. What was never asked for is taken back.
    pub spent: BTreeMap<Date, Usd>,
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
    pub live_batches: u32,
    /// Input tokens of pending and running batches, by model; a model that isn't named has no limit.
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
}

/// How a shard is called in the ledger.
pub fn name(job: &JobId, shard: ShardId) -> String {
    format!("{job}/{shard}")
}

impl Ledger {
    /// Admits a shard, or notes that its job waits.
    pub fn admit(&mut self, shard: &Shard, limits: &ProjectLimits, now: Timestamp) -> Admission {
        let name = name(&shard.job, shard.shard);
        if let Some(reservation) = self.live.get_mut(&name) {
            reservation.asked_at = now;
            return Admission::Granted;
        }
        if let Some(why) = impossible(shard, limits) {
            return Admission::Never { why };
        }
        let today = day(now);
        self.waiting.retain(|_, waiting| now < waiting.back_at + PATIENCE);
        self.served.retain(|_, served| now < *served + FORGOTTEN);
        let oldest = today.yesterday().unwrap_or(today);
        self.spent.retain(|day, _| *day >= oldest);
        self.unsettled.retain(|_, reserved| day(reserved.at) >= oldest);

        let Demand { tokens, usd, .. } = shard.demand;
        let since = self.waiting.get(&shard.job).map_or(now, |waiting| waiting.since);
        match self.lacking(shard, limits, since, today) {
            None => {
                let model = shard.model.clone();
                self.live.insert(name, Reservation { model, tokens, usd, at: now, asked_at: now });
                *self.spent.entry(today).or_default() += usd;
                self.waiting.remove(&shard.job);
                self.served.insert(shard.job.clone(), now);
                Admission::Granted
            }
            Some(lack) => {
                let soon = now + (now.duration_since(since) / 10).clamp(WAITS.0, WAITS.1);
                let at = match &lack {
                    Lack::DollarsToday { may_be_freed: false } => midnight_after(today),
                    Lack::DollarsToday { may_be_freed: true } => soon.min(midnight_after(today)),
                    Lack::Batches | Lack::Tokens | Lack::DollarsForAll => soon,
                };
                let model = shard.model.clone();
                self.waiting.insert(shard.job.clone(), Waiting { since, back_at: at, model, tokens, usd });
                Admission::Later { why: self.explain(&lack, shard, limits, since, today), at }
            }
        }
    }

    /// Frees what an ended batch took up. What it may have cost stays reserved until it is settled.
    pub fn release(&mut self, job: &JobId, shard: ShardId) {
        let name = name(job, shard);
        if let Some(Reservation { usd, at, .. }) = self.live.remove(&name) {
            self.unsettled.insert(name, Unsettled { usd, at });
        }
    }

    /// Puts what an ended batch did cost in place of what was reserved for it, on the day of the reservation. Where no
    /// one knows, what was reserved stays. Settled again, nothing changes: there is no reservation any more.
    pub fn settle(&mut self, job: &JobId, shard: ShardId, cost: Option<Usd>) {
        self.release(job, shard);
        if let Some(Unsettled { usd, at }) = self.unsettled.remove(&name(job, shard))
            && let Some(cost) = cost
            && let Some(spent) = self.spent.get_mut(&day(at))
        {
            *spent = (*spent - usd + cost).max(Usd::ZERO);
        }
    }

    /// Frees what a shard took up that has no batch, and the money.
    pub fn refund(&mut self, job: &JobId, shard: ShardId) {
        if let Some(reservation) = self.live.remove(&name(job, shard))
            && let Some(spent) = self.spent.get_mut(&day(reservation.at))
        {
            *spent = (*spent - reservation.usd).max(Usd::ZERO);
        }
    }

    /// The money spent or reserved on the day of `now`.
    pub fn spent_today(&self, now: Timestamp) -> Usd {
        self.spent.get(&day(now)).copied().unwrap_or_default()
    }

    fn lacking(&self, shard: &Shard, limits: &ProjectLimits, since: Timestamp, today: Date) -> Option<Lack> {
        let left = self.left(limits, today);
        let before: Vec<&Waiting> = self.before(&shard.job, since, left).collect();
        if self.live.len() + before.len() >= usize::try_from(limits.live_batches).unwrap_or(usize::MAX) {
            return Some(Lack::Batches);
        }
        if let Some(limit) = limits.enqueued_tokens.get(&shard.model) {
            let wanted = before.iter().filter(|waiting| waiting.model == shard.model).map(|waiting| waiting.tokens);
            let taken = self.enqueued(&shard.model).saturating_add(wanted.sum());
            if taken.saturating_add(shard.demand.tokens) > *limit {
                return Some(Lack::Tokens);
            }
        }
        if let Some(left) = left {
            let wanted: Usd = before.iter().map(|waiting| waiting.usd).sum();
            if shard.demand.usd > left {
                let may_be_freed = shard.demand.usd <= left + self.reserved(today);
                return Some(Lack::DollarsToday { may_be_freed });
            }
            if shard.demand.usd > left - wanted {
                return Some(Lack::DollarsForAll);
            }
        }
        None
    }

    /// What may still be reserved today, if that has a limit.
    fn left(&self, limits: &ProjectLimits, today: Date) -> Option<Usd> {
        limits.daily_usd.map(|cap| cap - self.spent.get(&today).copied().unwrap_or_default())
    }

    /// What of the day's money is reserved and not settled: some of it may come back.
    fn reserved(&self, today: Date) -> Usd {
        let live = self.live.values().map(|live| (live.usd, live.at));
        let ended = self.unsettled.values().map(|ended| (ended.usd, ended.at));
        live.chain(ended).filter(|(_, at)| day(*at) == today).map(|(usd, _)| usd).sum()
    }

    /// What the jobs wait for whose turn is before that of `job`, which has waited since `since`. What is dearer than
    /// what is left of the day has its turn tomorrow, and is in nobody's way.
    fn before(&self, job: &JobId, since: Timestamp, left: Option<Usd>) -> impl Iterator<Item = &Waiting> {
        let turn = |job: &JobId, since: Timestamp| {
            let served = self.served.get(job);
            (self.live_of(job), served.map_or(since, |served| since.max(*served)), served.is_some(), job.clone())
        };
        let own = turn(job, since);
        self.waiting
            .iter()
            .filter(move |(other, waiting)| *other != job && turn(other, waiting.since) < own)
            .map(|(_, waiting)| waiting)
            .filter(move |waiting| left.is_none_or(|left| waiting.usd <= left))
    }

    fn live_of(&self, job: &JobId) -> usize {
        let of_job = |name: &&String| name.rsplit_once('/').is_some_and(|(of, _)| of == job.as_str());
        self.live.keys().filter(of_job).count()
    }

    fn enqueued(&self, model: &str) -> u64 {
        self.live.values().filter(|live| live.model == model).map(|live| live.tokens).sum()
    }

    fn explain(&self, lack: &Lack, shard: &Shard, limits: &ProjectLimits, since: Timestamp, today: Date) -> String {
        let others = match self.before(&shard.job, since, self.left(limits, today)).count() {
            0 => String::new(),
            1 => ", and 1 other job comes first".to_owned(),
            more => format!(", and {more} other jobs come first"),
        };
        match lack {
            Lack::Batches => {
                format!("{} batches are live, of {} that may be{others}", self.live.len(), limits.live_batches)
            }
            Lack::Tokens => format!(
                "batches of {} hold {} input tokens of the {} that may be enqueued, and this needs {}{others}",
                shard.model,
                self.enqueued(&shard.model),
                limits.enqueued_tokens.get(&shard.model).copied().unwrap_or_default(),
                shard.demand.tokens,
            ),
            Lack::DollarsToday { .. } | Lack::DollarsForAll => {
                let midnight = midnight_after(today);
                let until = match lack {
                    Lack::DollarsToday { may_be_freed: false } => "",
                    Lack::DollarsToday { may_be_freed: true } => {
                        ", or sooner if batches cost less than is reserved for them"
                    }
                    Lack::DollarsForAll | Lack::Batches | Lack::Tokens => ", or today if they leave enough",
                };
                format!(
                    "{} of the {} that may be spent a day are spent or reserved, and this may cost {}{others}: it goes at \
                     {midnight}, when the next day begins{until}",
                    self.spent.get(&today).copied().unwrap_or_default(),
                    limits.daily_usd.unwrap_or_default(),
                    shard.demand.usd,
                )
            }
        }
    }
}

/// What there is too little of.
enum Lack {
    Batches,
    Tokens,
    /// Not enough is left of this day. `may_be_freed` says that it could be, if what is reserved is not all spent.
    DollarsToday {
        may_be_freed: bool,
    },
    /// Enough is left, but others come first.
    DollarsForAll,
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
