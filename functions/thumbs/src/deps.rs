//! What `thumbs` depends on.

use darkroom::chain::{REPORTS, THUMBNAILS};
use runtime::{
    bucket::Bucket,
    queue::Queue,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

/// What `thumbs` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Chunks, images and thumbnails.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The queue that triggers `thumbs`.
    pub thumbnails: Queue,
    /// The queue that triggers `report`, which is notified of new thumbnails.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
}

impl Deps {
    /// Builds what `thumbs` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            thumbnails: wiring.queue(THUMBNAILS)?,
            reports: wiring.queue(REPORTS)?,
            clock: wiring.clock.clone(),
        })
    }
}
