//! One message of (polls): ask Gemini about the batch, and have the message come back, or hand the
//! shard on.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    messages::ShardMessage,
    names::{JobId, ShardId},
    state::{Arrival, PollStep, poll_step},
};
use gemini::Gemini;
use jiff::{SignedDuration, Timestamp};
use runtime::{
    deliveries::{Disposition, Message, deliver},
    ledger_store::{LedgerError, LedgerStore},
    metrics::Metrics,
    queue::{Queue, QueueError},
    shard_store::{ShardStore, StateError},
};
use seam::{clock::Clock, rng::Rng};

use crate::{answer::ask, work::Work};

/// How long a batch is left alone between two questions about it.
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

/// What `poll` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Shard states.
    pub states: ShardStore,
    /// What the project's limits are taken up by.
    pub ledger: LedgerStore,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers it.
    pub polls: Queue,
    /// Where ended batches go.
    pub results: Queue,
    /// Where changes are told.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// Jitter.
    pub rng: Rng,
    /// How often to ask.
    pub waits: PollBackoff,
    /// What an operator watches.
    pub metrics: Metrics,
}

/// Why a batch could not be asked about now; its message comes back.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The body is no message of this queue.
    #[error("not a shard message: {0}")]
    Message(#[from] serde_json::Error),
    /// The shard's state was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(JobId, ShardId),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Handles one event of (polls).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.polls, event, async |message| {
        process(deps, message).await
    })
    .await
}

async fn process(deps: &Deps, message: &Message) -> Result<Disposition, PollError> {
    let about: ShardMessage = serde_json::from_str(&message.body)?;
    let Some(stored) = deps.states.read(&about.job, about.shard).await? else {
        return Err(PollError::NoState(about.job, about.shard));
    };
    let stopped = !stored.shard.is_terminal() && deps.states.is_stopped(&about.job).await?;
    let arrival = Arrival {
        message: &message.id,
        at: deps.clock.now(),
        stopped,
    };
    let step = poll_step(&stored.shard, &arrival);
    let work = Work {
        deps,
        about,
        message: &message.id,
        stopped,
    };
    match step {
        PollStep::Ask {
            batch,
            cancel,
            overdue,
        } => ask(&work, stored, &batch, cancel, overdue).await,
        PollStep::Collect => work.hand_on().await,
        PollStep::GiveUp => work.end(&stored, stored.shard.given_up()).await,
        PollStep::NotOwner => Ok(Disposition::Done),
        PollStep::Report => work.tell_report(Disposition::Done).await,
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
