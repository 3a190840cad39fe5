//! When and how a batch shows its output: late, never, inline, as one array, and what it says of
//! its end.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    batch::{Batch, input::Input, progress::Progress},
    scenario::{
        Scenario,
        output_rules::{ArrayStyle, DoneFlag},
        selector::Selector,
    },
    seeded_random::Draw,
};

/// How a batch shows its output. It is decided when the batch is created. By default the output is
/// a file that is there as soon as the batch is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Delivery {
    /// How long after the end of the batch its output comes.
    pub(crate) late_milliseconds: u64,
    /// Whether its output never comes.
    pub(crate) lost: bool,
    /// When the operation says that it is done.
    pub(crate) done: DoneFlag,
    /// Whether the operation leaves out the counts of requests.
    pub(crate) without_counts: bool,
    /// Whether the output is in the operation itself although the input was a file.
    pub(crate) inline: bool,
    /// If the output file is one array: in which style.
    pub(crate) array: Option<ArrayStyle>,
}

impl Scenario {
    /// How the batch that is created as the `ordinal`th, counted from 1, shows its output.
    pub(crate) fn delivery(&self, batch: &str, ordinal: u64) -> Delivery {
        let means = |which: Selector, what: &str| {
            which.means(ordinal, || {
                Draw::about(self.seed, &[what, &which.to_string(), batch])
            })
        };
        let any = |rules: &[Selector], what: &str| rules.iter().any(|which| means(*which, what));
        let late = self
            .late_outputs
            .iter()
            .find(|late| means(late.which, "late output"));
        let array = self.arrays.iter().find(|array| means(array.which, "array"));
        Delivery {
            late_milliseconds: late.map_or(0, |late| {
                u64::try_from(late.delay.as_millis()).unwrap_or(u64::MAX)
            }),
            lost: any(&self.lost_outputs, "lost output"),
            done: self.done,
            without_counts: self.without_counts,
            inline: any(&self.inline_outputs, "inline output"),
            array: array.map(|array| array.style.unwrap_or_else(|| self.array_style(batch))),
        }
    }

    fn array_style(&self, batch: &str) -> ArrayStyle {
        let drawn = Draw::about(self.seed, &["array style", batch]).below(2);
        if drawn == 0 {
            ArrayStyle::Compact
        } else {
            ArrayStyle::Lines
        }
    }
}

impl Batch {
    /// When the results come that the batch has as it is at `now`; nothing when it has none, or
    /// they never come.
    pub(crate) fn output_comes(&self, now: Timestamp) -> Option<Timestamp> {
        self.output_of(&self.progress(now))
    }

    /// Whether its output is there at `now`.
    pub(crate) fn has_output(&self, now: Timestamp) -> bool {
        self.output_comes(now).is_some_and(|comes| comes <= now)
    }

    /// Whether its output is in the operation itself.
    pub(crate) fn is_inline(&self) -> bool {
        self.input == Input::Inline || self.delivery.inline
    }

    /// When its output comes after its end, if that is later than the end.
    pub(crate) fn late_output(&self) -> Option<Timestamp> {
        if self.delivery.late_milliseconds == 0 {
            None
        } else {
            self.output_comes(Timestamp::MAX)
        }
    }

    /// Whether the operation says at `now`, when the batch is over, that it is done.
    pub(crate) fn says_done(&self, progress: &Progress, now: Timestamp) -> bool {
        match self.delivery.done {
            DoneFlag::Early => true,
            DoneFlag::Late => {
                !progress.has_output() || self.output_of(progress).is_some_and(|comes| comes <= now)
            }
            DoneFlag::Absent => false,
        }
    }

