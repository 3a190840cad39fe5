//! Decides which waiting job is admitted next.
//!
//! Waiting jobs are ordered. The job with the fewest live batches comes first; among equals, the
//! job whose last admission or arrival is longest ago. A shard is refused if the jobs ahead of it
//! would use up what it needs. Only those jobs ahead count that could be admitted now, because
//! their model has tokens left and the day has money left for them. So a job that waits for the
//! tokens of one model delays neither jobs of other models nor jobs whose tokens are available. As
//! long as a batch is free and some waiting shard fits every limit, the first such shard in the
//! order is admitted when it asks.
//!
//! Under this rule alone, small batches could keep a large batch of the same model from its tokens
//! forever. So after [`FAIRNESS_WINDOW`] the large batch is not delayed any further: another batch
//! of its model is admitted only if both fit once the batches that were live before have ended.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{Ledger, ProjectLimits, Waiting, day, job_of, midnight_after};
use crate::{
    money::Usd,
    names::JobId,
    state::{Demand, Shard},
};

/// How long batches of the same model may overtake a job that waits for more tokens than are
/// available. The batches that the job must wait for in any case take about as long.
const FAIRNESS_WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// The limit that a shard would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Batches,
    Tokens,
    /// The day's remaining money does not suffice. `may_be_freed` states whether it could suffice
    /// once reservations are replaced by lower costs.
    DollarsToday {
        may_be_freed: bool,
    },
    /// The day's remaining money suffices, but other jobs come first.
    DollarsForAll,
}

/// Why a shard is not admitted now.
pub(super) struct Refusal {
    lack: Lack,
    /// The reason, as a message for the user.
    pub(super) why: String,
}

impl Refusal {
    /// Returns when to ask again: `soon`, or at `midnight` if nothing can change before.
    pub(super) fn ask_again_at(&self, soon: Timestamp, midnight: Timestamp) -> Timestamp {
        match self.lack {
            Lack::DollarsToday {
                may_be_freed: false,
            } => midnight,
            Lack::DollarsToday { may_be_freed: true } => soon.min(midnight),
            Lack::Batches | Lack::Tokens | Lack::DollarsForAll => soon,
        }
    }
}

/// The usage of the limits by live batches and by the jobs ahead that could be admitted now.
struct Taken<'a> {
    batches: usize,
    tokens: HashMap<&'a str, u64>,
    usd: Usd,
    /// The jobs ahead that are included.
    ahead: Vec<&'a Waiting>,
    /// For each model, the first job that has waited longer than [`FAIRNESS_WINDOW`].
    overdue: HashMap<&'a str, &'a Waiting>,
}

impl Ledger {
    /// Returns why `shard` can't be admitted now, if it can't. Its job has waited since `since`.
    pub(super) fn refusal(
        &self,
        shard: &Shard,
        limits: &ProjectLimits,
        since: Timestamp,
        now: Timestamp,
    ) -> Option<Refusal> {
        let today = day(now);
        let taken = self.taken_before(&shard.job, limits, since, now);
        let lack = self.lack(shard, limits, &taken, today)?;
        Some(Refusal {
            lack,
            why: self.explain(lack, shard, limits, &taken, today),
        })
    }

    /// Returns the limit that a shard would exceed, if any.
    fn lack(
        &self,
        shard: &Shard,
        limits: &ProjectLimits,
        taken: &Taken<'_>,
        today: Date,
    ) -> Option<Lack> {
        let Demand { tokens, usd, .. } = shard.demand;
        if taken.batches >= usize::try_from(limits.live_batches).unwrap_or(usize::MAX) {
            return Some(Lack::Batches);
        }
        if !taken.has_tokens(&shard.model, tokens, limits) || self.would_delay(shard, limits, taken)
        {
            return Some(Lack::Tokens);
        }
        let left = self.left(limits, today)?;
        if usd > left {
            return Some(Lack::DollarsToday {
                may_be_freed: usd <= left + self.reserved(today),
            });
        }
        (usd > left - taken.usd).then_some(Lack::DollarsForAll)
    }

