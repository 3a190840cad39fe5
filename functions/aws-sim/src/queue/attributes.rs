//! A queue's settings: the attributes of `CreateQueue` and `SetQueueAttributes`.

use std::{collections::BTreeMap, ops::RangeInclusive};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::QueueError;
use crate::wire::{ACCOUNT, REGION};

/// The bounds of a delay, in seconds.
pub(super) const DELAY: RangeInclusive<i64> = 0..=900;

/// The bounds of a visibility timeout, in seconds.
pub(super) const VISIBILITY: RangeInclusive<i64> = 0..=43_200;

/// The bounds of a long poll, in seconds.
pub(super) const WAIT: RangeInclusive<i64> = 0..=20;

/// The bounds of the retention period, in seconds.
const RETENTION: RangeInclusive<i64> = 60..=1_209_600;

/// The bounds of `maxReceiveCount`.
const MAX_RECEIVE_COUNTS: RangeInclusive<i64> = 1..=1_000;

/// A queue's settings, with the defaults and bounds of SQS
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>,
/// read 2026-11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAttributes {
    /// How long a received message stays invisible: 0 s to 12 h.
    pub visibility_timeout: SignedDuration,
    /// How long a new message stays invisible: 0 to 900 s.
    pub delay: SignedDuration,
    /// How long a message is stored after it was sent: 60 s to 14 days.
    pub retention: SignedDuration,
    /// How long a receive waits for a message: 0 to 20 s.
    pub receive_wait: SignedDuration,
    /// When a message moves to a dead-letter queue; never if none.
    pub redrive: Option<RedrivePolicy>,
}

/// The dead-letter queue of a queue, and when a message moves to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivePolicy {
    /// The name of the dead-letter queue.
    pub dead_letter_queue: String,
    /// How often a message is received before it moves: 1 to 1,000.
    pub max_receive_count: u32,
}

impl Default for QueueAttributes {
    fn default() -> Self {
        Self {
            visibility_timeout: SignedDuration::from_secs(30),
            delay: SignedDuration::ZERO,
            retention: SignedDuration::from_hours(4 * 24),
            receive_wait: SignedDuration::ZERO,
            redrive: None,
        }
    }
}

impl QueueAttributes {
    /// Returns these settings with those in `pairs` changed. Every value is a string, as in the
    /// API.
    ///
    /// # Errors
    /// [`QueueError::InvalidAttributeName`] and [`QueueError::InvalidAttributeValue`].
    pub fn with(mut self, pairs: &BTreeMap<String, String>) -> Result<Self, QueueError> {
        for (name, value) in pairs {
            match name.as_str() {
                "VisibilityTimeout" => {
                    self.visibility_timeout = seconds("VisibilityTimeout", value, &VISIBILITY)?
                }
                "DelaySeconds" => self.delay = seconds("DelaySeconds", value, &DELAY)?,
                "MessageRetentionPeriod" => {
                    self.retention = seconds("MessageRetentionPeriod", value, &RETENTION)?
                }
                "ReceiveMessageWaitTimeSeconds" => {
                    self.receive_wait = seconds("ReceiveMessageWaitTimeSeconds", value, &WAIT)?;
                }
                "RedrivePolicy" => self.redrive = RedrivePolicy::parse(value)?,
                _ => return Err(QueueError::InvalidAttributeName(name.clone())),
            }
        }
        Ok(self)
    }

    /// Returns the settings in the form of the API.
    pub fn to_pairs(&self) -> BTreeMap<&'static str, String> {
        let mut pairs = BTreeMap::from([
            (
                "VisibilityTimeout",
                self.visibility_timeout.as_secs().to_string(),
            ),
            ("DelaySeconds", self.delay.as_secs().to_string()),
            (
                "MessageRetentionPeriod",
                self.retention.as_secs().to_string(),
            ),
            (
                "ReceiveMessageWaitTimeSeconds",
                self.receive_wait.as_secs().to_string(),
            ),
        ]);
        if let Some(policy) = &self.redrive {
            pairs.insert("RedrivePolicy", policy.to_json());
        }
        pairs
    }
}

