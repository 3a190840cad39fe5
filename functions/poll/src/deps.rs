//! What `poll` depends on.

use darkroom::{
    chain::{POLLS, REPORTS, RESULTS},
    settings::PollBackoff,
};
use gemini::Gemini;
use runtime::{
    ledger_store::LedgerStore,
    metrics::Metrics,
    queue::Queue,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::{clock::Clock, rng::Rng};

/// What `poll` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Shard states.
    pub states: ShardStore,
    /// The usage of the project's limits.
    pub ledger: LedgerStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers `poll`.
    pub polls: Queue,
    /// The queue that shards are sent to whose batch has ended.
    pub results: Queue,
    /// The queue that changes are reported to.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// Jitter.
    pub rng: Rng,
    /// How long to wait between two status requests for a batch.
    pub waits: PollBackoff,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

impl Deps {
    /// Builds what `poll` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            states: wiring.shard_store(),
            ledger: wiring.ledger_store(),
            gemini: wiring.gemini()?,
            polls: wiring.queue(POLLS)?,
            results: wiring.queue(RESULTS)?,
            reports: wiring.queue(REPORTS)?,
            clock: wiring.clock.clone(),
            rng: wiring.rng.clone(),
            waits: wiring.settings.poll_backoff,
            metrics: wiring.metrics.clone(),
        })
    }
}
