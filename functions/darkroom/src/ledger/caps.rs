//! The caps of the deployment and of its folders, and what counts against them.
//!
//! A folder has two windows, the day and the month, both in UTC. What a shard may cost counts from
//! its admission, in the windows of that moment, and its actual cost later replaces it there.

use std::{collections::BTreeMap, fmt};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Ledger, ProjectLimits, day, midnight_after};
use crate::{money::Usd, names::FolderPath, state::Shard};

/// What a folder may spend or reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Dollars in one day (UTC). `None` means no cap.
    pub daily_usd: Option<Usd>,
    /// Dollars in one month (UTC). `None` means no cap.
    pub monthly_usd: Option<Usd>,
}

/// What all folders may spend or reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderCaps {
    /// The caps by folder. A folder that isn't listed has none.
    Known(BTreeMap<FolderPath, Caps>),
    /// The caps can't be read, for this reason. Until they can, nothing new is bought for a folder.
    Unknown(String),
}

impl Default for FolderCaps {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

impl FolderCaps {
    fn of(&self, folder: &FolderPath) -> Caps {
        match self {
            Self::Known(caps) => caps.get(folder).copied().unwrap_or_default(),
            Self::Unknown(_) => Caps::default(),
        }
    }

    /// Returns why the caps of a folder are unknown, as a message for the user. A job without a
    /// folder has none.
    pub(super) fn unknown(&self, folder: Option<&FolderPath>) -> Option<String> {
        match (self, folder) {
            (Self::Unknown(why), Some(folder)) => Some(format!(
                "the caps of {folder} can't be read, so nothing is bought there until they can: \
                 {why}"
            )),
            _ => None,
        }
    }
}

/// The time in which a cap holds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// One day.
    Day,
    /// One month.
    Month,
}

impl Window {
    /// Returns the first moment after the window that contains a day.
    pub(super) fn end(self, today: Date) -> Timestamp {
        match self {
            Self::Day => midnight_after(today),
            Self::Month => midnight_after(today.last_of_month()),
        }
    }

    /// Whether a moment is in the window that contains a day.
    fn contains(self, at: Timestamp, today: Date) -> bool {
        match self {
            Self::Day => day(at) == today,
            Self::Month => day(at).first_of_month() == today.first_of_month(),
        }
    }

    /// Returns the word for a cap of this window.
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Day => "daily",
            Self::Month => "monthly",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// What the jobs of one folder have spent or reserved, by the day of the admission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderSpending {
    /// Dollars by day, today's and yesterday's.
    pub days: BTreeMap<Date, Usd>,
    /// Dollars by month, this one's and the previous one's. Each is named by its first day.
    pub months: BTreeMap<Date, Usd>,
    /// The time of the last admission of a batch, for fairness between folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Timestamp>,
}

impl FolderSpending {
    /// Returns the dollars of the window that contains a day.
    pub fn spent(&self, window: Window, today: Date) -> Usd {
        let spent = match window {
            Window::Day => self.days.get(&today),
            Window::Month => self.months.get(&today.first_of_month()),
        };
        spent.copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, usd: Usd, today: Date) {
        *self.days.entry(today).or_default() += usd;
        *self.months.entry(today.first_of_month()).or_default() += usd;
    }

    /// Replaces an amount that was added on a day, in the windows that are not forgotten yet.
    pub(super) fn replace(&mut self, before: Usd, after: Usd, on: Date) {
        let of_day = self.days.get_mut(&on);
        let of_month = self.months.get_mut(&on.first_of_month());
        for spent in of_day.into_iter().chain(of_month) {
            *spent = (*spent - before + after).max(Usd::ZERO);
        }
    }
}

/// A cap, and what counts against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cap<'a> {
    /// The folder that it is of. `None` is the whole deployment.
    pub(super) folder: Option<&'a FolderPath>,
    pub(super) window: Window,
    /// The cap.
    pub(super) usd: Usd,
    /// What is spent or reserved in the window.
    spent: Usd,
}

impl fmt::Display for Cap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cap of {}", self.window.adjective(), self.usd)?;
        match self.folder {
            Some(folder) => write!(f, " of {folder}"),
            None => Ok(()),
        }
    }
}

