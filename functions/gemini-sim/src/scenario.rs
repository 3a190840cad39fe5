//! How the simulated service behaves: what goes well, what goes wrong, and how long it takes.
//!
//! Every decision is drawn from the seed, the batch and the key, never from a position or a moment:
//! the same batch gives the same results whenever it is asked, and a retry in another batch draws
//! anew.

pub(crate) mod batch_outcome;
pub(crate) mod duration;
pub(crate) mod output_rules;
pub(crate) mod selector;
pub(crate) mod shape;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    faults::{Fault, FaultRule, outage::Outage},
    generation::{
        outcome::{LineFate, Outcome, Rendering},
        refusal::Refusal,
    },
    scenario::{
        batch_outcome::{BatchFate, DeletingInput, FateRule},
        output_rules::{ArrayRule, DoneFlag, LateOutput},
        selector::Selector,
        shape::ShapeRule,
    },
    seeded_random::Draw,
    wire::route::Call,
};

/// What to simulate. Percentages are of request lines; `refuse`, `internal_error` and `missing`
/// exclude each other and together want to stay within 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What all draws start from.
    pub seed: u64,
    /// The least time from a batch's creation to its end, in simulated seconds.
    pub shortest_batch_seconds: u32,
    /// The most time from a batch's creation to its end, in simulated seconds.
    pub longest_batch_seconds: u32,
    /// Requests answered without an image, in any of the ways the service has.
    pub refuse_percent: u8,
    /// Requests that end in an error line with code 13.
    pub internal_error_percent: u8,
    /// Requests that are served, counted and billed, but whose line is not in the output file.
    pub missing_percent: u8,
    /// Requests whose line is in the output file twice: one answer, told twice, and billed once.
    pub repeated_percent: u8,
    /// Requests that are served twice: beside its line the output file has another answer under the
    /// same key, an image. Both are billed.
    pub served_twice_percent: u8,
    /// Requests beside whose line the output file has an image under a key that nobody asked for.
    /// It is billed.
    pub unknown_percent: u8,
    /// Images that come after an interim image marked as a thought.
    pub thoughts_percent: u8,
    /// Images of another ratio than was asked for.
    pub wrong_ratio_percent: u8,
    /// Images that are PNG and said to be JPEG.
    pub mislabelled_percent: u8,
    /// Result lines of odd shapes. Shapes that take the place of an image are shares of the
    /// requests that would have one.
    pub shapes: Vec<ShapeRule>,
    /// Request lines that the service calls wrong, so that it refuses their batch. Ordinals count
    /// the keys in the order in which create calls first brought them; shares are drawn by the key,
    /// so that a key is bad in every batch or in none.
    pub bad_lines: Vec<Selector>,
    /// Whether output lines come in another order than the requests.
    pub shuffle: bool,
    /// What goes wrong with whole batches. The first rule that means a batch decides.
    pub batch_fates: Vec<FateRule>,
    /// Batches whose output comes some time after their end. The first rule that means a batch
    /// decides.
    pub late_outputs: Vec<LateOutput>,
    /// Batches whose output never comes.
    pub lost_outputs: Vec<Selector>,
    /// When the operations of batches that are over say `done`.
    pub done: DoneFlag,
    /// Whether operations leave out `batchStats`.
    pub without_counts: bool,
    /// Batches whose results are in the operation although their input was a file.
    pub inline_outputs: Vec<Selector>,
    /// Batches whose output file is one array. The first rule that means a batch decides.
    pub arrays: Vec<ArrayRule>,
    /// How many days an output file is kept, from the moment on at which it is there. Then its
    /// download answers 404.
    pub keep_output_days: u32,
    /// What becomes of live batches whose input file is deleted.
    pub deleting_input: DeletingInput,
    /// The most batches that may be pending or running. One more is refused with 429.
    pub live_batches: usize,
    /// The most input tokens of all batches of one model that are pending or running, if there is a
    /// limit. What would exceed it is refused with 429. The real one depends on model and tier, and
    /// was seen to count ended batches too.
    pub enqueued_tokens: Option<u64>,
    /// The most seconds from a batch's creation until lists have it. By its name it is there at
    /// once.
    pub list_lag_seconds: u32,
    /// Whether a download may begin elsewhere than at the start: `Range` is honored. Whether the
    /// real service does is not known.
    pub ranges: bool,
    /// What goes wrong with single calls. The first rule that means a call decides.
    pub faults: Vec<FaultRule>,
    /// Spans of time in which calls of some kind are answered in one way. They come before
    /// `faults`; the first outage that means a call decides.
    pub outages: Vec<Outage>,
}

