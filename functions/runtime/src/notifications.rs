//! Selector objects a message says were uploaded.
//!
//! S3's own notifications reach the queue as S3 sends them, or in an SNS envelope where the bucket
//! notifies a topic with several subscribers. EventBridge has an event of another form. Programs
//! that send such messages themselves often leave out most of a record, so no member is required
//! that isn't used here.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// An object that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedObject {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

/// Why a message can't be read as one about uploads.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The message, or what an SNS envelope holds, is not JSON, or a member has the wrong type.
    #[error("it is not the JSON of an event: {0}")]
    Json(serde_json::Error),
    /// The message is JSON of another kind.
    #[error(
        "it is neither an S3 event (with Records), nor an SNS envelope of one (with Message), nor an EventBridge event \
         (with detail-type)"
    )]
    Unknown,
    /// The event lacks a member that is needed.
    #[error("the event has no {0}")]
    Missing(String),
    /// SNS asks whether the queue may be subscribed to a topic. Nothing is delivered before that.
    #[error(
        "it is an SNS subscription that is not confirmed yet: open the SubscribeURL of this message"
    )]
    Unconfirmed,
}

/// The uploads that a message tells of: an S3 event, by itself or in an SNS envelope, or an
/// EventBridge event.
///
/// There are none in the test message that S3 sends once, when notifications are switched on
/// (`{"Service":"Amazon S3","Event":"s3:TestEvent",…}`), nor in events about anything but a new
/// object. Folders are no uploads.
///
/// # Errors
/// When the message is none of these, or does not say which object it is about.
pub fn uploads(message: &str) -> Result<Vec<UploadedObject>, EventError> {
    let message: Message = serde_json::from_str(message).map_err(EventError::Json)?;
    match message {
        Message {
            test: Some(name), ..
        } if name == "s3:TestEvent" => Ok(Vec::new()),
        Message {
            records: Some(records),
            ..
        } => {
            let found = records
                .iter()
                .enumerate()
                .map(|(index, record)| record.upload(&format!("Records[{index}]")));
            found.filter_map(Result::transpose).collect()
        }
        Message {
            detail_type: Some(kind),
            detail,
            ..
        } => of_event_bridge(&kind, detail),
        Message {
            kind: Some(kind), ..
        } if kind == "SubscriptionConfirmation" => Err(EventError::Unconfirmed),
        Message {
            kind: Some(kind), ..
        } if kind == "UnsubscribeConfirmation" => Ok(Vec::new()),
        // An envelope within an envelope is shorter than it, so this ends.
        Message {
            envelope: Some(inner),
            ..
        } => uploads(&inner),
        Message { .. } => Err(EventError::Unknown),
    }
}

/// All members of all kinds of messages that matter here; each kind has some of them.
#[derive(Deserialize)]
struct Message {
    /// Of S3's test message.
    #[serde(rename = "Event")]
    test: Option<String>,
    /// Of an S3 event.
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    /// Of an EventBridge event.
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    /// Of an EventBridge event.
    detail: Option<Entity>,
    /// Of an SNS envelope.
    #[serde(rename = "Type")]
    kind: Option<String>,
    /// Of an SNS envelope: the message that was published.
    #[serde(rename = "Message")]
    envelope: Option<String>,
}

/// One record of an S3 event.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: Option<String>,
    s3: Option<Entity>,
}

/// The object that an event is about.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Default, Deserialize)]
struct Bucket {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Object {
    key: Option<String>,
}

impl Record {
    /// The upload that a record tells of; `at` is its place in the message.
    fn upload(&self, at: &str) -> Result<Option<UploadedObject>, EventError> {
        let name = self
            .name
            .as_deref()
            .ok_or_else(|| EventError::Missing(format!("{at}.eventName")))?;
        if !name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
            return Ok(None);
        }
        let upload = self
            .s3
            .as_ref()
            .unwrap_or(&Entity::default())
            .upload(&format!("{at}.s3"))?;
        let upload = UploadedObject {
            key: decoded(&upload.key),
            ..upload
        };
        Ok(upload.is_file().then_some(upload))
    }
}

/// The upload that an EventBridge event tells of, if its `detail-type` says that there is one. Its
/// key is spelled as it is, unlike in S3's own events
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>, read 2026-11).
fn of_event_bridge(kind: &str, detail: Option<Entity>) -> Result<Vec<UploadedObject>, EventError> {
    if kind != "Object Created" {
        return Ok(Vec::new());
    }
    let upload = detail.unwrap_or_default().upload("detail")?;
    Ok(if upload.is_file() {
        vec![upload]
    } else {
        Vec::new()
    })
}

impl Entity {
    /// The object by the spelling of the event; `at` is the place of this in the message.
    fn upload(&self, at: &str) -> Result<UploadedObject, EventError> {
        let needed = |value: &Option<String>, member: &str| {
            value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| EventError::Missing(format!("{at}.{member}")))
        };
        let (bucket, key) = (
            needed(&self.bucket.name, "bucket.name")?,
            needed(&self.object.key, "object.key")?,
        );
        Ok(UploadedObject { bucket, key })
    }
}

impl UploadedObject {
    fn is_file(&self) -> bool {
        !self.key.ends_with('/')
    }
}

