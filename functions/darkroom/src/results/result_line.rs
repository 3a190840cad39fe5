//! One line of a result: what became of one request key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Reason, Status},
    bad_line::BadLine,
    image::MediaType,
};
use crate::{
    cost::Usage,
    money::Usd,
    names::{BatchName, ObjectUri, RequestKey, ShardId},
};

/// One line of a shard's `results/<offset>.jsonl`, which lacks what only the plan knows. It says
/// what is known and nothing else; `results.jsonl` has all members in every line
/// ([`crate::report::ResultForm`]).
///
/// ```json
/// {"key":"SKU-1001","variant":1,"line":2,"status":"succeeded","image":{"uri":"s3://…","mime_type":"image/jpeg",…},…}
/// {"key":"SKU-1002","variant":1,"line":3,"status":"blocked","finish_reason":"IMAGE_SAFETY","error":{"code":…},…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// The request key.
    pub key: RequestKey,
    /// Which of its item's images, from 1. From the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u32>,
    /// The manifest's line. From the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What became of it.
    pub status: Status,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<StoredImage>,
    /// Earlier versions of the image, where the answer holds several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extras: Vec<StoredImage>,
    /// The model that was asked, a full id.
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
    /// How it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// The batch that held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_name: Option<BatchName>,
    /// The shard that held it, or the round that did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardId>,
    /// How many times it was asked for.
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
    /// What it cost. From the catalog of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Usd>,
    /// Why there is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
    /// What was odd about it, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ResultLine {
    /// A line that says `status` of `key` and nothing else yet.
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

    /// What `answer` says of `key`, all but where its images are stored.
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

    /// What a line that can't be read says of `key`: it failed.
    pub fn of_bad_line(key: RequestKey, bad: &BadLine) -> Self {
        Self {
            error: Some(bad.reason.into()),
            ..Self::new(key, Status::Failed)
        }
    }
}

/// How an image was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// In a batch: half price, hours.
    Batch,
    /// Synchronously: full price, seconds.
    Interactive,
}

/// An image in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// Where it is.
    pub uri: ObjectUri,
    /// Its ETag, with quotes.
    pub etag: String,
    /// Its format, by its bytes.
    pub mime_type: MediaType,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Its length in bytes.
    pub bytes: u64,
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
    fn a_line_says_what_is_known_and_nothing_else() {
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
        };
        let line = ResultLine {
            image: Some(image),
            ..ResultLine::of_answer(RequestKey::new("k"), &answer)
        };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"key":"k","status":"succeeded","image":{"uri":"s3://studio/jobs/j/images/k.png","etag":"\"e\"","mime_type":"image/png","width":4,"height":3,"bytes":24},"finish_reason":"STOP"}"#
        );
        assert_eq!(serde_json::from_str::<ResultLine>(&text).unwrap(), line);
    }

    #[test]
    fn a_line_that_cannot_be_read_failed_and_may_be_asked_for_again() {
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
