//! Decodes an image into a small one. Of a PNG, only one row is in memory; the decoders of the other
//! formats need the whole image.

mod jpeg;
mod png;
mod webp;

use darkroom::results::image::{ImageFlaw, MAX_PIXELS, MediaType};

use crate::{
    error::Flaw,
    shrink::{Picture, Shrinker},
};

/// The longest text of a decoder that becomes part of a reason, in characters.
const MAX_REASON: usize = 160;

/// Decodes an image of this format, and shrinks it to a longest side of `side` pixels.
///
/// # Errors
/// [`Flaw`] if it is damaged, or has more than [`MAX_PIXELS`] pixels.
pub(crate) fn decode(image: &[u8], format: MediaType, side: u32) -> Result<Picture, Flaw> {
    match format {
        MediaType::Jpeg => jpeg::decode(image, side),
        MediaType::Png => png::decode(image, side),
        MediaType::WebP => webp::decode(image, side),
    }
}

/// Checks a size that a decoder has read, before it allocates memory for it.
fn check_size((width, height): (u32, u32)) -> Result<(), Flaw> {
    match u64::from(width) * u64::from(height) {
        0 => Err(ImageFlaw::NotAnImage.into()),
        1..=MAX_PIXELS => Ok(()),
        _ => Err(ImageFlaw::TooManyPixels.into()),
    }
}

/// Shrinks an image that is in memory as a whole.
fn shrink_all(pixels: &[u8], size: (u32, u32), layout: Layout, side: u32) -> Result<Picture, Flaw> {
    let mut shrinker = Shrinker::new(size, side);
    let row = layout.channels() * usize::try_from(size.0).unwrap_or(usize::MAX);
    let mut rgb = Vec::new();
    for row in pixels.chunks_exact(row) {
        shrinker.push(layout.to_rgb(row, &mut rgb));
    }
    shrinker.finish().ok_or_else(|| damaged("rows are missing"))
}

/// The bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Gray,
    GrayAlpha,
    Rgb,
    RgbAlpha,
}

impl Layout {
    fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::GrayAlpha => 2,
            Self::Rgb => 3,
            Self::RgbAlpha => 4,
        }
    }

    /// Returns a row as RGB, in `buffer` if it must be converted. A JPEG has no transparency, so
    /// transparent pixels are drawn on white, as on a page.
    fn to_rgb<'a>(self, row: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let on_white = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            let mixed = (value * alpha + 255 * (255 - alpha) + 127) / 255;
            u8::try_from(mixed).unwrap_or(u8::MAX)
        };
        buffer.clear();
        match self {
            Self::Rgb => return row,
            Self::Gray => buffer.extend(row.iter().flat_map(|gray| [*gray; 3])),
            Self::GrayAlpha => {
                let pixels = row.as_chunks::<2>().0.iter();
                buffer.extend(pixels.flat_map(|[gray, alpha]| [on_white(*gray, *alpha); 3]));
            }
            Self::RgbAlpha => {
                let pixels = row.as_chunks::<4>().0.iter();
                buffer.extend(pixels.flat_map(|[red, green, blue, alpha]| {
                    [red, green, blue].map(|value| on_white(*value, *alpha))
                }));
            }
        }
        buffer
    }
}

/// Returns the flaw for an error of a decoder, whose text may be of any length.
fn damaged(error: impl ToString) -> Flaw {
    Flaw::Damaged(error.to_string().chars().take(MAX_REASON).collect())
}
