//! Runs one sweep. Its parts run separately, so that the failure of one doesn't stop the others.

use std::fmt::Display;

use gemini::ApiError;
use jiff::Timestamp;
use runtime::metrics::Metric;
use tracing::{error, info};

use crate::{
    batches,
    deps::Deps,
    error::{Incomplete, SweepError},
    events, files, jobs, ledger,
    state_cache::StateCache,
};

/// The counts of one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Shards and jobs whose message was lost and was sent again.
    pub stale: u32,
    /// Batches of this deployment without a shard state.
    pub orphans: u32,
    /// Second batches of a shard.
    pub extras: u32,
    /// Input files that were deleted.
    pub files: u32,
    /// Batches that count toward the project's limits.
    pub live: u32,
    /// Jobs that can't be closed because a document is missing or damaged.
    pub blocked: u32,
}

/// Sweeps once.
///
/// # Errors
/// [`Incomplete`] if a part failed. The other parts are done nevertheless.
pub async fn handle(deps: &Deps, _deadline: Timestamp) -> Result<Swept, Incomplete> {
    let mut states = StateCache::new(deps);
    let mut failures = Failures::default();

    // The ledger is read before the states, so that an account that changes in between is noticed
    // and left for the next sweep.
    let seen = failures.note("ledger", deps.ledger.read().await.map_err(SweepError::from));

    // Open jobs: send lost messages again.
    let open = failures.note("jobs", jobs::resend_lost_messages(deps).await);
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

    // Jobs with events that may not have been sent: send lost messages again.
    failures.note("events", events::resend_lost_messages(deps).await);

    // Gemini: compare its batches with the states, and delete input files that were read.
    match deps.gemini.batches().await {
        Ok(all) => {
            let found = failures
                .note("batches", batches::compare(deps, &all).await)
                .unwrap_or_default();
            (swept.orphans, swept.extras) = (found.orphans, found.extras);
            swept.files = failures
                .note("files", files::delete_spent(deps, &mut states).await)
                .unwrap_or_default();
        }
        // A deployment without a stored key has no batches yet.
        Err(problem @ ApiError::Unauthorized { .. }) => {
            info!("batches and files skipped: {problem}")
        }
        Err(problem) => failures.add("batches", &problem),
    }

    // The ledger: reconcile it with the states.
    let accounts = seen
        .zip(open)
        .map(|(ledger, open)| (ledger.accounts, open.commitments))
        .unwrap_or_default();
    let reconciled = ledger::reconcile(deps, &mut states, &accounts.0, &accounts.1).await;
    let ledger = failures.note("ledger", reconciled).unwrap_or_default();
    swept.live = u32::try_from(ledger.live.len()).unwrap_or(u32::MAX);

    // The metrics feed the alarms.
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
        "sweep finished"
    );
    if failures.0 == 0 {
        Ok(swept)
    } else {
        Err(Incomplete(failures.0))
    }
}

/// Counts and logs the parts that failed.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    /// Returns the result of a part, and counts its failure.
    fn note<T>(&mut self, part: &str, done: Result<T, SweepError>) -> Option<T> {
        done.map_err(|problem| self.add(part, &problem)).ok()
    }

    fn add(&mut self, part: &str, problem: &impl Display) {
        error!(part, "{problem}");
        self.0 += 1;
    }
}
