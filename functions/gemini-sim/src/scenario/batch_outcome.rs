//! The outcomes of batches that are not processed normally.

use serde::{Deserialize, Serialize};

use crate::scenario::selector::Selector;

/// How a batch departs from normal processing. A batch without one of these outcomes is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// It stays `PENDING` until it is cancelled, even beyond 48 hours.
    StuckPending,
    /// It stays `RUNNING`, half of its requests done, until it is cancelled, even beyond 48 hours.
    StuckRunning,
    /// It starts, serves nothing, ignores a cancel, and is `EXPIRED` after 48 hours.
    Expired,
    /// It ends `FAILED`, with the reason in the operation's `error`.
    Failed,
    /// It ends `FAILED`, without a reason.
    FailedSilently,
    /// The service cancels it half-way: `CANCELLED`, with the results up to then.
    Cancelled,
    /// It succeeds, but its output file ends in the middle of a line, after half of the results.
    /// Inline results are complete.
    Truncated,
}

impl BatchOutcome {
    /// Returns the name of the outcome in random draws.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StuckPending => "stuck pending",
            Self::StuckRunning => "stuck running",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::FailedSilently => "failed silently",
            Self::Cancelled => "cancelled",
            Self::Truncated => "truncated",
        }
    }
}

/// What happens to a live batch whose input file is deleted. The behavior of the real service is
/// not known: its documentation does not describe it, and no capture shows it. A client that
/// deletes input files must handle both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletingInput {
    /// Nothing, because the batch has already read the file.
    #[default]
    Harmless,
    /// The batch is `FAILED` from that time on, with no output and no cost.
    Fails,
}

/// Gives batches an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchOutcomeRule {
    /// The batches, by the ordinal of their creation or as a share.
    pub which: Selector,
    /// The outcome. Stored as `fate`.
    #[serde(rename = "fate")]
    pub outcome: BatchOutcome,
}
