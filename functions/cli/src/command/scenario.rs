//! The flags that configure the simulated Gemini.

mod output;

use std::{num::NonZeroU32, ops::RangeInclusive};

use clap::{Args, ValueEnum, builder::RangedI64ValueParser, value_parser};
use gemini_sim::{
    BatchOutcome, BatchOutcomeRule, DeletingInput, FaultRule, ForbiddenPrompt, Outage, Scenario,
    Selector,
};

use self::output::{OutputArgs, named_first};

/// The largest padded image. Darkroom accepts 64 MiB.
const MAX_IMAGE_BYTES: i64 = 64 << 20;

/// The failures that the simulated Gemini produces. Without any flag, everything succeeds.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The simulated Gemini")]
pub(super) struct ScenarioArgs {
    /// The seed of all randomness. The same seed gives the same failures.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How long batches take, in seconds: one number, or a range such as 1200..5400.
    #[arg(long, value_name = "MIN..MAX", value_parser = seconds)]
    batch_seconds: Option<RangeInclusive<u32>>,
    /// Answer this share of the requests without an image, in every known form.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    refuse: u8,
    /// Answer this share of the requests with an internal error.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    internal_error: u8,
    /// Omit this share of the result lines, but charge for them.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    missing: u8,
    /// Serve this share of the requests twice: two answers under one key, both charged for.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    served_twice: u8,
    /// Write this share of the result lines twice.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    repeated: u8,
    /// Add to this share of the result lines an image under a key that was not requested, and
    /// charge for it.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    unknown: u8,
    /// Put an interim image, marked as a thought, before this share of the images.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    thoughts: u8,
    /// Draw this share of the images in another aspect ratio than requested.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    wrong_ratio: u8,
    /// Draw this share of the images in the size 1K, and charge for that, whatever was requested.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    wrong_size: u8,
    /// Return this share of the images as PNG, declared as JPEG.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    mislabelled: u8,
    /// Draw every image with this many pixels on its longer side, whatever size was requested, and
    /// charge for what was requested. Small images make large jobs quick to simulate.
    #[arg(long, value_name = "PIXELS", value_parser = value_parser!(u16).range(64..=4096))]
    image_side: Option<u16>,
    /// Pad every image to at least this many bytes. Drawn images are smaller than real ones.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(..=MAX_IMAGE_BYTES))]
    image_bytes: Option<u32>,
    /// Mark this share of the images as generated, by the IPTC digital source type. Whether the
    /// real API does is unknown.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    iptc: u8,
    /// Add empty C2PA content credentials to this share of the images.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    c2pa: u8,
    /// Refuse batches that contain these request lines, in one answer that names all of them. 20%
    /// is a fifth of the keys, 3 the third key ever received, first-2 the first two. A key is bad
    /// in every batch or in none.
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    bad_line: Vec<Selector>,
    /// Return the results in another order than the requests.
    #[arg(long)]
    shuffle: bool,
    /// Keep these batches running until they are canceled. As for all flags that take batches, N
    /// is 3 for the third batch that is created, first-2 for the first two, or 20% for a fifth of
    /// all; separate several with commas.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    stuck: Vec<Selector>,
    /// Keep these batches pending until they are canceled.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    stuck_pending: Vec<Selector>,
    /// Let these batches expire after 48 hours without results, even if they are canceled.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    expired: Vec<Selector>,
    /// Let these batches fail with a reason.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    failed: Vec<Selector>,
    /// Let these batches fail without a reason.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    failed_silently: Vec<Selector>,
    /// Cancel these batches halfway, without a request to cancel.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    cancelled: Vec<Selector>,
    /// End the result files of these batches in the middle of a line.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    truncated: Vec<Selector>,
    /// What happens to a running batch if its input file is deleted. The behavior of the real API
    /// is unknown.
    #[arg(long, value_name = "OUTCOME", value_enum, default_value_t)]
    deleting_input: DeletingInputArg,
    /// Refuse a batch if this many are pending or running. Default: 100, the limit of the real API.
    #[arg(long, value_name = "N")]
    live_batches: Option<usize>,
    /// Refuse a batch if the pending and running batches of its model would then have more than
    /// this many input tokens. Default: no limit.
    #[arg(long, value_name = "N")]
    enqueued_tokens: Option<u64>,
    /// Refuse a single request if this many were accepted in the last 60 seconds, for the same model
    /// and service tier. Default: no limit.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,
    /// The same for a day, which ends at midnight in UTC-8.
    #[arg(long, value_name = "N")]
    requests_per_day: Option<NonZeroU32>,
    /// Serve this share of the flex requests, and refuse the others with 503 for lack of capacity.
    /// Default: 100.
    #[arg(long, value_name = "PERCENT", value_parser = percent())]
    flex_capacity: Option<u8>,
    /// How a sexually explicit prompt is answered, which Google's policy forbids. The answer of the
    /// real API in a batch is unknown.
    #[arg(long, value_name = "ANSWER", value_enum, default_value_t)]
    forbidden_prompt: ForbiddenPromptArg,
    /// Omit new batches from lists for up to this many seconds, at most 600, or for a time in a
    /// range such as 30..60.
    #[arg(long, value_name = "SECONDS", value_parser = list_lag)]
    list_lag: Option<RangeInclusive<u32>>,
    /// Let clients resume downloads. Whether the real API supports this is unknown.
    #[arg(long)]
    ranges: bool,
    /// Let single calls fail, for example create-batch:429:20%. May be repeated. CALL is any,
    /// create-batch, get-batch, list-batches, download, start-upload, ...; FAULT is 400, 401, 403,
    /// 404, 408, 429, 429-minute, 429-day, 429-prepaid, 429-forever, 500, 503, 504, 400-hostile,
    /// key-invalid, api-disabled, country, lost-request, lost-reply, timeout, html, empty, slow or
    /// cut; WHICH is 20% for a fifth of the calls, first-2 for the first two, 3 for the third.
    #[arg(long, value_name = "CALL:FAULT:WHICH")]
    fault: Vec<FaultRule>,
    /// Give all calls of a kind the same answer for a period, for example download:503:0..81m,
    /// get-batch:429-prepaid:2h..62h or uploads:timeout:1d..20d. May be repeated. CALL and ANSWER
    /// are the CALL and FAULT of --fault; CALL may also be uploads or downloads. FROM and TO are
    /// durations since the state folder was created.
    #[arg(long, value_name = "CALL:ANSWER:FROM..TO")]
    outage: Vec<Outage>,
    #[command(flatten)]
    output: OutputArgs,
}