impl Default for Scenario {
    /// Everything goes well, in 20 to 90 minutes. 100 batches may be live
    /// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11-21), and results are kept
    /// for six weeks (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11-21).
    fn default() -> Self {
        Self {
            seed: 0,
            shortest_batch_seconds: 20 * 60,
            longest_batch_seconds: 90 * 60,
            refuse_percent: 0,
            internal_error_percent: 0,
            missing_percent: 0,
            repeated_percent: 0,
            served_twice_percent: 0,
            unknown_percent: 0,
            thoughts_percent: 0,
            wrong_ratio_percent: 0,
            mislabelled_percent: 0,
            shapes: Vec::new(),
            bad_lines: Vec::new(),
            shuffle: false,
            batch_fates: Vec::new(),
            late_outputs: Vec::new(),
            lost_outputs: Vec::new(),
            done: DoneFlag::default(),
            without_counts: false,
            inline_outputs: Vec::new(),
            arrays: Vec::new(),
            keep_output_days: 42,
            deleting_input: DeletingInput::default(),
            live_batches: 100,
            enqueued_tokens: None,
            list_lag_seconds: 0,
            ranges: false,
            faults: Vec::new(),
            outages: Vec::new(),
        }
    }
}

/// When a batch runs.
pub(crate) struct Schedule {
    pub(crate) starts: Timestamp,
    pub(crate) ends: Timestamp,
}

impl Scenario {
    /// What becomes of the request `key` in `batch`.
    pub(crate) fn line_fate(&self, batch: &str, key: &str) -> LineFate {
        let percent = |what: &str| Draw::about(self.seed, &[what, batch, key]).below(100);
        let drawn = |what: &str, share: u8| percent(what) < u64::from(share);
        let refuse = u64::from(self.refuse_percent);
        let internal_error = refuse + u64::from(self.internal_error_percent);
        let missing = internal_error + u64::from(self.missing_percent);
        let outcome = match percent("outcome") {
            drawn if drawn < refuse => Outcome::Refused(self.refusal(batch, key)),
            drawn if drawn < internal_error => Outcome::InternalError,
            drawn if drawn < missing => Outcome::Missing,
            _ => Outcome::Image(Rendering {
                after_thought: drawn("thought", self.thoughts_percent),
                wrong_ratio: drawn("wrong ratio", self.wrong_ratio_percent),
                mislabelled: drawn("mislabelled", self.mislabelled_percent),
            }),
        };
        LineFate {
            outcome,
            repeated: drawn("repeated", self.repeated_percent),
            served_twice: drawn("served twice", self.served_twice_percent),
            stray: drawn("stray", self.unknown_percent),
        }
    }

    /// What goes wrong with the batch that is created as the `ordinal`th, counted from 1.
    pub(crate) fn batch_fate(&self, batch: &str, ordinal: u64) -> Option<BatchFate> {
        let meant = |rule: &&FateRule| {
            rule.which.means(ordinal, || {
                Draw::about(self.seed, &["batch fate", rule.fate.name(), batch])
            })
        };
        self.batch_fates.iter().find(meant).map(|rule| rule.fate)
    }

    /// Whether a cancel after the start ends in success, the unserved requests as errors. Both ends
    /// have been seen.
    pub(crate) fn succeeds_when_cancelled(&self, batch: &str) -> bool {
        Draw::about(self.seed, &["cancel", batch]).below(2) == 1
    }

