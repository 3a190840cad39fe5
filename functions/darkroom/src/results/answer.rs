//! What a request was answered with: an image, or why there is none.

use serde::{Deserialize, Serialize};

use super::{
    image::{ImageFlaw, MediaType, read_header},
    pool::PooledBuffer,
};
use crate::{cost::Usage, names::RequestKey};

/// What Gemini answered to one request.
#[derive(Debug)]
pub struct Answer {
    /// The request's key. A line without one can't be given to anyone, and is to be set aside.
    pub key: Option<RequestKey>,
    /// An image, or why there is none.
    pub outcome: Outcome,
    /// Why the model stopped: `STOP`, `IMAGE_SAFETY`, …
    pub finish_reason: Option<String>,
    /// The model that answered, which may not be the one that was asked.
    pub model_version: Option<String>,
    /// Google's id of the answer.
    pub response_id: Option<String>,
    /// The tokens used.
    pub usage: Option<Usage>,
    /// Images that belonged to the model's thoughts and were dropped. If there is no other image,
    /// the last of them that is whole is not dropped: it is the image.
    pub thought_images: usize,
    /// What was odd about the answer, for people.
    pub warnings: Vec<String>,
}

/// What became of a request that was answered.
#[derive(Debug)]
pub enum Outcome {
    /// There is an image.
    Succeeded {
        /// The final one: the last that is no thought, or the last thought if there is no other.
        image: Image,
        /// Those before it.
        extras: Vec<Image>,
    },
    /// A filter withheld it. The same prompt will meet the same filter, unless Google names none.
    Blocked(Reason),
    /// The model made none.
    NoImage(Reason),
    /// Something went wrong.
    Failed(Reason),
    /// The batch was cancelled before this request's turn.
    Cancelled(Reason),
}

impl Outcome {
    /// The status of the request's result line.
    pub fn status(&self) -> Status {
        match self {
            Self::Succeeded { .. } => Status::Succeeded,
            Self::Blocked(_) => Status::Blocked,
            Self::NoImage(_) => Status::NoImage,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled(_) => Status::Cancelled,
        }
    }

    /// Why there is no image, unless there is one.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Succeeded { .. } => None,
            Self::Blocked(reason)
            | Self::NoImage(reason)
            | Self::Failed(reason)
            | Self::Cancelled(reason) => Some(reason),
        }
    }
}

/// The status of a result line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is an image.
    Succeeded,
    /// Something went wrong.
    Failed,
    /// A filter withheld the image.
    Blocked,
    /// The model made no image.
    NoImage,
    /// The batch wasn't served in time.
    Expired,
    /// It was cancelled before it was made.
    Cancelled,
    /// It was never asked for.
    Skipped,
}

/// Why there is no image.
///
/// ```json
/// {"code":"IMAGE_SAFETY","message":"Unable to show the generated image. …","retryable":false}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Google's name for it, or ours, in capitals.
    pub code: String,
    /// A sentence for people, at most 1 KiB.
    pub message: String,
    /// Whether asking again may help.
    pub retryable: bool,
}

/// An image that is one by its bytes.
#[derive(Debug)]
pub struct Image {
    /// The format, whatever the answer calls it.
    pub media_type: MediaType,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The bytes exactly as Gemini made them.
    pub bytes: PooledBuffer,
}

impl Image {
    /// # Errors
    /// [`ImageFlaw::NotAnImage`] or [`ImageFlaw::TooManyPixels`], by the header of the bytes.
    pub(super) fn new(bytes: PooledBuffer) -> Result<Self, ImageFlaw> {
        let header = read_header(bytes.as_ref())?;
        Ok(Self {
            media_type: header.media_type,
            width: header.width,
            height: header.height,
            bytes,
        })
    }
}

impl From<ImageFlaw> for Reason {
    fn from(flaw: ImageFlaw) -> Self {
        Self {
            code: flaw.code().into(),
            message: flaw.to_string(),
            retryable: flaw.retryable(),
        }
    }
}
