//! The thumbnail of one image: pure, from bytes to bytes.

use darkroom::results::image::{Provenance, read_header};

use crate::{
    decode,
    encode::{self, Encoded, MAX_SIDE},
    error::Flaw,
};

/// The maximum size of a thumbnail, in bytes. A sheet of 30 thumbnails has less than a megabyte.
pub(crate) const MAX_BYTES: usize = 30_000;

/// Makes the thumbnail of an image. It is marked as generated if the image is.
///
/// # Errors
/// [`Flaw`] if the image can't be decoded, or has too many pixels.
pub(crate) fn of(image: &[u8]) -> Result<Encoded, Flaw> {
    // The header also refuses more pixels than fit into memory.
    let header = read_header(image)?;
    let picture = decode::decode(image, header.media_type, MAX_SIDE)?;
    let is_generated = Provenance::of(image).iptc;
    encode::encode(picture, is_generated, MAX_BYTES)
}

#[cfg(test)]
mod tests;
