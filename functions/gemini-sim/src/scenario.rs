//! A scenario: which faults the simulated service shows, and how long its batches take.
//!
//! Every random decision depends on the seed, the batch and the key, and never on a position or a
//! time. The same batch therefore always gives the same results, and a retry in another batch gets
//! new ones.

pub(crate) mod batch_outcome;
pub(crate) mod duration;
pub(crate) mod forbidden_prompt;
pub(crate) mod output_rules;
pub(crate) mod selector;
pub(crate) mod shape;

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    faults::{Fault, FaultRule, outage::Outage},
    generation::{
        outcome::{LinePlan, Rendering, RequestOutcome},
        refusal::Refusal,
        service_tier::ServiceTier,
    },
    images::marks::Marks,
    scenario::{
        batch_outcome::{BatchOutcome, BatchOutcomeRule, DeletingInput},
        forbidden_prompt::ForbiddenPrompt,
        output_rules::{ArrayRule, DoneFlag, LateOutputRule},
        selector::Selector,
        shape::ShapeRule,
    },
    seeded_random::SeededRandom,
    wire::route::Call,
};

/// What to simulate. Percentages are shares of the request lines. `refuse_percent`,
/// `internal_error_percent` and `missing_percent` exclude each other, so their sum should not
/// exceed 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The seed of all random decisions.
    pub seed: u64,
    /// The minimum time from a batch's creation to its end, in simulated seconds.
    pub shortest_batch_seconds: u32,
    /// The maximum time from a batch's creation to its end, in simulated seconds.
    pub longest_batch_seconds: u32,
    /// Requests that are answered without an image, in any of the service's ways.
    pub refuse_percent: u8,
    /// Requests that end in an error line with code 13.
    pub internal_error_percent: u8,
    /// Requests that are served, counted and billed, but have no line in the output file.
    pub missing_percent: u8,
    /// Requests whose line is in the output file twice. The answer is the same and billed once.
    pub repeated_percent: u8,
    /// Requests that are served twice: the output file also has a second answer with the same key
    /// and another image. Both are billed.
    pub served_twice_percent: u8,
    /// Requests for which the output file has an extra image under a key that no request has. It is
    /// billed.
    pub unknown_percent: u8,
    /// Images that follow an interim image marked as a thought.
    pub thoughts_percent: u8,
    /// Images whose ratio differs from the requested one.
    pub wrong_ratio_percent: u8,
    /// Images that have the size 1K, and are billed as such, whatever size was requested.
    pub wrong_size_percent: u8,
    /// Images that are PNG but labelled as JPEG.
    pub mislabelled_percent: u8,
    /// The longer side of every image in pixels, whatever size was requested. Small images save the
    /// time of drawing and of storing when only requests matter. Requests are billed as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_side: Option<u16>,
    /// The bytes that every image has at least: zeros follow its end, which decoders ignore. Drawn
    /// images are much smaller than those of the real service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<u32>,
    /// Images with the IPTC digital source type of generated images.
    pub iptc_percent: u8,
    /// Images with C2PA content credentials, which are empty.
    pub c2pa_percent: u8,
    /// Result lines of unusual shapes. For shapes that replace an image, the share is that of the
    /// requests that would have one.
    pub shapes: Vec<ShapeRule>,
    /// Request lines that the service rejects, together with their batch. Ordinals count the keys
    /// in the order in which create calls first sent them. Shares depend on the key alone, so a key
    /// is bad in every batch or in none.
    pub bad_lines: Vec<Selector>,
    /// Whether output lines come in another order than the requests.
    pub shuffle: bool,
    /// Outcomes of whole batches. The first matching rule applies. Stored as `batch_fates`.
    #[serde(rename = "batch_fates")]
    pub batch_outcomes: Vec<BatchOutcomeRule>,
    /// Batches whose output becomes available some time after their end. The first matching rule
    /// applies.
    pub late_outputs: Vec<LateOutputRule>,
    /// Batches whose output never becomes available.
    pub lost_outputs: Vec<Selector>,
    /// When the operations of batches that have ended are shown as done.
    pub done: DoneFlag,
    /// Whether operations leave out `batchStats`.
    pub without_counts: bool,
    /// Batches whose results are part of the operation although their input was a file.
    pub inline_outputs: Vec<Selector>,
    /// Batches whose output file is one array. The first matching rule applies.
    pub arrays: Vec<ArrayRule>,
    /// For how many days an output file is kept after it becomes available. Afterwards, its
    /// download fails with 404.
    pub keep_output_days: u32,
    /// What happens to live batches whose input file is deleted.
    pub deleting_input: DeletingInput,
    /// The maximum number of batches that may be pending or running. More are rejected with 429.
    pub live_batches: usize,
    /// The maximum number of input tokens of all pending and running batches of one model, if there
    /// is a limit. Batches beyond it are rejected with 429. The real limit depends on the model and
    /// the tier, and was seen to count ended batches too.
    pub enqueued_tokens: Option<u64>,
    /// The maximum number of single requests that are accepted in 60 seconds, for each model and
    /// service tier, if there is a limit. More are rejected with 429.
    pub requests_per_minute: Option<NonZeroU32>,
    /// The same for a day, which ends at midnight in UTC-8.
    pub requests_per_day: Option<NonZeroU32>,
    /// Flex requests for which there is capacity. The others are rejected with 503.
    pub flex_capacity_percent: u8,
    /// How a request is answered whose prompt the service's policy forbids.
    pub forbidden_prompt: ForbiddenPrompt,
    /// The minimum delay in seconds until lists show a new batch.
    pub shortest_list_lag_seconds: u32,
    /// The maximum delay in seconds until lists show a new batch. A lookup by its name finds it
    /// immediately.
    pub list_lag_seconds: u32,
    /// Whether downloads honor `Range`. It is not known whether the real service does.
    pub ranges: bool,
    /// Whether the log of requests has the requests of batches, in addition to single requests. The
    /// input of each batch is then read a second time.
    pub log_batch_lines: bool,
    /// Faults of single calls. The first matching rule applies.
    pub faults: Vec<FaultRule>,
    /// Periods in which calls of some kind are all answered in the same way. They take precedence
    /// over `faults`; the first matching outage applies.
    pub outages: Vec<Outage>,
}

