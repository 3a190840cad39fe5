//! S3 event notifications: which queues receive one for a new object, and its message.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use disk::{
    Disk,
    documents::{DocumentError, Documents},
};
use jiff::Timestamp;
use s3s::{S3Error, S3Result, s3_error};
use serde_json::json;

use super::configuration::{NotificationRule, QueueRule};
use crate::{
    queue::{Outgoing, QueueError, Queues, queue_arn},
    wire::{ACCOUNT, REGION},
};

/// A function that sends a notification, given a queue's name and a message body.
pub type NotificationSink = Arc<dyn Fn(&str, String) -> Result<(), QueueError> + Send + Sync>;

/// The operation that created an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    Put,
    Copy,
    CompleteMultipartUpload,
}

/// A new object, as a notification describes it.
#[derive(Clone, Debug)]
pub(super) struct Event<'a> {
    pub(super) created: Created,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) size: u64,
    pub(super) etag: &'a str,
    pub(super) at: Timestamp,
}

/// The notification rules of all buckets, and the sink for their notifications.
pub(super) struct Notifications {
    rules: RwLock<BTreeMap<String, Vec<QueueRule>>>,
    /// The rules of the buckets whose configuration was replaced through the API.
    stored: Documents<Vec<QueueRule>>,
    sink: NotificationSink,
    /// The sequencer of the last event.
    last_sequencer: AtomicU64,
}

/// Returns a sink that sends notifications to `queues`.
pub fn to_queues(queues: Arc<Queues>) -> NotificationSink {
    Arc::new(move |queue, body| queues.send(queue, Outgoing::new(body)).map(drop))
}

impl Notifications {
    /// Loads the configurations stored in `folder`. `rules` apply to buckets that have none there.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub(super) fn open(
        disk: Disk,
        folder: PathBuf,
        rules: Vec<NotificationRule>,
        sink: NotificationSink,
    ) -> Result<Self, DocumentError> {
        let stored = Documents::<Vec<QueueRule>>::open_on(disk, folder)?;
        let mut all = BTreeMap::<String, Vec<QueueRule>>::new();
        for rule in rules {
            all.entry(rule.bucket.clone())
                .or_default()
                .push(rule.into());
        }
        all.extend(stored.load_all()?);
        Ok(Self {
            rules: RwLock::new(all),
            stored,
            sink,
            last_sequencer: AtomicU64::new(0),
        })
    }

    /// Returns a bucket's rules.
    pub(super) fn rules(&self, bucket: &str) -> Vec<QueueRule> {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(bucket)
            .cloned()
            .unwrap_or_default()
    }

    /// Replaces all rules of a bucket. If `tested`, each of their queues first receives a test
    /// message, as S3 sends it.
    ///
    /// # Errors
    /// `InvalidArgument` if a queue does not exist. The rules are then unchanged.
    pub(super) fn replace(
        &self,
        bucket: &str,
        rules: Vec<QueueRule>,
        at: Timestamp,
        tested: bool,
    ) -> S3Result {
        // As in S3, a queue that does not exist makes the whole configuration invalid.
        for rule in rules.iter().filter(|_| tested) {
            match (self.sink)(&rule.queue, test_message(bucket, at, self.sequencer(at))) {
                Err(QueueError::QueueDoesNotExist) => {
                    return Err(s3_error!(
                        InvalidArgument,
                        "Unable to validate the following destination configurations: {}",
                        queue_arn(&rule.queue)
                    ));
                }
                sent => sent.map_err(S3Error::internal_error)?,
            }
        }
        // The lock is held during the write, so that memory and disk have the same latest
        // configuration.
        let mut all = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        self.stored
            .put(bucket, &rules)
            .map_err(S3Error::internal_error)?;
        all.insert(bucket.to_owned(), rules);
        Ok(())
    }

    /// Notifies each queue whose rule matches. A notification that can't be sent is lost, as if the
    /// process had been killed before: the object exists, and writing it again sends another
    /// notification.
    pub(super) fn notify(&self, event: &Event<'_>) {
        let sequencer = self.sequencer(event.at);
        for rule in self
            .rules(event.bucket)
            .iter()
            .filter(|rule| rule.matches(event.created, event.key))
        {
            if let Err(error) = (self.sink)(&rule.queue, event.message(&rule.id, sequencer)) {
                tracing::error!(queue = rule.queue, %error, source = error.source().map(tracing::field::display), "notification lost");
            }
        }
    }

    /// Returns a number that increases with each event: the time in microseconds, or the last
    /// number plus one if the clock stalled or was set back.
    fn sequencer(&self, at: Timestamp) -> u64 {
        let now = u64::try_from(at.as_microsecond()).unwrap_or_default();
        let next = |last: u64| now.max(last + 1);
        let last = self
            .last_sequencer
            .update(Ordering::Relaxed, Ordering::Relaxed, next);
        next(last)
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Created {
    pub(super) const ALL: [Self; 3] = [Self::Put, Self::Copy, Self::CompleteMultipartUpload];

    /// Returns the event's name in a message.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
        }
    }
}