    fn output_of(&self, progress: &Progress) -> Option<Timestamp> {
        if !progress.has_output() || self.delivery.lost {
            return None;
        }
        let late = i64::try_from(self.delivery.late_milliseconds).unwrap_or(i64::MAX);
        Some(
            progress
                .updated
                .saturating_add(SignedDuration::from_millis(late))
                .unwrap_or(Timestamp::MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::batch::tests::{at, batch};

    /// A batch that is over at second 1100, with an output that comes at second 2100.
    fn late(done: DoneFlag) -> Batch {
        let delivery = Delivery {
            late_milliseconds: 1_000_000,
            done,
            ..Delivery::default()
        };
        Batch {
            delivery,
            ..batch()
        }
    }

    fn look(batch: &Batch, second: i64) -> (Value, bool, bool) {
        let operation = batch.operation(at(second), None);
        let metadata = &operation["metadata"];
        assert_eq!(
            metadata.get("output").is_some(),
            operation.get("response").is_some()
        );
        (
            metadata["state"].clone(),
            operation.get("done").is_some(),
            operation.get("response").is_some(),
        )
    }

    #[test]
    fn late_output_comes_after_the_end_and_done_as_it_is_asked_for() {
        let succeeded = json!("BATCH_STATE_SUCCEEDED");
        for (done, before, after) in [
            (DoneFlag::Early, true, true),
            (DoneFlag::Late, false, true),
            (DoneFlag::Absent, false, false),
        ] {
            assert_eq!(
                look(&late(done), 1100),
                (succeeded.clone(), before, false),
                "{done:?}"
            );
            assert_eq!(
                look(&late(done), 2099),
                (succeeded.clone(), before, false),
                "{done:?}"
            );
            assert_eq!(
                look(&late(done), 2100),
                (succeeded.clone(), after, true),
                "{done:?}"
            );
        }
    }

    #[test]
    fn late_output_of_a_cancelled_batch_comes_after_the_cancel() {
        let cancelled = Batch {
            cancelled: Some(at(600)),
            ..late(DoneFlag::Late)
        };
        assert_eq!(
            look(&cancelled, 600),
            (json!("BATCH_STATE_CANCELLED"), false, false)
        );
        assert_eq!(
            look(&cancelled, 1600),
            (json!("BATCH_STATE_CANCELLED"), true, true)
        );
        assert_eq!(
            cancelled.operation(at(600), None).get("error"),
            None,
            "there are results to come"
        );
        assert_eq!(cancelled.events().collect::<Vec<_>>(), [at(1600)]);
        let never_started = Batch {
            cancelled: Some(at(50)),
            ..late(DoneFlag::Late)
        };
        assert_eq!(
            look(&never_started, 50),
            (json!("BATCH_STATE_CANCELLED"), true, false),
            "nothing is to come"
        );
    }

    #[test]
    fn lost_output_never_comes() {
        let lost = Batch {
            delivery: Delivery {
                lost: true,
                ..Delivery::default()
            },
            ..late(DoneFlag::Late)
        };
        assert_eq!(
            look(&lost, 1_000_000_000),
            (json!("BATCH_STATE_SUCCEEDED"), true, false)
        );
        let delivery = Delivery {
            lost: true,
            ..late(DoneFlag::Late).delivery
        };
        let lost = Batch {
            delivery,
            ..batch()
        };
        assert_eq!(
            look(&lost, 1_000_000_000),
            (json!("BATCH_STATE_SUCCEEDED"), false, false)
        );
        assert_eq!(lost.late_output(), None);
    }

    #[test]
    fn the_coming_of_an_output_is_an_event_and_a_change() {
        let late = late(DoneFlag::Early);
        assert_eq!(
            late.events().collect::<Vec<_>>(),
            [at(100), at(1100), at(2100)]
        );
        let told = |second| {
            let metadata = late.operation(at(second), None)["metadata"].take();
            (metadata["endTime"].clone(), metadata["updateTime"].clone())
        };
        let (end, came) = (json!(at(1100).to_string()), json!(at(2100).to_string()));
        assert_eq!(told(1500), (end.clone(), end.clone()));
        assert_eq!(told(9999), (end, came));
    }

    #[test]
    fn counts_are_left_out_altogether() {
        let delivery = Delivery {
            without_counts: true,
            ..Delivery::default()
        };
        let silent = Batch {
            delivery,
            ..batch()
        };
        assert!([0, 600, 1100].iter().all(|second| {
            silent.operation(at(*second), None)["metadata"]
                .get("batchStats")
                .is_none()
        }));
    }

    #[test]
    fn delivery_is_drawn_for_each_batch() {
        let scenario = Scenario {
            late_outputs: vec![
                "2h:3".parse().expect("valid"),
                "1m:50%".parse().expect("valid"),
            ],
            lost_outputs: vec![Selector::Nth(2)],
            inline_outputs: vec![Selector::First(1)],
            arrays: vec!["100%".parse().expect("valid")],
            ..Scenario::default()
        };
        assert_eq!(scenario.delivery("b", 3).late_milliseconds, 7_200_000);
        assert!(scenario.delivery("b", 2).lost && !scenario.delivery("b", 1).lost);
        assert!(scenario.delivery("b", 1).inline && !scenario.delivery("b", 2).inline);
        let drawn: Vec<_> = (0..40)
            .map(|n| scenario.delivery(&n.to_string(), 9))
            .collect();
        for style in [ArrayStyle::Compact, ArrayStyle::Lines] {
            assert!(
                drawn.iter().any(|delivery| delivery.array == Some(style)),
                "{style:?}"
            );
        }
        let late = drawn
            .iter()
            .filter(|delivery| delivery.late_milliseconds == 60_000)
            .count();
        assert!((10..=30).contains(&late), "{late} of 40");
        assert_eq!(Scenario::default().delivery("b", 1), Delivery::default());
    }
}
