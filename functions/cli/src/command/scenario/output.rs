//! The flags for the outputs of simulated batches.

use clap::{Args, ValueEnum, value_parser};
use gemini_sim::{ArrayRule, DoneFlag, LateOutputRule, Scenario, Selector, ShapeRule};

/// What is unusual about outputs. Without any flag, an output is available as soon as its batch has
/// ended, in the usual form.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct OutputArgs {
    /// Provide outputs only this long after their batch has succeeded: 30m for all batches,
    /// 30m:first-2 for the first two. May be repeated.
    #[arg(long, value_name = "DURATION[:WHICH]")]
    late_output: Vec<LateOutputRule>,
    /// Never provide the outputs of these batches.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    lost_output: Vec<Selector>,
    /// When a batch that has ended reports "done": immediately, with its output, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    done: DoneArg,
    /// Never report how many requests of a batch succeeded, failed or are pending.
    #[arg(long)]
    without_counts: bool,
    /// Return the results of these batches inline, although their input was a file.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    inline_output: Vec<Selector>,
    /// Write the result files of these batches as one array: 3:compact on one line, 3:lines with
    /// one element per line, 3 in a random style. May be repeated.
    #[arg(long, value_name = "N[:STYLE]")]
    array: Vec<ArrayRule>,
    /// Write this share of the result lines in an unusual form, for example no-key:20. May be
    /// repeated. SHAPE is no-key, numeric-key, no-wrapper, data-url, thought-only, file-data,
    /// image-as-text, snake-case, hostile-text, error-http, error-text, error-code-text,
    /// error-status, error-empty, no-image, image-other, other, malformed or empty-response.
    #[arg(long, value_name = "SHAPE:PERCENT")]
    shape: Vec<ShapeRule>,
    /// Delete result files after this many days. Default: 42, as in the real API.
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..))]
    keep_output: Option<u32>,
}

/// The values of `--done`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum DoneArg {
    /// As soon as the batch has ended.
    #[default]
    Early,
    /// As soon as the output is available.
    Late,
    /// Never.
    Absent,
}

impl From<DoneArg> for DoneFlag {
    fn from(argument: DoneArg) -> Self {
        match argument {
            DoneArg::Early => Self::Early,
            DoneArg::Late => Self::Late,
            DoneArg::Absent => Self::Absent,
        }
    }
}

impl OutputArgs {
    /// Returns `scenario` with the outputs that the flags configure.
    pub(super) fn apply_to(&self, scenario: Scenario) -> Scenario {
        Scenario {
            late_outputs: named_first(&self.late_output, |rule| rule.which),
            lost_outputs: self.lost_output.clone(),
            done: self.done.into(),
            without_counts: self.without_counts,
            inline_outputs: self.inline_output.clone(),
            arrays: named_first(&self.array, |rule| rule.which),
            shapes: self.shape.clone(),
            keep_output_days: self.keep_output.unwrap_or(scenario.keep_output_days),
            ..scenario
        }
    }
}

/// Moves the rules for named batches before those for shares. The first matching rule applies, so a
/// share is drawn from the batches that are not named.
pub(super) fn named_first<T: Clone>(rules: &[T], which: impl Fn(&T) -> Selector) -> Vec<T> {
    let (shares, named): (Vec<T>, Vec<T>) = rules
        .iter()
        .cloned()
        .partition(|rule| matches!(which(rule), Selector::Percent(_)));
    [named, shares].concat()
}
