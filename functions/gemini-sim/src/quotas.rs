//! The quotas of single requests: how many are accepted in a minute and in a day.
//!
//! Each model and service tier has its own quotas. A minute is any 60 seconds. A day ends at
//! midnight Pacific time (ai.google.dev/gemini-api/docs/rate-limits, read 2026-11), which is
//! simulated as UTC-8 all year. Calls are counted only while a quota is set, and survive a restart.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use disk::documents::{DocumentError, Documents};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    generation::{models::Model, service_tier::ServiceTier},
    scenario::Scenario,
    wire::reply::ApiError,
};

const MINUTE_MILLISECONDS: i64 = 60_000;

const DAY_MILLISECONDS: i64 = 24 * 60 * MINUTE_MILLISECONDS;

/// How far Pacific time is behind UTC, without daylight saving time.
const PACIFIC_MILLISECONDS: i64 = 8 * 60 * MINUTE_MILLISECONDS;

/// The accepted calls, with a document for each model and tier.
#[derive(Debug)]
pub(crate) struct Quotas {
    documents: Documents<AcceptedCalls>,
    accepted: Mutex<BTreeMap<String, AcceptedCalls>>,
}

/// The quotas that a scenario sets. `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    per_minute: Option<NonZeroU32>,
    per_day: Option<NonZeroU32>,
}

/// The accepted calls of one model and tier, as far as quotas depend on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct AcceptedCalls {
    /// The times of those in the last minute, in order, in milliseconds since the epoch.
    minute: VecDeque<i64>,
    /// The day of the last one, in Pacific days since the epoch.
    day: i64,
    /// How many were in that day.
    in_day: u32,
}

/// A quota that has no room for another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaExceeded {
    pub(crate) period: Period,
    /// How many calls it admits.
    pub(crate) limit: NonZeroU32,
    /// The time until it admits the next call, in whole milliseconds.
    pub(crate) wait: Duration,
}

/// The period in which a quota counts calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    Minute,
    Day,
}

impl Quotas {
    /// Opens the accepted calls that are stored below `folder`.
    ///
    /// # Errors
    /// [`DocumentError`] when they can't be read.
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let documents: Documents<AcceptedCalls> = Documents::open(folder.join("quotas"))?;
        let accepted = documents.load_all()?.into_iter().collect();
        Ok(Self {
            documents,
            accepted: Mutex::new(accepted),
        })
    }

    /// Counts a call of this model and tier, if the quotas of `scenario` have room for it and
    /// `admit` succeeds.
    ///
    /// # Errors
    /// 429 when a quota is exceeded; those of `admit`; 500 when the state can't be written.
    pub(crate) fn accept(
        &self,
        (model, tier): (&Model, ServiceTier),
        scenario: &Scenario,
        now: Timestamp,
        admit: impl FnOnce() -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let limits = Limits {
            per_minute: scenario.requests_per_minute,
            per_day: scenario.requests_per_day,
        };
        if limits.per_minute.is_none() && limits.per_day.is_none() {
            return admit();
        }

        // The lock is held until the call is counted, so that two calls can't take the last place.
        let id = format!("{}.{tier}", model.id);
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut calls = accepted.get(&id).cloned().unwrap_or_default();
        let now = now.as_millisecond();
        if let Some(exceeded) = calls.exceeded(limits, now) {
            return Err(ApiError::quota_exceeded(exceeded, model.id));
        }
        admit()?;
        calls.add(limits, now);
        self.documents.put(&id, &calls)?;
        accepted.insert(id, calls);
        Ok(())
    }
}

impl AcceptedCalls {
    /// Returns the quota that has no room for a call at `now`. If both have none, returns that of
    /// the day, because waiting for a minute does not help.
    fn exceeded(&self, limits: Limits, now: i64) -> Option<QuotaExceeded> {
        let exceeded = |period, limit, until: i64| QuotaExceeded {
            period,
            limit,
            wait: Duration::from_millis(u64::try_from(until - now).unwrap_or_default()),
        };
        if let Some(limit) = limits.per_day
            && self.day == day(now)
            && self.in_day >= limit.get()
        {
            return Some(exceeded(Period::Day, limit, end_of(self.day)));
        }

        // There is room once fewer calls than the limit are in the window.
        let limit = limits.per_minute?;
        let last = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let until = self.minute.iter().rev().nth(last - 1)? + MINUTE_MILLISECONDS;
        (until > now).then(|| exceeded(Period::Minute, limit, until))
    }

