//! The scan of a result file: bytes in, lines out.
//!
//! The scanner follows just enough JSON to know one thing: whether a text is the `data` of an `inlineData`. Such a text is
//! decoded as it passes and replaced by its number; all else of the line, the skeleton, is kept and left to serde.

mod members;

use std::{mem, sync::Arc};

use memchr::{memchr, memchr3};

use super::{
    answer::Answer,
    bad_line::{BadLine, BadLineReason},
    blob::Blob,
    image::ImageFlaw,
    limits::Limits,
    pool::Pool,
    reading::{Blobs, read_line},
};
use crate::names::RequestKey;
use members::Members;

/// What some programs put before a text. The first line behind it was paid for like any other.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line of a result file.
#[derive(Debug)]
pub struct Line {
    /// Where it begins: a position in the file.
    pub start: u64,
    /// Where the next line begins: after the newline, or at the end of the file. A scan may be resumed here.
    pub end: u64,
    /// What it says, or why that can't be known.
    pub content: Result<Answer, BadLine>,
}

impl Line {
    /// The request's key, as far as it is known.
    pub fn key(&self) -> Option<&RequestKey> {
        match &self.content {
            Ok(answer) => answer.key.as_ref(),
            Err(bad) => bad.key.as_ref(),
        }
    }
}

/// Takes a result file in pieces and gives its lines.
///
/// How the file is cut into pieces changes nothing. What is held is one line's decoded images, within [`Limits`], and
/// its skeleton. Blank lines are skipped. A newline ends a line wherever it stands, so one broken line can't swallow the
/// next. The last line needs no newline if its JSON is whole; and where a newline was lost between two objects, the
/// second is a line of its own. A byte order mark before a line is no part of it.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    pool: Arc<Pool>,
    /// The position of the next byte, and of the line's first.
    offset: u64,
    start: u64,

    // All below is about the line.
    place: Place,
    skeleton: Vec<u8>,
    blobs: Blobs,
    decoded_bytes: usize,
    members: Members,
}

/// Where in a line the scan stands.
#[derive(Debug)]
enum Place {
    /// Between texts.
    Structure,
    /// In a text that belongs to the skeleton, or that is left out because it is too long.
    Text { escaped: bool, left_out: bool },
    /// In the base64 of an image.
    Image(Blob),
    /// In a line that is too long: on the way to its end.
    Excess,
}

impl Scanner {
    /// A scanner whose first byte is byte `offset` of the file, where a line begins: 0, or a [`Line::end`].
    pub fn new(limits: Limits, pool: Arc<Pool>, offset: u64) -> Self {
        Self {
            limits,
            pool,
            offset,
            start: offset,
            place: Place::Structure,
            skeleton: Vec::new(),
            blobs: Vec::new(),
            decoded_bytes: 0,
            members: Members::default(),
        }
    }

