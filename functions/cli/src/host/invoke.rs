//! Invokes a function with an event in the form that Lambda uses.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use aws_sim::{
    queue::Delivery,
    wire::{ACCOUNT, REGION},
};
use darkroom::chain::Function;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::Deps;

/// Returns the event of an SQS event source mapping
/// (<https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>, read 2026-11).
pub fn event(queue: &str, deliveries: &[Delivery]) -> Value {
    let records: Vec<Value> = deliveries
        .iter()
        .map(|delivery| {
            let mut record = json!({
                "messageId": delivery.message_id,
                "receiptHandle": delivery.receipt_handle,
                "body": delivery.body,
                "attributes": {
                    "ApproximateReceiveCount": delivery.receive_count.to_string(),
                    "SentTimestamp": delivery.sent_at.as_millisecond().to_string(),
                    "ApproximateFirstReceiveTimestamp": delivery.first_received_at.as_millisecond().to_string(),
                    "SenderId": "local",
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
                "awsRegion": REGION,
            });
            if let Some(trace) = &delivery.trace_header {
                record["attributes"]["AWSTraceHeader"] = Value::from(trace.as_str());
            }
            record
        })
        .collect();
    json!({ "Records": records })
}

/// Calls the function's handler with the event.
///
/// # Errors
/// If the event does not have the form of an SQS event.
pub async fn invoke(
    deps: &Deps,
    function: Function,
    event: Value,
    deadline: Timestamp,
) -> Result<SqsBatchResponse, serde_json::Error> {
    let event: SqsEvent = serde_json::from_value(event)?;
    Ok(match function {
        Function::Plan => plan::handler::handle(&deps.plan, event, deadline).await,
        Function::Submit => submit::handler::handle(&deps.submit, event, deadline).await,
        Function::Poll => poll::handler::handle(&deps.poll, event, deadline).await,
        Function::Collect => collect::handler::handle(&deps.collect, event, deadline).await,
        Function::Generate => generate::handler::handle(&deps.generate, event, deadline).await,
        Function::Control => control::handler::handle(&deps.control, event, deadline).await,
        Function::Thumbs => thumbs::handler::handle(&deps.thumbs, event, deadline).await,
        Function::Notify => notify::handler::handle(&deps.notify, event, deadline).await,
        Function::Report => report::handler::handle(&deps.report, event, deadline).await,
    })
}
