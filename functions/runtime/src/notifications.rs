//! Reads which objects were uploaded from a message about uploads.
//!
//! A notification of S3 reaches the queue as S3 sends it, or in an SNS envelope if the bucket notifies
//! a topic with several subscribers. An event of EventBridge has another form. Programs that send such
//! messages themselves often leave out most of a record, so members that aren't used here are not
//! required.

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

/// Why a message can't be read as a message about uploads.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The message, or the content of an SNS envelope, is not JSON, or a member has the wrong type.
    #[error("it is not the JSON of an event: {0}")]
    Json(serde_json::Error),
    /// The message is JSON of another kind.
    #[error(
        "it is neither an S3 event (with Records), nor an SNS envelope of one (with Message), nor an EventBridge event \
         (with detail-type)"
    )]
    Unknown,
    /// The event lacks a required member.
    #[error("the event has no {0}")]
    Missing(String),
    /// SNS asks for the confirmation of a subscription, and delivers nothing before that.
    #[error(
        "it is an SNS subscription that is not confirmed yet: open the SubscribeURL of this message"
    )]
    Unconfirmed,
}

/// The uploads in a message: an S3 event, alone or in an SNS envelope, or an EventBridge event.
///
/// The result is empty for the test message that S3 sends when notifications are switched on
/// (`{"Service":"Amazon S3","Event":"s3:TestEvent",…}`), and for events about anything but a new
/// object. Folders are not uploads.
///
/// # Errors
/// [`EventError`] if the message is none of these, or does not name the object.
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
        // The recursion ends, because the content of an envelope is shorter than the envelope.
        Message {
            envelope: Some(inner),
            ..
        } => uploads(&inner),
        Message { .. } => Err(EventError::Unknown),
    }
}

/// The members of all kinds of messages. Each kind has some of them.
#[derive(Deserialize)]
struct Message {
    /// A member of S3's test message.
    #[serde(rename = "Event")]
    test: Option<String>,
    /// A member of an S3 event.
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    /// A member of an EventBridge event.
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    /// A member of an EventBridge event.
    detail: Option<Entity>,
    /// A member of an SNS envelope.
    #[serde(rename = "Type")]
    kind: Option<String>,
    /// A member of an SNS envelope: the published message.
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
    /// The upload in a record, if it is one. `at` is the record's path in the message.
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

/// The upload in an EventBridge event, if it is one. Its key is not encoded, unlike in S3's own events
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
    /// The bucket and the key as the event spells them. `at` is this member's path in the message.
    fn upload(&self, at: &str) -> Result<UploadedObject, EventError> {
        let required = |value: &Option<String>, member: &str| {
            value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| EventError::Missing(format!("{at}.{member}")))
        };
        let (bucket, key) = (
            required(&self.bucket.name, "bucket.name")?,
            required(&self.object.key, "object.key")?,
        );
        Ok(UploadedObject { bucket, key })
    }
}

impl UploadedObject {
    fn is_file(&self) -> bool {
        !self.key.ends_with('/')
    }
}

/// Decodes a key of an S3 event, which is form-encoded: a space is `+`
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

    /// A record with only the required members, as senders other than S3 write it.
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

    /// The message that SNS sends to a queue, unless raw delivery is switched on.
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
    fn keys_of_s3_events_are_form_encoded() {
        assert_eq!(
            decoded("inbox/Fall+26%2Bx/%E6%9D%B1.csv"),
            "inbox/Fall 26+x/東.csv"
        );
    }

    #[test]
    fn keys_of_event_bridge_are_not_encoded() {
        let message = event_bridge("Object Created", "inbox/Fall 26+x/100%25 東.csv").to_string();
        assert_eq!(
            uploads(&message).unwrap(),
            [upload("inbox/Fall 26+x/100%25 東.csv")]
        );
    }

    #[test]
    fn reads_the_message_in_an_sns_envelope() {
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
    fn a_test_event_has_no_uploads() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"studio"}"#;
        assert_eq!(uploads(test).unwrap(), []);
    }

    #[test]
    fn folders_and_deletions_are_not_uploads() {
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
    fn unused_members_may_be_missing_or_have_any_type() {
        let mut full = record("ObjectCreated:Put", "inbox/a.csv");
        full["userIdentity"] = json!("a user");
        full["requestParameters"] = json!(null);
        full["eventTime"] = json!(1_795_251_600);
        full["s3"]["object"]["size"] = json!("10");
        assert_eq!(
            uploads(&event(&[full]).to_string()).unwrap(),
            [upload("inbox/a.csv")]
        );
    }

    #[test]
    fn the_error_names_what_is_wrong_with_a_message() {
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
