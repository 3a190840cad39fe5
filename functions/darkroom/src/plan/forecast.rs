//! Forecasts the maximum duration of a job whose batches can't all run at the same time because of
//! the project's limits.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::PlannedShard;
use crate::{batch_bounds::BatchBounds, ledger::Window, money::Usd, state::SUBMIT_DEADLINE};

/// The forecast for a job that takes longer than a day. It assumes that each batch takes a day,
/// which Google states as possible (<https://ai.google.dev/gemini-api/docs/batch-api>, read
/// 2026-11), and doesn't include retries and other jobs.
///
/// ```json
/// {"batches":7,"at_once":1,"days":7,"limit":"enqueued_tokens","note":"7 batches, one after another, by …"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The number of batches of the first round.
    pub batches: u32,
    /// The number of batches that can run at the same time.
    pub at_once: u32,
    /// The number of days until the last batch has ended.
    pub days: u32,
    /// The limit that prevents more batches from running at the same time.
    pub limit: Limit,
    /// The forecast as a sentence.
    pub note: String,
}

/// The days of a month in a forecast.
const DAYS_OF_A_MONTH: u32 = 30;

/// A limit of the project, or of the job's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The number of live batches.
    LiveBatches,
    /// The input tokens of a model in live batches.
    EnqueuedTokens,
    /// Dollars that may be spent on one day.
    DailyCap,
    /// Dollars that the job's folder may spend in one day or one month.
    FolderCap,
}

impl Forecast {
    /// Forecasts the duration of these shards, or returns `None` if all can run at the same time.
    pub fn of(shards: &[PlannedShard], live_batches: u32, bounds: &BatchBounds) -> Option<Self> {
        let mut queues: BTreeMap<&str, VecDeque<&PlannedShard>> = BTreeMap::new();
        // A shard of a synchronous lane takes up no batch.
        let batches = shards
            .iter()
            .filter(|shard| !shard.group.lane.is_synchronous());
        for shard in batches {
            queues
                .entry(&shard.group.model)
                .or_default()
                .push_back(shard);
        }
        let (mut days, mut at_once, mut limit) = (0_u32, 0, None);
        while queues.values().any(|queue| !queue.is_empty()) {
            let day = Day::fill(&mut queues, live_batches, bounds);
            days += 1;
            at_once = at_once.max(day.batches);
            limit = day.limit.or(limit);
        }
        let limit = limit.filter(|_| days > 1)?;
        // The last month counts as one day, because its batches begin with it.
        if limit == Limit::FolderCap && bounds.window() == Window::Month {
            days = (days - 1).saturating_mul(DAYS_OF_A_MONTH).saturating_add(1);
        }
        let batches = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        let note = note(batches, at_once, days, limit, live_batches, bounds);
        Some(Self {
            batches,
            at_once,
            days,
            limit,
            note,
        })
    }
}

/// The batches of one day.
struct Day<'a> {
    batches: u32,
    tokens: BTreeMap<&'a str, u64>,
    usd: Usd,
    /// The limit that the next batch would exceed.
    limit: Option<Limit>,
}

impl<'a> Day<'a> {
    /// Takes as many shards as the limits allow on one day, one of each model in turn.
    fn fill(
        queues: &mut BTreeMap<&'a str, VecDeque<&'a PlannedShard>>,
        live_batches: u32,
        bounds: &BatchBounds,
    ) -> Self {
        let mut day = Self {
            batches: 0,
            tokens: BTreeMap::new(),
            usd: Usd::ZERO,
            limit: None,
        };
        loop {
            let mut moved = false;
            for queue in queues.values_mut() {
                let Some(next) = queue.front().copied() else {
                    continue;
                };
                // A shard may exceed a limit even on an empty day, if the limits have changed since
                // planning. It counts as a separate day, so that the loop ends.
                match day
                    .lacks(next, live_batches, bounds)
                    .filter(|_| day.batches > 0)
                {
                    Some(limit) => day.limit = Some(limit),
                    None => {
                        day.take(next);
                        queue.pop_front();
                        moved = true;
                    }
                }
            }
            if !moved {
                return day;
            }
        }
    }

