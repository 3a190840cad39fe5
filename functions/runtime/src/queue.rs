//! Sends messages to a queue, and changes when a received message returns.

use aws_sdk_sqs::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
};
use darkroom::state::LONGEST_WAIT;
use jiff::SignedDuration;
use serde::Serialize;

use crate::{aws::describe, lazy::Lazy};

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Lazy<Client>,
    url: String,
}

/// A request to SQS failed. Whether it took effect is unknown. Repeat it: messages may be delivered
/// twice.
#[derive(Debug, thiserror::Error)]
#[error("sqs {call} {queue}: {what}")]
pub struct QueueError {
    call: &'static str,
    queue: String,
    what: String,
}

impl Queue {
    /// The queue at `url`, through `client`.
    pub fn new(client: impl Into<Lazy<Client>>, url: impl Into<String>) -> Self {
        Self {
            client: client.into(),
            url: url.into(),
        }
    }

    /// Sends a message as JSON.
    ///
    /// # Errors
    /// [`QueueError`]; the message may have been sent.
    pub async fn send(&self, message: &impl Serialize) -> Result<(), QueueError> {
        let body = serde_json::to_string(message)
            .map_err(|error| self.error("send", error.to_string()))?;
        let sent = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await;
        sent.map(drop).map_err(|error| self.failed("send", error))
    }

    /// Makes SQS deliver a received message again after `wait`, instead of after the queue's
    /// visibility timeout.
    ///
    /// # Errors
    /// [`QueueError`]. The message then returns after the visibility timeout.
    pub async fn return_after(
        &self,
        receipt_handle: &str,
        wait: SignedDuration,
    ) -> Result<(), QueueError> {
        // Rounded up: a message that returns too early uses one of its limited receives for nothing.
        let wait = wait.clamp(SignedDuration::ZERO, LONGEST_WAIT);
        let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
        let request = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle);
        let changed = request
            .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send()
            .await;
        changed
            .map(drop)
            .map_err(|error| self.failed("change visibility", error))
    }

    fn failed<E: ProvideErrorMetadata, R>(
        &self,
        call: &'static str,
        error: SdkError<E, R>,
    ) -> QueueError {
        self.error(call, describe(&error))
    }

    fn error(&self, call: &'static str, what: String) -> QueueError {
        let queue = self.url.rsplit('/').next().unwrap_or_default().to_owned();
        QueueError { call, queue, what }
    }
}
