//! A queue, as those who send to it see it, and the loop over what it delivers.

use aws_sdk_sqs::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
};
use darkroom::state::LONGEST_WAIT;
use jiff::SignedDuration;
use serde::Serialize;

use crate::aws::describe;

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// An SQS call that failed. Its effect is unknown: send again, everything here is idempotent.
#[derive(Debug, thiserror::Error)]
#[error("sqs {call} {queue}: {what}")]
pub struct QueueError {
    call: &'static str,
    queue: String,
    what: String,
}

impl Queue {
    /// The queue at `url`, through `client`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
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

    /// Has a received message come back after `wait`, instead of after the queue's visibility
    /// time-out.
    ///
    /// # Errors
    /// [`QueueError`]; the message then comes back after the visibility time-out.
    pub async fn return_after(
        &self,
        receipt_handle: &str,
        wait: SignedDuration,
    ) -> Result<(), QueueError> {
        // Rounded up: a message that comes back too early spends its receives on coming back.
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
