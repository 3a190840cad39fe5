//! Decodes JPEG. It needs 3 bytes for each pixel, and 6 more if the JPEG is progressive.

use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{Layout, check_size, damaged, shrink_all};
use crate::{error::Flaw, shrink::Picture};

/// The longest side that JPEG allows.
const MAX_SIDE: usize = u16::MAX as usize;

/// Decodes a JPEG. The rest of a truncated one is gray, as in a browser.
pub(super) fn decode(image: &[u8], side: u32) -> Result<Picture, Flaw> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE);
    if has_separate_scans(image).unwrap_or_default() {
        return Err(damaged("it has a scan for each of its components"));
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(image), options);
    decoder.decode_headers().map_err(damaged)?;
    let size = decoder
        .info()
        .map(|info| (u32::from(info.width), u32::from(info.height)));
    let size = size.ok_or_else(|| damaged("the header has no size"))?;
    check_size(size)?;
    let pixels = decoder.decode().map_err(damaged)?;
    shrink_all(&pixels, size, Layout::Rgb, side)
}

/// Whether the components of a sequential JPEG are in separate scans. zune-jpeg 0.5.15 decodes their
/// colors wrong without an error (<https://github.com/etemesi254/zune-image/issues/422>, read
/// 2026-11). Such files are rare: encoders write them only on request.
fn has_separate_scans(image: &[u8]) -> Option<bool> {
    let (mut at, mut components) = (2, None);
    loop {
        (*image.get(at)? == 0xff).then_some(())?;
        // Any number of fill bytes may precede a marker.
        while *image.get(at)? == 0xff {
            at += 1;
        }
        let marker = image[at];
        match marker {
            // SOF0 and SOF1. The number of components follows the size.
            0xc0 | 0xc1 => components = Some(*image.get(at + 8)?),
            // The first scan begins with the number of its components.
            0xda => return Some(*image.get(at + 3)? < components?),
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let length: &[u8; 2] = image.get(at + 1..)?.first_chunk()?;
        at += 1 + usize::from(u16::from_be_bytes(*length)).max(2);
    }
}