    /// Returns the usage of the limits before `job`, which has waited since `since`, is considered.
    fn taken_before(
        &self,
        job: &JobId,
        limits: &ProjectLimits,
        since: Timestamp,
        now: Timestamp,
    ) -> Taken<'_> {
        // Live batches come first.
        let mut tokens: HashMap<&str, u64> = HashMap::new();
        for live in self.live.values() {
            let sum = tokens.entry(&live.model).or_default();
            *sum = sum.saturating_add(live.tokens);
        }
        let (usd, ahead, overdue) = (Usd::ZERO, Vec::new(), HashMap::new());
        let mut taken = Taken {
            batches: self.live.len(),
            tokens,
            usd,
            ahead,
            overdue,
        };
        // The jobs ahead follow in their order, each as if it asked now.
        let left = self.left(limits, day(now));
        for waiting in self.ahead_of(job, since) {
            // A job that costs more than the day has left is admitted tomorrow, and delays no other
            // job today.
            let has_money =
                left.is_none_or(|left| waiting.usd <= left && taken.usd + waiting.usd <= left);
            if !has_money {
                continue;
            }
            if taken.has_tokens(&waiting.model, waiting.tokens, limits) {
                taken.add(waiting);
            } else if now >= waiting.since + FAIRNESS_WINDOW {
                taken.overdue.entry(&waiting.model).or_insert(waiting);
            }
        }
        taken
    }

    /// Returns the waiting jobs that come before `job`, in order.
    fn ahead_of(&self, job: &JobId, since: Timestamp) -> impl Iterator<Item = &Waiting> {
        let mut live: HashMap<&str, usize> = HashMap::new();
        for name in self.live.keys() {
            *live.entry(job_of(name)).or_default() += 1;
        }
        // The order: fewest live batches, earliest admission or arrival, never admitted, job id.
        let turn = |job: &JobId, since: Timestamp| {
            let served = self.served.get(job);
            let last = served.map_or(since, |served| since.max(*served));
            (
                live.get(job.as_str()).copied().unwrap_or_default(),
                last,
                served.is_some(),
                job.clone(),
            )
        };
        let own = turn(job, since);
        let turns = self.waiting.iter().filter(|(other, _)| *other != job);
        let turns = turns.map(|(other, waiting)| (turn(other, waiting.since), waiting));
        let ahead: BTreeMap<_, _> = turns.filter(|(turn, _)| *turn < own).collect();
        ahead.into_values()
    }

    /// Whether the shard's tokens would delay a job of its model that has waited longer than
    /// [`FAIRNESS_WINDOW`].
    fn would_delay(&self, shard: &Shard, limits: &ProjectLimits, taken: &Taken<'_>) -> bool {
        let Some(overdue) = taken.overdue.get(shard.model.as_str()) else {
            return false;
        };
        let Some(limit) = limits.enqueued_tokens.get(&shard.model) else {
            return false;
        };
        let later = self
            .live
            .values()
            .filter(|live| live.model == shard.model && live.at > overdue.since);
        let later: u64 = later
            .map(|live| live.tokens)
            .fold(shard.demand.tokens, u64::saturating_add);
        later.saturating_add(overdue.tokens) > *limit
    }

    /// Returns the money that may still be reserved today, if there is a daily cap.
    fn left(&self, limits: &ProjectLimits, today: Date) -> Option<Usd> {
        limits
            .daily_usd
            .map(|cap| cap - self.spent.get(&today).copied().unwrap_or_default())
    }

    /// Returns the day's money that is reserved and not settled. Some of it may be returned.
    fn reserved(&self, today: Date) -> Usd {
        let live = self.live.values().map(|live| (live.usd, live.at));
        let ended = self.unsettled.values().map(|ended| (ended.usd, ended.at));
        live.chain(ended)
            .filter(|(_, at)| day(*at) == today)
            .map(|(usd, _)| usd)
            .sum()
    }

    /// Returns the message about a shard that must wait.
    fn explain(
        &self,
        lack: Lack,
        shard: &Shard,
        limits: &ProjectLimits,
        taken: &Taken<'_>,
        today: Date,
    ) -> String {
        match lack {
            Lack::Batches => format!(
                "{} of at most {} batches are live{}",
                self.live.len(),
                limits.live_batches,
                come_first(taken.ahead.len())
            ),
            Lack::Tokens => {
                let live = self.live.values().filter(|live| live.model == shard.model);
                let same = taken
                    .ahead
                    .iter()
                    .filter(|ahead| ahead.model == shard.model)
                    .count();
                format!(
                    "batches of {} hold {} input tokens of the {} that may be enqueued, and this batch needs {}{}",
                    shard.model,
                    live.map(|live| live.tokens).fold(0, u64::saturating_add),
                    limits
                        .enqueued_tokens
                        .get(&shard.model)
                        .copied()
                        .unwrap_or_default(),
                    shard.demand.tokens,
                    come_first(
                        same + usize::from(taken.overdue.contains_key(shard.model.as_str()))
                    ),
                )
            }
            Lack::DollarsToday { .. } | Lack::DollarsForAll => {
                let midnight = midnight_after(today);
                let until = match lack {
                    Lack::DollarsToday {
                        may_be_freed: false,
                    } => "",
                    Lack::DollarsToday { may_be_freed: true } => {
                        ", or sooner if batches cost less than is reserved for them"
                    }
                    Lack::DollarsForAll | Lack::Batches | Lack::Tokens => {
                        ", or today if they leave enough"
                    }
                };
                format!(
                    "{} of the daily cap of {} is spent or reserved, and this batch may cost {}{}: it is submitted at \
                     {midnight}, when the next day begins{until}",
                    self.spent.get(&today).copied().unwrap_or_default(),
                    limits.daily_usd.unwrap_or_default(),
                    shard.demand.usd,
                    come_first(taken.ahead.len()),
                )
            }
        }
    }
}

impl<'a> Taken<'a> {
    /// Whether a model has this number of tokens left.
    fn has_tokens(&self, model: &str, tokens: u64, limits: &ProjectLimits) -> bool {
        let taken = self.tokens.get(model).copied().unwrap_or_default();
        limits
            .enqueued_tokens
            .get(model)
            .is_none_or(|limit| taken.saturating_add(tokens) <= *limit)
    }

    /// Counts a job ahead as if it were admitted.
    fn add(&mut self, waiting: &'a Waiting) {
        self.batches += 1;
        let tokens = self.tokens.entry(&waiting.model).or_default();
        *tokens = tokens.saturating_add(waiting.tokens);
        self.usd += waiting.usd;
        self.ahead.push(waiting);
    }
}

/// Returns the part of a message that states how many jobs come first.
fn come_first(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", and 1 other job comes first".to_owned(),
        more => format!(", and {more} other jobs come first"),
    }
}