impl Event<'_> {
    /// Returns the message, in the structure that all 2.x versions share
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
    /// read 2026-11).
    fn message(&self, rule: &str, sequencer: u64) -> String {
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
                "configurationId": rule,
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

/// The message that S3 sends to a queue when a configuration names it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
/// read 2026-11).
fn test_message(bucket: &str, at: Timestamp, number: u64) -> String {
    let number = format!("{number:018X}");
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": format!("{at:.3}"),
        "Bucket": bucket,
        "RequestId": number,
        "HostId": number,
    })
    .to_string()
}

/// Encodes a key as S3 does in events and listings: form encoding that leaves slashes as they are.
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

    fn event<'a>(created: Created, key: &'a str) -> Event<'a> {
        Event {
            created,
            bucket: "bucket",
            key,
            size: 3,
            etag: "abc",
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn lambda_can_parse_a_message() {
        let message =
            event(Created::CompleteMultipartUpload, "inbox/a b+é.json").message("rule", 0xab);
        let read: aws_lambda_events::s3::S3Event = serde_json::from_str(&message).unwrap();
        let record = &read.records[0];
        assert_eq!(
            record.event_name.as_deref(),
            Some("ObjectCreated:CompleteMultipartUpload")
        );
        assert_eq!(record.event_time.to_rfc3339(), "1970-01-01T00:00:00+00:00");
        assert_eq!(record.s3.bucket.name.as_deref(), Some("bucket"));
        assert_eq!(
            record.s3.object.key.as_deref(),
            Some("inbox/a+b%2B%C3%A9.json")
        );
        assert_eq!(record.s3.object.e_tag.as_deref(), Some("abc"));
        assert_eq!(
            record.s3.object.sequencer.as_deref(),
            Some("0000000000000000AB")
        );
    }

    #[test]
    fn sequencer_increases_even_if_the_clock_stalls_or_is_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let sink: NotificationSink = Arc::new(|_, _| Ok(()));
        let notifications =
            Notifications::open(Disk::fast(), folder.path().to_owned(), Vec::new(), sink).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let sequencers = [at(5), at(5), at(3), at(9)].map(|at| notifications.sequencer(at));
        assert!(
            sequencers.is_sorted_by(|one, other| one < other),
            "{sequencers:?}"
        );
        assert_eq!(sequencers[3], 9_000_000);
    }

    /// Decodes a key as readers of events do.
    fn decode(encoded: &str) -> String {
        let spaced = encoded.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8()
            .unwrap()
            .into_owned()
    }

    proptest! {
        #[test]
        fn keys_round_trip_through_an_event(key in any::<String>()) {
            let encoded = encode(&key);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), key);
        }
    }
}
