//! What becomes of one request.

use serde::{Deserialize, Serialize};

use crate::generation::{error_form::ErrorForm, refusal::Refusal};

/// How one request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// An image.
    Image(Rendering),
    /// A response without an image.
    Refused(Refusal),
    /// A response without any member. It is not billed: it tells of no tokens.
    EmptyResponse,
    /// An error line, code 13.
    InternalError,
    /// An error line of an odd form.
    Failed(ErrorForm),
    /// An error line, code 7: the request points to a file that is not there.
    NoReference,
    /// An error line, code 1: the batch was cancelled before the request's turn.
    Unserved,
    /// Served and billed, but not in the output file.
    Missing,
}

impl Outcome {
    /// Whether the output file has a response of the model for it.
    pub(crate) fn is_answer(self) -> bool {
        match self {
            Self::Image(_) | Self::Refused(_) | Self::EmptyResponse => true,
            Self::InternalError
            | Self::Failed(_)
            | Self::NoReference
            | Self::Unserved
            | Self::Missing => false,
        }
    }

    /// Whether the output has an error line for it that counts as a failure.
    pub(crate) fn is_failure(self) -> bool {
        match self {
            Self::InternalError | Self::Failed(_) | Self::NoReference => true,
            Self::Image(_)
            | Self::Refused(_)
            | Self::EmptyResponse
            | Self::Unserved
            | Self::Missing => false,
        }
    }
}

/// How an image is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rendering {
    /// After an interim image marked as a thought.
    pub(crate) after_thought: bool,
    /// In another ratio than was asked for.
    pub(crate) wrong_ratio: bool,
    /// As PNG that is said to be JPEG.
    pub(crate) mislabelled: bool,
}

/// What becomes of one request line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineFate {
    pub(crate) outcome: Outcome,
    /// Whether the output file has the line twice.
    pub(crate) repeated: bool,
    /// Whether the output file has another answer under its key.
    pub(crate) served_twice: bool,
    /// Whether the output file has an image more, under a key that nobody asked for.
    pub(crate) stray: bool,
}
