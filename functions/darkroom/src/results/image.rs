//! What an image is, from the first bytes of it. Nothing is decoded, and no one's word is taken for
//! it.

mod header;

use serde::{Deserialize, Serialize};

pub use header::read_header;

/// The most pixels an image may have: 100 million. Gemini's largest has 34 million; a file of a few
/// kilobytes can claim billions, and whoever opens it pays.
pub const PIXEL_LIMIT: u64 = 100_000_000;

/// How far an image's shape may be from what was asked for: 3.5 %. Gemini answers 16:9 with 1408 ×
/// 768, 3.1 % off; the nearest two ratios it offers differ by 6.7 %.
const RATIO_TOLERANCE: f64 = 0.035;

/// The same where one side is four times the other or more: 5 %. Gemini answers 8:1 at 2K with 5856
/// × 704, 4 % off; 4:1 and the next ratio that it offers differ by 70 %.
const EXTREME_RATIO_TOLERANCE: f64 = 0.05;

/// From which ratio on a shape is extreme.
const EXTREME_RATIO: f64 = 4.0;

/// How many times as many pixels an image may have as the square of its size, or as few: twice. One
/// size has four times the pixels of the next. Of all shapes that Gemini answers with, 3072 × 384
/// is the farthest from its square, 12.5 % off.
const SIZE_FACTOR: f64 = 2.0;

/// The formats that Gemini makes and browsers show. Others are refused: SVG and HTML run scripts.
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
    /// The format that the first bytes of an image tell, twelve of them at the most.
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

    /// The type for `Content-Type`: `image/jpeg`.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }

    /// The extension of a file name, without the dot: `jpg`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }
}

/// What an image's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format.
    pub media_type: MediaType,
    /// Pixels from left to right, at least 1.
    pub width: u32,
    /// Pixels from top to bottom, at least 1.
    pub height: u32,
}

/// Why an image part can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageFlaw {
    /// Its text is no base64.
    #[error("the image isn't valid base64")]
    InvalidBase64,
    /// It is larger than [`Limits`](super::Limits) allow, alone or together with those before it in
    /// its line.
    #[error("the image has more bytes than are accepted")]
    TooLarge,
    /// Its line holds more images than [`Limits`](super::Limits) allow.
    #[error("the reply holds more images than are accepted")]
    TooMany,
    /// Its bytes are no PNG, JPEG or WebP with a readable header.
    #[error("the bytes are neither PNG, JPEG nor WebP")]
    NotAnImage,
    /// It claims more than [`PIXEL_LIMIT`] pixels.
    #[error("the image has more pixels than are accepted")]
    TooManyPixels,
}

impl ImageFlaw {
    /// The code of a result that failed for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidBase64 => "INVALID_BASE64",
            Self::TooLarge => "IMAGE_TOO_LARGE",
            Self::TooMany => "TOO_MANY_IMAGES",
            Self::NotAnImage => "NOT_AN_IMAGE",
            Self::TooManyPixels => "TOO_MANY_PIXELS",
        }
    }

    /// Whether asking again may help: damage is chance, size is not.
    pub fn retryable(self) -> bool {
        match self {
            Self::InvalidBase64 | Self::NotAnImage => true,
            Self::TooLarge | Self::TooMany | Self::TooManyPixels => false,
        }
    }
}

/// Whether an image of `width` × `height` has the shape that was asked for, `16:9` say, give or
/// take 3.5 %; 5 % where one side is at least four times the other.
///
/// Sizes differ from the documented ones by a few pixels, so exact ones would refuse good images. A
/// text that is no ratio matches nothing.
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

/// Whether an image of `width` × `height` has the size that was asked for, `512`, `1K`, `2K` or
/// `4K`, whatever its shape.
///
/// It is told by the number of pixels: a size has about as many in every ratio, though each side
/// differs. A text that is no size is not compared.
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
    fn every_shape_of_the_catalog_is_of_its_size_and_of_no_other() {
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
                // Give or take three per cent of each side, or of one.
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
    fn measured_shapes_are_of_their_size() {
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
    fn what_is_no_size_is_not_compared() {
        for size in ["", "K", "0K", "0", "large", "-1K", "1k"] {
            assert!(size_matches(1, 1, size), "{size}");
        }
    }

    #[test]
    fn the_sizes_that_gemini_makes_match_their_ratios() {
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
    fn a_neighbouring_ratio_does_not_match() {
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
    fn what_is_no_ratio_matches_nothing() {
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