    /// What goes wrong with a call: the `number`th of all, and the `ordinal`th of its kind, counted
    /// from 1.
    pub(crate) fn fault(&self, call: Call, number: u64, ordinal: u64) -> Option<Fault> {
        let meant = |rule: &&FaultRule| {
            let ordinal = if rule.call.is_some() { ordinal } else { number };
            rule.call.is_none_or(|of| of == call)
                && rule.which.means(ordinal, || {
                    Draw::about(
                        self.seed,
                        &["fault", &rule.to_string(), &number.to_string()],
                    )
                })
        };
        self.faults.iter().find(meant).map(|rule| rule.fault)
    }

    /// From when on lists have a batch created at `created`.
    pub(crate) fn listed(&self, batch: &str, created: Timestamp) -> Timestamp {
        let seconds = Draw::about(self.seed, &["list lag", batch])
            .between(0, u64::from(self.list_lag_seconds));
        after(
            created,
            SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)),
        )
    }

    /// How long an output file is kept.
    pub(crate) fn output_lifetime(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.keep_output_days))
    }

    /// When a batch created at `created` starts and ends. It waits for a tenth of its time.
    pub(crate) fn schedule(&self, batch: &str, created: Timestamp) -> Schedule {
        let shortest = u64::from(self.shortest_batch_seconds);
        let longest = u64::from(self.longest_batch_seconds);
        let seconds = Draw::about(self.seed, &["duration", batch]).between(shortest, longest);
        let lasts = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        Schedule {
            starts: after(created, lasts / 10),
            ends: after(created, lasts),
        }
    }

    /// Where the line at `position` of the input comes in the order of the output.
    pub(crate) fn rank(&self, batch: &str, position: usize) -> u64 {
        if self.shuffle {
            Draw::about(self.seed, &["order", batch, &position.to_string()]).number()
        } else {
            position as u64
        }
    }

    fn refusal(&self, batch: &str, key: &str) -> Refusal {
        let drawn =
            Draw::about(self.seed, &["refusal", batch, key]).below(Refusal::ALL.len() as u64);
        Refusal::ALL[usize::try_from(drawn).unwrap_or(0)]
    }
}