    fn add(&mut self, limits: Limits, now: i64) {
        let is_over = |at: &i64| at + MINUTE_MILLISECONDS <= now;
        while self.minute.front().is_some_and(is_over) {
            self.minute.pop_front();
        }
        // Without a quota, the number of calls in a minute has no bound.
        if limits.per_minute.is_some() {
            self.minute.push_back(now);
        }
        if self.day != day(now) {
            self.day = day(now);
            self.in_day = 0;
        }
        self.in_day = self.in_day.saturating_add(1);
    }
}

/// Returns the Pacific day of a moment, in days since the epoch.
fn day(milliseconds: i64) -> i64 {
    (milliseconds - PACIFIC_MILLISECONDS).div_euclid(DAY_MILLISECONDS)
}

/// Returns the moment at which a Pacific day ends.
fn end_of(day: i64) -> i64 {
    (day + 1) * DAY_MILLISECONDS + PACIFIC_MILLISECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute: u32, per_day: u32) -> Limits {
        Limits {
            per_minute: NonZeroU32::new(per_minute),
            per_day: NonZeroU32::new(per_day),
        }
    }

    /// Makes a call at each moment, and returns how long each is refused.
    fn waits(limits: Limits, moments: &[i64]) -> Vec<Option<(Period, u64)>> {
        let mut calls = AcceptedCalls::default();
        let mut call = |now: &i64| {
            let exceeded = calls.exceeded(limits, *now);
            if exceeded.is_none() {
                calls.add(limits, *now);
            }
            exceeded.map(|exceeded| {
                let milliseconds = u64::try_from(exceeded.wait.as_millis()).expect("in range");
                (exceeded.period, milliseconds)
            })
        };
        moments.iter().map(&mut call).collect()
    }

    #[test]
    fn the_minute_slides() {
        let refused = |wait| Some((Period::Minute, wait));
        assert_eq!(
            waits(
                limits(2, 0),
                &[0, 30_000, 59_999, 60_000, 60_001, 90_000, 90_500]
            ),
            [
                None,
                None,
                refused(1),
                None,
                refused(29_999),
                None,
                refused(29_500)
            ]
        );
    }

    #[test]
    fn a_refused_call_is_admitted_after_exactly_its_wait() {
        let waits = waits(limits(1, 0), &[7, 1_007, 60_006, 60_007]);
        assert_eq!(
            waits,
            [
                None,
                Some((Period::Minute, 59_000)),
                Some((Period::Minute, 1)),
                None
            ]
        );
    }

    #[test]
    fn the_day_ends_at_midnight_in_utc_minus_8() {
        let midnight = 8 * 60 * MINUTE_MILLISECONDS;
        let refused = |wait| Some((Period::Day, wait));
        assert_eq!(
            waits(
                limits(0, 1),
                &[
                    0,
                    1,
                    midnight - 1,
                    midnight,
                    midnight + 1,
                    midnight + DAY_MILLISECONDS
                ]
            ),
            [
                None,
                refused(28_799_999),
                refused(1),
                None,
                refused(86_399_999),
                None
            ]
        );
    }

    #[test]
    fn the_day_takes_precedence_over_the_minute() {
        let exceeded = waits(limits(1, 1), &[0, 1]);
        assert!(matches!(exceeded[1], Some((Period::Day, _))));
    }

    #[test]
    fn a_lower_limit_counts_the_calls_before_it() {
        let mut calls = AcceptedCalls::default();
        for now in 0..5 {
            calls.add(limits(9, 0), now);
        }
        let wait = |now| {
            let exceeded = calls.exceeded(limits(2, 0), now);
            exceeded.map(|exceeded| exceeded.wait.as_millis())
        };
        assert_eq!(wait(5), Some(59_998));
        assert_eq!(wait(60_003), None);
    }

    #[test]
    fn only_calls_that_a_quota_depends_on_are_kept() {
        let mut calls = AcceptedCalls::default();
        for now in 0..5 {
            calls.add(limits(0, 9), now);
        }
        assert_eq!((calls.minute.len(), calls.in_day), (0, 5));
        for minute in 1..5 {
            calls.add(limits(9, 0), minute * MINUTE_MILLISECONDS);
        }
        assert_eq!(calls.minute, [4 * MINUTE_MILLISECONDS]);
    }
}
