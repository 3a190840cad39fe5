//! Determines the format and size of an image from its first bytes, and the marks of its origin from
//! its metadata. The image is not decoded, and its declared type is ignored.

mod header;
mod provenance;

use serde::{Deserialize, Serialize};

pub use header::read_header;
pub use provenance::Provenance;

/// The maximum number of pixels of an image: 100 million. Gemini's largest image has 34 million. A
/// file of a few kilobytes can declare billions of pixels and exhaust the memory of its viewer.
pub const MAX_PIXELS: u64 = 100_000_000;

/// The tolerance between the requested and the actual ratio: 3.5 %. Gemini answers 16:9 with 1408 ×
/// 768, which deviates by 3.1 %. The two nearest ratios that it offers differ by 6.7 %.
const RATIO_TOLERANCE: f64 = 0.035;

/// The tolerance if one side is at least four times the other: 5 %. Gemini answers 8:1 at 2K with
/// 5856 × 704, which deviates by 4 %. 4:1 and the next ratio that it offers differ by 70 %.
const EXTREME_RATIO_TOLERANCE: f64 = 0.05;

/// The ratio from which the larger tolerance applies.
const EXTREME_RATIO: f64 = 4.0;

/// The factor by which the pixels of an image may differ from those of the square of its size: 2.
/// Each size has four times the pixels of the next smaller one. Of all shapes that Gemini returns,
/// 3072 × 384 deviates most from its square, by 12.5 %.
const SIZE_FACTOR: f64 = 2.0;

/// The image formats that Gemini generates and browsers display. Other formats are rejected, since
/// SVG and HTML can run scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// JPEG.
    #[serde(rename = "image/jpeg")]
    Jpeg,
    /// PNG.
    #[serde(rename = "image/png")]
    Png,
    /// WebP.
    #[serde(rename = "image/webp")]
    WebP,
}

impl MediaType {
    /// Returns the format of an image by at most its first twelve bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::WebP)
        } else {
            None
        }
    }

    /// Returns the type for `Content-Type`, such as `image/jpeg`.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }

    /// Returns the extension of a file name without the dot, such as `jpg`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }
}

/// The header of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format.
    pub media_type: MediaType,
    /// The width in pixels, at least 1.
    pub width: u32,
    /// The height in pixels, at least 1.
    pub height: u32,
}

/// Why an image can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageFlaw {
    /// Its text is not base64.
    #[error("the image isn't valid base64")]
    InvalidBase64,
    /// It exceeds the [`Limits`](super::Limits), alone or together with the images before it in its
    /// line.
    #[error("the image has more bytes than are accepted")]
    TooLarge,
    /// Its line has more images than the [`Limits`](super::Limits) allow.
    #[error("the reply holds more images than are accepted")]
    TooMany,
    /// Its bytes are not a PNG, JPEG or WebP with a readable header.
    #[error("the bytes are neither PNG, JPEG nor WebP")]
    NotAnImage,
    /// It declares more than [`MAX_PIXELS`] pixels.
    #[error("the image has more pixels than are accepted")]
    TooManyPixels,
}

impl ImageFlaw {
    /// Returns the code of the failed result.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidBase64 => "INVALID_BASE64",
            Self::TooLarge => "IMAGE_TOO_LARGE",
            Self::TooMany => "TOO_MANY_IMAGES",
            Self::NotAnImage => "NOT_AN_IMAGE",
            Self::TooManyPixels => "TOO_MANY_PIXELS",
        }
    }

    /// Whether a retry may succeed. Damage is accidental, but size is not.
    pub fn retryable(self) -> bool {
        match self {
            Self::InvalidBase64 | Self::NotAnImage => true,
            Self::TooLarge | Self::TooMany | Self::TooManyPixels => false,
        }
    }
}

/// Whether an image of `width` × `height` has the requested ratio, such as `16:9`, with a tolerance
/// of 3.5 %, or 5 % if one side is at least four times the other.
///
/// Actual sizes differ from the documented ones by a few pixels, so an exact comparison would report
/// good images. A text that is not a ratio matches no image.
pub fn ratio_matches(width: u32, height: u32, ratio: &str) -> bool {
    let positive = |text: &str| {
        text.parse()
            .ok()
            .filter(|side: &u16| *side > 0)
            .map(f64::from)
    };
    let Some((wide, high)) = ratio
        .split_once(':')
        .and_then(|(wide, high)| Some((positive(wide)?, positive(high)?)))
    else {
        return false;
    };
    let (is, asked) = (f64::from(width) / f64::from(height), wide / high);
    let is_extreme = asked.max(asked.recip()) >= EXTREME_RATIO;
    let tolerance = if is_extreme {
        EXTREME_RATIO_TOLERANCE
    } else {
        RATIO_TOLERANCE
    };
    (is / asked - 1.0).abs() <= tolerance
}

