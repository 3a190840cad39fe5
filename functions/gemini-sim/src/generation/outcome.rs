//! How a request ends.

use serde::{Deserialize, Serialize};

use crate::{
    generation::{error_form::ErrorForm, refusal::Refusal},
    images::{dimensions::ImageSize, marks::Marks},
};

/// How one request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestOutcome {
    /// An image.
    Image(Rendering),
    /// A response without an image.
    Refused(Refusal),
    /// A response without any member. It is not billed, because it reports no tokens.
    EmptyResponse,
    /// An error line with code 13.
    InternalError,
    /// An error line of an unusual form.
    Failed(ErrorForm),
    /// An error line with code 7: the request refers to a file that does not exist.
    NoReference,
    /// An error line with code 1: the batch was cancelled before the request was processed.
    Unserved,
    /// The request is served and billed, but the output file has no line for it.
    Missing,
}

impl RequestOutcome {
    /// Returns the size of the image of a request that ends so, as billed.
    pub(crate) fn size(self, requested: ImageSize) -> ImageSize {
        match self {
            Self::Image(rendering) => rendering.size(requested),
            Self::Refused(_)
            | Self::EmptyResponse
            | Self::InternalError
            | Self::Failed(_)
            | Self::NoReference
            | Self::Unserved
            | Self::Missing => requested,
        }
    }

    /// Returns whether the output file has a response of the model for the request.
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

    /// Returns whether the output has an error line for the request that counts as failed.
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

/// Deviations in how an image is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rendering {
    /// It follows an interim image that is marked as a thought.
    pub(crate) after_thought: bool,
    /// Its ratio differs from the requested one.
    pub(crate) wrong_ratio: bool,
    /// It has the smallest size that every model has, whatever size was requested, and is billed
    /// as that size. Batches of earlier versions have none.
    #[serde(default)]
    pub(crate) wrong_size: bool,
    /// It is PNG, labelled as JPEG.
    pub(crate) mislabelled: bool,
    /// The length of its longer side in pixels, instead of that of its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) side: Option<u16>,
    /// The bytes that it has at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_bytes: Option<u32>,
    /// The marks of its origin. Batches of earlier versions have none.
    #[serde(default)]
    pub(crate) marks: Marks,
}

impl Rendering {
    /// Returns the dimensions of an image that has these by its ratio and size.
    pub(crate) fn pixels(self, (width, height): (u16, u16)) -> (u16, u16) {
        let Some(side) = self.side else {
            return (width, height);
        };
        let longer = u32::from(width.max(height).max(1));
        let scaled = |length: u16| {
            let scaled = u32::from(length) * u32::from(side) / longer;
            u16::try_from(scaled).unwrap_or(u16::MAX).max(1)
        };
        (scaled(width), scaled(height))
    }

    /// Returns the size of an image that was requested in a size.
    pub(crate) fn size(self, requested: ImageSize) -> ImageSize {
        if self.wrong_size {
            ImageSize::One
        } else {
            requested
        }
    }
}

/// What the scenario decides about one request line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LinePlan {
    pub(crate) outcome: RequestOutcome,
    /// Whether the output file has the line twice.
    pub(crate) repeated: bool,
    /// Whether the output file has a second answer with the same key.
    pub(crate) served_twice: bool,
    /// Whether the output file has an extra image, under a key that no request has.
    pub(crate) stray: bool,
}
