//! Images, lines and scans for the tests.

use std::sync::Arc;

use base64_simd::STANDARD;

use super::{Answer, BadLine, BadLineReason, Limits, Line, Outcome, Pool, Scanner, Status};

/// The start of a PNG of this size, and `rest`.
pub(super) fn png(width: u32, height: u32, rest: &[u8]) -> Vec<u8> {
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
        &width.to_be_bytes(),
        &height.to_be_bytes(),
        rest,
    ]
    .concat()
}

/// The start of a JPEG of this size, and `rest`.
pub(super) fn jpeg(width: u16, height: u16, rest: &[u8]) -> Vec<u8> {
    [
        b"\xff\xd8\xff\xc0\0\x11\x08",
        &height.to_be_bytes()[..],
        &width.to_be_bytes(),
        rest,
    ]
    .concat()
}

/// Standard base64, padded.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// An image part.
pub(super) fn image_part(bytes: &[u8]) -> String {
    format!(
        r#"{{"inlineData":{{"mimeType":"image/png","data":"{}"}}}}"#,
        base64(bytes)
    )
}

/// A line, without its newline, whose response has one candidate with these parts.
pub(super) fn parts_line(key: &str, parts: &[&str]) -> String {
    let parts = parts.join(",");
    format!(
        r#"{{"key":"{key}","response":{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}}}"#
    )
}

/// A line, without its newline, with one image.
pub(super) fn image_line(key: &str, bytes: &[u8]) -> String {
    parts_line(key, &[&image_part(bytes)])
}

/// Returns all lines of a file that is read in chunks of `size` bytes.
pub(super) fn scan_in_chunks(
    file: &[u8],
    size: usize,
    limits: Limits,
    pool: &Arc<Pool>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut scanner = Scanner::new(limits, Arc::clone(pool), 0);
    for chunk in file.chunks(size) {
        scanner.feed(chunk, |line| lines.push(line));
    }
    scanner.finish(|line| lines.push(line));
    lines
}

/// Returns all lines of a file that is read in one chunk.
pub(super) fn scan(file: impl AsRef<[u8]>) -> Vec<Line> {
    scan_in_chunks(file.as_ref(), usize::MAX, Limits::default(), &Pool::new(0))
}

/// Returns the answer in the only line of `file`.
pub(super) fn read(file: impl AsRef<[u8]>) -> Answer {
    let mut lines = scan(file);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0).content.unwrap()
}

/// Returns why the only line of `file` can't be read, and its key.
pub(super) fn read_bad(file: impl AsRef<[u8]>) -> (BadLineReason, Option<String>) {
    let mut lines = scan(file);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let BadLine { reason, key } = lines.remove(0).content.unwrap_err();
    (reason, key.map(|key| key.to_string()))
}

/// A line in a form that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) content: Result<Content, BadLine>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) key: Option<String>,
    pub(super) status: Status,
    pub(super) code: Option<String>,
    /// The extras, then the image.
    pub(super) images: Vec<Vec<u8>>,
    pub(super) thought_images: usize,
}

impl From<&Line> for Summary {
    fn from(line: &Line) -> Self {
        Self {
            start: line.start,
            end: line.end,
            content: line
                .content
                .as_ref()
                .map(Content::from)
                .map_err(Clone::clone),
        }
    }
}

impl From<&Answer> for Content {
    fn from(answer: &Answer) -> Self {
        Self {
            key: answer.key.as_ref().map(ToString::to_string),
            status: answer.outcome.status(),
            code: answer.outcome.reason().map(|reason| reason.code.clone()),
            images: images(&answer.outcome),
            thought_images: answer.thought_images,
        }
    }
}

/// The bytes of the extras, then of the image.
pub(super) fn images(outcome: &Outcome) -> Vec<Vec<u8>> {
    match outcome {
        Outcome::Succeeded { image, extras } => extras
            .iter()
            .chain([image])
            .map(|image| image.bytes.as_ref().to_vec())
            .collect(),
        Outcome::Blocked(_) | Outcome::NoImage(_) | Outcome::Failed(_) | Outcome::Cancelled(_) => {
            vec![]
        }
    }
}