    /// Takes the next bytes of the file, and gives `sink` each line that ends in them.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(Line)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = match &mut self.place {
                Place::Structure => self.take_structure(rest),
                Place::Text { .. } => self.take_text(rest),
                Place::Image(_) => self.take_image(rest),
                Place::Excess => memchr(b'\n', rest).unwrap_or(rest.len()),
            };
            self.offset += taken as u64;
            rest = &rest[taken..];
            match rest.split_first() {
                Some((b'\n', next)) => {
                    self.offset += 1;
                    rest = next;
                    self.end_line(false).into_iter().for_each(&mut sink);
                }
                Some((b'{', _)) if self.members.object_ended() => {
                    self.end_line(false).into_iter().for_each(&mut sink);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Says that the file ends here, and gives `sink` the last line if no newline ended it.
    pub fn finish(mut self, mut sink: impl FnMut(Line)) {
        self.end_line(true).into_iter().for_each(&mut sink);
    }

    /// Takes what lies between texts, up to the next text, the line's end or another object. Returns how much that was.
    fn take_structure(&mut self, rest: &[u8]) -> usize {
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'{' if self.members.object_ended() => {
                    self.keep_structure(&rest[..at]);
                    return at;
                }
                b'\n' => {
                    self.keep_structure(&rest[..at]);
                    return at;
                }
                b'"' => {
                    self.keep_structure(&rest[..=at]);
                    if !matches!(self.place, Place::Excess) {
                        self.begin_text();
                    }
                    return at + 1;
                }
                _ => self.members.pass(*byte, &self.skeleton),
            }
        }
        self.keep_structure(rest);
        rest.len()
    }

    fn keep_structure(&mut self, bytes: &[u8]) {
        let room = self.limits.skeleton_bytes.saturating_sub(self.skeleton.len());
        self.skeleton.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.exceed();
        }
    }

    /// Goes on after an opening quote.
    fn begin_text(&mut self) {
        if !self.members.begin_text(self.skeleton.len()) {
            self.place = Place::Text { escaped: false, left_out: false };
            return;
        }
        let buffer = self.pool.take();
        let blob = if self.blobs.len() < self.limits.images {
            Blob::new(buffer, self.limits.image_bytes.min(self.limits.line_bytes - self.decoded_bytes))
        } else {
            Blob::unwanted(buffer, ImageFlaw::TooMany)
        };
        self.place = Place::Image(blob);
    }

    /// Takes a text up to its closing quote or the line's end. Returns how much that was.
    fn take_text(&mut self, rest: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let Place::Text { escaped, .. } = &mut self.place else { return at };
            if *escaped && rest.get(at).is_some_and(|byte| *byte != b'\n') {
                *escaped = false;
                self.keep_text(&rest[at..=at]);
                at += 1;
            }
            let run = memchr3(b'"', b'\\', b'\n', &rest[at..]).unwrap_or(rest.len() - at);
            self.keep_text(&rest[at..at + run]);
            at += run;
            match rest.get(at) {
                Some(b'"') => {
                    self.end_text();
                    return at + 1;
                }
                Some(b'\\') => {
                    self.keep_text(b"\\");
                    at += 1;
                    if let Place::Text { escaped, .. } = &mut self.place {
                        *escaped = true;
                    }
                }
                _ => return at,
            }
        }
    }

    fn keep_text(&mut self, bytes: &[u8]) {
        let Place::Text { left_out, .. } = &mut self.place else { return };
        if !*left_out && self.skeleton.len() - self.members.text_start() + bytes.len() > self.limits.text_bytes {
            *left_out = true;
            self.skeleton.truncate(self.members.text_start());
        }
        if !*left_out {
            self.skeleton.extend_from_slice(bytes);
        }
    }

    /// Goes on after a closing quote.
    fn end_text(&mut self) {
        self.members.end_text(self.skeleton.len());
        self.place = Place::Structure;
        self.keep_structure(b"\"");
    }

    /// Takes base64 up to its closing quote or the line's end. Returns how much that was.
    fn take_image(&mut self, rest: &[u8]) -> usize {
        let Place::Image(blob) = &mut self.place else { return 0 };
        let mut at = 0;
        loop {
            while let Some(byte) = rest.get(at)
                && *byte != b'\n'
                && blob.push_escaped(*byte)
            {
                at += 1;
            }
            let run = memchr3(b'"', b'\\', b'\n', &rest[at..]).unwrap_or(rest.len() - at);
            blob.push(&rest[at..at + run]);
            at += run;
            match rest.get(at) {
                Some(b'"') => {
                    self.end_image();
                    return at + 1;
                }
                Some(b'\\') => {
                    blob.begin_escape();
                    at += 1;
                }
                _ => return at,
            }
        }
    }

    /// Goes on after the closing quote of an image: its number stands for it in the skeleton.
    fn end_image(&mut self) {
        if let Place::Image(blob) = mem::replace(&mut self.place, Place::Structure) {
            let number = self.blobs.len().to_string();
            let decoded = blob.finish();
            self.decoded_bytes += decoded.as_ref().map_or(0, |bytes| bytes.as_ref().len());
            self.blobs.push(Some(decoded));
            self.skeleton.extend_from_slice(number.as_bytes());
            self.end_text();
        }
    }

    /// Gives up the line: what was kept of it serves to find its key.
    fn exceed(&mut self) {
        self.blobs.clear();
        self.members = Members::default();
        self.place = Place::Excess;
    }

    /// The line that ends here, unless it is blank; the next one begins.
    fn end_line(&mut self, ends_file: bool) -> Option<Line> {
        let skeleton = self.skeleton.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.skeleton);
        let content = match mem::replace(&mut self.place, Place::Structure) {
            Place::Structure if skeleton.trim_ascii().is_empty() => None,
            Place::Structure => Some(read_line(skeleton, &mut self.blobs, ends_file)),
            Place::Text { .. } | Place::Image(_) if ends_file => {
                Some(Err(BadLine::new(BadLineReason::Truncated, skeleton)))
            }
            Place::Text { .. } | Place::Image(_) => Some(Err(BadLine::new(BadLineReason::NotJson, skeleton))),
            Place::Excess => Some(Err(BadLine::new(BadLineReason::LineTooLong, skeleton))),
        };
        let line = content.map(|content| Line { start: self.start, end: self.offset, content });
        self.start = self.offset;
        self.skeleton.clear();
        self.blobs.clear();
        self.decoded_bytes = 0;
        self.members = Members::default();
        line
    }
}

/// Reads the body of a synchronous `generateContent` response by the same rules, as if it were a line without key.
///
/// # Errors
/// [`BadLine`] if it isn't JSON of the right form.
pub fn read_response(body: &[u8], limits: Limits, pool: Arc<Pool>) -> Result<Answer, BadLine> {
    let mut scanner = Scanner::new(limits, pool, 0);
    let mut content = None;
    let mut sink = |line: Line| content = Some(line.content);
    scanner.feed(b"{\"response\":", &mut sink);
    // It is written over many lines; within JSON a newline is a space.
    for line in body.split(|byte| *byte == b'\n') {
        scanner.feed(line, &mut sink);
        scanner.feed(b" ", &mut sink);
    }
    scanner.feed(b"}", &mut sink);
    scanner.finish(&mut sink);
    content.unwrap_or_else(|| Err(BadLine { reason: BadLineReason::Truncated, key: None }))
}

#[cfg(test)]
mod tests;