impl ScenarioArgs {
    /// Returns the scenario of the flags. Batches take `default_seconds`, unless `--batch-seconds`
    /// is set.
    pub(super) fn scenario(&self, default_seconds: RangeInclusive<u32>) -> Scenario {
        let batch_seconds = self.batch_seconds.clone().unwrap_or(default_seconds);
        // The flags for outputs fill in the rest.
        self.output.apply_to(Scenario {
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
            wrong_size_percent: self.wrong_size,
            mislabelled_percent: self.mislabelled,
            image_side: self.image_side,
            image_bytes: self.image_bytes,
            iptc_percent: self.iptc,
            c2pa_percent: self.c2pa,
            bad_lines: self.bad_line.clone(),
            shuffle: self.shuffle,
            batch_outcomes: self.batch_outcome_rules(),
            deleting_input: self.deleting_input.into(),
            live_batches: self
                .live_batches
                .unwrap_or(Scenario::default().live_batches),
            enqueued_tokens: self.enqueued_tokens,
            requests_per_minute: self.requests_per_minute,
            requests_per_day: self.requests_per_day,
            flex_capacity_percent: self
                .flex_capacity
                .unwrap_or(Scenario::default().flex_capacity_percent),
            forbidden_prompt: self.forbidden_prompt.into(),
            shortest_list_lag_seconds: self.list_lag.as_ref().map_or(0, |lag| *lag.start()),
            list_lag_seconds: self.list_lag.as_ref().map_or(0, |lag| *lag.end()),
            ranges: self.ranges,
            faults: self.fault.clone(),
            outages: self.outage.clone(),
            ..Scenario::default()
        })
    }

    /// Returns one rule for each batch selector.
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

/// The values of `--forbidden-prompt`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ForbiddenPromptArg {
    /// Feedback on the prompt, and no candidate.
    #[default]
    Blocked,
    /// A candidate without an image that names the filter.
    Withheld,
    /// A text that declines.
    Text,
    /// An error line.
    Error,
    /// An image.
    Drawn,
}

impl From<ForbiddenPromptArg> for ForbiddenPrompt {
    fn from(argument: ForbiddenPromptArg) -> Self {
        match argument {
            ForbiddenPromptArg::Blocked => Self::Blocked,
            ForbiddenPromptArg::Withheld => Self::Withheld,
            ForbiddenPromptArg::Text => Self::Text,
            ForbiddenPromptArg::Error => Self::Error,
            ForbiddenPromptArg::Drawn => Self::Drawn,
        }
    }
}

