//! What `collect` depends on.

use darkroom::{
    chain::{GENERATIONS, REPORTS, RESULTS, SHARDS},
    results::Limits,
    settings::CollectLimits,
};
use exchange::expectations::Stores;
use gemini::Gemini;
use runtime::{
    bucket::Bucket,
    catalog_store::CatalogStore,
    ledger_store::LedgerStore,
    metrics::Metrics,
    queue::Queue,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

/// What `collect` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Plans, chunks and images.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The ledger, where the cost of each shard is settled.
    pub ledger: LedgerStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers `collect`.
    pub results: Queue,
    /// The queue that rounds are sent to.
    pub shards: Queue,
    /// The queue that rounds of a synchronous lane are sent to.
    pub generations: Queue,
    /// The queue that changes are reported to.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// The catalogs that jobs were planned with.
    pub catalogs: CatalogStore,
    /// The bounds of one line of output.
    pub limits: Limits,
    /// How fast to read, and how often to record progress.
    pub pace: CollectLimits,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

impl Deps {
    /// Builds what `collect` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            ledger: wiring.ledger_store(),
            gemini: wiring.gemini()?,
            results: wiring.queue(RESULTS)?,
            shards: wiring.queue(SHARDS)?,
            generations: wiring.queue(GENERATIONS)?,
            reports: wiring.queue(REPORTS)?,
            clock: wiring.clock.clone(),
            catalogs: wiring.catalog_store(),
            limits: Limits::default(),
            pace: wiring.settings.collect_limits,
            metrics: wiring.metrics.clone(),
        })
    }

    /// Where the documents are that say what a shard requests.
    pub(crate) fn stores(&self) -> Stores<'_> {
        Stores {
            bucket: &self.bucket,
            states: &self.states,
            catalogs: &self.catalogs,
        }
    }
}
