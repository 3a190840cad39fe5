//! One message of (shards): find out where the shard stands, and take it one step further.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    messages::ShardMessage,
    names::{JobId, ShardId},
    state::{Arrival, SubmitStep, submit_step},
};
use jiff::Timestamp;
use runtime::{
    bucket::BucketError,
    deliveries::{Disposition, Message, deliver},
    ledger_store::LedgerError,
    queue::QueueError,
    shard_store::StateError,
};

use crate::{attempt::submit, deps::Deps, recovery, work::Work};

/// Why a shard could not be taken further now; its message comes back.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The body is no message of this queue.
    #[error("not a shard message: {0}")]
    Message(#[from] serde_json::Error),
    /// The shard was never planned, or its state was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(JobId, ShardId),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An object can't be written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Handles one event of (shards). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.shards, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, SubmitError> {
    let about: ShardMessage = serde_json::from_str(&message.body)?;
    let Some(stored) = deps.states.read(&about.job, about.shard).await? else {
        return Err(SubmitError::NoState(about.job, about.shard));
    };
    let stopped = !stored.shard.is_terminal() && deps.states.is_stopped(&about.job).await?;
    let arrival = Arrival {
        message: &message.id,
        at: deps.clock.now(),
        stopped,
    };
    let step = submit_step(&stored.shard, &arrival);
    let work = Work {
        deps,
        about,
        message: &message.id,
        deadline,
    };
    match step {
        SubmitStep::Submit { attempt, died } => submit(&work, stored, attempt, died).await,
        SubmitStep::Wait(until) => work.wait_on(&stored, until).await,
        SubmitStep::Recover { attempt, file } => {
            let why =
                "a submitter ended between asking Gemini for the batch and writing down its answer";
            recovery::begin(&work, &stored, attempt, file, why).await
        }
        SubmitStep::Fence { file, until } => recovery::fence(&work, &stored, &file, until).await,
        SubmitStep::Look(look) => recovery::look(&work, &stored, look).await,
        SubmitStep::Poll => {
            deps.polls.send(&work.about).await?;
            Ok(Disposition::Done)
        }
        SubmitStep::Stop => work.end(&stored, stored.shard.cancelled()).await,
        SubmitStep::GiveUp => work.end(&stored, stored.shard.given_up()).await,
        SubmitStep::NotOwner => Ok(Disposition::Done),
        SubmitStep::Report => work.tell_report().await,
    }
}