    /// Returns the limit that the next batch would exceed, if any.
    fn lacks(&self, next: &PlannedShard, live_batches: u32, bounds: &BatchBounds) -> Option<Limit> {
        let tokens = self
            .tokens
            .get(next.group.model.as_str())
            .copied()
            .unwrap_or_default();
        if bounds
            .tokens
            .get(&next.group.model)
            .is_some_and(|limit| tokens.saturating_add(next.demand.tokens) > *limit)
        {
            Some(Limit::EnqueuedTokens)
        } else if bounds
            .usd
            .is_some_and(|cap| self.usd + next.demand.usd > cap)
        {
            Some(match bounds.folder {
                None => Limit::DailyCap,
                Some(_) => Limit::FolderCap,
            })
        } else {
            (self.batches >= live_batches).then_some(Limit::LiveBatches)
        }
    }

    fn take(&mut self, shard: &'a PlannedShard) {
        self.batches += 1;
        let tokens = self.tokens.entry(&shard.group.model).or_default();
        *tokens = tokens.saturating_add(shard.demand.tokens);
        self.usd += shard.demand.usd;
    }
}

fn note(
    batches: u32,
    at_once: u32,
    days: u32,
    limit: Limit,
    live_batches: u32,
    bounds: &BatchBounds,
) -> String {
    let together = match at_once {
        1 => "one after another".to_owned(),
        more => format!("at most {more} at a time"),
    };
    let limit = match limit {
        Limit::LiveBatches => format!("the limit of {live_batches} live batches"),
        Limit::EnqueuedTokens => "your tier's token limit".to_owned(),
        Limit::DailyCap | Limit::FolderCap => format!("the {}", bounds.cap_in_words()),
    };
    let note = format!("{batches} batches, {together}, by {limit}: about {days} days");
    let given_up = SUBMIT_DEADLINE.as_hours() / 24;
    if i64::from(days) <= given_up {
        return note;
    }
    format!(
        "{note}. A batch that has not started after {given_up} days is given up, and its images are listed in \
         retry.jsonl: raise the limit, or split the manifest"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Caps, names::FolderPath, plan::ShardGroup, state::Demand};

    fn shards(model: &str, count: usize, tokens: u64, usd: &str) -> Vec<PlannedShard> {
        let demand = Demand {
            requests: 1_000,
            tokens,
            usd: usd.parse().unwrap(),
        };
        vec![
            PlannedShard {
                group: ShardGroup::batch(model),
                demand
            };
            count
        ]
    }

    fn bounds(tokens: &[(&str, u64)], cap: Option<&str>) -> BatchBounds {
        let tokens = tokens
            .iter()
            .map(|(model, limit)| ((*model).to_owned(), *limit))
            .collect();
        BatchBounds {
            usd: cap.map(|cap| cap.parse().unwrap()),
            folder: None,
            tokens,
        }
    }

    fn summary(forecast: Option<Forecast>) -> Option<(u32, u32, Limit)> {
        forecast.map(|forecast| (forecast.at_once, forecast.days, forecast.limit))
    }

    #[test]
    fn batches_that_fill_the_tier_run_one_after_another() {
        let forecast = Forecast::of(
            &shards("m", 7, 900_000, "1"),
            100,
            &bounds(&[("m", 1_000_000)], None),
        )
        .unwrap();
        assert_eq!(
            (forecast.batches, forecast.at_once, forecast.days),
            (7, 1, 7)
        );
        assert_eq!(
            forecast.note,
            "7 batches, one after another, by your tier's token limit: about 7 days"
        );
    }

    #[test]
    fn shards_that_all_run_at_the_same_time_have_no_forecast() {
        let tier = bounds(&[("m", 1_000_000)], Some("100"));
        assert_eq!(
            Forecast::of(&shards("m", 100, 10_000, "1"), 100, &tier),
            None
        );
        assert_eq!(Forecast::of(&[], 100, &tier), None);
        assert_eq!(
            Forecast::of(&shards("unlimited", 100, u64::MAX, "1"), 100, &tier),
            None
        );
    }

    #[test]
    fn each_limit_is_named_with_the_number_of_concurrent_batches() {
        let none = bounds(&[], None);
        assert_eq!(
            summary(Forecast::of(&shards("m", 250, 1, "1"), 100, &none)),
            Some((100, 3, Limit::LiveBatches))
        );
        let cap = bounds(&[], Some("20.55"));
        let forecast = Forecast::of(&shards("m", 12, 1, "10"), 100, &cap).unwrap();
        assert_eq!(
            (forecast.at_once, forecast.days, forecast.limit),
            (2, 6, Limit::DailyCap)
        );
        assert_eq!(
            forecast.note,
            "12 batches, at most 2 at a time, by the daily cap of $20.55: about 6 days"
        );
        let tier = bounds(&[("m", 100)], None);
        assert_eq!(
            summary(Forecast::of(&shards("m", 7, 30, "1"), 100, &tier)),
            Some((3, 3, Limit::EnqueuedTokens))
        );
    }

    #[test]
    fn a_monthly_cap_of_a_folder_takes_months() {
        let caps = Caps {
            daily_usd: None,
            monthly_usd: Some("20".parse().unwrap()),
        };
        let folder = bounds(&[], None).in_folder(&FolderPath::new("inbox/acme/**"), caps);
        let forecast = Forecast::of(&shards("m", 5, 1, "10"), 100, &folder).unwrap();
        assert_eq!(
            (forecast.at_once, forecast.days, forecast.limit),
            (2, 61, Limit::FolderCap)
        );
        let expected = "by the monthly cap of $20.00 of inbox/acme/**: about 61 days. A batch";
        assert!(forecast.note.contains(expected), "{}", forecast.note);
    }

    #[test]
    fn models_do_not_wait_for_each_others_tokens() {
        let all = [
            shards("a", 3, 100, "1"),
            shards("b", 2, 100, "1"),
            shards("c", 5, 1, "1"),
        ]
        .concat();
        let tier = bounds(&[("a", 100), ("b", 100), ("c", 100)], None);
        assert_eq!(
            summary(Forecast::of(&all, 100, &tier)),
            Some((7, 3, Limit::EnqueuedTokens))
        );
    }

    #[test]
    fn a_forecast_warns_about_batches_that_would_be_given_up() {
        let week = Forecast::of(&shards("m", 7, 1, "1"), 1, &bounds(&[], None)).unwrap();
        assert!(!week.note.contains("given up"), "{}", week.note);
        let longer = Forecast::of(&shards("m", 8, 1, "1"), 1, &bounds(&[], None)).unwrap();
        assert!(
            longer
                .note
                .contains("about 8 days. A batch that has not started after 7 days"),
            "{}",
            longer.note
        );
    }

    #[test]
    fn a_batch_that_exceeds_a_limit_alone_does_not_loop_forever() {
        let forecast = Forecast::of(
            &shards("m", 3, 200, "9"),
            100,
            &bounds(&[("m", 100)], Some("1")),
        );
        assert_eq!(summary(forecast), Some((1, 3, Limit::EnqueuedTokens)));
        assert_eq!(
            summary(Forecast::of(&shards("m", 3, 1, "1"), 0, &bounds(&[], None))),
            Some((1, 3, Limit::LiveBatches))
        );
    }

    #[test]
    fn a_forecast_handles_a_hundred_thousand_batches() {
        let forecast = Forecast::of(
            &shards("m", 100_000, 100, "1"),
            1,
            &bounds(&[("m", 100)], None),
        )
        .unwrap();
        assert_eq!(forecast.days, 100_000);
    }
}
