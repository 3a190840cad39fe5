//! S3 event notifications: which queue is told of which new object, and in what words.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    queue::{Outgoing, Queues},
    wire::{ACCOUNT, REGION},
};

/// Where notifications go: called with a queue's name and a message's body.
pub type NotificationSink = Arc<dyn Fn(&str, String) + Send + Sync>;

/// A rule of a bucket's notification configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRule {
    /// The bucket.
    pub bucket: String,
    /// Which events, `s3:ObjectCreated:Put`, or many: `s3:ObjectCreated:*`.
    pub events: String,
    /// What the keys begin with; empty for all.
    pub prefix: String,
    /// What the keys end with; empty for all.
    pub suffix: String,
    /// The name of the queue that is told.
    pub queue: String,
}

/// How an object came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    Put,
    Copy,
    CompleteMultipartUpload,
}

/// A new object, as a notification tells of it.
#[derive(Clone, Debug)]
pub(super) struct Event<'a> {
    pub(super) created: Created,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) size: u64,
    pub(super) etag: &'a str,
    pub(super) at: Timestamp,
}

/// The rules of all buckets, and where their notifications go.
pub(super) struct Notifications {
    rules: Vec<NotificationRule>,
    sink: NotificationSink,
    /// The sequencer of the last event.
    last: AtomicU64,
}

/// Sends notifications to `queues`. One that can't be sent is lost, as if the process had been killed before: the
/// object is there, and dropping it again tells of it again.
pub fn to_queues(queues: Arc<Queues>) -> NotificationSink {
    Arc::new(move |queue, body| {
        if let Err(error) = queues.send(queue, Outgoing::new(body)) {
            tracing::error!(queue, %error, "a notification was lost");
        }
    })
}

impl Notifications {
    pub(super) fn new(rules: Vec<NotificationRule>, sink: NotificationSink) -> Self {
        Self { rules, sink, last: AtomicU64::new(0) }
    }

    /// Tells all whom a rule names.
    pub(super) fn tell(&self, event: &Event<'_>) {
        let sequencer = self.sequencer(event.at);
        for rule in self.rules.iter().filter(|rule| rule.matches(event)) {
            (self.sink)(&rule.queue, event.message(sequencer));
        }
    }

    /// Higher with every event: the time, or one more than the last where the clock stands still or was turned back.
    fn sequencer(&self, at: Timestamp) -> u64 {
        let now = u64::try_from(at.as_microsecond()).unwrap_or_default();
        let next = |last: u64| now.max(last + 1);
        let last = self.last.update(Ordering::Relaxed, Ordering::Relaxed, next);
        next(last)
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl NotificationRule {
    fn matches(&self, event: &Event<'_>) -> bool {
        let name = format!("s3:{}", event.created.name());
        let named = match self.events.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.events,
        };
        let (prefix, suffix) = (self.prefix.as_str(), self.suffix.as_str());
        named && self.bucket == event.bucket && event.key.starts_with(prefix) && event.key.ends_with(suffix)
    }
}

impl Created {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
        }
    }
}

impl Event<'_> {
    /// The message, of the structure that all 2.x versions share
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>, read 2026-11).
    fn message(&self, sequencer: u64) -> String {
        let sequencer = format!("{sequencer:018X}");
        json!({ "Records": [{
            "eventVersion": "2.6",
            "eventSource": "aws:s3",
            "awsRegion": REGION,
            "eventTime": format!("{:.3}", self.at),
            "eventName": self.created.name(),
            "userIdentity": { "principalId": ACCOUNT },
            "requestParameters": { "sourceIPAddress": "127.0.0.1" },
            "responseElements": { "x-amz-request-id": sequencer, "x-amz-id-2": sequencer },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "darkroom",
                "bucket": {
                    "name": self.bucket,
                    "ownerIdentity": { "principalId": ACCOUNT },
                    "arn": format!("arn:aws:s3:::{}", self.bucket),
                },
                "object": {
                    "key": encode(self.key),
                    "size": self.size,
                    "eTag": self.etag,
                    "sequencer": sequencer,
                },
            },
        }] })
        .to_string()
    }
}

/// A key as S3 encodes it in events and listings: like a form, but with its slashes.
pub(super) fn encode(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(events: &str, prefix: &str, suffix: &str) -> NotificationRule {
        let [events, prefix, suffix] = [events, prefix, suffix].map(str::to_owned);
        NotificationRule { bucket: "bucket".to_owned(), events, prefix, suffix, queue: "queue".to_owned() }
    }

    fn event<'a>(created: Created, key: &'a str) -> Event<'a> {
        Event { created, bucket: "bucket", key, size: 3, etag: "abc", at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn rule_matches_by_event_prefix_and_suffix() {
        let put = event(Created::Put, "inbox/a b.json");
        assert!(rule("s3:ObjectCreated:*", "inbox/", ".json").matches(&put));
        assert!(rule("s3:ObjectCreated:Put", "", "").matches(&put));
        assert!(!rule("s3:ObjectCreated:Copy", "", "").matches(&put));
        assert!(!rule("s3:ObjectRemoved:*", "", "").matches(&put));
        assert!(!rule("s3:ObjectCreated:*", "outbox/", "").matches(&put));
        assert!(!rule("s3:ObjectCreated:*", "", ".csv").matches(&put));
        assert!(!rule("s3:ObjectCreated:*", "", "").matches(&Event { bucket: "other", ..put }));
    }

    #[test]
    fn message_is_what_lambda_reads() {
        let message = event(Created::CompleteMultipartUpload, "inbox/a b+é.json").message(0xab);
        let read: aws_lambda_events::s3::S3Event = serde_json::from_str(&message).unwrap();
        let record = &read.records[0];
        assert_eq!(record.event_name.as_deref(), Some("ObjectCreated:CompleteMultipartUpload"));
        assert_eq!(record.event_time.to_rfc3339(), "1970-01-01T00:00:00+00:00");
        assert_eq!(record.s3.bucket.name.as_deref(), Some("bucket"));
        assert_eq!(record.s3.object.key.as_deref(), Some("inbox/a+b%2B%C3%A9.json"));
        assert_eq!(record.s3.object.e_tag.as_deref(), Some("abc"));
        assert_eq!(record.s3.object.sequencer.as_deref(), Some("0000000000000000AB"));
    }

    #[test]
    fn sequencer_rises_though_the_clock_stands_still_or_goes_back() {
        let notifications = Notifications::new(Vec::new(), Arc::new(|_, _| {}));
        let at = |second| Timestamp::from_second(second).unwrap();
        let sequencers = [at(5), at(5), at(3), at(9)].map(|at| notifications.sequencer(at));
        assert!(sequencers.is_sorted_by(|one, other| one < other), "{sequencers:?}");
        assert_eq!(sequencers[3], 9_000_000);
    }

    /// What every reader of events does.
    fn decode(encoded: &str) -> String {
        let spaced = encoded.replace('+', " ");
        let mut parts = spaced.split('%');
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend(&part.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn keys_survive_the_event(key in any::<String>()) {
            let encoded = encode(&key);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), key);
        }
    }
}
