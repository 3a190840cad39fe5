//! What `poll` depends on.

use gemini::Gemini;
use jiff::SignedDuration;
use runtime::{ledger_store::LedgerStore, metrics::Metrics, queue::Queue, shard_store::ShardStore};
use seam::{clock::Clock, rng::Rng};

/// How long to wait between two status requests for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollBackoff {
    /// At first.
    pub shortest: SignedDuration,
    /// Once it has taken hours, and after errors.
    pub longest: SignedDuration,
}

impl Default for PollBackoff {
    fn default() -> Self {
        Self {
            shortest: SignedDuration::from_mins(1),
            longest: SignedDuration::from_mins(15),
        }
    }
}

impl PollBackoff {
    /// A tenth of the time already waited, within the bounds, give or take a tenth, so that shards
    /// submitted together don't ask together.
    pub(crate) fn after(self, waited: SignedDuration, rng: f64) -> SignedDuration {
        let pause = (waited / 10).clamp(self.shortest, self.longest.max(self.shortest));
        pause.mul_f64(0.9 + 0.2 * rng)
    }
}

/// What `poll` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Shard states.
    pub states: ShardStore,
    /// The usage of the project's limits.
    pub ledger: LedgerStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers `poll`.
    pub polls: Queue,
    /// The queue that shards are sent to whose batch has ended.
    pub results: Queue,
    /// The queue that changes are reported to.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// Jitter.
    pub rng: Rng,
    /// How long to wait between two status requests for a batch.
    pub waits: PollBackoff,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_minute_to_a_quarter_of_an_hour() {
        let pause = |minutes, rng| {
            PollBackoff::default()
                .after(SignedDuration::from_mins(minutes), rng)
                .as_secs()
        };
        assert_eq!(pause(0, 0.5), 60);
        assert_eq!(pause(60, 0.5), 360);
        assert_eq!(pause(60 * 24, 0.5), 900);
        assert!(pause(60, 0.0) < pause(60, 0.99));
    }
}
