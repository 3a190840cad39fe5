//! One sweep: each part on its own, so that the failure of one leaves the others.

use std::fmt::Display;

use gemini::ApiError;
use jiff::Timestamp;
use runtime::{
    bucket::BucketError, ledger_store::LedgerError, metrics::Metric, queue::QueueError,
    rejection::RejectionError, shard_store::StateError,
};
use tracing::{error, info};

use crate::{batches, deps::Deps, files, jobs, known::Known, ledger};

/// What one sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Shards and jobs whose message was lost, and that were sent another.
    pub stale: u32,
    /// Batches with a name of ours, and no state.
    pub orphans: u32,
    /// Second batches of a shard.
    pub extras: u32,
    /// Input files that were deleted.
    pub files: u32,
    /// Batches that take up the project's limits.
    pub live: u32,
    /// Jobs that can't be closed because a document is missing or damaged.
    pub blocked: u32,
}

/// Why a part of a sweep could not be done; the next one is an hour away.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A stored document is not what it should be.
    #[error("{what} can't be read: {source}")]
    Malformed {
        /// The document.
        what: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An object can't be read or listed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Gemini gave no answer.
    #[error(transparent)]
    Gemini(#[from] ApiError),
    /// A queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A job can't be rejected.
    #[error(transparent)]
    Rejection(#[from] RejectionError),
}

/// Parts of a sweep failed; each was logged.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the sweep's parts failed: see the lines before")]
pub struct Incomplete(u32);

/// Sweeps once.
///
/// # Errors
/// [`Incomplete`] when a part failed; the others are done.
pub async fn handle(deps: &Deps, _deadline: Timestamp) -> Result<Swept, Incomplete> {
    let mut known = Known::new(deps);
    let mut failures = Failures::default();
    // Read before the states are: an account that changes meanwhile is left for the next sweep.
    let seen = failures.note("ledger", deps.ledger.read().await.map_err(SweepError::from));
    let open = failures.note("jobs", jobs::wake(deps).await);
    if let Some(problem) = open.as_ref().and_then(|open| open.problem.as_ref()) {
        failures.add("jobs", problem);
    }
    let (stale, blocked) = open
        .as_ref()
        .map_or((0, 0), |open| (open.stale, open.blocked));
    let mut swept = Swept {
        stale,
        blocked,
        ..Swept::default()
    };
    match deps.gemini.batches().await {
        Ok(all) => {
            let found = failures
                .note("batches", batches::compare(deps, &all).await)
                .unwrap_or_default();
            (swept.orphans, swept.extras) = (found.orphans, found.extras);
            swept.files = failures
                .note("files", files::delete_spent(deps, &mut known).await)
                .unwrap_or_default();
        }
        // A deployment whose key isn't stored yet has no batches.
        Err(problem @ ApiError::Unauthorized { .. }) => {
            info!("batches and files are left alone: {problem}")
        }
        Err(problem) => failures.add("batches", &problem),
    }
    let accounts = seen
        .zip(open)
        .map(|(ledger, open)| (ledger.accounts, open.commitments))
        .unwrap_or_default();
    let reconciled = ledger::reconcile(deps, &mut known, &accounts.0, &accounts.1).await;
    let ledger = failures.note("ledger", reconciled).unwrap_or_default();
    swept.live = u32::try_from(ledger.live.len()).unwrap_or(u32::MAX);
    deps.metrics.put(&[
        (Metric::Sweeps, 1.0),
        (Metric::StaleShards, swept.stale.into()),
        (Metric::OrphanBatches, swept.orphans.into()),
        (Metric::ExtraBatches, swept.extras.into()),
        (Metric::LiveBatches, swept.live.into()),
        (Metric::BlockedJobs, swept.blocked.into()),
        (
            Metric::ReservedUsd,
            ledger.spent_today(deps.clock.now()).as_f64(),
        ),
    ]);
    info!(
        stale = swept.stale,
        orphans = swept.orphans,
        extras = swept.extras,
        files = swept.files,
        "swept"
    );
    if failures.0 == 0 {
        Ok(swept)
    } else {
        Err(Incomplete(failures.0))
    }
}

/// Counts the parts that failed.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    fn note<T>(&mut self, part: &str, done: Result<T, SweepError>) -> Option<T> {
        done.map_err(|problem| self.add(part, &problem)).ok()
    }

    fn add(&mut self, part: &str, problem: &impl Display) {
        error!(part, "{problem}");
        self.0 += 1;
    }
}
