//! What `collect` depends on.

use darkroom::results::Limits;
use gemini::Gemini;
use jiff::SignedDuration;
use runtime::{
    bucket::Bucket, catalog_store::CatalogStore, ledger_store::LedgerStore, metrics::Metrics,
    queue::Queue, shard_store::ShardStore,
};
use seam::clock::Clock;

/// How fast to read, and how often to record progress.
#[derive(Clone, Copy, Debug)]
pub struct CollectLimits {
    /// Images on their way to S3 at once.
    pub puts: usize,
    /// Bytes of images on their way to S3 at once; one larger image goes alone.
    pub put_bytes: usize,
    /// Bytes of the responses file between two checkpoints: what a killed invocation reads again.
    pub checkpoint_bytes: u64,
    /// Results between two checkpoints.
    pub checkpoint_results: usize,
    /// Time kept at the end of an invocation to record progress.
    pub reserve: SignedDuration,
}

impl Default for CollectLimits {
    fn default() -> Self {
        Self {
            puts: 8,
            put_bytes: 48 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_results: 200,
            reserve: SignedDuration::from_secs(30),
        }
    }
}

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
