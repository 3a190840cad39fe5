//! Invocations of single functions.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::chain::{
    CONTROLS, FUNCTION_TIMEOUT, GENERATIONS, MANIFESTS, NOTIFICATIONS, POLLS, REPORTS, RESULTS,
    SHARDS, THUMBNAILS,
};
use serde_json::json;
use sweep::handler::Swept;

use super::TestCloud;

/// A function's response to the messages of its event.
pub trait BatchResponse {
    /// Whether SQS may delete all messages of the event.
    fn acknowledged(&self) -> bool;
}

impl BatchResponse for SqsBatchResponse {
    fn acknowledged(&self) -> bool {
        self.batch_item_failures.is_empty()
    }
}

/// Passes the next message of a queue to a function. The message stays in the queue, as it does
/// when SQS loses the deletion.
macro_rules! invoke {
    ($cloud:expr, $function:ident, $queue:expr) => {{
        let event = $cloud.deliver($queue);
        let deadline = $cloud.now() + FUNCTION_TIMEOUT;
        $function::handler::handle(&$cloud.local.deps.$function, event, deadline).await
    }};
}

impl TestCloud {
    /// Receives the next message of a queue. It stays in flight until a function or the test
    /// changes that.
    pub fn deliver(&self, queue: &str) -> SqsEvent {
        let deliveries = self.local.queues.receive(queue, 1, None).unwrap();
        let [delivery] = &deliveries[..] else {
            panic!("{queue} has no message")
        };
        let record = json!({
            "messageId": delivery.message_id,
            "receiptHandle": delivery.receipt_handle,
            "body": delivery.body,
        });
        serde_json::from_value(json!({ "Records": [record] })).unwrap()
    }

    /// Passes the next dropped manifest to `plan`.
    pub async fn plan(&self) -> SqsBatchResponse {
        invoke!(self, plan, MANIFESTS)
    }

    /// Passes the next shard to `submit`.
    pub async fn submit(&self) -> SqsBatchResponse {
        invoke!(self, submit, SHARDS)
    }

    /// Passes the next submitted batch to `poll`.
    pub async fn poll(&self) -> SqsBatchResponse {
        invoke!(self, poll, POLLS)
    }

    /// Passes the next batch that has ended to `collect`.
    pub async fn collect(&self) -> SqsBatchResponse {
        invoke!(self, collect, RESULTS)
    }

    /// Passes the next shard of a synchronous lane to `generate`.
    pub async fn generate(&self) -> SqsBatchResponse {
        invoke!(self, generate, GENERATIONS)
    }

    /// Passes the next changed shard to `report`.
    pub async fn report(&self) -> SqsBatchResponse {
        invoke!(self, report, REPORTS)
    }

    /// Passes the next shard that has ended to `thumbs`.
    pub async fn thumbs(&self) -> SqsBatchResponse {
        invoke!(self, thumbs, THUMBNAILS)
    }

    /// Passes the next request of a user, `approve` or `cancel`, to `control`.
    pub async fn control(&self) -> SqsBatchResponse {
        invoke!(self, control, CONTROLS)
    }

    /// Passes the next job with events to send to `notify`.
    pub async fn notify(&self) -> SqsBatchResponse {
        invoke!(self, notify, NOTIFICATIONS)
    }

    /// Runs `sweep` once.
    pub async fn sweep(&self) -> Swept {
        let deadline = self.now() + FUNCTION_TIMEOUT;
        sweep::handler::handle(&self.local.deps.sweep, deadline)
            .await
            .unwrap()
    }
}
