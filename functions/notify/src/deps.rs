//! What `notify` depends on.

use std::sync::Arc;

use darkroom::chain::NOTIFICATIONS;
use runtime::{
    aws_call::AwsCaller,
    bucket::Bucket,
    outbox_store::OutboxStore,
    queue::Queue,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

use crate::targets::Targets;

/// What `notify` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Jobs, and the list of those with events to send.
    pub bucket: Bucket,
    /// The records of sent events.
    pub outboxes: OutboxStore,
    /// The queue that triggers `notify`.
    pub notifications: Queue,
    /// Where events are sent to.
    pub targets: Targets,
    /// The time.
    pub clock: Clock,
    /// The deployment that events name.
    pub stack: String,
}

impl Deps {
    /// Builds what `notify` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        let targets = &wiring.settings.event_targets;
        let aws = Arc::new(AwsCaller::from_env());
        Ok(Self {
            bucket: wiring.bucket.clone(),
            outboxes: wiring.outbox_store(),
            notifications: wiring.queue(NOTIFICATIONS)?,
            targets: Targets::over_network(targets, &aws, wiring.proxies()?),
            clock: wiring.clock.clone(),
            stack: wiring.settings.stack.clone(),
        })
    }
}