impl Default for Scenario {
    /// A scenario without faults, whose batches take 20 to 90 minutes. 100 batches may be live
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
            wrong_size_percent: 0,
            mislabelled_percent: 0,
            image_side: None,
            image_bytes: None,
            iptc_percent: 0,
            c2pa_percent: 0,
            shapes: Vec::new(),
            bad_lines: Vec::new(),
            shuffle: false,
            batch_outcomes: Vec::new(),
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
            requests_per_minute: None,
            requests_per_day: None,
            flex_capacity_percent: 100,
            forbidden_prompt: ForbiddenPrompt::default(),
            shortest_list_lag_seconds: 0,
            list_lag_seconds: 0,
            ranges: false,
            log_batch_lines: false,
            faults: Vec::new(),
            outages: Vec::new(),
        }
    }
}

/// The time span in which a batch runs.
pub(crate) struct Schedule {
    pub(crate) starts: Timestamp,
    pub(crate) ends: Timestamp,
}

impl Scenario {
    /// Decides what happens to the request `key` in `batch`.
    pub(crate) fn line_plan(&self, batch: &str, key: &str) -> LinePlan {
        let percent = |what: &str| SeededRandom::new(self.seed, &[what, batch, key]).below(100);
        let drawn = |what: &str, share: u8| percent(what) < u64::from(share);
        let refuse = u64::from(self.refuse_percent);
        let internal_error = refuse + u64::from(self.internal_error_percent);
        let missing = internal_error + u64::from(self.missing_percent);
        let outcome = match percent("outcome") {
            drawn if drawn < refuse => RequestOutcome::Refused(self.refusal(batch, key)),
            drawn if drawn < internal_error => RequestOutcome::InternalError,
            drawn if drawn < missing => RequestOutcome::Missing,
            _ => RequestOutcome::Image(Rendering {
                after_thought: drawn("thought", self.thoughts_percent),
                wrong_ratio: drawn("wrong ratio", self.wrong_ratio_percent),
                wrong_size: drawn("wrong size", self.wrong_size_percent),
                mislabelled: drawn("mislabelled", self.mislabelled_percent),
                side: self.image_side,
                min_bytes: self.image_bytes,
                marks: Marks {
                    iptc: drawn("iptc", self.iptc_percent),
                    c2pa: drawn("c2pa", self.c2pa_percent),
                },
            }),
        };
        LinePlan {
            outcome,
            repeated: drawn("repeated", self.repeated_percent),
            served_twice: drawn("served twice", self.served_twice_percent),
            stray: drawn("stray", self.unknown_percent),
        }
    }