/// Whether an image of `width` × `height` has the requested size, `512`, `1K`, `2K` or `4K`, in any
/// shape.
///
/// The number of pixels decides, since a size has about the same number in every ratio. A text that
/// is not a size matches every image.
pub fn size_matches(width: u32, height: u32, size: &str) -> bool {
    let side = match size.strip_suffix('K') {
        Some(kilo) => kilo.parse().ok().map(|kilo: u16| 1024.0 * f64::from(kilo)),
        None => size.parse().ok().map(|side: u16| f64::from(side)),
    };
    let Some(side) = side.filter(|side| *side > 0.0) else {
        return true;
    };
    let times = f64::from(width) * f64::from(height) / (side * side);
    (SIZE_FACTOR.recip()..SIZE_FACTOR).contains(&times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalog;

    #[test]
    fn every_shape_of_the_catalog_has_exactly_one_size() {
        let catalog = Catalog::built_in();
        let mut compared = 0;
        for model in catalog.models() {
            for (ratio, size) in model
                .ratios
                .iter()
                .flat_map(|ratio| model.sizes.iter().map(move |size| (ratio, size)))
            {
                let Some((width, height)) = model.pixels(ratio, Some(&size.name)) else {
                    continue;
                };
                // With a deviation of three percent of one side or both.
                for (wider, higher) in [
                    (100, 100),
                    (103, 103),
                    (97, 97),
                    (103, 97),
                    (103, 100),
                    (97, 100),
                ] {
                    let (width, height) = (width * wider / 100, height * higher / 100);
                    for asked in ["512", "1K", "2K", "4K"] {
                        let found = size_matches(width, height, asked);
                        assert_eq!(
                            found,
                            asked == size.name,
                            "{} {width} x {height} is {}",
                            model.id,
                            size.name
                        );
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 2_000, "{compared}");
    }

    #[test]
    fn measured_shapes_have_their_size() {
        for (width, height, size) in [
            (1408, 768, "1K"),
            (2816, 1536, "2K"),
            (5632, 3072, "4K"),
            (1024, 1024, "1K"),
        ] {
            assert!(
                size_matches(width, height, size),
                "{width} x {height} is {size}"
            );
        }
    }

    #[test]
    fn an_unknown_size_matches_every_image() {
        for size in ["", "K", "0K", "0", "large", "-1K", "1k"] {
            assert!(size_matches(1, 1, size), "{size}");
        }
    }

    #[test]
    fn the_sizes_that_gemini_returns_match_their_ratios() {
        for (width, height, ratio) in [
            (1024, 1024, "1:1"),
            (1376, 768, "16:9"),
            (1408, 768, "16:9"),
            (5632, 3072, "16:9"),
            (768, 1344, "9:16"),
            (1264, 848, "3:2"),
            (864, 1184, "3:4"),
            (928, 1152, "4:5"),
            (1536, 672, "21:9"),
            (384, 3072, "1:8"),
            (5856, 704, "8:1"),
            (704, 5856, "1:8"),
            (2120, 512, "4:1"),
        ] {
            assert!(
                ratio_matches(width, height, ratio),
                "{width} x {height} is {ratio}"
            );
            assert_eq!(
                ratio_matches(height, width, ratio),
                width == height,
                "{height} x {width} isn't {ratio}"
            );
        }
    }

    #[test]
    fn a_neighboring_ratio_does_not_match() {
        for (width, height, ratio) in [
            (928, 1152, "3:4"),
            (1200, 896, "5:4"),
            (1024, 1024, "4:5"),
            (1376, 768, "3:2"),
            (1432, 768, "16:9"),
            (1584, 672, "4:1"),
            (2048, 512, "8:1"),
            (2170, 512, "4:1"),
        ] {
            assert!(
                !ratio_matches(width, height, ratio),
                "{width} x {height} isn't {ratio}"
            );
        }
    }

    #[test]
    fn an_invalid_ratio_matches_no_image() {
        for ratio in ["", "1", "0:0", "1:0", "a:b", "auto", "-1:-1", "NaN:1"] {
            assert!(!ratio_matches(1024, 1024, ratio), "{ratio}");
        }
        assert!(!ratio_matches(0, 0, "1:1"));
    }

    #[test]
    fn a_media_type_is_written_as_its_mime_type() {
        for media_type in [MediaType::Jpeg, MediaType::Png, MediaType::WebP] {
            assert_eq!(serde_json::to_value(media_type).unwrap(), media_type.mime());
        }
    }
}
