//! Finds the marks of generated images: the IPTC digital source type and C2PA.
//!
//! Only the headers of segments and chunks are read, and the content of those that can hold a mark.
//! Compressed pixels are skipped, so random bytes never count as a mark. Every step moves forward,
//! so the time is linear in the number of bytes at most, whatever the file contains.
//!
//! The containers: JPEG segments (ITU T.81 §B.1.1), PNG chunks (PNG 1.2 §3.2) and WebP chunks (RFC
//! 9649 §2.3). XMP in them: XMP Specification Part 3 (2020) §1.1.3, §1.1.5, and RFC 9649 §2.7.1.5.
//! C2PA in them: C2PA Specification 2.2 §A.3.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::MediaType;

/// What precedes the XMP packet in an APP1 segment of a JPEG.
const JPEG_XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// What precedes a part of a large XMP packet in a further APP1 segment.
const JPEG_EXTENDED_XMP: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";

/// The keyword of the text chunk of a PNG that holds the XMP packet.
const PNG_XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// The XMP property of the IPTC digital source type, without its prefix.
const SOURCE_TYPE: &[u8] = b"DigitalSourceType";

/// The value for an image that a trained model generated
/// (<https://cv.iptc.org/newscodes/digitalsourcetype/>, read 2026-11). The slash excludes
/// `compositeWithTrainedAlgorithmicMedia`.
const GENERATED: &[u8] = b"/trainedAlgorithmicMedia";

/// The marks of the origin of an image: `{"iptc":true,"c2pa":false}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Whether its XMP has the IPTC digital source type `trainedAlgorithmicMedia`.
    pub iptc: bool,
    /// Whether it contains C2PA content credentials. Their signature is not checked.
    pub c2pa: bool,
}

impl Provenance {
    /// Finds the marks in the bytes of an image. Bytes that are no image have none.
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        // A damaged container ends the scan early, with the marks before the damage.
        let _ = match MediaType::of(bytes) {
            Some(MediaType::Jpeg) => found.scan_jpeg(bytes),
            Some(MediaType::Png) => found.scan_png(bytes),
            Some(MediaType::WebP) => found.scan_webp(bytes),
            None => None,
        };
        found
    }

    fn scan_jpeg(&mut self, bytes: &[u8]) -> Option<()> {
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
                // Markers without a segment.
                0x01 | 0xd0..=0xd7 => continue,
                // The pixels begin, or the image begins again or ends. Metadata comes before that.
                0x00 | 0xd8..=0xda => return None,
                _ => {}
            }
            let length = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)).max(2);
            let content = bytes.get(at + 2..at + length)?;
            match marker {
                0xe1 if content.starts_with(JPEG_XMP) || content.starts_with(JPEG_EXTENDED_XMP) => {
                    self.read_xmp(content);
                }
                // `JP`, the instance and the sequence number precede the box.
                0xeb if content.starts_with(b"JP") => self.read_jumbf(content.get(8..)?),
                _ => {}
            }
            at += length;
        }
    }

    fn scan_png(&mut self, bytes: &[u8]) -> Option<()> {
        let mut at = 8;
        loop {
            let (length, kind) = chunk_header(bytes, at)?;
            let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
            let start = at + 8;
            // Of the pixels, not even the end is looked at before the next header.
            match &kind {
                b"iTXt" => {
                    let content = bytes.get(start..start.checked_add(length)?)?;
                    if content.starts_with(PNG_XMP) {
                        self.read_xmp(content);
                    }
                }
                b"caBX" => self.read_jumbf(bytes.get(start..start.checked_add(length)?)?),
                b"IEND" => return None,
                _ => {}
            }
            // The checksum follows the content.
            at = start.checked_add(length)?.checked_add(4)?;
        }
    }

    fn scan_webp(&mut self, bytes: &[u8]) -> Option<()> {
        let mut at = 12;
        loop {
            let (kind, length) = chunk_header(bytes, at)?;
            let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
            let start = at + 8;
            let end = start.checked_add(length)?;
            match &kind {
                b"XMP " => self.read_xmp(bytes.get(start..end)?),
                b"C2PA" => self.read_jumbf(bytes.get(start..end)?),
                _ => {}
            }
            // Chunks have an even length.
            at = end.checked_add(length % 2)?;
        }
    }

    fn read_xmp(&mut self, packet: &[u8]) {
        self.iptc |= memmem::find(packet, SOURCE_TYPE).is_some()
            && memmem::find(packet, GENERATED).is_some();
    }

    /// Reads the start of a JUMBF superbox: its length and type, then the description box, whose
    /// content begins with the type of the superbox.
    fn read_jumbf(&mut self, superbox: &[u8]) {
        let is = |at: usize, text: &[u8; 4]| superbox.get(at..at + 4) == Some(text);
        // A length of 1 means that the actual length follows in eight bytes.
        let long = if superbox.starts_with(&[0, 0, 0, 1]) {
            8
        } else {
            0
        };
        self.c2pa |= is(4, b"jumb") && is(long + 12, b"jumd") && is(long + 16, b"c2pa");
    }
}

/// Returns the two words of four bytes at the start of a chunk.
fn chunk_header(bytes: &[u8], at: usize) -> Option<([u8; 4], [u8; 4])> {
    let header: &[u8; 8] = bytes.get(at..)?.first_chunk()?;
    let (first, second) = header.split_at(4);
    Some((first.try_into().ok()?, second.try_into().ok()?))
}

#[cfg(test)]
mod tests;
