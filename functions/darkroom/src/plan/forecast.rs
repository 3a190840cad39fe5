//! How long a job takes at most, where the project's limits let only some of its batches run at the
//! same time.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::PlannedShard;
use crate::{batch_bounds::BatchBounds, money::Usd, state::SUBMIT_DEADLINE};

/// A job that takes longer than a day, if each batch takes a day, as Google says that it may
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11). Rounds and other jobs come on
/// top.
///
/// ```json
/// {"batches":7,"at_once":1,"days":7,"limit":"enqueued_tokens","note":"7 batches, one after another, by …"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Batches of the first round.
    pub batches: u32,
    /// How many of them can run at the same time.
    pub at_once: u32,
    /// Days until the last has ended.
    pub days: u32,
    /// What lets no more run at the same time.
    pub limit: Limit,
    /// The same for people.
    pub note: String,
}

/// A limit of the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Batches that live at the same time.
    LiveBatches,
    /// Input tokens of a model in batches that live at the same time.
    EnqueuedTokens,
    /// Dollars that may be spent on one day.
    DailyCap,
}

impl Forecast {
    /// What is to be expected of these shards. None if all can run at the same time.
    pub fn of(shards: &[PlannedShard], live_batches: u32, bounds: &BatchBounds) -> Option<Self> {
        let mut queues: BTreeMap<&str, VecDeque<&PlannedShard>> = BTreeMap::new();
        for shard in shards {
            queues.entry(&shard.model).or_default().push_back(shard);
        }
        let (mut days, mut at_once, mut limit) = (0, 0, None);
        while queues.values().any(|queue| !queue.is_empty()) {
            let day = Day::fill(&mut queues, live_batches, bounds);
            days += 1;
            at_once = at_once.max(day.batches);
            limit = day.limit.or(limit);
        }
        let limit = limit.filter(|_| days > 1)?;
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
    /// What the next one has no room for.
    limit: Option<Limit>,
}

impl<'a> Day<'a> {
    /// Takes as many shards as a day has room for, one of each model in turn.
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
                // One that has no room on an empty day, as the limits have changed, is held: it
                // must not end the count.
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

    fn lacks(&self, next: &PlannedShard, live_batches: u32, bounds: &BatchBounds) -> Option<Limit> {
        let tokens = self
            .tokens
            .get(next.model.as_str())
            .copied()
            .unwrap_or_default();
        if bounds
            .tokens
            .get(&next.model)
            .is_some_and(|limit| tokens.saturating_add(next.demand.tokens) > *limit)
        {
            Some(Limit::EnqueuedTokens)
        } else if bounds
            .usd
            .is_some_and(|cap| self.usd + next.demand.usd > cap)
        {
            Some(Limit::DailyCap)
        } else {
            (self.batches >= live_batches).then_some(Limit::LiveBatches)
        }
    }

    fn take(&mut self, shard: &'a PlannedShard) {
        self.batches += 1;
        let tokens = self.tokens.entry(&shard.model).or_default();
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
        Limit::DailyCap => format!("the daily cap of {}", bounds.usd.unwrap_or_default()),
    };
    let note = format!("{batches} batches, {together}, by {limit}: about {days} days");
    let given_up = SUBMIT_DEADLINE.as_hours() / 24;
    if i64::from(days) <= given_up {
        return note;
    }
    format!(
        "{note}. A batch that has not started after {given_up} days is given up, and its images are in retry.jsonl: raise \
         the limit, or drop the manifest in parts"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Demand;

    fn shards(model: &str, count: usize, tokens: u64, usd: &str) -> Vec<PlannedShard> {
        let demand = Demand {
            requests: 1_000,
            tokens,
            usd: usd.parse().unwrap(),
        };
        vec![
            PlannedShard {
                model: model.to_owned(),
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
            tokens,
        }
    }

    fn told(forecast: Option<Forecast>) -> Option<(u32, u32, Limit)> {
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
    fn what_all_runs_at_the_same_time_is_not_worth_a_word() {
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
    fn each_limit_is_named_with_how_many_run_at_a_time() {
        let none = bounds(&[], None);
        assert_eq!(
            told(Forecast::of(&shards("m", 250, 1, "1"), 100, &none)),
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
            told(Forecast::of(&shards("m", 7, 30, "1"), 100, &tier)),
            Some((3, 3, Limit::EnqueuedTokens))
        );
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
            told(Forecast::of(&all, 100, &tier)),
            Some((7, 3, Limit::EnqueuedTokens))
        );
    }

    #[test]
    fn what_would_be_given_up_is_said() {
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
    fn a_batch_that_fits_no_day_does_not_make_it_endless() {
        let forecast = Forecast::of(
            &shards("m", 3, 200, "9"),
            100,
            &bounds(&[("m", 100)], Some("1")),
        );
        assert_eq!(told(forecast), Some((1, 3, Limit::EnqueuedTokens)));
        assert_eq!(
            told(Forecast::of(&shards("m", 3, 1, "1"), 0, &bounds(&[], None))),
            Some((1, 3, Limit::LiveBatches))
        );
    }

    #[test]
    fn a_hundred_thousand_batches_are_foreseen_in_a_moment() {
        let forecast = Forecast::of(
            &shards("m", 100_000, 100, "1"),
            1,
            &bounds(&[("m", 100)], None),
        )
        .unwrap();
        assert_eq!(forecast.days, 100_000);
    }
}
