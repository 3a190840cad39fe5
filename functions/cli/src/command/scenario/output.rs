//! How the simulated Gemini shows the outputs of batches, as flags.

use clap::{Args, ValueEnum, value_parser};
use gemini_sim::{ArrayRule, DoneFlag, LateOutputRule, Scenario, Selector, ShapeRule};

/// What is odd about outputs. Without any flag they are there as soon as their batch is over, in
/// the usual shape.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct OutputArgs {
    /// Let outputs come so long after the end of their batch, though its state says that it
    /// succeeded. 30m means all batches, 30m:first-2 the first two; may be repeated.
    #[arg(long, value_name = "DURATION[:WHICH]")]
    late_output: Vec<LateOutputRule>,
    /// Never give the outputs of these batches.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    lost_output: Vec<Selector>,
    /// When batches that are over say "done": at once, with their output, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    done: DoneArg,
    /// Leave out how many requests of a batch were successful, failed or are pending.
    #[arg(long)]
    without_counts: bool,
    /// Give the results of these batches inline, though their input was a file.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    inline_output: Vec<Selector>,
    /// Write the result files of these batches as one array: 3:compact on one line, 3:lines with
    /// one element a line; 3 draws which. May be repeated.
    #[arg(long, value_name = "N[:STYLE]")]
    array: Vec<ArrayRule>,
    /// Write that share of the result lines in an odd shape. SHAPE is no-key, numeric-key,
    /// no-wrapper, data-url, thought-only, file-data, image-as-text, snake-case, error-http,
    /// error-text, error-code-text, error-status, error-empty, no-image, image-other, other,
    /// malformed or empty-response. As in no-key:20; may be repeated.
    #[arg(long, value_name = "SHAPE:PERCENT")]
    shape: Vec<ShapeRule>,
    /// Delete result files after so many days. Default: 42, as Google does.
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
    /// The rest of the behavior, with outputs as the flags ask for.
    pub(super) fn applied_to(&self, scenario: Scenario) -> Scenario {
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

/// Batches that are named come before shares: a share is of the others.
pub(super) fn named_first<T: Clone>(rules: &[T], which: impl Fn(&T) -> Selector) -> Vec<T> {
    let (shares, named): (Vec<T>, Vec<T>) = rules
        .iter()
        .cloned()
        .partition(|rule| matches!(which(rule), Selector::Percent(_)));
    [named, shares].concat()
}