/// Keys in S3's events are form-encoded: a space is `+`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
/// read 2026-11).
fn decoded(key: &str) -> String {
    let spaces = key.replace('+', " ");
    percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A record with only the members that are needed, as other senders than S3 write it.
    fn record(name: &str, key: &str) -> Value {
        json!({ "eventName": name, "s3": { "bucket": { "name": "studio" }, "object": { "key": key } } })
    }

    fn event(records: &[Value]) -> Value {
        json!({ "Records": records })
    }

    fn event_bridge(kind: &str, key: &str) -> Value {
        json!({
            "version": "0", "id": "1", "detail-type": kind, "source": "aws.s3", "region": "us-east-1",
            "detail": { "version": "0", "bucket": { "name": "studio" }, "object": { "key": key, "size": 10 } },
        })
    }

    /// What SNS sends to a queue of a message that was published, unless raw delivery is switched
    /// on.
    fn envelope(message: &Value) -> Value {
        json!({
            "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:us-east-1:123456789012:uploads",
            "Subject": "Amazon S3 Notification", "Message": message.to_string(),
            "Timestamp": "2026-11-21T09:00:00.000Z", "SignatureVersion": "1", "Signature": "s",
            "SigningCertURL": "https://sns.example", "UnsubscribeURL": "https://sns.example",
        })
    }

    fn upload(key: &str) -> UploadedObject {
        UploadedObject {
            bucket: "studio".to_owned(),
            key: key.to_owned(),
        }
    }

    fn refusal(message: &Value) -> String {
        uploads(&message.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn event_keys_are_form_encoded() {
        assert_eq!(
            decoded("inbox/Fall+26%2Bx/%E6%9D%B1.csv"),
            "inbox/Fall 26+x/東.csv"
        );
    }

    #[test]
    fn keys_of_event_bridge_are_as_they_are() {
        let message = event_bridge("Object Created", "inbox/Fall 26+x/100%25 東.csv").to_string();
        assert_eq!(
            uploads(&message).unwrap(),
            [upload("inbox/Fall 26+x/100%25 東.csv")]
        );
    }

    #[test]
    fn an_sns_envelope_holds_any_of_the_others() {
        let created = event(&[record("ObjectCreated:Put", "inbox/a+b.csv")]);
        for (message, expected) in [
            (created.clone(), vec![upload("inbox/a b.csv")]),
            (
                event_bridge("Object Created", "inbox/a+b.csv"),
                vec![upload("inbox/a+b.csv")],
            ),
            (envelope(&created), vec![upload("inbox/a b.csv")]),
            (
                json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "studio" }),
                Vec::new(),
            ),
        ] {
            assert_eq!(
                uploads(&envelope(&message).to_string()).unwrap(),
                expected,
                "{message}"
            );
        }
        assert_eq!(
            uploads(&json!({ "Message": created.to_string() }).to_string()).unwrap(),
            [upload("inbox/a b.csv")]
        );
    }

    #[test]
    fn a_test_event_tells_of_nothing() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"studio"}"#;
        assert_eq!(uploads(test).unwrap(), []);
    }

    #[test]
    fn folders_and_deletions_are_no_uploads() {
        let records = [
            record("ObjectCreated:Put", "inbox/a.csv"),
            record("s3:ObjectCreated:CompleteMultipartUpload", "inbox/c.csv"),
            record("ObjectCreated:Put", "inbox/folder/"),
            record("ObjectRemoved:Delete", "inbox/b.csv"),
            json!({ "eventName": "ObjectRestore:Post" }),
        ];
        let found = uploads(&event(&records).to_string()).unwrap();
        assert_eq!(found, [upload("inbox/a.csv"), upload("inbox/c.csv")]);
        for message in [
            event_bridge("Object Created", "inbox/folder/"),
            event_bridge("Object Deleted", "inbox/a.csv"),
            json!({ "detail-type": "Object Tags Added" }),
            event(&[]),
            json!({ "Type": "UnsubscribeConfirmation", "Message": "You have chosen to deactivate …" }),
        ] {
            assert_eq!(uploads(&message.to_string()).unwrap(), [], "{message}");
        }
    }

    #[test]
    fn members_that_are_not_used_may_have_any_form_and_be_missing() {
        let mut full = record("ObjectCreated:Put", "inbox/a.csv");
        full["userIdentity"] = json!("somebody");
        full["requestParameters"] = json!(null);
        full["eventTime"] = json!(1_795_251_600);
        full["s3"]["object"]["size"] = json!("10");
        assert_eq!(
            uploads(&event(&[full]).to_string()).unwrap(),
            [upload("inbox/a.csv")]
        );
    }

    #[test]
    fn a_message_of_another_kind_says_what_is_wrong() {
        for (message, expected) in [
            (json!({}), "it is neither an S3 event"),
            (json!({ "Event": "other" }), "it is neither an S3 event"),
            (json!([]), "it is not the JSON of an event: "),
            (
                json!({ "Records": "none" }),
                "it is not the JSON of an event: ",
            ),
            (
                event(&[json!({ "s3": {} })]),
                "the event has no Records[0].eventName",
            ),
            (
                event(&[json!({ "eventName": "ObjectCreated:Put" })]),
                "the event has no Records[0].s3.bucket.name",
            ),
            (
                json!({ "detail-type": "Object Created", "detail": { "bucket": { "name": "studio" } } }),
                "the event has no detail.object.key",
            ),
            (
                json!({ "Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe …" }),
                "it is an SNS subscription that is not confirmed yet",
            ),
            (
                json!({ "Type": "Notification", "Message": "hello" }),
                "it is not the JSON of an event: ",
            ),
        ] {
            let refusal = refusal(&message);
            assert!(refusal.starts_with(expected), "{message}: {refusal}");
        }
        assert!(uploads("no event").is_err());
    }
}
