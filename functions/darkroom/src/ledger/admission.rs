//! Decides which waiting job is admitted next.
//!
//! Waiting jobs are ordered (see `turns`). A shard is refused if the jobs ahead of it
//! would use up what it needs. Only those jobs ahead count that could be admitted now, because
//! their model has tokens left and the day has money left for them. So a job that waits for the
//! tokens of one model delays neither jobs of other models nor jobs whose tokens are available. As
//! long as a batch is free and some waiting shard fits every limit, the first such shard in the
//! order is admitted when it asks.
//!
//! Under this rule alone, small batches could keep a large batch of the same model from its tokens
//! forever. So after [`FAIRNESS_WINDOW`] the large batch is not delayed any further: another batch
//! of its model is admitted only if both fit once the batches that were live before have ended.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{Ledger, ProjectLimits, Waiting, Window, caps::Cap, day, turns::Turns};
use crate::{
    money::Usd,
    names::FolderPath,
    state::{Demand, Shard},
};

/// How long batches of the same model may overtake a job that waits for more tokens than are
/// available. The batches that the job must wait for in any case take about as long.
const FAIRNESS_WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// The limit that a shard would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack<'a> {
    Batches,
    Tokens,
    /// The money that a cap leaves does not suffice. `may_be_freed` states whether it could suffice
    /// once reservations are replaced by lower costs.
    Dollars {
        cap: Cap<'a>,
        may_be_freed: bool,
    },
    /// The money that a cap leaves suffices, but other jobs come first.
    DollarsForAll {
        cap: Cap<'a>,
    },
}

/// Why a shard is not admitted now.
pub(super) struct Refusal {
    /// When it asks again.
    pub(super) ask_again: AskAgain,
    /// The reason, as a message for the user.
    pub(super) why: String,
}

/// When a shard asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskAgain {
    /// As soon as the fairness of waiting allows.
    Soon,
    /// Soon, but not after a new day or month has begun.
    SoonOrAt(Timestamp),
    /// When a new day begins, because nothing can change before.
    At(Timestamp),
}

impl AskAgain {
    /// Returns the moment.
    pub(super) fn at(self, soon: Timestamp) -> Timestamp {
        match self {
            Self::Soon => soon,
            Self::SoonOrAt(end) => soon.min(end),
            Self::At(end) => end,
        }
    }
}

impl Lack<'_> {
    fn ask_again(self, today: Date) -> AskAgain {
        match self {
            // The cap of the deployment changes only with the deployment.
            Self::Dollars {
                cap,
                may_be_freed: false,
            } if cap.folder.is_none() => AskAgain::At(cap.window.end(today)),
            Self::Dollars { cap, .. } => AskAgain::SoonOrAt(cap.window.end(today)),
            Self::Batches | Self::Tokens | Self::DollarsForAll { .. } => AskAgain::Soon,
        }
    }
}

/// The usage of the limits by live batches and by the jobs ahead that could be admitted now.
struct Taken<'a> {
    batches: usize,
    tokens: HashMap<&'a str, u64>,
    /// The dollars, by the folder whose caps they count against. `None` has those of all jobs.
    usd: HashMap<Option<&'a FolderPath>, Usd>,
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
        let taken = self.taken_before(shard, limits, since, now);
        let lack = self.lack(shard, limits, &taken, today)?;
        Some(Refusal {
            ask_again: lack.ask_again(today),
            why: self.explain(lack, shard, limits, &taken, today),
        })
    }

    /// Returns the limit that a shard would exceed, if any.
    fn lack<'s>(
        &self,
        shard: &'s Shard,
        limits: &ProjectLimits,
        taken: &Taken<'_>,
        today: Date,
    ) -> Option<Lack<'s>> {
        let Demand { tokens, usd, .. } = shard.demand;
        if taken.batches >= usize::try_from(limits.live_batches.get()).unwrap_or(usize::MAX) {
            return Some(Lack::Batches);
        }
        if !taken.has_tokens(&shard.model, tokens, limits) || self.would_delay(shard, limits, taken)
        {
            return Some(Lack::Tokens);
        }
        let caps = self.caps_of(shard.folder.as_ref(), limits, today);
        if let Some(cap) = caps.iter().copied().find(|cap| usd > cap.left()) {
            let may_be_freed = usd <= cap.left() + self.reserved(&cap, today);
            return Some(Lack::Dollars { cap, may_be_freed });
        }
        let is_taken = |cap: &Cap<'_>| usd > cap.left() - taken.usd(cap.folder);
        let cap = caps.into_iter().find(is_taken)?;
        Some(Lack::DollarsForAll { cap })
    }

    /// Returns the usage of the limits before the job of `shard`, which has waited since `since`,
    /// is considered.
    fn taken_before<'s>(
        &'s self,
        shard: &'s Shard,
        limits: &ProjectLimits,
        since: Timestamp,
        now: Timestamp,
    ) -> Taken<'s> {
        // Live batches come first.
        let mut tokens: HashMap<&str, u64> = HashMap::new();
        for live in self.live.values() {
            let sum = tokens.entry(&live.model).or_default();
            *sum = sum.saturating_add(live.tokens);
        }
        let (usd, ahead, overdue) = (HashMap::new(), Vec::new(), HashMap::new());
        let mut taken = Taken {
            batches: self.live.len(),
            tokens,
            usd,
            ahead,
            overdue,
        };
        // The jobs ahead follow in their order, each as if it asked now.
        let mut turns = Turns::of(self, shard, since);
        while let Some((waiting, group)) = turns.next() {
            // A job that costs more than its caps leave is admitted later, and delays no other job
            // until then.
            let folder = waiting.folder.as_ref();
            let has_money = |cap: &Cap<'_>| {
                waiting.usd <= cap.left() && taken.usd(cap.folder) + waiting.usd <= cap.left()
            };
            let caps = self.caps_of(folder, limits, day(now));
            let may_buy = limits.folders.unknown(folder).is_none() && caps.iter().all(has_money);
            let is_counted = may_buy && taken.has_tokens(&waiting.model, waiting.tokens, limits);
            if is_counted {
                taken.add(waiting);
            } else if may_buy && now >= waiting.since + FAIRNESS_WINDOW {
                taken.overdue.entry(&waiting.model).or_insert(waiting);
            }
            turns.put_back(group, is_counted, now);
        }
        taken
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

    /// Returns the message about a shard that must wait.
    fn explain(
        &self,
        lack: Lack<'_>,
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
            Lack::Dollars { cap, may_be_freed } => {
                let until = if may_be_freed {
                    ", or sooner if batches cost less than is reserved for them"
                } else {
                    ""
                };
                cap.explain(shard, today, &come_first(taken.ahead.len()), until)
            }
            Lack::DollarsForAll { cap } => {
                let until = match cap.window {
                    Window::Day => ", or today if they leave enough",
                    Window::Month => ", or this month if they leave enough",
                };
                cap.explain(shard, today, &come_first(taken.ahead.len()), until)
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
        *self.usd.entry(None).or_default() += waiting.usd;
        if let Some(folder) = &waiting.folder {
            *self.usd.entry(Some(folder)).or_default() += waiting.usd;
        }
        self.ahead.push(waiting);
    }

    /// The dollars that count against the caps of a folder, or of the deployment.
    fn usd(&self, folder: Option<&FolderPath>) -> Usd {
        self.usd.get(&folder).copied().unwrap_or_default()
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