impl RedrivePolicy {
    fn to_json(&self) -> String {
        let target = queue_arn(&self.dead_letter_queue);
        json!({ "deadLetterTargetArn": target, "maxReceiveCount": self.max_receive_count })
            .to_string()
    }

    /// Parses a policy in JSON. An empty string removes the policy. Clients send the count as a
    /// number or as a string.
    fn parse(text: &str) -> Result<Option<Self>, QueueError> {
        let invalid = || QueueError::InvalidAttributeValue("RedrivePolicy");
        if text.is_empty() {
            return Ok(None);
        }
        let policy: Value = serde_json::from_str(text).map_err(|_| invalid())?;
        let target = policy
            .get("deadLetterTargetArn")
            .and_then(Value::as_str)
            .ok_or_else(invalid)?;
        // The target must be a queue of the stand-in's own account.
        let dead_letter_queue = target
            .strip_prefix(&queue_arn(""))
            .ok_or_else(invalid)?
            .to_owned();
        let count = match policy.get("maxReceiveCount") {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let max_receive_count = count
            .filter(|count| MAX_RECEIVE_COUNTS.contains(count))
            .and_then(|count| u32::try_from(count).ok());
        Ok(Some(Self {
            dead_letter_queue,
            max_receive_count: max_receive_count.ok_or_else(invalid)?,
        }))
    }
}

/// Returns a queue's ARN.
pub(crate) fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// Checks a number of seconds that a caller gave as the parameter `name`.
pub(super) fn parameter(
    name: &str,
    value: i64,
    bounds: &RangeInclusive<i64>,
) -> Result<SignedDuration, QueueError> {
    if bounds.contains(&value) {
        return Ok(SignedDuration::from_secs(value));
    }
    let (least, most) = (bounds.start(), bounds.end());
    Err(QueueError::InvalidParameterValue(format!(
        "Value {value} for parameter {name} is invalid. Reason: Must be between {least} and {most}, if provided."
    )))
}

fn seconds(
    name: &'static str,
    value: &str,
    bounds: &RangeInclusive<i64>,
) -> Result<SignedDuration, QueueError> {
    let value = value
        .parse()
        .ok()
        .filter(|seconds| bounds.contains(seconds));
    value
        .map(SignedDuration::from_secs)
        .ok_or(QueueError::InvalidAttributeValue(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn attributes_round_trip_through_the_api() {
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:polls-dead","maxReceiveCount":"1000"}"#;
        let given = pairs(&[
            ("VisibilityTimeout", "43200"),
            ("DelaySeconds", "900"),
            ("RedrivePolicy", policy),
        ]);
        let attributes = QueueAttributes::default().with(&given).unwrap();
        assert_eq!(
            attributes.redrive.as_ref().unwrap().dead_letter_queue,
            "polls-dead"
        );
        let spelled = attributes
            .to_pairs()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        assert_eq!(
            QueueAttributes::default().with(&spelled).unwrap(),
            attributes
        );
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for (name, value) in [
            ("VisibilityTimeout", "43201"),
            ("DelaySeconds", "901"),
            ("DelaySeconds", "-1"),
            ("MessageRetentionPeriod", "59"),
            ("ReceiveMessageWaitTimeSeconds", "21"),
            (
                "RedrivePolicy",
                r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:x","maxReceiveCount":0}"#,
            ),
            (
                "RedrivePolicy",
                r#"{"deadLetterTargetArn":"elsewhere","maxReceiveCount":3}"#,
            ),
        ] {
            let refused = QueueAttributes::default().with(&pairs(&[(name, value)]));
            assert!(
                matches!(refused, Err(QueueError::InvalidAttributeValue(named)) if named == name),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn an_empty_policy_removes_the_redrive() {
        let redrive = Some(RedrivePolicy {
            dead_letter_queue: "dead".to_owned(),
            max_receive_count: 3,
        });
        let attributes = QueueAttributes {
            redrive,
            ..QueueAttributes::default()
        };
        assert_eq!(
            attributes
                .with(&pairs(&[("RedrivePolicy", "")]))
                .unwrap()
                .redrive,
            None
        );
    }
}
