//! The loop over what a queue delivers: each message on its own, acknowledged only after its effect.

use std::fmt::Display;

use aws_lambda_events::{
    event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent},
    sqs::SqsMessage,
};
use jiff::SignedDuration;
use serde::Deserialize;
use tracing::{Instrument, error, info_span};

use crate::queue::Queue;

/// How long a message stays away after its first failure, and after many.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// All it asked for is durable: SQS may delete it.
    Done,
    /// There is more to do: it comes back after this time.
    Later(SignedDuration),
}

/// Gives each message of `event` to `process` and answers with those that must come back.
///
/// A failure is logged here, once, and its message comes back after a wait that grows with its receives; a message that
/// waits comes back when it says. Nothing of a message's body is logged.
pub async fn deliver<E: Display>(
    queue: &Queue,
    event: SqsEvent,
    process: impl AsyncFn(&str) -> Result<Disposition, E>,
) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in event.records {
        let id = message.message_id.clone().unwrap_or_default();
        let about = message.body.as_deref().and_then(|body| serde_json::from_str::<About>(body).ok());
        let About { job, shard } = about.unwrap_or_default();
        let span = info_span!("message", message_id = id, correlation_id = job, shard);
        if !deliver_one(queue, message, &process).instrument(span).await {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            response.batch_item_failures.push(failure);
        }
    }
    response
}

/// What a message of the chain is about, for the log. S3's own messages name neither.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    job: Option<String>,
    shard: Option<String>,
}

/// Whether the message may be deleted.
async fn deliver_one<E: Display>(
    queue: &Queue,
    message: SqsMessage,
    process: &impl AsyncFn(&str) -> Result<Disposition, E>,
) -> bool {
    // Boxed: the futures of a whole function are deep.
    let wait = match Box::pin(process(message.body.as_deref().unwrap_or_default())).await {
        Ok(Disposition::Done) => return true,
        Ok(Disposition::Later(wait)) => wait,
        Err(problem) => {
            error!("{problem}");
            wait_after_failure(&message)
        }
    };
    if let Err(problem) = queue.return_after(&message.receipt_handle.unwrap_or_default(), wait).await {
        // It comes back after the queue's visibility time-out instead.
        error!("{problem}");
    }
    false
}

/// Doubled with every receive, from half a minute to a quarter of an hour.
fn wait_after_failure(message: &SqsMessage) -> SignedDuration {
    let receives: u32 =
        message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1);
    (FIRST_WAIT * (1 << receives.saturating_sub(1).min(5))).min(LONGEST_WAIT)
}