impl Cap<'_> {
    /// Returns what may still be reserved. It is negative if the cap was lowered.
    pub(super) fn left(&self) -> Usd {
        self.usd - self.spent
    }

    /// Returns the message about a shard that this cap refuses. `others` states who comes first,
    /// and `sooner` what may happen before the window ends.
    pub(super) fn explain(&self, shard: &Shard, today: Date, others: &str, sooner: &str) -> String {
        let (images, it_is) = if shard.lane.is_synchronous() {
            ("these images", "they are requested")
        } else {
            ("this batch", "it is submitted")
        };
        let (spent, usd, end) = (self.spent, shard.demand.usd, self.window.end(today));
        let raised = match self.folder {
            Some(_) => ", or once the cap in stack/folders.toml is raised",
            None => "",
        };
        let mut message = format!(
            "{spent} of the {self} is spent or reserved, and {images} may cost {usd}{others}: \
             {it_is} at {end}, when the next {} begins{sooner}{raised}",
            self.window.noun()
        );
        if shard.deadline < end {
            message += &format!(
                ". If that is not before {}, the images are given up and listed in retry.jsonl",
                shard.deadline
            );
        }
        message
    }
}

/// Returns the first day of the oldest month that is kept.
pub(super) fn oldest_month(today: Date) -> Date {
    let first = today.first_of_month();
    first.yesterday().unwrap_or(first).first_of_month()
}

impl Ledger {
    /// Returns the caps that hold for a job of this folder, those of the longest windows first.
    pub(super) fn caps_of<'f>(
        &self,
        folder: Option<&'f FolderPath>,
        limits: &ProjectLimits,
        today: Date,
    ) -> Vec<Cap<'f>> {
        let mut caps = Vec::new();
        if let Some(folder) = folder {
            let Caps {
                daily_usd,
                monthly_usd,
            } = limits.folders.of(folder);
            let spending = self.folders.get(folder);
            for (window, usd) in [(Window::Month, monthly_usd), (Window::Day, daily_usd)] {
                let spent = spending.map(|spending| spending.spent(window, today));
                caps.extend(usd.map(|usd| Cap {
                    folder: Some(folder),
                    window,
                    usd,
                    spent: spent.unwrap_or_default(),
                }));
            }
        }
        caps.extend(limits.daily_usd.map(|usd| Cap {
            folder: None,
            window: Window::Day,
            usd,
            spent: self.spent.get(&today).copied().unwrap_or_default(),
        }));
        caps
    }

    /// Returns what counts against a cap and is reserved, but not settled. Some of it may be
    /// returned.
    pub(super) fn reserved(&self, cap: &Cap<'_>, today: Date) -> Usd {
        let live = self.live.values();
        let live = live.map(|live| (live.usd, live.at, live.folder.as_ref()));
        let ended = self.unsettled.values();
        let ended = ended.map(|ended| (ended.usd, ended.at, ended.folder.as_ref()));
        live.chain(ended)
            .filter(|(_, at, folder)| {
                cap.window.contains(*at, today) && (cap.folder.is_none() || *folder == cap.folder)
            })
            .map(|(usd, ..)| usd)
            .sum()
    }

    /// Records that a batch of a folder was admitted.
    pub(super) fn note_turn(&mut self, folder: Option<&FolderPath>, now: Timestamp) {
        if let Some(spending) = folder.and_then(|folder| self.folders.get_mut(folder)) {
            spending.served = Some(now);
        }
    }

    /// Removes the spending of days and months that no later decision depends on.
    pub(super) fn remove_stale_spending(&mut self, today: Date) {
        let yesterday = today.yesterday().unwrap_or(today);
        let oldest_month = oldest_month(today);
        for spending in self.folders.values_mut() {
            spending.days.retain(|day, _| *day >= yesterday);
            spending.months.retain(|month, _| *month >= oldest_month);
        }
        // A folder without a batch in two months has no turn to remember either.
        self.folders
            .retain(|_, spending| !spending.months.is_empty());
    }
}
