//! One message of (polls): ask Gemini about the batch, and have the message come back, or hand the
//! shard on.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    messages::ShardMessage,
    names::{JobId, ShardId},
    state::{Arrival, PollStep, poll_step},
};
use jiff::Timestamp;
use runtime::{
    deliveries::{Disposition, Message, deliver},
    ledger_store::LedgerError,
    queue::QueueError,
    shard_store::StateError,
};

use crate::{answer::ask, deps::Deps, work::Work};

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
