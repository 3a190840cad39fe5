//! The batch operations: up to ten entries, each with its own outcome.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    MAX_BATCH, Queues,
    api::{MessageEntry, queue_name, send_message},
    attributes::{VISIBILITY, parameter},
    error::QueueError,
    message::MAX_MESSAGE_SIZE,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound = "T: Deserialize<'de>")]
pub(super) struct Batch<T> {
    queue_url: String,
    #[serde(default)]
    entries: Vec<Entry<T>>,
}

#[derive(Deserialize)]
struct Entry<T> {
    #[serde(rename = "Id")]
    id: String,
    #[serde(flatten)]
    content: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Deletion {
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NewVisibility {
    receipt_handle: String,
    visibility_timeout: i64,
}

/// `SendMessageBatch`.
pub(super) fn send(
    queues: &Queues,
    batch: Batch<MessageEntry>,
    headers: &HeaderMap,
) -> Result<Value, QueueError> {
    let queue = batch.check(queues)?;
    let outgoing = batch
        .entries
        .into_iter()
        .map(|entry| (entry.id, entry.content.into_outgoing(headers)));
    let outgoing: Vec<_> = outgoing.collect();
    // The size limit applies to the sum of all messages that are valid on their own.
    let size = outgoing
        .iter()
        .filter_map(|(_, message)| message.as_ref().ok())
        .map(|message| message.size())
        .sum();
    if size > MAX_MESSAGE_SIZE {
        return Err(QueueError::BatchRequestTooLong(size));
    }
    let outcomes = outgoing.into_iter().map(|(id, message)| {
        (
            id,
            message.and_then(|message| send_message(queues, &queue, message)),
        )
    });
    Ok(report(outcomes))
}

/// `DeleteMessageBatch`.
pub(super) fn delete(queues: &Queues, batch: &Batch<Deletion>) -> Result<Value, QueueError> {
    let queue = batch.check(queues)?;
    Ok(report(batch.entries.iter().map(|entry| {
        let outcome = queues.delete(&queue, &entry.content.receipt_handle);
        (entry.id.clone(), outcome.map(|()| json!({})))
    })))
}

/// `ChangeMessageVisibilityBatch`.
pub(super) fn change_visibility(
    queues: &Queues,
    batch: &Batch<NewVisibility>,
) -> Result<Value, QueueError> {
    let queue = batch.check(queues)?;
    Ok(report(batch.entries.iter().map(|entry| {
        let visibility = parameter(
            "VisibilityTimeout",
            entry.content.visibility_timeout,
            &VISIBILITY,
        );
        let change = |visibility| {
            queues.change_visibility(&queue, &entry.content.receipt_handle, visibility)
        };
        (
            entry.id.clone(),
            visibility.and_then(change).map(|()| json!({})),
        )
    })))
}

impl<T> Batch<T> {
    /// Checks the batch as a whole and returns the queue's name.
    fn check(&self, queues: &Queues) -> Result<String, QueueError> {
        let name = queue_name(&self.queue_url);
        queues.attributes(name)?;
        if self.entries.is_empty() {
            return Err(QueueError::EmptyBatchRequest);
        }
        if self.entries.len() > MAX_BATCH {
            return Err(QueueError::TooManyEntriesInBatchRequest(self.entries.len()));
        }
        let mut seen = BTreeSet::new();
        for Entry { id, .. } in &self.entries {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !(1..=80).contains(&id.len()) || !id.bytes().all(legal) {
                return Err(QueueError::InvalidBatchEntryId);
            }
            if !seen.insert(id) {
                return Err(QueueError::BatchEntryIdsNotDistinct(id.clone()));
            }
        }
        Ok(name.to_owned())
    }
}

/// Returns the outcomes as `Successful` and `Failed`.
fn report(outcomes: impl Iterator<Item = (String, Result<Value, QueueError>)>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, outcome) in outcomes {
        match outcome {
            Ok(mut answer) => {
                answer["Id"] = id.into();
                successful.push(answer);
            }
            Err(error) => failed.push(json!({
                "Id": id,
                "Code": error.query_code(),
                "Message": error.to_string(),
                "SenderFault": error.is_sender_fault(),
            })),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}
