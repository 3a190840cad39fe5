//! Decodes PNG, row by row. An interlaced PNG needs up to 4 bytes for each pixel.

use std::io::Cursor;

use png::{ColorType, Decoder, Transformations};

use super::{Layout, check_size, damaged, shrink_all};
use crate::{
    error::Flaw,
    shrink::{Picture, Shrinker},
};

/// Decodes a PNG. Of an animation, it is the first image.
pub(super) fn decode(image: &[u8], side: u32) -> Result<Picture, Flaw> {
    let mut decoder = Decoder::new(Cursor::new(image));
    // Palettes, 1 to 16 bits and transparent colors become bytes.
    decoder.set_transformations(Transformations::normalize_to_color8());
    // Texts and profiles may be compressed, and are not needed.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = (reader.info().width, reader.info().height);
    check_size(size)?;
    let layout = match reader.output_color_type().0 {
        ColorType::Grayscale => Layout::Gray,
        ColorType::GrayscaleAlpha => Layout::GrayAlpha,
        ColorType::Rgb => Layout::Rgb,
        ColorType::Rgba => Layout::RgbAlpha,
        ColorType::Indexed => return Err(damaged("its palette is missing")),
    };

    // The rows of an interlaced image are spread over seven passes.
    if reader.info().interlaced {
        let bytes = reader
            .output_buffer_size()
            .ok_or_else(|| damaged("it is too large"))?;
        let mut pixels = vec![0; bytes];
        reader.next_frame(&mut pixels).map_err(damaged)?;
        return shrink_all(&pixels, size, layout, side);
    }
    let (mut shrinker, mut rgb) = (Shrinker::new(size, side), Vec::new());
    while let Some(row) = reader.next_row().map_err(damaged)? {
        shrinker.push(layout.to_rgb(row.data(), &mut rgb));
    }
    shrinker.finish().ok_or_else(|| damaged("rows are missing"))
}