    /// Decides the outcome of the batch that is the `ordinal`th created, from 1.
    pub(crate) fn batch_outcome(&self, batch: &str, ordinal: u64) -> Option<BatchOutcome> {
        let applies = |rule: &&BatchOutcomeRule| {
            rule.which.matches(ordinal, || {
                SeededRandom::new(self.seed, &["batch fate", rule.outcome.name(), batch])
            })
        };
        self.batch_outcomes
            .iter()
            .find(applies)
            .map(|rule| rule.outcome)
    }

    /// Decides whether a cancel after the start ends the batch as succeeded, with errors for the
    /// unserved requests. The real service has been seen to end batches in both ways.
    pub(crate) fn succeeds_when_cancelled(&self, batch: &str) -> bool {
        SeededRandom::new(self.seed, &["cancel", batch]).below(2) == 1
    }

    /// Decides the fault of a call: the `number`th of all calls, and the `ordinal`th of its kind,
    /// from 1.
    pub(crate) fn fault(&self, call: Call, number: u64, ordinal: u64) -> Option<Fault> {
        let applies = |rule: &&FaultRule| {
            let ordinal = if rule.call.is_some() { ordinal } else { number };
            rule.call.is_none_or(|of| of == call)
                && rule.which.matches(ordinal, || {
                    SeededRandom::new(
                        self.seed,
                        &["fault", &rule.to_string(), &number.to_string()],
                    )
                })
        };
        self.faults.iter().find(applies).map(|rule| rule.fault)
    }

    /// Decides whether there is capacity for a single request at this tier. `call` identifies the
    /// call. Only flex lacks capacity.
    pub(crate) fn has_capacity(&self, tier: ServiceTier, call: &str) -> bool {
        let percent = || SeededRandom::new(self.seed, &["flex capacity", call]).below(100);
        tier != ServiceTier::Flex || percent() < u64::from(self.flex_capacity_percent)
    }

    /// Decides when lists start to show a batch created at `created`.
    pub(crate) fn listed(&self, batch: &str, created: Timestamp) -> Timestamp {
        let longest = u64::from(self.list_lag_seconds);
        let shortest = u64::from(self.shortest_list_lag_seconds).min(longest);
        let seconds = SeededRandom::new(self.seed, &["list lag", batch]).between(shortest, longest);
        after(
            created,
            SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)),
        )
    }

    /// Returns how long an output file is kept.
    pub(crate) fn output_lifetime(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.keep_output_days))
    }

    /// Decides when a batch created at `created` starts and ends. It is pending for a tenth of its
    /// time.
    pub(crate) fn schedule(&self, batch: &str, created: Timestamp) -> Schedule {
        let shortest = u64::from(self.shortest_batch_seconds);
        let longest = u64::from(self.longest_batch_seconds);
        let seconds = SeededRandom::new(self.seed, &["duration", batch]).between(shortest, longest);
        let lasts = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        Schedule {
            starts: after(created, lasts / 10),
            ends: after(created, lasts),
        }
    }

    /// Returns the sort key of the line at `position` of the input in the order of the output.
    pub(crate) fn rank(&self, batch: &str, position: usize) -> u64 {
        if self.shuffle {
            SeededRandom::new(self.seed, &["order", batch, &position.to_string()]).number()
        } else {
            position as u64
        }
    }

    fn refusal(&self, batch: &str, key: &str) -> Refusal {
        let drawn =
            SeededRandom::new(self.seed, &["refusal", batch, key]).below(Refusal::ALL.len() as u64);
        Refusal::ALL[usize::try_from(drawn).unwrap_or(0)]
    }
}

