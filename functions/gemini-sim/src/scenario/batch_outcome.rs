//! What may go wrong with a batch as a whole.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::scenario::selector::Selector;

/// What goes wrong with a batch. Only these are lies; a batch without a fate is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchFate {
    /// It stays `PENDING` until it is cancelled, even beyond 48 hours.
    StuckPending,
    /// It stays `RUNNING`, half of its requests done, until it is cancelled, even beyond 48 hours.
    StuckRunning,
    /// It starts, serves nothing, is deaf to a cancel, and is `EXPIRED` after 48 hours.
    Expired,
    /// It ends `FAILED`, with the reason in the operation's `error`.
    Failed,
    /// It ends `FAILED`, and nothing says why.
    FailedSilently,
    /// The service cancels it half-way: `CANCELLED`, with the results until then.
    Cancelled,
    /// It succeeds, but its output file ends in the middle of a line, half-way through. Inline
    /// results are whole.
    Truncated,
}

impl BatchFate {
    /// Its name in a draw.
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

/// What becomes of a live batch, pending or running, whose input file is deleted. Selector it is on
/// the real service is not known: its pages don't say, and no capture shows it. Whoever deletes
/// input files must bear both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DeletingInput {
    /// Nothing: the batch has read it.
    #[default]
    Harmless,
    /// The batch is `FAILED` from that moment on: no output, no cost.
    Fails,
}

/// Selector batches have this fate, by the ordinal of their creation or as a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FateRule {
    /// The batches.
    pub which: Selector,
    /// What becomes of them.
    pub fate: BatchFate,
}
