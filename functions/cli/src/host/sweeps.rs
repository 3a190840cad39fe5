//! The schedule that triggers `sweep`, which no queue does.

use darkroom::chain::FUNCTION_TIMEOUT;
use jiff::{SignedDuration, Timestamp};
use tracing::error;

use crate::cloud::Cloud;

/// How often an open job without a message is swept before nothing more is expected. A message
/// counts as lost two hours after it should have come back, which may be half a day away.
const IN_VAIN: u32 = 24;

/// When the next sweep is due.
pub(super) struct Sweeps {
    every: Option<SignedDuration>,
    next: Timestamp,
    in_vain: u32,
}

impl Sweeps {
    /// The first one after a whole interval.
    pub(super) fn new(cloud: &Cloud) -> Self {
        let every = cloud.sweep_every;
        Self {
            every,
            next: cloud.time.now() + every.unwrap_or_default(),
            in_vain: 0,
        }
    }

    /// When something is due: the message, or a sweep if that is sooner and there is anything to
    /// sweep.
    pub(super) fn sooner_than(
        &mut self,
        cloud: &Cloud,
        message: Option<Timestamp>,
    ) -> Option<Timestamp> {
        match message {
            _ if self.every.is_none() => message,
            Some(message) => {
                self.in_vain = 0;
                Some(message.min(self.next))
            }
            None if self.in_vain < IN_VAIN && cloud.has_open_jobs() => {
                self.in_vain += 1;
                Some(self.next)
            }
            None => None,
        }
    }

    /// Sweeps if it is time. What fails was logged, and is tried again by the next.
    pub(super) async fn run_if_due(&mut self, cloud: &Cloud) {
        let now = cloud.time.now();
        let Some(every) = self.every.filter(|_| now >= self.next) else {
            return;
        };
        self.next = now + every;
        // Boxed: the futures of a whole function are deep.
        if let Err(problem) = Box::pin(sweep::handler::handle(
            &cloud.deps.sweep,
            now + FUNCTION_TIMEOUT,
        ))
        .await
        {
            error!("{problem}");
        }
    }
}
