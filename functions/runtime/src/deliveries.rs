//! The loop over what a queue delivers: each message on its own, acknowledged only after its
//! effect.

use std::{collections::BTreeMap, fmt::Display};

use aws_lambda_events::{
    event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent},
    sqs::SqsMessage,
};
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use serde::Deserialize;
use tracing::{Instrument, error, info_span};

use crate::queue::Queue;

/// How long a message stays away after its first failure, and after many.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// How many messages are given another visibility at the same time.
const CONCURRENCY: usize = 8;

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// All it asked for is durable: SQS may delete it.
    Done,
    /// There is more to do: it comes back after this time.
    Later(SignedDuration),
}

/// A message, as it was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, the same at every receive.
    pub id: String,
    /// What it carries.
    pub body: String,
    /// How often it was received, this time included.
    pub receives: u32,
    receipt_handle: String,
}

/// Gives each message of `event` to `process` and answers with those that must come back.
///
/// A failure is logged here, once, and its message comes back after a wait that grows with its
/// receives; a message that waits comes back when it says. Nothing of a message's body is logged.
pub async fn deliver<E: Display>(
    queue: &Queue,
    event: SqsEvent,
    process: impl AsyncFn(&Message) -> Result<Disposition, E>,
) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in event.records {
        let message = Message::from(message);
        let About { job, shard } = serde_json::from_str(&message.body).unwrap_or_default();
        let span = info_span!(
            "message",
            message_id = message.id,
            correlation_id = job,
            shard
        );
        if !deliver_one(queue, &message, &process)
            .instrument(span)
            .await
        {
            report_failed(&mut response.batch_item_failures, message);
        }
    }
    response
}

/// Gives the messages of `event` that are about the same thing to `process` together, and answers
/// with those that must come back. `read` says what a message is about, and what it says of that.
///
/// What becomes of the messages of a group is the same for all of them, and no group depends on
/// another. A message that can't be read fails alone.
pub async fn deliver_together<K: Ord + Display, T, E: Display>(
    queue: &Queue,
    event: SqsEvent,
    read: impl Fn(&Message) -> Result<(K, T), E>,
    process: impl AsyncFn(&K, &[(Message, T)]) -> Result<Disposition, E>,
) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    let mut groups: BTreeMap<K, Vec<(Message, T)>> = BTreeMap::new();
    for message in event.records.into_iter().map(Message::from) {
        match read(&message) {
            Ok((about, said)) => groups.entry(about).or_default().push((message, said)),
            Err(problem) => {
                error!(message_id = message.id, "{problem}");
                let wait = message.wait_after_failure();
                return_all(queue, &mut response, vec![(wait, message)]).await;
            }
        }
    }
    for (about, messages) in groups {
        let span = info_span!("messages", correlation_id = %about, messages = messages.len());
        // Boxed: the futures of a whole function are deep.
        let done = Box::pin(process(&about, &messages))
            .instrument(span.clone())
            .await;
        let messages = messages.into_iter().map(|(message, _)| message);
        let returning = match done {
            Ok(Disposition::Done) => continue,
            Ok(Disposition::Later(wait)) => messages.map(|message| (wait, message)).collect(),
            Err(problem) => {
                span.in_scope(|| error!("{problem}"));
                messages
                    .map(|message| (message.wait_after_failure(), message))
                    .collect()
            }
        };
        return_all(queue, &mut response, returning).await;
    }
    response
}

/// Has each message come back after its wait, and reports all of them as failed.
async fn return_all(
    queue: &Queue,
    response: &mut SqsBatchResponse,
    returning: Vec<(SignedDuration, Message)>,
) {
    let return_one = async |(wait, message): &(SignedDuration, Message)| {
        return_after(queue, message, *wait).await
    };
    stream::iter(&returning)
        .map(return_one)
        .buffer_unordered(CONCURRENCY)
        .for_each(async |()| ())
        .await;
    for (_, message) in returning {
        report_failed(&mut response.batch_item_failures, message);
    }
}

/// Has a message come back after `wait`. If that can't be said, it comes back after the queue's
/// visibility time-out.
async fn return_after(queue: &Queue, message: &Message, wait: SignedDuration) {
    if let Err(problem) = queue.return_after(&message.receipt_handle, wait).await {
        error!("{problem}");
    }
}

fn report_failed(failures: &mut Vec<BatchItemFailure>, message: Message) {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message.id;
    failures.push(failure);
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
    message: &Message,
    process: &impl AsyncFn(&Message) -> Result<Disposition, E>,
) -> bool {
    // Boxed: the futures of a whole function are deep.
    let wait = match Box::pin(process(message)).await {
        Ok(Disposition::Done) => return true,
        Ok(Disposition::Later(wait)) => wait,
        Err(problem) => {
            error!("{problem}");
            message.wait_after_failure()
        }
    };
    return_after(queue, message, wait).await;
    false
}

impl Message {
    /// Doubled with every receive, from half a minute to a quarter of an hour.
    fn wait_after_failure(&self) -> SignedDuration {
        (FIRST_WAIT * (1 << self.receives.saturating_sub(1).min(5))).min(LONGEST_WAIT)
    }
}

impl From<SqsMessage> for Message {
    fn from(message: SqsMessage) -> Self {
        let receives = message
            .attributes
            .get("ApproximateReceiveCount")
            .and_then(|count| count.parse().ok());
        Self {
            id: message.message_id.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            receives: receives.unwrap_or(1),
            receipt_handle: message.receipt_handle.unwrap_or_default(),
        }
    }
}