fn after(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(scenario: &Scenario, batch: &str) -> Vec<Outcome> {
        (0..300)
            .map(|n| scenario.line_fate(batch, &n.to_string()).outcome)
            .collect()
    }

    #[test]
    fn nothing_goes_wrong_by_default() {
        let scenario = Scenario::default();
        let well = LineFate {
            outcome: Outcome::Image(Rendering::default()),
            repeated: false,
            served_twice: false,
            stray: false,
        };
        assert!((0..300).all(|n| scenario.line_fate("b", &n.to_string()) == well));
        assert_eq!(scenario.batch_fate("b", 1), None);
        assert_eq!(scenario.fault(Call::CreateBatch, 1, 1), None);
        assert_eq!(
            scenario.listed("b", Timestamp::UNIX_EPOCH),
            Timestamp::UNIX_EPOCH
        );
    }

    #[test]
    fn percentages_are_kept_roughly() {
        let scenario = Scenario {
            internal_error_percent: 30,
            missing_percent: 20,
            ..Scenario::default()
        };
        let outcomes = outcomes(&scenario, "b");
        let count = |wanted| {
            outcomes
                .iter()
                .filter(|outcome| **outcome == wanted)
                .count()
        };
        assert!((60..=120).contains(&count(Outcome::InternalError)));
        assert!((30..=90).contains(&count(Outcome::Missing)));
    }

    #[test]
    fn another_batch_draws_anew() {
        let scenario = Scenario {
            internal_error_percent: 50,
            ..Scenario::default()
        };
        assert_ne!(outcomes(&scenario, "one"), outcomes(&scenario, "two"));
    }

    #[test]
    fn refusals_take_every_shape() {
        let scenario = Scenario {
            refuse_percent: 100,
            ..Scenario::default()
        };
        let outcomes = outcomes(&scenario, "b");
        for refusal in Refusal::ALL {
            assert!(outcomes.contains(&Outcome::Refused(refusal)), "{refusal:?}");
        }
    }

    #[test]
    fn first_rule_that_means_a_batch_decides() {
        let rule = |which: &str, fate| FateRule {
            which: which.parse().expect("valid"),
            fate,
        };
        let batch_fates = vec![
            rule("2", BatchFate::Failed),
            rule("first-3", BatchFate::Expired),
        ];
        let scenario = Scenario {
            batch_fates,
            ..Scenario::default()
        };
        let fates: Vec<_> = (1..=4)
            .map(|ordinal| scenario.batch_fate("b", ordinal))
            .collect();
        assert_eq!(
            fates,
            [
                Some(BatchFate::Expired),
                Some(BatchFate::Failed),
                Some(BatchFate::Expired),
                None
            ]
        );
    }

    #[test]
    fn fault_of_a_kind_counts_calls_of_that_kind_alone() {
        let faults = vec![
            "download:cut:first-1".parse().expect("valid"),
            "any:503:5".parse().expect("valid"),
        ];
        let scenario = Scenario {
            faults,
            ..Scenario::default()
        };
        assert_eq!(scenario.fault(Call::Download, 9, 1), Some(Fault::Cut));
        assert_eq!(scenario.fault(Call::Download, 10, 2), None);
        assert_eq!(scenario.fault(Call::GetFile, 1, 1), None);
        assert_eq!(
            scenario.fault(Call::GetFile, 5, 2),
            Some(Fault::Unavailable)
        );
    }

    #[test]
    fn list_lag_is_within_its_bound() {
        let scenario = Scenario {
            list_lag_seconds: 600,
            ..Scenario::default()
        };
        let lags = (0..200).map(|n| {
            scenario
                .listed(&n.to_string(), Timestamp::UNIX_EPOCH)
                .as_second()
        });
        let (least, most) = lags.fold((i64::MAX, 0), |(least, most), lag| {
            (least.min(lag), most.max(lag))
        });
        assert!(
            (0..60).contains(&least) && (540..=600).contains(&most),
            "{least} to {most}"
        );
    }

    #[test]
    fn behavior_is_kept_as_json() {
        let rule = FateRule {
            which: "5%".parse().expect("valid"),
            fate: BatchFate::StuckRunning,
        };
        let faults = vec!["create-batch:lost-reply:20%".parse().expect("valid")];
        let deleting_input = DeletingInput::Fails;
        let scenario = Scenario {
            batch_fates: vec![rule],
            deleting_input,
            faults,
            ranges: true,
            ..Scenario::default()
        };
        let json = serde_json::to_value(&scenario).expect("JSON");
        assert_eq!(
            json["batch_fates"],
            serde_json::json!([{"which": "5%", "fate": "stuck_running"}])
        );
        assert_eq!(json["deleting_input"], "fails");
        assert_eq!(
            json["faults"],
            serde_json::json!(["create-batch:lost-reply:20%"])
        );
        assert_eq!(
            serde_json::from_value::<Scenario>(json).expect("the same"),
            scenario
        );
    }

    #[test]
    fn batches_end_within_the_bounds_and_start_before_they_end() {
        let scenario = Scenario::default();
        for n in 0..100 {
            let schedule = scenario.schedule(&n.to_string(), Timestamp::UNIX_EPOCH);
            assert!((1200..=5400).contains(&schedule.ends.as_second()));
            assert!(schedule.starts < schedule.ends);
        }
    }

    #[test]
    fn batch_of_a_second_waits_too() {
        let scenario = Scenario {
            shortest_batch_seconds: 1,
            longest_batch_seconds: 1,
            ..Scenario::default()
        };
        assert!(scenario.schedule("b", Timestamp::UNIX_EPOCH).starts > Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn shuffling_changes_the_order_but_not_for_one_batch() {
        let scenario = Scenario {
            shuffle: true,
            ..Scenario::default()
        };
        let order = |batch: &str| {
            let mut positions: Vec<usize> = (0..20).collect();
            positions.sort_by_key(|position| scenario.rank(batch, *position));
            positions
        };
        assert_eq!(order("one"), order("one"));
        assert_ne!(order("one"), order("two"));
        assert_ne!(order("one"), (0..20).collect::<Vec<_>>());
    }
}
