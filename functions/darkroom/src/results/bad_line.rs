//! Lines that can't be read.

use super::{answer::Reason, skeleton::key_of_damaged};
use crate::names::RequestKey;

/// A line from which no answer can be read. Its images, if it had any, are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// What is wrong with it.
    pub reason: BadLineReason,
    /// The request's key, where it could still be read.
    pub key: Option<RequestKey>,
}

impl BadLine {
    pub(super) fn new(reason: BadLineReason, skeleton: &[u8]) -> Self {
        Self {
            reason,
            key: key_of_damaged(skeleton).map(RequestKey::new),
        }
    }
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLineReason {
    /// It has more than [`Limits::skeleton_bytes`](super::Limits) beside its images.
    #[error(
        "the line is longer than accepted: ask for the image again, or for fewer texts beside it"
    )]
    LineTooLong,
    /// It is no JSON, or ends within it.
    #[error("the line of the result file is no valid JSON: ask for the image again")]
    NotJson,
    /// It is JSON but neither a response nor an error, nor the members of a response without the
    /// response around them; or a member that holds an image has the wrong type or stands there
    /// twice.
    #[error(
        "the line of the result file is neither a response nor an error as Gemini documents them: ask for the image again"
    )]
    NotAReply,
    /// It is the last, and the file ends within it: the download, or the file, may be cut.
    #[error("the result file ends within the line: ask for the image again")]
    Truncated,
}

impl BadLineReason {
    /// The code of a result that failed for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::LineTooLong => "LINE_TOO_LONG",
            Self::NotJson => "NOT_JSON",
            Self::NotAReply => "NOT_A_REPLY",
            Self::Truncated => "TRUNCATED_LINE",
        }
    }
}

impl From<BadLineReason> for Reason {
    fn from(reason: BadLineReason) -> Self {
        Self {
            code: reason.code().into(),
            message: reason.to_string(),
            retryable: true,
        }
    }
}