fn after(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(scenario: &Scenario, batch: &str) -> Vec<RequestOutcome> {
        (0..300)
            .map(|n| scenario.line_plan(batch, &n.to_string()).outcome)
            .collect()
    }

    #[test]
    fn nothing_goes_wrong_by_default() {
        let scenario = Scenario::default();
        let well = LinePlan {
            outcome: RequestOutcome::Image(Rendering::default()),
            repeated: false,
            served_twice: false,
            stray: false,
        };
        assert!((0..300).all(|n| scenario.line_plan("b", &n.to_string()) == well));
        assert_eq!(scenario.batch_outcome("b", 1), None);
        assert_eq!(scenario.fault(Call::CreateBatch, 1, 1), None);
        assert_eq!(
            scenario.listed("b", Timestamp::UNIX_EPOCH),
            Timestamp::UNIX_EPOCH
        );
    }

    #[test]
    fn percentages_are_approximately_met() {
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
        assert!((60..=120).contains(&count(RequestOutcome::InternalError)));
        assert!((30..=90).contains(&count(RequestOutcome::Missing)));
    }

    #[test]
    fn batches_are_drawn_independently() {
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
            assert!(
                outcomes.contains(&RequestOutcome::Refused(refusal)),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn the_first_matching_rule_applies() {
        let rule = |which: &str, outcome| BatchOutcomeRule {
            which: which.parse().expect("valid"),
            outcome,
        };
        let batch_outcomes = vec![
            rule("2", BatchOutcome::Failed),
            rule("first-3", BatchOutcome::Expired),
        ];
        let scenario = Scenario {
            batch_outcomes,
            ..Scenario::default()
        };
        let outcomes: Vec<_> = (1..=4)
            .map(|ordinal| scenario.batch_outcome("b", ordinal))
            .collect();
        assert_eq!(
            outcomes,
            [
                Some(BatchOutcome::Expired),
                Some(BatchOutcome::Failed),
                Some(BatchOutcome::Expired),
                None
            ]
        );
    }

    #[test]
    fn ordinals_count_calls_of_one_kind() {
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
    fn only_flex_lacks_capacity() {
        let accepted = |tier, flex_capacity_percent| {
            let scenario = Scenario {
                flex_capacity_percent,
                ..Scenario::default()
            };
            let calls = 0..300;
            calls
                .filter(|n| scenario.has_capacity(tier, &n.to_string()))
                .count()
        };
        assert_eq!(accepted(ServiceTier::Flex, 0), 0);
        assert_eq!(accepted(ServiceTier::Flex, 100), 300);
        assert!((60..=120).contains(&accepted(ServiceTier::Flex, 30)));
        assert_eq!(accepted(ServiceTier::Standard, 0), 300);
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
    fn scenarios_round_trip_as_json() {
        let rule = BatchOutcomeRule {
            which: "5%".parse().expect("valid"),
            outcome: BatchOutcome::StuckRunning,
        };
        let faults = vec!["create-batch:lost-reply:20%".parse().expect("valid")];
        let deleting_input = DeletingInput::Fails;
        let scenario = Scenario {
            batch_outcomes: vec![rule],
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
    fn a_batch_of_one_second_is_pending_first() {
        let scenario = Scenario {
            shortest_batch_seconds: 1,
            longest_batch_seconds: 1,
            ..Scenario::default()
        };
        assert!(scenario.schedule("b", Timestamp::UNIX_EPOCH).starts > Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn shuffling_is_reproducible_for_each_batch() {
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
