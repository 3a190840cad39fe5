//! `ReceiveMessage`: the long poll, and the messages in its answer.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    MAX_BATCH, Queues,
    api::queue_name,
    attributes::{VISIBILITY, WAIT, parameter, queue_arn},
    error::QueueError,
    message::{Delivery, md5_of_attributes, md5_of_body},
};
use crate::wire::ACCOUNT;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    queue_url: String,
    max_number_of_messages: Option<usize>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

/// `ReceiveMessage`.
pub(super) async fn receive(
    queues: &Queues,
    request: &ReceiveMessage,
) -> Result<Value, QueueError> {
    let name = queue_name(&request.queue_url);
    let max = request.max_number_of_messages.unwrap_or(1);
    if !(1..=MAX_BATCH).contains(&max) {
        return Err(QueueError::InvalidParameterValue(format!(
            "Value {max} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and {MAX_BATCH}, if provided."
        )));
    }
    // A parameter of the call takes precedence over the queue's setting.
    let visibility = request
        .visibility_timeout
        .map(|given| parameter("VisibilityTimeout", given, &VISIBILITY));
    let wait = match request.wait_time_seconds {
        Some(given) => parameter("WaitTimeSeconds", given, &WAIT)?,
        None => queues.attributes(name)?.receive_wait,
    };
    let deliveries = wait_for(
        queues,
        name,
        max,
        visibility.transpose()?,
        wait.unsigned_abs(),
    )
    .await?;
    let messages: Vec<_> = deliveries
        .iter()
        .map(|delivery| delivered(delivery, request))
        .collect();
    Ok(if messages.is_empty() {
        json!({})
    } else {
        json!({ "Messages": messages })
    })
}

/// Runs a long poll, which ends with the first messages and lasts no longer than `wait`.
async fn wait_for(
    queues: &Queues,
    name: &str,
    max: usize,
    visibility: Option<SignedDuration>,
    wait: Duration,
) -> Result<Vec<Delivery>, QueueError> {
    let end = Instant::now() + wait;
    let mut changes = queues.changes();
    loop {
        changes.mark_unchanged();
        let deliveries = queues.receive(name, max, visibility)?;
        if !deliveries.is_empty() || wait.is_zero() {
            return Ok(deliveries);
        }
        let due = queues.next_due(name)?.map_or(wait, |due| {
            due.duration_since(queues.clock.now()).unsigned_abs()
        });
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(due.max(Duration::from_millis(1))) => {}
            () = sleep_until(end) => return queues.receive(name, max, visibility),
        }
    }
}

fn delivered(delivery: &Delivery, request: &ReceiveMessage) -> Value {
    let mut message = json!({
        "MessageId": delivery.message_id,
        "ReceiptHandle": delivery.receipt_handle,
        "Body": delivery.body,
        "MD5OfBody": md5_of_body(&delivery.body),
    });
    let mut system = BTreeMap::from([
        (
            "ApproximateReceiveCount",
            delivery.receive_count.to_string(),
        ),
        (
            "ApproximateFirstReceiveTimestamp",
            delivery.first_received_at.as_millisecond().to_string(),
        ),
        (
            "SentTimestamp",
            delivery.sent_at.as_millisecond().to_string(),
        ),
        ("SenderId", ACCOUNT.to_owned()),
    ]);
    system.extend(
        delivery
            .trace_header
            .clone()
            .map(|trace| ("AWSTraceHeader", trace)),
    );
    system.extend(
        delivery
            .dead_letter_source
            .as_deref()
            .map(|name| ("DeadLetterQueueSourceArn", queue_arn(name))),
    );
    // The older parameter and its replacement are both in use.
    let names = || {
        request
            .attribute_names
            .iter()
            .chain(&request.message_system_attribute_names)
    };
    system.retain(|name, _| names().any(|asked| asked == "All" || asked == name));
    if !system.is_empty() {
        message["Attributes"] = json!(system);
    }
    // The MD5 covers only the attributes that are returned, and the SDK verifies it.
    let mut own = delivery.attributes.clone();
    own.retain(|name, _| {
        request
            .message_attribute_names
            .iter()
            .any(|asked| selects(asked, name))
    });
    if let Some(md5) = md5_of_attributes(&own) {
        message["MD5OfMessageAttributes"] = md5.into();
        message["MessageAttributes"] = json!(own);
    }
    message
}

/// Whether a requested name, which is `All`, `.*`, `prefix.*` or an exact name, selects the
/// attribute `name`.
fn selects(asked: &str, name: &str) -> bool {
    asked == "All"
        || asked == name
        || asked
            .strip_suffix(".*")
            .is_some_and(|prefix| name.starts_with(prefix))
}
