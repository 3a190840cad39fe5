//! Extracts images from a responses file. It accepts one form of line: compact, with the key first,
//! one image, and no escapes.

use std::{collections::VecDeque, mem};

use anyhow::Context;
use base64_simd::{Out, STANDARD};
use crc_fast::{CrcAlgorithm::Crc32IsoHdlc, Digest};
use memchr::{memchr, memchr2};

/// The text before an image.
const DATA: &[u8] = b"\"data\":\"";

/// An image with its key.
pub(super) struct Image {
    pub(super) key: String,
    pub(super) bytes: Vec<u8>,
    crc32: Digest,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            key: String::new(),
            bytes: Vec::new(),
            crc32: Digest::new(Crc32IsoHdlc),
        }
    }
}

/// A decoder that receives the file in pieces.
#[derive(Default)]
pub(super) struct Images {
    /// The text before the image in its line.
    head: Vec<u8>,
    image: Option<Image>,
    /// Characters of an incomplete group of four.
    rest: Vec<u8>,
    finished: VecDeque<Image>,
    idle: Vec<Image>,
}

impl Images {
    /// Decodes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            bytes = match self.image {
                Some(_) => self.take_image(bytes)?,
                None => self.take_text(bytes)?,
            };
        }
        Ok(())
    }

    /// Returns the next complete image.
    pub(super) fn finished(&mut self) -> Option<Image> {
        self.finished.pop_front()
    }

    /// Reuses the memory of an image.
    pub(super) fn reuse(&mut self, image: Image) {
        self.idle.push(image);
    }

    /// Reads the text between images. Returns the rest.
    fn take_text<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let Some(at) = memchr2(b'"', b'\n', bytes) else {
            self.head.extend_from_slice(bytes);
            return Ok(&[]);
        };
        self.head.extend_from_slice(&bytes[..=at]);
        if bytes[at] == b'\n' {
            self.head.clear();
        } else if self.head.ends_with(DATA) {
            let mut image = self.idle.pop().unwrap_or_default();
            image.bytes.clear();
            image.crc32.reset();
            image.key = str::from_utf8(&self.head)?
                .split('"')
                .nth(3)
                .context("a line without a key")?
                .to_owned();
            self.image = Some(image);
        }
        Ok(&bytes[at + 1..])
    }

    /// Reads base64 up to its end. Returns the rest.
    fn take_image<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let end = memchr(b'"', bytes);
        let mut text = &bytes[..end.unwrap_or(bytes.len())];
        let Some(image) = &mut self.image else {
            return Ok(bytes);
        };
        if !self.rest.is_empty() {
            let (more, others) = text.split_at(text.len().min(4 - self.rest.len()));
            self.rest.extend_from_slice(more);
            text = others;
            if self.rest.len() == 4 {
                image.decode(&mem::take(&mut self.rest))?;
            }
        }
        if self.rest.is_empty() {
            let (groups, others) = text.split_at(text.len() & !3);
            image.decode(groups)?;
            self.rest.extend_from_slice(others);
        }
        let Some(end) = end else { return Ok(&[]) };
        self.finished.extend(self.image.take());
        Ok(&bytes[end + 1..])
    }
}

impl Image {
    /// Decodes whole groups of four.
    fn decode(&mut self, groups: &[u8]) -> anyhow::Result<()> {
        let before = self.bytes.len();
        self.bytes.resize(before + groups.len() / 4 * 3, 0);
        let decoded = STANDARD
            .decode(groups, Out::from_slice(&mut self.bytes[before..]))?
            .len();
        self.bytes.truncate(before + decoded);
        self.crc32.update(&self.bytes[before..]);
        Ok(())
    }

    /// Returns its CRC-32 in the encoding of S3.
    pub(super) fn checksum(&self) -> String {
        STANDARD.encode_to_string((self.crc32.finalize() as u32).to_be_bytes())
    }
}
