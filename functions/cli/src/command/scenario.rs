//! What the simulated Gemini is to do, as flags.

mod output;

use std::ops::RangeInclusive;

use clap::{Args, ValueEnum, value_parser};
use gemini_sim::{
    BatchOutcome, BatchOutcomeRule, DeletingInput, FaultRule, Outage, Scenario, Selector,
};

use self::output::{OutputArgs, named_first};

/// The lies the simulated Gemini tells. Without any, everything goes well.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The simulated Gemini")]
pub(super) struct BehaviorArgs {
    /// What all chance starts from: the same seed, the same lies.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How long batches take, in seconds. One number for all, or a range, as 1200..5400.
    #[arg(long, value_name = "MIN..MAX", value_parser = seconds)]
    batch_seconds: Option<RangeInclusive<u32>>,
    /// Answer so many percent of the requests without an image, in all the ways there are.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    refuse: u8,
    /// End so many percent of the requests in an internal error.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    internal_error: u8,
    /// Leave so many percent of the lines out of the results, though they are billed.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    missing: u8,
    /// Serve so many percent of the requests twice: two answers under one key, both billed.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    served_twice: u8,
    /// Write so many percent of the lines twice.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    repeated: u8,
    /// Add, to so many percent of the lines, an image under a key that nobody asked for. It is
    /// billed.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    unknown: u8,
    /// Put an interim image, marked as a thought, before so many percent of the images.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    thoughts: u8,
    /// Draw so many percent of the images in another ratio than was asked for.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    wrong_ratio: u8,
    /// Give so many percent of the images as PNG and say that it is JPEG.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    mislabelled: u8,
    /// Refuse batches that hold these request lines, in one answer that names all such lines. 20%
    /// draws a fifth of the keys, 3 is the third key that ever came, first-2 the first two. A key
    /// is bad in every batch or in none.
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    bad_line: Vec<Selector>,
    /// Write the results in another order than the requests.
    #[arg(long)]
    shuffle: bool,
    /// Leave these batches running until they are cancelled. N is 3 for the third batch created,
    /// first-2 for the first two, 20% for a fifth of all; several are separated by commas. So it is
    /// with all flags for batches.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    stuck: Vec<Selector>,
    /// Never start these batches, until they are cancelled.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    stuck_pending: Vec<Selector>,
    /// Let these batches expire after 48 hours, without results, whoever cancels them.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    expired: Vec<Selector>,
    /// Let these batches fail, and say why.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    failed: Vec<Selector>,
    /// Let these batches fail, and don't say why.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    failed_silently: Vec<Selector>,
    /// Cancel these batches half-way, though nobody asked for it.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    cancelled: Vec<Selector>,
    /// End the result files of these batches in the middle of a line.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    truncated: Vec<Selector>,
    /// What becomes of batches under way whose input file is deleted. What Google does is not
    /// known.
    #[arg(long, value_name = "OUTCOME", value_enum, default_value_t)]
    deleting_input: DeletingInputArg,
    /// Refuse a batch when so many are under way. Default: 100, as Google does.
    #[arg(long, value_name = "N")]
    live_batches: Option<usize>,
    /// Refuse a batch with which those of its model that are under way would have more input tokens
    /// than that.
    #[arg(long, value_name = "N")]
    enqueued_tokens: Option<u64>,
    /// Let lists miss new batches for up to so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u32).range(0..=600))]
    list_lag: u32,
    /// Let downloads begin where the client asks. Whether Google does is not known.
    #[arg(long)]
    ranges: bool,
    /// Let calls go wrong. CALL is any, create-batch, get-batch, list-batches, download,
    /// start-upload, ...; FAULT is 400, 401, 403, 404, 408, 429, 429-minute, 429-day, 429-prepaid,
    /// 429-forever, 500, 503, 504, key-invalid, api-disabled, country, lost-request, lost-reply,
    /// timeout, html, empty, slow or cut; WHICH is 20% for a fifth of the calls, first-2 for the
    /// first two, 3 for the third. As in create-batch:429:20%; may be repeated.
    #[arg(long, value_name = "CALL:FAULT:WHICH")]
    fault: Vec<FaultRule>,
    /// Answer all calls of a kind in one way for a while. CALL and ANSWER are as in --fault; CALL
    /// may also be uploads or downloads. FROM and TO are durations since the state folder was made.
    /// As in download:503:0..81m, get-batch:429-prepaid:2h..62h or uploads:timeout:1d..20d; may be
    /// repeated.
    #[arg(long, value_name = "CALL:ANSWER:FROM..TO")]
    outage: Vec<Outage>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The values of `--deleting-input`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum DeletingInputArg {
    /// The batch continues, because it has already read the file.
    #[default]
    Harmless,
    /// The batch fails at that moment: no output, no cost.
    Fails,
}

impl From<DeletingInputArg> for DeletingInput {
    fn from(argument: DeletingInputArg) -> Self {
        match argument {
            DeletingInputArg::Harmless => Self::Harmless,
            DeletingInputArg::Fails => Self::Fails,
        }
    }
}

impl BehaviorArgs {
    /// What the flags ask for, with batches that take `usual` seconds unless they say otherwise.
    pub(super) fn scenario(&self, usual: RangeInclusive<u32>) -> Scenario {
        let batch_seconds = self.batch_seconds.clone().unwrap_or(usual);
        self.output.applied_to(Scenario {
            seed: self.seed,
            shortest_batch_seconds: *batch_seconds.start(),
            longest_batch_seconds: *batch_seconds.end(),
            refuse_percent: self.refuse,
            internal_error_percent: self.internal_error,
            missing_percent: self.missing,
            repeated_percent: self.repeated,
            served_twice_percent: self.served_twice,
            unknown_percent: self.unknown,
            thoughts_percent: self.thoughts,
            wrong_ratio_percent: self.wrong_ratio,
            mislabelled_percent: self.mislabelled,
            bad_lines: self.bad_line.clone(),
            shuffle: self.shuffle,
            batch_outcomes: self.batch_outcome_rules(),
            deleting_input: self.deleting_input.into(),
            live_batches: self
                .live_batches
                .unwrap_or(Scenario::default().live_batches),
            enqueued_tokens: self.enqueued_tokens,
            list_lag_seconds: self.list_lag,
            ranges: self.ranges,
            faults: self.fault.clone(),
            outages: self.outage.clone(),
            ..Scenario::default()
        })
    }

