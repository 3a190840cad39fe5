//! Reads the format and size of an image from its header.

use super::{Header, ImageFlaw, MAX_PIXELS, MediaType};

/// Reads the format and size from the start of an image's bytes.
///
/// # Errors
/// [`ImageFlaw::NotAnImage`] unless the bytes are a PNG, JPEG or WebP whose header has a size,
/// [`ImageFlaw::TooManyPixels`] if that size exceeds [`MAX_PIXELS`].
pub fn read_header(bytes: &[u8]) -> Result<Header, ImageFlaw> {
    let media_type = MediaType::of(bytes).ok_or(ImageFlaw::NotAnImage)?;
    let size = match media_type {
        MediaType::Png => png_size(bytes),
        MediaType::Jpeg => jpeg_size(bytes),
        MediaType::WebP => webp_size(bytes),
    };
    match size {
        None | Some((0, _) | (_, 0)) => Err(ImageFlaw::NotAnImage),
        Some((width, height)) if u64::from(width) * u64::from(height) > MAX_PIXELS => {
            Err(ImageFlaw::TooManyPixels)
        }
        Some((width, height)) => Ok(Header {
            media_type,
            width,
            height,
        }),
    }
}

/// Reads the size of a PNG. Its first chunk is IHDR, which starts with the size (PNG 1.2 §4.1.1).
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((
        u32::from_be_bytes(array(bytes, 16)?),
        u32::from_be_bytes(array(bytes, 20)?),
    ))
}

/// Reads the size of a JPEG from its frame header, after skipping the segments before it (ITU T.81
/// §B.1.1). Thumbnails are JPEGs too, but are inside a segment.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        (*bytes.get(at)? == 0xff).then_some(())?;
        // Any number of fill bytes may precede a marker.
        while *bytes.get(at)? == 0xff {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        match marker {
            // SOF0 to SOF15. The three excluded markers are tables and extensions.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let height = u16::from_be_bytes(array(bytes, at + 3)?);
                let width = u16::from_be_bytes(array(bytes, at + 5)?);
                return Some((width.into(), height.into()));
            }
            // Markers without a segment.
            0x01 | 0xd0..=0xd7 => {}
            // The image begins again or ends without a frame, or 0x00 is not a marker.
            0x00 | 0xd8..=0xda => return None,
            _ => at += usize::from(u16::from_be_bytes(array(bytes, at)?)).max(2),
        }
    }
}

/// Reads the size of a WebP from its first chunk: VP8, VP8L or VP8X (RFC 9649 §2.5 to §2.7).
fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => {
            (bytes.get(23..26)? == b"\x9d\x01\x2a").then_some(())?;
            let side = |at| Some(u32::from(u16::from_le_bytes(array(bytes, at)?) & 0x3fff));
            Some((side(26)?, side(28)?))
        }
        b"VP8L" => {
            (*bytes.get(20)? == 0x2f).then_some(())?;
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let side = |at| array(bytes, at).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]) + 1);
            Some((side(24)?, side(27)?))
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        [
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
            &width.to_be_bytes(),
            &height.to_be_bytes(),
            b"\x08\x02\0\0\0",
        ]
        .concat()
    }

    fn frame(marker: u8, width: u16, height: u16) -> Vec<u8> {
        [
            &[0xff, marker, 0, 17, 8],
            &height.to_be_bytes()[..],
            &width.to_be_bytes(),
            &[3; 10],
        ]
        .concat()
    }

    fn webp(chunk: &[u8]) -> Vec<u8> {
        [b"RIFF\0\0\0\0WEBP", chunk].concat()
    }

    fn is(media_type: MediaType, width: u32, height: u32) -> Result<Header, ImageFlaw> {
        Ok(Header {
            media_type,
            width,
            height,
        })
    }

    #[test]
    fn reads_the_size_of_a_png() {
        assert_eq!(
            read_header(&png(5504, 3072)),
            is(MediaType::Png, 5504, 3072)
        );
    }

    #[test]
    fn reads_the_size_of_a_jpeg_from_any_frame_header() {
        for marker in [0xc0, 0xc1, 0xc2, 0xc9, 0xcf] {
            let bytes = [b"\xff\xd8".as_slice(), &frame(marker, 928, 1152)].concat();
            assert_eq!(read_header(&bytes), is(MediaType::Jpeg, 928, 1152));
        }
    }

    #[test]
    fn skips_thumbnails_tables_and_fill_bytes_of_a_jpeg() {
        let thumbnail = [b"\xff\xd8".as_slice(), &frame(0xc0, 160, 120)].concat();
        let exif = [
            b"\xff\xe1".as_slice(),
            &(thumbnail.len() as u16 + 2).to_be_bytes(),
            &thumbnail,
        ]
        .concat();
        let table = b"\xff\xc4\x00\x04\xff\xc0";
        let bytes = [
            b"\xff\xd8".as_slice(),
            &exif,
            table,
            b"\xff\x01",
            b"\xff\xff\xff",
            &frame(0xc2, 1376, 768),
        ]
        .concat();
        assert_eq!(read_header(&bytes), is(MediaType::Jpeg, 1376, 768));
    }

    #[test]
    fn reads_the_size_of_each_kind_of_webp() {
        let lossy = webp(b"VP8 \0\0\0\0\x30\x01\x00\x9d\x01\x2a\x00\x44\x00\x03");
        assert_eq!(read_header(&lossy), is(MediaType::WebP, 1024, 768));
        let bits: u32 = (1024 - 1) | (768 - 1) << 14;
        let lossless = webp(&[b"VP8L\0\0\0\0\x2f".as_slice(), &bits.to_le_bytes()].concat());
        assert_eq!(read_header(&lossless), is(MediaType::WebP, 1024, 768));
        let extended = webp(b"VP8X\x0a\0\0\0\x10\0\0\0\xff\x03\0\xff\x02\0");
        assert_eq!(read_header(&extended), is(MediaType::WebP, 1024, 768));
    }

    #[test]
    fn rejects_more_than_a_hundred_million_pixels() {
        assert_eq!(
            read_header(&png(10_000, 10_000)),
            is(MediaType::Png, 10_000, 10_000)
        );
        assert_eq!(
            read_header(&png(10_001, 10_000)),
            Err(ImageFlaw::TooManyPixels)
        );
        assert_eq!(
            read_header(&png(u32::MAX, u32::MAX)),
            Err(ImageFlaw::TooManyPixels)
        );
    }

    #[test]
    fn rejects_other_bytes() {
        let texts: [&[u8]; 9] = [
            b"",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<!doctype html>",
            b"GIF89a\x01\0\x01\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT\0\0\x10\0\0\0\x10\0",
            b"\xff\xd8\xff\xd9",
            b"\xff\xd8\xff\xda\0\x02\xff\xc0\0\x11\x08\0\x10\0\x10",
            b"\xff\xd8\xff\xe0\0",
            b"RIFF\0\0\0\0WEBPICCP\0\0\0\0",
        ];
        for bytes in texts {
            assert_eq!(read_header(bytes), Err(ImageFlaw::NotAnImage), "{bytes:?}");
        }
        assert_eq!(read_header(&png(0, 10)), Err(ImageFlaw::NotAnImage));
    }

    proptest! {
        #[test]
        fn no_header_panics(
            start in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L", b""]),
            rest in prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..80),
        ) {
            let _ = read_header(&[start, &rest].concat());
        }
    }
}
