//! Decodes WebP. It needs up to 4 bytes for each pixel, and as many again inside the decoder.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::{Layout, check_size, damaged, shrink_all};
use crate::{error::Flaw, shrink::Picture};

/// Decodes a WebP. Of an animation, it is the first image.
pub(super) fn decode(image: &[u8], side: u32) -> Result<Picture, Flaw> {
    let mut decoder = WebPDecoder::new(Cursor::new(image)).map_err(damaged)?;
    let size = decoder.dimensions();
    check_size(size)?;
    let layout = if decoder.has_alpha() {
        Layout::RgbAlpha
    } else {
        Layout::Rgb
    };
    let bytes = decoder
        .output_buffer_size()
        .ok_or_else(|| damaged("it is too large"))?;
    let mut pixels = vec![0; bytes];
    decoder.read_image(&mut pixels).map_err(damaged)?;
    shrink_all(&pixels, size, layout, side)
}
