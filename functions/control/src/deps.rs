//! What `control` depends on.

use darkroom::chain::CONTROLS;
use runtime::{
    bucket::Bucket,
    queue::Queue,
    shard_queues::ShardQueues,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

/// What `control` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Jobs.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The queue that triggers `control`.
    pub controls: Queue,
    /// The queues of the functions that move shards on.
    pub wake: ShardQueues,
    /// The time.
    pub clock: Clock,
}

impl Deps {
    /// Builds what `control` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            controls: wiring.queue(CONTROLS)?,
            wake: wiring.shard_queues()?,
            clock: wiring.clock.clone(),
        })
    }
}
