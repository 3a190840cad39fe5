//! The dimensions of an image, read from the header of its file.

/// The number of bytes to search. The frame header of a JPEG comes after its metadata.
pub(crate) const MAX_HEADER_BYTES: usize = 256 * 1024;

/// Returns the width and height of a PNG, JPEG or WebP image, and `None` for anything else.
pub(crate) fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let (width, height) = png(bytes).or_else(|| jpeg(bytes)).or_else(|| webp(bytes))?;
    (width > 0 && height > 0).then_some((width, height))
}

fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    Some((
        u32::from_be_bytes(array(header, 8)?),
        u32::from_be_bytes(array(header, 12)?),
    ))
}

fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    loop {
        let [0xff, marker] = array(rest, 0)? else {
            return None;
        };
        let length = u16::from_be_bytes(array(rest, 2)?);

        // The markers of a start of frame, for any coding. The three excluded markers are tables.
        if (0xc0..=0xcf).contains(&marker) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let height = u16::from_be_bytes(array(rest, 5)?);
            let width = u16::from_be_bytes(array(rest, 7)?);
            return Some((width.into(), height.into()));
        }
        rest = rest.get(2 + usize::from(length)..)?;
    }
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let (b"RIFF", b"WEBP") = (&array::<4>(bytes, 0)?, &array::<4>(bytes, 8)?) else {
        return None;
    };
    match &array::<4>(bytes, 12)? {
        b"VP8X" => {
            let [a, b, c, d, e, f] = array(bytes, 24)?;
            Some((
                u32::from_le_bytes([a, b, c, 0]) + 1,
                u32::from_le_bytes([d, e, f, 0]) + 1,
            ))
        }
        b"VP8 " => {
            let length = |at| Some(u32::from(u16::from_le_bytes(array(bytes, at)?) & 0x3fff));
            Some((length(26)?, length(28)?))
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn png_header_is_read() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x02";
        assert_eq!(dimensions(png), Some((640, 480)));
    }

    #[test]
    fn jpeg_frame_is_found_after_metadata() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04xx\xff\xc4\0\x02\xff\xc0\0\x0b\x08\x01\xe0\x02\x80\x01";
        assert_eq!(dimensions(jpeg), Some((640, 480)));
    }

    #[test]
    fn each_webp_coding_is_read() {
        let simple = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x80\x02\xe0\x01";
        assert_eq!(dimensions(simple), Some((640, 480)));
        let extended = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x7f\x02\0\xdf\x01\0";
        assert_eq!(dimensions(extended), Some((640, 480)));
        let bits: u32 = 639 | 479 << 14;
        let lossless = [
            b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f".as_slice(),
            &bits.to_le_bytes(),
        ]
        .concat();
        assert_eq!(dimensions(&lossless), Some((640, 480)));
    }

    #[test]
    fn text_has_no_dimensions() {
        assert_eq!(dimensions(b"{\"key\":\"a\"}"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(start in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let magic: [&[u8]; 4] = [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X"];
            dimensions(&[magic[start], &bytes].concat());
        }
    }
}
