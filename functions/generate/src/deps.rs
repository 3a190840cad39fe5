//! What `generate` depends on.

use darkroom::{
    chain::{GENERATIONS, REPORTS, SHARDS},
    ledger::ProjectLimits,
    results::Limits,
    settings::GenerateLimits,
};
use exchange::{expectations::Stores, references::ReferencePlaces};
use gemini::Gemini;
use runtime::{
    bucket::Bucket,
    catalog_store::CatalogStore,
    folder_store::FolderStore,
    lazy::Lazy,
    ledger_store::LedgerStore,
    metrics::Metrics,
    queue::Queue,
    shard_store::ShardStore,
    upload_store::UploadStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

/// What `generate` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Request files, reference pictures, chunks and images.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The ledger, where the cost of each shard is reserved and settled.
    pub ledger: LedgerStore,
    /// The records of uploaded references.
    pub references: UploadStore,
    /// The catalogs that jobs were planned with.
    pub catalogs: CatalogStore,
    /// The limits of the Gemini project.
    pub project: Lazy<ProjectLimits>,
    /// The caps of folders.
    pub folders: FolderStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers `generate`. Rounds in a synchronous lane are sent to it too.
    pub generations: Queue,
    /// The queue that rounds in batches are sent to.
    pub shards: Queue,
    /// The queue that changes are reported to.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// The bounds of one answer.
    pub answers: Limits,
    /// How many calls are in flight, and how long a shard waits for the flex tier.
    pub limits: GenerateLimits,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

impl Deps {
    /// Builds what `generate` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            ledger: wiring.ledger_store(),
            references: wiring.upload_store(),
            catalogs: wiring.catalog_store(),
            project: wiring.settings.project.clone(),
            folders: wiring.folder_store(),
            gemini: wiring.gemini()?,
            generations: wiring.queue(GENERATIONS)?,
            shards: wiring.queue(SHARDS)?,
            reports: wiring.queue(REPORTS)?,
            clock: wiring.clock.clone(),
            answers: Limits::default(),
            limits: wiring.settings.generate_limits,
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

    /// Where reference pictures are, and where they are placed.
    pub(crate) fn places(&self) -> ReferencePlaces<'_> {
        ReferencePlaces {
            bucket: &self.bucket,
            uploads: &self.references,
            gemini: &self.gemini,
            clock: &self.clock,
        }
    }
}