    fn batch_outcome_rules(&self) -> Vec<BatchOutcomeRule> {
        let flags = [
            (&self.stuck, BatchOutcome::StuckRunning),
            (&self.stuck_pending, BatchOutcome::StuckPending),
            (&self.expired, BatchOutcome::Expired),
            (&self.failed, BatchOutcome::Failed),
            (&self.failed_silently, BatchOutcome::FailedSilently),
            (&self.cancelled, BatchOutcome::Cancelled),
            (&self.truncated, BatchOutcome::Truncated),
        ];
        let rules = flags.iter().flat_map(|(which, outcome)| {
            which.iter().map(|which| BatchOutcomeRule {
                which: *which,
                outcome: *outcome,
            })
        });
        named_first(&rules.collect::<Vec<_>>(), |rule| rule.which)
    }
}

/// `1200..5400`, or one number for both.
fn seconds(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let number = |digits: &str| {
        digits
            .parse()
            .map_err(|_| format!("{digits:?} is no number of seconds"))
    };
    let (least, most) = (number(least)?, number(most)?);
    if least > most {
        Err(format!("{least} is more than {most}"))
    } else {
        Ok(least..=most)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use gemini_sim::DoneFlag;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        scenario: BehaviorArgs,
    }

    const HOUR: RangeInclusive<u32> = 1200..=5400;

    fn read(flags: &str) -> Result<Scenario, clap::Error> {
        let words = std::iter::once("gemini").chain(flags.split_whitespace());
        Alone::try_parse_from(words).map(|alone| alone.scenario.scenario(HOUR))
    }

    #[test]
    fn without_flags_everything_goes_well() {
        assert_eq!(read("").unwrap(), Scenario::default());
        assert_eq!(BehaviorArgs::default().scenario(HOUR), Scenario::default());
        Alone::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_effect() {
        let flags = "--seed 7 --batch-seconds 60..120 --refuse 1 --internal-error 2 --missing 3 --repeated 4 \
                     --served-twice 10 --unknown 5 --thoughts 6 --wrong-ratio 8 --mislabelled 9 --bad-line 20%,3 --shuffle --list-lag 600 --ranges \
                     --deleting-input fails --live-batches 10 --enqueued-tokens 5000 \
                     --fault create-batch:429:20% --fault download:cut:first-2 \
                     --outage uploads:timeout:1d..20d --outage any:html:0..81m";
        let expected = Scenario {
            seed: 7,
            shortest_batch_seconds: 60,
            longest_batch_seconds: 120,
            refuse_percent: 1,
            internal_error_percent: 2,
            missing_percent: 3,
            repeated_percent: 4,
            served_twice_percent: 10,
            unknown_percent: 5,
            thoughts_percent: 6,
            wrong_ratio_percent: 8,
            mislabelled_percent: 9,
            bad_lines: vec![Selector::Percent(20), Selector::Nth(3)],
            shuffle: true,
            batch_outcomes: Vec::new(),
            deleting_input: DeletingInput::Fails,
            live_batches: 10,
            enqueued_tokens: Some(5000),
            list_lag_seconds: 600,
            ranges: true,
            faults: vec![
                "create-batch:429:20%".parse().unwrap(),
                "download:cut:first-2".parse().unwrap(),
            ],
            outages: vec![
                "uploads:timeout:1d..20d".parse().unwrap(),
                "any:html:0..81m".parse().unwrap(),
            ],
            ..Scenario::default()
        };
        assert_eq!(read(flags).unwrap(), expected);
        assert_eq!(
            read("--batch-seconds 90").unwrap().longest_batch_seconds,
            90
        );
    }

    #[test]
    fn every_flag_for_outputs_has_its_effect() {
        let flags = "--late-output 30m --late-output 2h:3 --lost-output 4,first-2 --done absent --without-counts \
                     --inline-output 5 --array 20% --array 6:compact --shape no-key:20 --shape error-text:5 \
                     --keep-output 7";
        let expected = Scenario {
            late_outputs: vec!["2h:3".parse().unwrap(), "30m".parse().unwrap()],
            lost_outputs: vec![Selector::Nth(4), Selector::First(2)],
            done: DoneFlag::Absent,
            without_counts: true,
            inline_outputs: vec![Selector::Nth(5)],
            arrays: vec!["6:compact".parse().unwrap(), "20%".parse().unwrap()],
            shapes: vec![
                "no-key:20".parse().unwrap(),
                "error-text:5".parse().unwrap(),
            ],
            keep_output_days: 7,
            ..Scenario::default()
        };
        assert_eq!(read(flags).unwrap(), expected);
        assert_eq!(read("--done late").unwrap().done, DoneFlag::Late);
    }

    #[test]
    fn every_flag_for_batches_has_its_fate() {
        let flags = "--stuck 1 --stuck-pending 2 --expired 3 --failed 4 --failed-silently 5 --cancelled 6 \
                     --truncated first-7";
        let outcomes: Vec<_> = read(flags)
            .unwrap()
            .batch_outcomes
            .iter()
            .map(|rule| (rule.which.to_string(), rule.outcome))
            .collect();
        let expected = [
            ("1", BatchOutcome::StuckRunning),
            ("2", BatchOutcome::StuckPending),
            ("3", BatchOutcome::Expired),
            ("4", BatchOutcome::Failed),
            ("5", BatchOutcome::FailedSilently),
            ("6", BatchOutcome::Cancelled),
            ("first-7", BatchOutcome::Truncated),
        ];
        assert_eq!(
            outcomes,
            expected.map(|(which, outcome)| (which.to_owned(), outcome))
        );
    }

    #[test]
    fn named_batches_come_before_shares() {
        let outcomes = read("--stuck 100%,4 --failed 2").unwrap().batch_outcomes;
        let order: Vec<_> = outcomes.iter().map(|rule| rule.which.to_string()).collect();
        assert_eq!(order, ["4", "2", "100%"]);
    }

    #[test]
    fn wrong_flags_are_refused_with_the_reason() {
        for (flags, told) in [
            ("--refuse 101", "101 is not in 0..=100"),
            ("--list-lag 601", "601 is not in 0..=600"),
            ("--batch-seconds 9..5", "9 is more than 5"),
            ("--batch-seconds soon", "\"soon\" is no number of seconds"),
            ("--stuck 0", "first-2"),
            ("--fault create-batch:418:1", "expected one of 400, 401"),
            ("--late-output later", "invalid duration \"later\""),
            ("--array 3:pretty", "expected compact or lines"),
            ("--shape keyless:5", "expected one of no-key, numeric-key"),
            ("--shape no-key:101", "from 0 to 100"),
            ("--done sometimes", "early, late, absent"),
            ("--keep-output 0", "0 is not in 1.."),
            ("--outage download:503:81m", "download:503:0..81m"),
            (
                "--outage download:503:2h..1h",
                "the end must be later than the start",
            ),
        ] {
            let error = read(flags).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
