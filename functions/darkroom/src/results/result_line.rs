//! The result of one request key, as a line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Reason, Status},
    bad_line::BadLine,
    image::{MediaType, Provenance},
};
use crate::{
    cost::Usage,
    lane::Lane,
    money::Usd,
    names::{BatchName, ObjectUri, RequestKey, ShardId},
};

/// The result of one request key.
///
/// A shard's chunks contain it without the members that only the plan has, and without unknown
/// members. In `results.jsonl` every line has all members ([`crate::report::ResultForm`]).
///
/// ```json
/// {"key":"SKU-1001","variant":1,"line":2,"status":"succeeded","image":{"uri":"s3://…","mime_type":"image/jpeg",…},…}
/// {"key":"SKU-1002","variant":1,"line":3,"status":"blocked","finish_reason":"IMAGE_SAFETY","error":{"code":…},…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// The request key.
    pub key: RequestKey,
    /// The number of the image among its item's images, from 1. From the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u32>,
    /// The manifest's line. From the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The status.
    pub status: Status,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<StoredImage>,
    /// Earlier versions of the image, if the answer contains several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extras: Vec<StoredImage>,
    /// The requested model, a full id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// Google's id of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// Why the model stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// How the image was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// The batch of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_name: Option<BatchName>,
    /// The shard of the request, in its last round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardId>,
    /// The number of times that the image was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The prompt. From the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The item's variables, by name. From the plan.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    /// The tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The cost. From the model catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Usd>,
    /// Why there is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
    /// Warnings for the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ResultLine {
    /// Creates a line with a key and a status only.
    pub fn new(key: RequestKey, status: Status) -> Self {
        Self {
            key,
            variant: None,
            line: None,
            status,
            image: None,
            extras: Vec::new(),
            model: None,
            model_version: None,
            response_id: None,
            finish_reason: None,
            lane: None,
            batch_name: None,
            shard: None,
            attempts: None,
            prompt: None,
            vars: BTreeMap::new(),
            usage: None,
            cost_usd: None,
            error: None,
            warnings: Vec::new(),
        }
    }

    /// Creates the line of an answer to `key`, without the addresses of stored images.
    pub fn of_answer(key: RequestKey, answer: &Answer) -> Self {
        Self {
            model_version: answer.model_version.clone(),
            response_id: answer.response_id.clone(),
            finish_reason: answer.finish_reason.clone(),
            usage: answer.usage,
            error: answer.outcome.reason().cloned(),
            warnings: answer.warnings.clone(),
            ..Self::new(key, answer.outcome.status())
        }
    }

    /// Creates the line of a key whose result line can't be read.
    pub fn of_bad_line(key: RequestKey, bad: &BadLine) -> Self {
        Self {
            error: Some(bad.reason.into()),
            ..Self::new(key, Status::Failed)
        }
    }
}

/// An image in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// The address of the object.
    pub uri: ObjectUri,
    /// Its ETag, with quotes.
    pub etag: String,
    /// The format, determined from the bytes.
    pub mime_type: MediaType,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The length in bytes.
    pub bytes: u64,
    /// The marks of its origin. Documents of earlier versions lack them.
    #[serde(default)]
    pub provenance: Option<Provenance>,
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            BadLineReason,
            testing::{image_line, png, read},
        },
        *,
    };

    #[test]
    fn a_line_omits_unknown_members() {
        let line = ResultLine::new(RequestKey::new("SKU-1"), Status::NoImage);
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"key":"SKU-1","status":"no_image"}"#
        );
    }

    #[test]
    fn an_answer_becomes_a_line() {
        let answer = read(
            r#"{"key":"SKU-1","response":{"candidates":[{"finishReason":"IMAGE_SAFETY","finishMessage":"No."}],
            "modelVersion":"m-1","responseId":"r-1"}}"#
                .replace('\n', " "),
        );
        let line = ResultLine::of_answer(RequestKey::new("SKU-1"), &answer);
        let line = ResultLine {
            lane: Some(Lane::Batch),
            shard: Some(ShardId::first(1).next_round()),
            ..line
        };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"key":"SKU-1","status":"blocked","model_version":"m-1","response_id":"r-1","finish_reason":"IMAGE_SAFETY","lane":"batch","shard":"0001.r2","error":{"code":"IMAGE_SAFETY","message":"No.","retryable":false}}"#
        );
        assert_eq!(serde_json::from_str::<ResultLine>(&text).unwrap(), line);
    }

    #[test]
    fn a_success_has_no_error_and_its_image_is_written_with_its_mime_type() {
        let answer = read(image_line("k", &png(4, 3, b"")));
        let image = StoredImage {
            uri: "s3://studio/jobs/j/images/k.png".parse().unwrap(),
            etag: "\"e\"".into(),
            mime_type: MediaType::Png,
            width: 4,
            height: 3,
            bytes: 24,
            provenance: Some(Provenance {
                iptc: true,
                c2pa: false,
            }),
        };
        let line = ResultLine {
            image: Some(image),
            ..ResultLine::of_answer(RequestKey::new("k"), &answer)
        };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"key":"k","status":"succeeded","image":{"uri":"s3://studio/jobs/j/images/k.png","etag":"\"e\"","mime_type":"image/png","width":4,"height":3,"bytes":24,"provenance":{"iptc":true,"c2pa":false}},"finish_reason":"STOP"}"#
        );
        assert_eq!(serde_json::from_str::<ResultLine>(&text).unwrap(), line);
    }

    #[test]
    fn an_image_of_an_earlier_version_has_no_provenance() {
        let stored = r#"{"uri":"s3://studio/jobs/j/images/k.png","etag":"e","mime_type":"image/png","width":4,"height":3,"bytes":24}"#;
        let image: StoredImage = serde_json::from_str(stored).unwrap();
        assert_eq!(image.provenance, None);
    }

    #[test]
    fn an_unreadable_line_is_a_retryable_failure() {
        let bad = BadLine {
            reason: BadLineReason::Truncated,
            key: None,
        };
        let line = ResultLine::of_bad_line(RequestKey::new("k"), &bad);
        let error = line.error.unwrap();
        assert_eq!(
            (line.status, error.code.as_str(), error.retryable),
            (Status::Failed, "TRUNCATED_LINE", true)
        );
    }
}
