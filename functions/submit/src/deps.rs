//! What `submit` depends on.

use darkroom::{
    chain::{GENERATIONS, POLLS, REPORTS, SHARDS},
    ledger::ProjectLimits,
    settings::QuietPeriod,
};
use gemini::Gemini;
use runtime::{
    bucket::Bucket,
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

/// What `submit` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Request files and reference pictures.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The usage of the project's limits.
    pub ledger: LedgerStore,
    /// The records of uploaded references.
    pub references: UploadStore,
    /// The limits of the Gemini project.
    pub limits: Lazy<ProjectLimits>,
    /// The caps of folders.
    pub folders: FolderStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers `submit`.
    pub shards: Queue,
    /// The queue that submitted shards are sent to.
    pub polls: Queue,
    /// The queue that shards are sent to if their batch would come too late.
    pub generations: Queue,
    /// The queue that changes are reported to.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// The first part of every display name.
    pub stack: String,
    /// How long to wait, after a create call with unknown outcome, before looking for its batch.
    pub quiet: QuietPeriod,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

impl Deps {
    /// Builds what `submit` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            ledger: wiring.ledger_store(),
            references: wiring.upload_store(),
            limits: wiring.settings.project.clone(),
            folders: wiring.folder_store(),
            gemini: wiring.gemini()?,
            shards: wiring.queue(SHARDS)?,
            polls: wiring.queue(POLLS)?,
            generations: wiring.queue(GENERATIONS)?,
            reports: wiring.queue(REPORTS)?,
            clock: wiring.clock.clone(),
            stack: wiring.settings.stack.clone(),
            quiet: wiring.settings.quiet_period,
            metrics: wiring.metrics.clone(),
        })
    }
}
