//! Messages: as they are sent, as they are stored, and as a consumer receives them.

use std::collections::BTreeMap;

use darkroom::digest::hex;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::error::QueueError;

/// The maximum size of one message, and of all messages of a batch together, in bytes: 1 MiB
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>,
/// read 2026-11).
pub(super) const MAX_MESSAGE_SIZE: usize = 1_048_576;

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The body: not empty, at most 1 MiB together with the attributes, and only of characters that
    /// XML allows.
    pub body: String,
    /// How long the message stays invisible: 0 to 900 s. Defaults to the queue's delay.
    pub delay: Option<SignedDuration>,
    /// The sender's message attributes, by name.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// The sender's trace, `AWSTraceHeader`.
    pub trace_header: Option<String>,
}

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with or without a suffix.
    pub data_type: String,
    /// The value of a string or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a binary, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// A message as a consumer receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id, which is the same at every receive.
    pub message_id: String,
    /// The receipt handle, for deleting the message or changing its visibility; new at every
    /// receive.
    pub receipt_handle: String,
    /// The body as it was sent.
    pub body: String,
    /// How often the message was received, including this time, across all queues that held it.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was first received.
    pub first_received_at: Timestamp,
    /// The sender's message attributes, by name.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// The sender's trace, `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// The queue from which a dead letter was moved.
    pub dead_letter_source: Option<String>,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// The queue that holds the message. A redrive changes only this field, so a message can't be
    /// in two queues or in none.
    pub(super) queue: String,
    /// The number of the message in the order of sending. Of two messages that became visible at
    /// the same time, the earlier one is delivered first.
    pub(super) number: u64,
    pub(super) body: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, MessageAttribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace_header: Option<String>,
    pub(super) sent_at: Timestamp,
    /// The time from which the message can be received.
    pub(super) visible_at: Timestamp,
    pub(super) receive_count: u32,
    pub(super) first_received_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_source: Option<String>,
}

impl Outgoing {
    /// Creates a message with a body and no attributes.
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Returns the size that counts toward the limit of 1 MiB, in bytes: the body, and the names,
    /// types and values of the attributes.
    pub(super) fn size(&self) -> usize {
        let attributes = self
            .attributes
            .iter()
            .map(|(name, attribute)| name.len() + attribute.size());
        self.body.len() + attributes.sum::<usize>()
    }

    /// # Errors
    /// [`QueueError::MissingParameter`] for an empty body, [`QueueError::InvalidParameterValue`]
    /// for a message that is too large or has a malformed attribute,
    /// [`QueueError::InvalidMessageContents`].
    pub(super) fn check(&self) -> Result<(), QueueError> {
        if self.body.is_empty() {
            return Err(QueueError::MissingParameter("MessageBody"));
        }
        if self.size() > MAX_MESSAGE_SIZE {
            let reason = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {MAX_MESSAGE_SIZE} bytes."
            );
            return Err(QueueError::InvalidParameterValue(reason));
        }
        if !self.body.chars().all(is_legal) {
            return Err(QueueError::InvalidMessageContents);
        }
        self.attributes
            .iter()
            .try_for_each(|(name, attribute)| attribute.check(name))
    }
}

impl MessageAttribute {
    fn size(&self) -> usize {
        self.data_type.len() + self.value().map_or(0, |value| value.len())
    }

    fn check(&self, name: &str) -> Result<(), QueueError> {
        let kind = self.data_type.split('.').next().unwrap_or_default();
        let fits = match kind {
            "String" | "Number" => self.string_value.is_some(),
            "Binary" => self.binary_value.is_some(),
            _ => false,
        };
        if fits && self.value().is_some_and(|value| !value.is_empty()) {
            return Ok(());
        }
        Err(QueueError::InvalidParameterValue(format!(
            "The message attribute '{name}' has no value of its data type."
        )))
    }

    /// Returns the bytes of the text or of the decoded base64, or none if it is not base64.
    fn value(&self) -> Option<Vec<u8>> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(base64)) => base64_simd::STANDARD.decode_to_vec(base64).ok(),
            (None, None) => None,
        }
    }
}

/// Returns the MD5 of a body, in hexadecimal.
pub(super) fn md5_of_body(body: &str) -> String {
    hex(&Md5::digest(body))
}

/// Returns the MD5 of message attributes in hexadecimal: of each attribute's name, type and value
/// with their lengths, ordered by name
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>,
/// read 2026-11).
pub(super) fn md5_of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut hash = Md5::new();
    let mut part = |bytes: &[u8], kind: Option<u8>| {
        hash.update(kind.as_slice());
        hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(bytes);
    };
    for (name, attribute) in attributes {
        let kind = if attribute.string_value.is_some() {
            1
        } else {
            2
        };
        part(name.as_bytes(), None);
        part(attribute.data_type.as_bytes(), None);
        part(&attribute.value().unwrap_or_default(), Some(kind));
    }
    Some(hex(&hash.finalize()))
}

fn is_legal(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> MessageAttribute {
        MessageAttribute {
            data_type: "String".to_owned(),
            string_value: Some(value.to_owned()),
            binary_value: None,
        }
    }

    #[test]
    fn md5_of_attributes_covers_lengths_types_and_values_in_name_order() {
        let attributes = BTreeMap::from([("b".to_owned(), text("2")), ("a".to_owned(), text("1"))]);
        let spelled =
            b"\0\0\0\x01a\0\0\0\x06String\x01\0\0\0\x011\0\0\0\x01b\0\0\0\x06String\x01\0\0\0\x012";
        assert_eq!(
            md5_of_attributes(&attributes),
            Some(hex(&Md5::digest(spelled)))
        );
        assert_eq!(md5_of_attributes(&BTreeMap::new()), None);
    }

    #[test]
    fn characters_that_xml_cannot_hold_are_refused() {
        for legal in ["\t\n\r", "é", "\u{fffd}", "\u{1f34c}"] {
            assert!(Outgoing::new(legal).check().is_ok(), "{legal:?}");
        }
        for illegal in ["\0", "a\u{1}", "\u{b}", "\u{fffe}", "\u{ffff}"] {
            assert!(
                matches!(
                    Outgoing::new(illegal).check(),
                    Err(QueueError::InvalidMessageContents)
                ),
                "{illegal:?}"
            );
        }
    }

    #[test]
    fn size_counts_body_and_attributes() {
        let mut message = Outgoing::new("x".repeat(MAX_MESSAGE_SIZE - 10));
        message.attributes.insert("abc".to_owned(), text("1"));
        assert!(message.check().is_ok());
        message.body.push('x');
        assert!(matches!(
            message.check(),
            Err(QueueError::InvalidParameterValue(_))
        ));
    }

    #[test]
    fn attribute_without_a_value_of_its_type_is_refused() {
        for data_type in ["Binary", "Date", ""] {
            let mut message = Outgoing::new("body");
            message.attributes.insert(
                "a".to_owned(),
                MessageAttribute {
                    data_type: data_type.to_owned(),
                    ..text("1")
                },
            );
            assert!(
                matches!(message.check(), Err(QueueError::InvalidParameterValue(_))),
                "{data_type:?}"
            );
        }
    }
}
