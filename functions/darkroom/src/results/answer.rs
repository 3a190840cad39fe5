//! The answer to a request: an image, or the reason why there is none.

use serde::{Deserialize, Serialize};

use super::{
    image::{ImageFlaw, MediaType, read_header},
    pool::PooledBuffer,
};
use crate::{cost::Usage, names::RequestKey};

/// Gemini's answer to one request.
#[derive(Debug)]
pub struct Answer {
    /// The request's key. A line without a key is an unmatched result.
    pub key: Option<RequestKey>,
    /// The image, or the reason why there is none.
    pub outcome: Outcome,
    /// Why the model stopped: `STOP`, `IMAGE_SAFETY`, …
    pub finish_reason: Option<String>,
    /// The model that answered. It may differ from the requested one.
    pub model_version: Option<String>,
    /// Google's id of the answer.
    pub response_id: Option<String>,
    /// The tokens used.
    pub usage: Option<Usage>,
    /// The tier that served a synchronous request, such as `flex`, if the answer names it.
    pub service_tier: Option<String>,
    /// The number of images in the model's thoughts that were dropped. If there is no other image,
    /// the last complete one of them is used instead of being dropped.
    pub thought_images: usize,
    /// Warnings about the answer, for the user.
    pub warnings: Vec<String>,
}

/// The outcome of an answered request.
#[derive(Debug)]
pub enum Outcome {
    /// There is an image.
    Succeeded {
        /// The final image: the last one outside the model's thoughts, or else the last one in them.
        image: Image,
        /// The images before it.
        extras: Vec<Image>,
    },
    /// A filter withheld the image. A retry meets the same filter, unless Google names none.
    Blocked(Reason),
    /// The model generated no image.
    NoImage(Reason),
    /// The request failed.
    Failed(Reason),
    /// The batch was cancelled before this request was served.
    Cancelled(Reason),
}

impl Outcome {
    /// Returns the status of the request's result line.
    pub fn status(&self) -> Status {
        match self {
            Self::Succeeded { .. } => Status::Succeeded,
            Self::Blocked(_) => Status::Blocked,
            Self::NoImage(_) => Status::NoImage,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled(_) => Status::Cancelled,
        }
    }

    /// Returns the reason why there is no image, unless there is one.
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
    /// The request failed.
    Failed,
    /// A filter withheld the image.
    Blocked,
    /// The model generated no image.
    NoImage,
    /// The batch expired before the image was generated.
    Expired,
    /// The batch was cancelled before the image was generated.
    Cancelled,
    /// The image was never requested.
    Skipped,
}

/// Why there is no image.
///
/// ```json
/// {"code":"IMAGE_SAFETY","message":"Unable to show the generated image. …","retryable":false}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The code, in capitals: Google's name for the reason, or Darkroom's.
    pub code: String,
    /// A message for the user, at most 1 KiB.
    pub message: String,
    /// Whether a retry may succeed.
    pub retryable: bool,
}

/// An image whose bytes have the header of a supported format.
#[derive(Debug)]
pub struct Image {
    /// The format, determined from the bytes and not from the answer.
    pub media_type: MediaType,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The unchanged bytes from Gemini.
    pub bytes: PooledBuffer,
}

impl Image {
    /// Reads the header of an image.
    ///
    /// # Errors
    /// [`ImageFlaw::NotAnImage`] or [`ImageFlaw::TooManyPixels`], according to the header.
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