/// Returns the parser for a share of requests, in percent.
fn percent() -> RangedI64ValueParser<u8> {
    value_parser!(u8).range(0..=100)
}

/// Parses the lag of lists: a range such as `30..60`, or its end.
fn list_lag(text: &str) -> Result<RangeInclusive<u32>, String> {
    const MAX_SECONDS: u32 = 600;
    let given = seconds(text)?;
    if *given.end() > MAX_SECONDS {
        return Err(format!("{} is not in 0..={MAX_SECONDS}", given.end()));
    }
    let shortest = if text.contains("..") {
        *given.start()
    } else {
        0
    };
    Ok(shortest..=*given.end())
}

/// Parses a range such as `1200..5400`, or one number for both ends.
fn seconds(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let number = |digits: &str| {
        digits
            .parse()
            .map_err(|_| format!("invalid number of seconds {digits:?}"))
    };
    let (min, max) = (number(min)?, number(max)?);
    if min > max {
        Err(format!("the start {min} is greater than the end {max}"))
    } else {
        Ok(min..=max)
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
        scenario: ScenarioArgs,
    }

    const HOUR: RangeInclusive<u32> = 1200..=5400;

    fn read(flags: &str) -> Result<Scenario, clap::Error> {
        let words = std::iter::once("gemini").chain(flags.split_whitespace());
        Alone::try_parse_from(words).map(|alone| alone.scenario.scenario(HOUR))
    }

    #[test]
    fn without_flags_everything_succeeds() {
        assert_eq!(read("").unwrap(), Scenario::default());
        assert_eq!(ScenarioArgs::default().scenario(HOUR), Scenario::default());
        Alone::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_effect() {
        let flags = "--seed 7 --batch-seconds 60..120 --refuse 1 --internal-error 2 --missing 3 \
                     --repeated 4 --served-twice 10 --unknown 5 --thoughts 6 --wrong-ratio 8 \
                     --wrong-size 13 --forbidden-prompt text --mislabelled 9 --iptc 11 --c2pa 12 --bad-line 20%,3 --shuffle --list-lag 600 --ranges \
                     --image-side 64 --image-bytes 2000000 --deleting-input fails --live-batches 10 --enqueued-tokens 5000 \
                     --requests-per-minute 3 --requests-per-day 20 --flex-capacity 40 \
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
            wrong_size_percent: 13,
            forbidden_prompt: ForbiddenPrompt::Text,
            mislabelled_percent: 9,
            image_side: Some(64),
            image_bytes: Some(2_000_000),
            iptc_percent: 11,
            c2pa_percent: 12,
            bad_lines: vec![Selector::Percent(20), Selector::Nth(3)],
            shuffle: true,
            batch_outcomes: Vec::new(),
            deleting_input: DeletingInput::Fails,
            live_batches: 10,
            enqueued_tokens: Some(5000),
            requests_per_minute: NonZeroU32::new(3),
            requests_per_day: NonZeroU32::new(20),
            flex_capacity_percent: 40,
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
        let lag = read("--list-lag 30..60").unwrap();
        assert_eq!(
            (lag.shortest_list_lag_seconds, lag.list_lag_seconds),
            (30, 60)
        );
    }

    #[test]
    fn every_flag_for_outputs_has_its_effect() {
        let flags = "--late-output 30m --late-output 2h:3 --lost-output 4,first-2 --done absent \
                     --without-counts --inline-output 5 --array 20% --array 6:compact \
                     --shape no-key:20 --shape error-text:5 --keep-output 7";
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
    fn every_flag_for_batches_has_its_effect() {
        let flags = "--stuck 1 --stuck-pending 2 --expired 3 --failed 4 --failed-silently 5 \
                     --cancelled 6 --truncated first-7";
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
    fn named_batches_take_precedence_over_shares() {
        let outcomes = read("--stuck 100%,4 --failed 2").unwrap().batch_outcomes;
        let order: Vec<_> = outcomes.iter().map(|rule| rule.which.to_string()).collect();
        assert_eq!(order, ["4", "2", "100%"]);
    }

    #[test]
    fn rejects_invalid_flags_with_the_reason() {
        for (flags, reason) in [
            ("--refuse 101", "101 is not in 0..=100"),
            ("--list-lag 601", "601 is not in 0..=600"),
            ("--requests-per-minute 0", "number would be zero"),
            (
                "--batch-seconds 9..5",
                "the start 9 is greater than the end 5",
            ),
            ("--batch-seconds soon", "invalid number of seconds \"soon\""),
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
            assert!(error.contains(reason), "{error}");
        }
    }
}
