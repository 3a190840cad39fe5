//! What `submit` depends on.

use darkroom::ledger::ProjectLimits;
use gemini::Gemini;
use jiff::SignedDuration;
use runtime::{
    bucket::Bucket, ledger_store::LedgerStore, metrics::Metrics, queue::Queue,
    shard_store::ShardStore, upload_store::UploadStore,
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
    pub limits: ProjectLimits,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers `submit`.
    pub shards: Queue,
    /// The queue that submitted shards are sent to.
    pub polls: Queue,
    /// The queue that changes are reported to.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// The first part of every display name.
    pub stack: String,
    /// How long to wait, after a create call with unknown outcome, before looking for its batch.
    pub quiet: SignedDuration,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}
