//! A topic of Amazon SNS, whose subscribers are people.

use std::sync::Arc;

use darkroom::events::Event;
use runtime::aws_call::{AwsCall, AwsCaller, Service};

use crate::error::SendError;

/// A topic of Amazon SNS in the deployment's region.
///
/// Source: <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>, read 2026-11. A message has
/// at most 256 KiB; these have at most a few.
#[derive(Debug)]
pub struct Topic {
    aws: Arc<AwsCaller>,
    arn: String,
}

impl Topic {
    /// The topic of this ARN, through `aws`.
    pub(crate) fn new(aws: Arc<AwsCaller>, arn: String) -> Self {
        Self { aws, arn }
    }

    /// Publishes an event as a message for people. The attributes are for the filter policies of
    /// subscriptions, and for programs that recognize a repeated message.
    pub(crate) async fn send(&self, event: &Event) -> Result<(), SendError> {
        let message = event.to_message();
        let kind = event.news.kind().detail_type();
        let mut fields = vec![
            ("Action".to_owned(), "Publish"),
            ("Version".to_owned(), "2010-03-31"),
            ("TopicArn".to_owned(), self.arn.as_str()),
            ("Subject".to_owned(), message.subject.as_str()),
            ("Message".to_owned(), message.body.as_str()),
        ];
        let mut attributes = vec![
            ("type", "String", kind),
            ("id", "String", event.id.as_str()),
            ("job", "String", event.job.as_str()),
        ];
        // A filter policy selects by any label of an array, in JSON.
        let labels = event.tenant.as_ref().map(|tenant| &tenant.notify);
        let labels = labels.filter(|labels| !labels.is_empty());
        let labels = labels.map(serde_json::to_string).transpose()?;
        if let Some(labels) = &labels {
            attributes.push(("notify", "String.Array", labels));
        }
        for ((name, data_type, value), number) in attributes.into_iter().zip(1..) {
            let prefix = format!("MessageAttributes.entry.{number}");
            fields.push((format!("{prefix}.Name"), name));
            fields.push((format!("{prefix}.Value.DataType"), data_type));
            fields.push((format!("{prefix}.Value.StringValue"), value));
        }
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let call = AwsCall::form(Service::SNS, &fields);
        self.aws.call(&call).await?;
        Ok(())
    }
}
