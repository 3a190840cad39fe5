//! What S3 says was uploaded.

use aws_lambda_events::event::s3::{S3Event, S3EventRecord};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// An object that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

/// The uploads that a message of S3's notifications tells of. There are none in what S3 says once, when notifications
/// are switched on: `{"Service":"Amazon S3","Event":"s3:TestEvent",…}`. Folders are no uploads.
///
/// # Errors
/// When the message is none of S3's.
pub fn uploads(message: &str) -> Result<Vec<Upload>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Test {
        #[serde(rename = "Event")]
        event: Option<String>,
    }
    let test: Test = serde_json::from_str(message)?;
    if test.event.as_deref() == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    let event: S3Event = serde_json::from_str(message)?;
    Ok(event.records.iter().filter_map(upload).collect())
}

fn upload(record: &S3EventRecord) -> Option<Upload> {
    let name = record.event_name.as_deref()?;
    let key = decoded(record.s3.object.key.as_deref()?);
    let is_created = name.trim_start_matches("s3:").starts_with("ObjectCreated:");
    let bucket = record.s3.bucket.name.clone().unwrap_or_default();
    (is_created && !key.ends_with('/')).then_some(Upload { bucket, key })
}

/// Keys in S3's events are form-encoded: a space is `+`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>, read 2026-11).
fn decoded(key: &str) -> String {
    let spaces = key.replace('+', " ");
    percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_keys_are_form_encoded() {
        assert_eq!(decoded("inbox/Fall+26%2Bx/%E6%9D%B1.csv"), "inbox/Fall 26+x/東.csv");
    }

    #[test]
    fn a_test_event_tells_of_nothing() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"studio"}"#;
        assert_eq!(uploads(test).unwrap(), []);
        assert!(uploads("no event").is_err());
    }

    #[test]
    fn folders_and_deletions_are_no_uploads() {
        let record = |name: &str, key: &str| {
            json!({
                "eventVersion": "2.6", "eventSource": "aws:s3", "eventTime": "2026-11-21T09:00:00.000Z", "eventName": name,
                "userIdentity": {}, "requestParameters": {}, "responseElements": {},
                "s3": { "bucket": { "name": "studio" }, "object": { "key": key } },
            })
        };
        let records = [
            record("ObjectCreated:Put", "inbox/a.csv"),
            record("ObjectCreated:Put", "inbox/folder/"),
            record("ObjectRemoved:Delete", "inbox/b.csv"),
        ];
        let found = uploads(&json!({ "Records": records }).to_string()).unwrap();
        assert_eq!(found, [Upload { bucket: "studio".to_owned(), key: "inbox/a.csv".to_owned() }]);
    }
}
