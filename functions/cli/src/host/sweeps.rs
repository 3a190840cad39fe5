//! The schedule of `sweep`, the only function that no queue triggers.

use darkroom::chain::FUNCTION_TIMEOUT;
use jiff::{SignedDuration, Timestamp};
use tracing::error;

use crate::cloud::Cloud;

/// How many sweeps run while jobs are open but no queue holds a message. `sweep` treats a message
/// as lost two hours after it should have returned, which may be half a day away. After this many
/// sweeps, nothing more is expected.
const MAX_IDLE_SWEEPS: u32 = 24;

/// When the next sweep is due.
pub(super) struct Sweeps {
    interval: Option<SignedDuration>,
    next: Timestamp,
    /// The number of sweeps since a queue last held a message.
    idle: u32,
}

impl Sweeps {
    /// Schedules the first sweep after a whole interval.
    pub(super) fn new(cloud: &Cloud) -> Self {
        let interval = cloud.sweep_every;
        Self {
            interval,
            next: cloud.time.now() + interval.unwrap_or_default(),
            idle: 0,
        }
    }

    /// Returns when the message or the next sweep is due, whichever is earlier. Without a message,
    /// a sweep is due only while jobs are open.
    pub(super) fn next_due(
        &mut self,
        cloud: &Cloud,
        message: Option<Timestamp>,
    ) -> Option<Timestamp> {
        match message {
            _ if self.interval.is_none() => message,
            Some(message) => {
                self.idle = 0;
                Some(message.min(self.next))
            }
            None if self.idle < MAX_IDLE_SWEEPS && cloud.has_open_jobs() => {
                self.idle += 1;
                Some(self.next)
            }
            None => None,
        }
    }

    /// Runs `sweep` if it is due. A failed sweep is logged, and the next one repeats its work.
    pub(super) async fn run_if_due(&mut self, cloud: &Cloud) {
        let now = cloud.time.now();
        let Some(interval) = self.interval.filter(|_| now >= self.next) else {
            return;
        };
        self.next = now + interval;
        // Boxed, because the future of a whole function is large.
        if let Err(error) = Box::pin(sweep::handler::handle(
            &cloud.deps.sweep,
            now + FUNCTION_TIMEOUT,
        ))
        .await
        {
            error!("sweep failed: {:#}", anyhow::Error::new(error));
        }
    }
}
