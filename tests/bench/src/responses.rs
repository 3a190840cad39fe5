//! Lines of responses files as Gemini writes them, with images that can't be compressed.

use std::ops::RangeInclusive;

use base64_simd::STANDARD;
use clap::ValueEnum;
use crc_fast::{CrcAlgorithm::Crc32IsoHdlc, checksum};
use fastrand::Rng;
use serde_json::json;

/// The width and height in the headers of the images.
pub const SIDE: u16 = 1024;

/// The form of the images of a responses file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// PNGs of 1.2 to 2.8 MB.
    Png,
    /// JPEGs of 0.5 to 0.7 MB, the usual size of Gemini's images at 1K.
    Jpeg,
}

impl Form {
    /// Returns the range of image sizes, in bytes.
    fn sizes(self) -> RangeInclusive<usize> {
        match self {
            Self::Png => 1_200_000..=2_800_000,
            Self::Jpeg => 500_000..=700_000,
        }
    }

    /// Returns the beginning of an image, up to its compressed data.
    fn header(self) -> Vec<u8> {
        let side = SIDE.to_be_bytes();
        match self {
            // PNG 1.2 §4.1.1: 8 bits, RGB, deflate, adaptive filters, and no interlacing.
            Self::Png => {
                let wide = u32::from(SIDE).to_be_bytes();
                let mut header = [b"IHDR".as_slice(), &wide, &wide, &[8, 2, 0, 0, 0]].concat();
                header.extend(crc32(&header).to_be_bytes());
                [b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d", header.as_slice()].concat()
            }
            // JFIF 1.02, a frame of three components with 8 bits (ITU-T T.81 §B.2.2), and the
            // header of its scan (§B.2.3).
            Self::Jpeg => [
                b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00".as_slice(),
                b"\xff\xc0\x00\x11\x08",
                &side,
                &side,
                b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01",
                b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00",
            ]
            .concat(),
        }
    }

    /// Returns the next image of `random`.
    pub fn image(self, random: &mut Rng) -> Vec<u8> {
        let mut image = vec![0; random.usize(self.sizes())];
        let start = self.header();
        let (head, body) = image.split_at_mut(start.len());
        head.copy_from_slice(&start);
        random.fill(body);
        image
    }

    /// Returns the media type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// Returns the CRC-32 (ISO-HDLC).
pub fn crc32(bytes: &[u8]) -> u32 {
    // The low 32 bits hold the CRC.
    checksum(Crc32IsoHdlc, bytes) as u32
}

/// Returns a line of a responses file with one image
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11).
///
/// # Errors
/// Returns serde's error. It does not occur, since every line can be written as JSON.
pub fn line(key: &str, form: Form, image: &[u8]) -> serde_json::Result<Vec<u8>> {
    let data = STANDARD.encode_to_string(image);
    let part = json!({ "inlineData": { "mimeType": form.mime(), "data": data } });
    let usage = json!({
        "promptTokenCount": 1290,
        "candidatesTokenCount": 1290,
        "totalTokenCount": 2580,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 32 }, { "modality": "IMAGE", "tokenCount": 1258 }],
        "candidatesTokensDetails": [{ "modality": "IMAGE", "tokenCount": 1290 }],
    });
    let candidate = json!({ "content": { "parts": [part], "role": "model" }, "finishReason": "STOP", "index": 0 });
    let mut line = serde_json::to_vec(&json!({
        "key": key,
        "response": {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-2.5-flash-image",
            "responseId": format!("r-{key}"),
        },
    }))?;
    line.push(b'\n');
    Ok(line)
}
