//! What `collect` writes into `results/<offset>.jsonl`: a result for each key, and what can be
//! given to no key.

use serde::{Deserialize, Serialize};

use crate::{
    cost::Usage,
    names::RequestKey,
    results::{ResultLine, StoredImage},
};

/// One part of a shard's results: `shards/<id>/results/<name>.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The object's name, without its folder and its extension.
    pub name: String,
    /// How many lines it has. An object with another number of lines was damaged.
    pub lines: u64,
}

impl Chunk {
    /// What was read between two checkpoints, up to byte `offset` of the responses file: twenty
    /// digits, so that a listing is in order.
    pub fn up_to(offset: u64, lines: usize) -> Self {
        Self {
            name: format!("{offset:020}"),
            lines: lines as u64,
        }
    }

    /// What was read after the last checkpoint, and the keys that the responses file does not
    /// mention.
    pub fn rest(lines: usize) -> Self {
        Self {
            name: "rest".to_owned(),
            lines: lines as u64,
        }
    }

    /// The requests that Gemini refused to take when it was asked for the batch of this attempt.
    pub fn refused(attempt: u32, lines: usize) -> Self {
        Self {
            name: format!("refused-{attempt}"),
            lines: lines as u64,
        }
    }
}

/// One line of a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChunkLine {
    /// What was set aside. It comes first: it is told by a member that no result has.
    Unmatched(Box<UnmatchedResult>),
    /// What became of a request key.
    Result(Box<ResultLine>),
}

/// A result that belongs to no request key, or to one that has its image. Its image was paid for,
/// and is kept, unless the line was skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnmatchedResult {
    /// Why it was set aside.
    pub unmatched: UnmatchedReason,
    /// Where its line begins in the responses file.
    pub offset: u64,
    /// The key it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RequestKey>,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<StoredImage>,
    /// The tokens it used: whosever it is, they are charged for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Google's id of the answer, by which one that is told twice is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

impl UnmatchedResult {
    /// A line, which begins at `offset`, of which nothing is known yet but why it is set aside.
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

/// Why a result was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnmatchedReason {
    /// Its key was not asked for in this shard.
    UnknownKey,
    /// Its key has its image already, or has its reason and this is no image.
    RepeatedKey,
    /// It has no key, or can't be read at all.
    NoKey,
    /// Nobody looked at it: each reader has died at it.
    SkippedLine,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Status;

    #[test]
    fn a_part_line_is_read_as_what_it_was_written_as() {
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
}
