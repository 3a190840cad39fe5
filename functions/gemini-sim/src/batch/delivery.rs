//! When and how a batch's output is delivered: late, never, inline or as one array, and when the
//! operation is shown as done.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    batch::{Batch, input::Input, progress::Progress},
    scenario::{
        Scenario,
        output_rules::{ArrayStyle, DoneFlag},
        selector::Selector,
    },
    seeded_random::SeededRandom,
};

/// When and how a batch's output is delivered, decided when the batch is created. By default, the
/// output is a file that is available as soon as the batch has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Delivery {
    /// The delay between the end of the batch and its output.
    pub(crate) late_milliseconds: u64,
    /// Whether the output is never delivered.
    pub(crate) lost: bool,
    /// When the operation is shown as done.
    pub(crate) done: DoneFlag,
    /// Whether the operation leaves out the request counts.
    pub(crate) without_counts: bool,
    /// Whether the output is part of the operation although the input was a file.
    pub(crate) inline: bool,
    /// The style, if the output file is one array.
    pub(crate) array: Option<ArrayStyle>,
}

impl Scenario {
    /// Decides the delivery of the batch that is the `ordinal`th created, from 1.
    pub(crate) fn delivery(&self, batch: &str, ordinal: u64) -> Delivery {
        let matches = |which: Selector, what: &str| {
            which.matches(ordinal, || {
                SeededRandom::new(self.seed, &[what, &which.to_string(), batch])
            })
        };
        let any = |rules: &[Selector], what: &str| rules.iter().any(|which| matches(*which, what));
        let late = self
            .late_outputs
            .iter()
            .find(|late| matches(late.which, "late output"));
        let array = self
            .arrays
            .iter()
            .find(|array| matches(array.which, "array"));
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
        let drawn = SeededRandom::new(self.seed, &["array style", batch]).below(2);
        if drawn == 0 {
            ArrayStyle::Compact
        } else {
            ArrayStyle::Lines
        }
    }
}

impl Batch {
    /// Returns when the output becomes available that the batch has in its state at `now`. `None`
    /// if it has none, or if the output is lost.
    pub(crate) fn output_available_from(&self, now: Timestamp) -> Option<Timestamp> {
        self.output_time(&self.progress(now))
    }

    /// Returns whether the output is available at `now`.
    pub(crate) fn has_output(&self, now: Timestamp) -> bool {
        self.output_available_from(now)
            .is_some_and(|comes| comes <= now)
    }

    /// Returns whether the output is part of the operation.
    pub(crate) fn is_inline(&self) -> bool {
        self.input == Input::Inline || self.delivery.inline
    }

    /// Returns when the output becomes available, if that is later than the end of the batch.
    pub(crate) fn late_output_from(&self) -> Option<Timestamp> {
        if self.delivery.late_milliseconds == 0 {
            None
        } else {
            self.output_available_from(Timestamp::MAX)
        }
    }

    /// Returns whether the operation of a batch that has ended is shown as done at `now`.
    pub(crate) fn is_shown_as_done(&self, progress: &Progress, now: Timestamp) -> bool {
        match self.delivery.done {
            DoneFlag::Early => true,
            DoneFlag::Late => {
                !progress.has_output()
                    || self.output_time(progress).is_some_and(|comes| comes <= now)
            }
            DoneFlag::Absent => false,
        }
    }

    fn output_time(&self, progress: &Progress) -> Option<Timestamp> {
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

    /// A batch that ends at second 1100, with an output that becomes available at second 2100.
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

    fn observe(batch: &Batch, second: i64) -> (Value, bool, bool) {
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
    fn a_late_output_follows_the_end_and_done_is_configurable() {
        let succeeded = json!("BATCH_STATE_SUCCEEDED");
        for (done, before, after) in [
            (DoneFlag::Early, true, true),
            (DoneFlag::Late, false, true),
            (DoneFlag::Absent, false, false),
        ] {
            assert_eq!(
                observe(&late(done), 1100),
                (succeeded.clone(), before, false),
                "{done:?}"
            );
            assert_eq!(
                observe(&late(done), 2099),
                (succeeded.clone(), before, false),
                "{done:?}"
            );
            assert_eq!(
                observe(&late(done), 2100),
                (succeeded.clone(), after, true),
                "{done:?}"
            );
        }
    }

    #[test]
    fn a_late_output_of_a_cancelled_batch_follows_the_cancel() {
        let cancelled = Batch {
            cancelled: Some(at(600)),
            ..late(DoneFlag::Late)
        };
        assert_eq!(
            observe(&cancelled, 600),
            (json!("BATCH_STATE_CANCELLED"), false, false)
        );
        assert_eq!(
            observe(&cancelled, 1600),
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
            observe(&never_started, 50),
            (json!("BATCH_STATE_CANCELLED"), true, false),
            "nothing is to come"
        );
    }

    #[test]
    fn a_lost_output_is_never_available() {
        let lost = Batch {
            delivery: Delivery {
                lost: true,
                ..Delivery::default()
            },
            ..late(DoneFlag::Late)
        };
        assert_eq!(
            observe(&lost, 1_000_000_000),
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
            observe(&lost, 1_000_000_000),
            (json!("BATCH_STATE_SUCCEEDED"), false, false)
        );
        assert_eq!(lost.late_output_from(), None);
    }

    #[test]
    fn the_arrival_of_an_output_is_an_event_and_an_update() {
        let late = late(DoneFlag::Early);
        assert_eq!(
            late.events().collect::<Vec<_>>(),
            [at(100), at(1100), at(2100)]
        );
        let message = |second| {
            let metadata = late.operation(at(second), None)["metadata"].take();
            (metadata["endTime"].clone(), metadata["updateTime"].clone())
        };
        let (end, came) = (json!(at(1100).to_string()), json!(at(2100).to_string()));
        assert_eq!(message(1500), (end.clone(), end.clone()));
        assert_eq!(message(9999), (end, came));
    }

    #[test]
    fn counts_can_be_left_out() {
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
    fn delivery_is_decided_for_each_batch() {
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
