//! Lines of a result file that can't be read.

use super::{answer::Reason, skeleton::key_of_damaged};
use crate::names::RequestKey;

/// A line from which no answer can be read. Its images, if it had any, are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Why the line can't be read.
    pub reason: BadLineReason,
    /// The request's key, if it could still be read.
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

/// Why a line can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLineReason {
    /// The line has more than [`Limits::skeleton_bytes`](super::Limits) apart from its images.
    #[error("the line is too long: request the image again, or with less text in the reply")]
    LineTooLong,
    /// The line is not JSON, or ends within its JSON.
    #[error("the line of the result file is not valid JSON: request the image again")]
    NotJson,
    /// The line is JSON, but neither a response nor an error, nor the members of a response without
    /// the response around them. Or a member that holds an image has the wrong type or occurs twice.
    #[error(
        "the line of the result file is neither a response nor an error as Gemini documents them: request the image again"
    )]
    NotAReply,
    /// The file ends within its last line. The download or the file may be truncated.
    #[error("the result file ends within the line: request the image again")]
    Truncated,
}

impl BadLineReason {
    /// Returns the code of the failed result.
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
