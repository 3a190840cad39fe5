//! A bus of Amazon EventBridge.

use std::sync::Arc;

use darkroom::events::{Event, SOURCE};
use runtime::aws_call::{AwsCall, AwsCaller, Service};
use serde::Deserialize;
use serde_json::json;

use crate::error::SendError;

/// A bus of Amazon EventBridge, to which events are sent one by one: a job has few of them.
///
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>, read
/// 2026-11. An event has at most 256 KB; these have at most a few.
#[derive(Debug)]
pub struct EventBus {
    aws: Arc<AwsCaller>,
    name: String,
}

/// The members of a `PutEvents` response that are used. A refused entry is not an error response.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    failed_entry_count: u32,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    error_code: Option<String>,
}

impl EventBus {
    /// The bus of this name or ARN, through `aws`.
    pub(crate) fn new(aws: Arc<AwsCaller>, name: String) -> Self {
        Self { aws, name }
    }

    pub(crate) async fn send(&self, event: &Event) -> Result<(), SendError> {
        let entry = json!({
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": event.news.kind().detail_type(),
            "Time": event.time.as_second(),
            "Resources": [format!("arn:aws:s3:::{}/{}", event.bucket, event.folder)],
            "Detail": serde_json::to_string(event)?,
        });
        let call = AwsCall::json(
            Service::EVENT_BRIDGE,
            "AWSEvents.PutEvents",
            &json!({ "Entries": [entry] }),
        );
        let answer: Answer = serde_json::from_slice(&self.aws.call(&call).await?)?;
        if answer.failed_entry_count == 0 {
            return Ok(());
        }
        let code = answer
            .entries
            .into_iter()
            .find_map(|entry| entry.error_code);
        Err(SendError::Entry(code.unwrap_or_default()))
    }
}
