//! The chunks of a shard's results, which `collect` writes between two checkpoints: one line for
//! each request key, and one for each result that matches no key.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    cost::Usage,
    digest::hex,
    names::RequestKey,
    results::{ResultLine, StoredImage},
};

/// The number of hexadecimal digits in the name of a key's chunk: 128 bits, so that no two keys of
/// a shard share a name.
const KEY_DIGITS: usize = 32;

/// One chunk of a shard's results: `shards/<id>/results/<name>.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The object's name without its folder and extension.
    pub name: String,
    /// The number of lines. An object with a different number of lines is damaged.
    pub lines: u64,
}

impl Chunk {
    /// Names the chunk of the results that were read up to byte `offset` of the responses file. The
    /// offset has twenty digits, so that a listing of the bucket is in order.
    pub fn up_to(offset: u64, lines: usize) -> Self {
        Self {
            name: format!("{offset:020}"),
            lines: lines as u64,
        }
    }

    /// Names the chunk of the results that were read after the last checkpoint, and of the keys
    /// that the responses file does not mention.
    pub fn rest(lines: usize) -> Self {
        Self {
            name: "rest".to_owned(),
            lines: lines as u64,
        }
    }

    /// Names the chunk of one key, whose image was requested in a separate call. The name depends on
    /// the key alone, so that a chunk is found even if a crash has prevented the write of the state
    /// that names it.
    pub fn of_key(key: &RequestKey) -> Self {
        let digest = hex(&Sha256::digest(key.as_str()));
        Self {
            name: format!("key-{}", &digest[..KEY_DIGITS]),
            lines: 1,
        }
    }

    /// Names the chunk of the requests that Gemini refused when this attempt created its batch.
    pub fn refused(attempt: u32, lines: usize) -> Self {
        Self {
            name: format!("refused-{attempt}"),
            lines: lines as u64,
        }
    }
}

/// One line of a chunk. Its `kind` is `result` or `unmatched`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChunkLine {
    /// The result of a request key.
    Result(Box<ResultLine>),
    /// A result that matches no request key.
    Unmatched(Box<UnmatchedResult>),
}

/// A result that matches no request key, or a key that already has its image. Its image was paid
/// for and is kept, unless the line was skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnmatchedResult {
    /// Why it is unmatched.
    pub unmatched: UnmatchedReason,
    /// The byte of the responses file at which its line begins.
    pub offset: u64,
    /// The key that its line carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RequestKey>,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<StoredImage>,
    /// The tokens that it used. They are charged for, whatever its key is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Google's id of the answer. It identifies an answer that is reported twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

impl UnmatchedResult {
    /// Creates an unmatched result of which only the reason and the `offset` of its line are known.
    pub fn new(unmatched: UnmatchedReason, offset: u64) -> Self {
        Self {
            unmatched,
            offset,
            key: None,
            image: None,
            usage: None,
            response_id: None,
        }
    }
}

/// Why a result is unmatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnmatchedReason {
    /// This shard requested no image with its key.
    UnknownKey,
    /// Its key already has an image, or already has a reason and this result has no image either.
    RepeatedKey,
    /// It has no key, or its line can't be read.
    NoKey,
    /// Its line was skipped, because every invocation that tried to read it crashed.
    SkippedLine,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Status;

    #[test]
    fn a_line_is_read_as_the_kind_that_was_written() {
        let usage = Some(Usage {
            prompt_tokens: 7,
            ..Usage::default()
        });
        let unmatched = UnmatchedResult {
            key: Some(RequestKey::new("k")),
            usage,
            ..UnmatchedResult::new(UnmatchedReason::UnknownKey, 7)
        };
        for line in [
            ChunkLine::Unmatched(Box::new(unmatched)),
            ChunkLine::Result(Box::new(ResultLine::new(
                RequestKey::new("k"),
                Status::Succeeded,
            ))),
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(
                serde_json::from_str::<ChunkLine>(&text).unwrap(),
                line,
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_names_the_wrong_member_of_a_line() {
        let error = serde_json::from_str::<ChunkLine>(r#"{"kind":"result","key":"k"}"#);
        assert!(error.unwrap_err().to_string().contains("status"));
    }
}
