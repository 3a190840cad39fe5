//! The loop over the messages of an event. Each message is handled separately and is acknowledged
//! only after its effect is durable.

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

/// How long a message stays hidden after its first failure.
const MIN_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// How long a message stays hidden after many failures.
const MAX_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// How many messages have their visibility changed concurrently.
const CONCURRENCY: usize = 8;

/// What happens to a message after it was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Its effect is durable: SQS may delete it.
    Done,
    /// There is more to do: SQS delivers it again after this time.
    Later(SignedDuration),
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its ID, which is the same for every receive.
    pub id: String,
    /// Its content.
    pub body: String,
    /// How many times it was received, including this time.
    pub receives: u32,
    receipt_handle: String,
}

/// A record of an event without the parts by which SQS identifies a message.
#[derive(Debug, thiserror::Error)]
#[error("record {number} of the event has no {part}")]
struct RecordError {
    /// Counted from 1.
    number: usize,
    part: &'static str,
}

/// Calls `process` for each message of `event` and returns those that SQS must deliver again.
///
/// An error is logged here, once. Its message is delivered again after a wait that grows with the
/// number of receives. The body of a message is never logged.
pub async fn deliver<E: Display>(
    queue: &Queue,
    event: SqsEvent,
    process: impl AsyncFn(&Message) -> Result<Disposition, E>,
) -> SqsBatchResponse {
    let messages = match messages(event) {
        Ok(messages) => messages,
        Err(problem) => return refuse_event(&problem),
    };
    let mut response = SqsBatchResponse::default();
    for message in messages {
        let Subject { job, shard } = serde_json::from_str(&message.body).unwrap_or_default();
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

/// Groups the messages of `event` by subject, calls `process` once for each group, and returns the
/// messages that SQS must deliver again. `read` returns the subject of a message and its content.
///
/// All messages of a group have the same disposition, and no group depends on another. A message
/// that can't be read fails alone.
pub async fn deliver_together<K: Ord + Display, T, E: Display>(
    queue: &Queue,
    event: SqsEvent,
    read: impl Fn(&Message) -> Result<(K, T), E>,
    process: impl AsyncFn(&K, &[(Message, T)]) -> Result<Disposition, E>,
) -> SqsBatchResponse {
    let messages = match messages(event) {
        Ok(messages) => messages,
        Err(problem) => return refuse_event(&problem),
    };

    // Unreadable messages are returned at once and belong to no group.
    let mut response = SqsBatchResponse::default();
    let mut groups: BTreeMap<K, Vec<(Message, T)>> = BTreeMap::new();
    for message in messages {
        match read(&message) {
            Ok((subject, content)) => groups.entry(subject).or_default().push((message, content)),
            Err(problem) => {
                error!(message_id = message.id, "{problem}");
                let wait = message.wait_after_failure();
                return_all(queue, &mut response, vec![(wait, message)]).await;
            }
        }
    }

    for (subject, messages) in groups {
        let span = info_span!("messages", correlation_id = %subject, messages = messages.len());
        // Boxed, because the future of a whole function is large.
        let processed = Box::pin(process(&subject, &messages))
            .instrument(span.clone())
            .await;
        // Each message of the group waits by its own number of receives after an error, and as long
        // as `process` decides otherwise.
        let messages = messages.into_iter().map(|(message, _)| message);
        let returning = match processed {
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

/// The messages of an event.
fn messages(event: SqsEvent) -> Result<Vec<Message>, RecordError> {
    let records = event.records.into_iter().zip(1..);
    records
        .map(|(record, number)| Message::of_record(record, number))
        .collect()
}

/// Reports every message of an event as failed. It is used for an event with a record that can't be
/// reported alone, because it has no ID. SQS then delivers all of them again after the queue's
/// visibility timeout.
fn refuse_event(problem: &RecordError) -> SqsBatchResponse {
    error!("{problem}: nothing in this event was processed");
    let mut response = SqsBatchResponse::default();
    // Lambda treats an empty identifier as the failure of the whole event
    // (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>, read 2026-11).
    response
        .batch_item_failures
        .push(BatchItemFailure::default());
    response
}

/// Makes SQS deliver each message again after its wait, and reports all of them as failed.
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

/// Makes SQS deliver a message again after `wait`. If the request fails, the message returns after
/// the queue's visibility timeout.
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

/// The job and the shard that a message of the chain names, for the log. The messages of S3 name
/// neither.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Subject {
    job: Option<String>,
    shard: Option<String>,
}

/// Handles one message. Returns whether SQS may delete it.
async fn deliver_one<E: Display>(
    queue: &Queue,
    message: &Message,
    process: &impl AsyncFn(&Message) -> Result<Disposition, E>,
) -> bool {
    // Boxed, because the future of a whole function is large.
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
    /// The message in an event's record, which is the `number`th, counted from 1.
    fn of_record(record: SqsMessage, number: usize) -> Result<Self, RecordError> {
        let required = |value: Option<String>, part| {
            value
                .filter(|value| !value.is_empty())
                .ok_or(RecordError { number, part })
        };
        let receives = record
            .attributes
            .get("ApproximateReceiveCount")
            .and_then(|count| count.parse().ok());
        Ok(Self {
            id: required(record.message_id, "message ID")?,
            body: record.body.unwrap_or_default(),
            receives: receives.unwrap_or(1),
            receipt_handle: required(record.receipt_handle, "receipt handle")?,
        })
    }

    /// Doubles with every receive, from half a minute to a quarter of an hour.
    fn wait_after_failure(&self) -> SignedDuration {
        (MIN_WAIT * (1 << self.receives.saturating_sub(1).min(5))).min(MAX_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use aws_sdk_sqs::config::BehaviorVersion;
    use serde_json::{Value, json};

    use super::*;

    /// A queue that is never asked for anything.
    fn queue() -> Queue {
        let config = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::latest());
        Queue::new(aws_sdk_sqs::Client::from_conf(config.build()), "polls")
    }

    /// The identifiers of the failed messages, and how many messages were processed.
    async fn delivered(records: Value) -> (Vec<String>, usize) {
        let event = serde_json::from_value(json!({ "Records": records })).unwrap();
        let processed = std::cell::Cell::new(0);
        let response = deliver(&queue(), event, async |_| {
            processed.set(processed.get() + 1);
            Ok::<_, Infallible>(Disposition::Done)
        })
        .await;
        let failures = response.batch_item_failures.into_iter();
        (
            failures.map(|failure| failure.item_identifier).collect(),
            processed.get(),
        )
    }

    #[tokio::test]
    async fn acknowledges_what_is_done() {
        let whole = json!({ "messageId": "1", "receiptHandle": "h", "body": "{}" });
        assert_eq!(delivered(json!([whole])).await, (Vec::new(), 1));
    }

    #[tokio::test]
    async fn fails_the_whole_event_if_a_record_has_no_message_id() {
        let whole = json!({ "messageId": "1", "receiptHandle": "h", "body": "{}" });
        for incomplete in [
            json!({ "receiptHandle": "h", "body": "{}" }),
            json!({ "messageId": "", "receiptHandle": "h", "body": "{}" }),
            json!({ "messageId": "2", "body": "{}" }),
        ] {
            let (failures, processed) = delivered(json!([whole, incomplete])).await;
            assert_eq!((failures, processed), (vec![String::new()], 0));
        }
    }
}
