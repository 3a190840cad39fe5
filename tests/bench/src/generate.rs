//! Generates datasets with the same images and files on every machine.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    ops::RangeInclusive,
};

use anyhow::Context;
use base64_simd::STANDARD;
use crc_fast::{CrcAlgorithm::Crc32IsoHdlc, checksum};
use fastrand::Rng;
use serde_json::json;

use crate::dataset::{Dataset, Expected};

/// The seed of the random bytes.
const SEED: u64 = 7;

/// The range of image sizes, in bytes.
const IMAGE_BYTES: RangeInclusive<usize> = 1_200_000..=2_800_000;

/// The width and height in the headers of the images.
const SIDE: u32 = 1024;

/// Generates a dataset whose responses file has `bytes` bytes, exceeded by at most one line. Does
/// nothing if the dataset exists.
pub(crate) fn generate(dataset: &Dataset, bytes: u64) -> anyhow::Result<()> {
    if dataset.is_complete() {
        return Ok(());
    }
    let path = dataset.responses();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(
        File::create(&path).with_context(|| format!("can't write {}", path.display()))?,
    );
    let mut random = Rng::with_seed(SEED);
    let mut images = Vec::new();
    let mut written = 0;
    while written < bytes {
        let image = image(&mut random);
        let key = format!("shoe-{:04}", images.len() + 1);
        let line = line(&key, &image)?;
        file.write_all(&line)?;
        written += line.len() as u64;
        images.push(Expected {
            key,
            bytes: image.len() as u64,
            crc32: crc32(&image),
        });
    }
    file.flush()?;
    dataset.complete(&images)
}

/// Returns the header of a PNG (PNG 1.2 §4.1.1), followed by bytes that can't be compressed.
fn image(random: &mut Rng) -> Vec<u8> {
    let mut image = vec![0; random.usize(IMAGE_BYTES)];
    let mut header = b"IHDR".to_vec();
    header.extend(SIDE.to_be_bytes());
    header.extend(SIDE.to_be_bytes());
    // The fields are 8 bits, RGB, deflate, adaptive filters, and no interlacing.
    header.extend([8, 2, 0, 0, 0]);
    header.extend(crc32(&header).to_be_bytes());
    let start = [b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d", header.as_slice()].concat();
    let (head, body) = image.split_at_mut(start.len());
    head.copy_from_slice(&start);
    random.fill(body);
    image
}

fn crc32(bytes: &[u8]) -> u32 {
    // The low 32 bits hold the CRC.
    checksum(Crc32IsoHdlc, bytes) as u32
}

/// Returns a line of a responses file (<https://ai.google.dev/gemini-api/docs/batch-api>, read
/// 2026-11).
fn line(key: &str, image: &[u8]) -> anyhow::Result<Vec<u8>> {
    let part = json!({ "inlineData": { "mimeType": "image/png", "data": STANDARD.encode_to_string(image) } });
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
