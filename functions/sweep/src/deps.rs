//! What `sweep` depends on.

use gemini::Gemini;
use runtime::{
    announcer::Announcer,
    bucket::Bucket,
    ledger_store::LedgerStore,
    metrics::Metrics,
    outbox_store::OutboxStore,
    shard_queues::ShardQueues,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

/// What `sweep` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Jobs, and the list of those that are open.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The usage of the project's limits.
    pub ledger: LedgerStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queues of the functions that move shards on.
    pub queues: ShardQueues,
    /// Announces events to `notify`.
    pub announcer: Announcer,
    /// The records of sent events.
    pub outboxes: OutboxStore,
    /// The time.
    pub clock: Clock,
    /// The first part of every display name.
    pub stack: String,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

impl Deps {
    /// Builds what `sweep` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            ledger: wiring.ledger_store(),
            gemini: wiring.gemini()?,
            queues: wiring.shard_queues()?,
            announcer: wiring.announcer()?,
            outboxes: wiring.outbox_store(),
            clock: wiring.clock.clone(),
            stack: wiring.settings.stack.clone(),
            metrics: wiring.metrics.clone(),
        })
    }
}
