//! Scans a result file: reads bytes and returns lines.
//!
//! The scanner follows just enough JSON to decide whether a text is the `data` of an `inlineData`.
//! Such a text is decoded while it arrives, and is replaced by its number. The rest of the line, the
//! skeleton, is kept and parsed by serde.
//!
//! The boundary between two lines depends only on the bytes around it, never on earlier lines. So a
//! scan can be resumed at the end of any line, and a result file may also be one JSON array, on one
//! line or on several lines.

mod beginning;
mod boundary;
mod members;

use std::{mem, sync::Arc};

use beginning::{BEGINNING_BYTES, whole_characters};
use boundary::{Boundary, lies_between_lines};
use members::Members;
use memchr::memchr3;

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

/// One line of a result file.
#[derive(Debug)]
pub struct Line {
    /// The position in the file at which the line begins.
    pub start: u64,
    /// The position at which the line ends: after its newline, or after the comma or bracket that
    /// ends it. A scan may be resumed here.
    pub end: u64,
    /// The answer, or why the line can't be read.
    pub content: Result<Answer, BadLine>,
}

impl Line {
    /// Returns the request's key, if it is known.
    pub fn key(&self) -> Option<&RequestKey> {
        match &self.content {
            Ok(answer) => answer.key.as_ref(),
            Err(bad) => bad.key.as_ref(),
        }
    }
}

/// Reads a result file in pieces and returns its lines.
///
/// The lines do not depend on how the file is cut into pieces. The scanner holds the decoded images
/// of one line, within [`Limits`], and its skeleton.
///
/// A line is one JSON object on a line of text, as in JSON Lines. Other forms of a list of objects
/// are read by the same rules:
///
/// - **Between lines**, blanks, commas, square brackets and byte order marks have no meaning. So
///   the elements of one JSON array are lines, and a line of text with nothing else on it is none.
/// - **A newline ends a line** at any position, so that a broken line can't absorb the next one.
///   There is one exception: if nothing follows the opening brace of the line's object on its line
///   of text, the object is pretty-printed, and a newline between its texts is a blank. A newline
///   within a text, which JSON doesn't allow, still ends the line.
/// - **A comma or a closing bracket after the object** ends the line too; anything else that
///   follows the object, such as an object whose newline was lost, begins another line.
/// - **An object where JSON allows none** begins another line: after an element that lacks its
///   closing brace, or after something that is no object.
///
/// The last line needs no newline if its JSON is whole.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    pool: Arc<Pool>,
    /// The position of the next byte, and of the line's first.
    offset: u64,
    start: u64,

    // The following fields belong to the current line.
    place: Place,
    skeleton: Vec<u8>,
    /// Whether the line is too long. Its structure is then followed up to its end, and nothing is
    /// kept.
    is_too_long: bool,
    blobs: Blobs,
    decoded_bytes: usize,
    members: Members,
}

/// The position of the scan within a line.
#[derive(Debug)]
enum Place {
    /// Between texts.
    Structure,
    /// In a text that belongs to the skeleton, or that is omitted because it is too long.
    Text { escaped: bool, left_out: bool },
    /// In the base64 of an image.
    Image(Blob),
}

impl Scanner {
    /// Creates a scanner that starts at byte `offset` of the file, where a line begins: 0, or a
    /// [`Line::end`].
    pub fn new(limits: Limits, pool: Arc<Pool>, offset: u64) -> Self {
        Self {
            limits,
            pool,
            offset,
            start: offset,
            place: Place::Structure,
            skeleton: Vec::new(),
            is_too_long: false,
            blobs: Vec::new(),
            decoded_bytes: 0,
            members: Members::default(),
        }
    }

    /// Reads the next bytes of the file, and passes each line that ends in them to `sink`.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(Line)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = match &mut self.place {
                Place::Structure => self.take_structure(rest),
                Place::Text { .. } => self.take_text(rest),
                Place::Image(_) => self.take_image(rest),
            };
            self.offset += taken as u64;
            rest = &rest[taken..];

            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            match self.boundary(byte) {
                Boundary::None => continue,
                Boundary::Blank => {
                    self.offset += 1;
                    rest = after;
                    self.keep_structure(b" ");
                    continue;
                }
                Boundary::Before => {}
                Boundary::After => {
                    self.offset += 1;
                    rest = after;
                }
            }
            self.end_line(false).into_iter().for_each(&mut sink);
        }
    }

    /// Ends the scan, and passes the last line to `sink` if no newline ended it.
    pub fn finish(mut self, mut sink: impl FnMut(Line)) {
        self.end_line(true).into_iter().for_each(&mut sink);
    }

    /// Returns the meaning of the next byte for the line.
    fn boundary(&mut self, byte: u8) -> Boundary {
        let between_texts = matches!(self.place, Place::Structure);
        match byte {
            // A line that is too long ends at its newline even if it is pretty-printed. Otherwise a
            // missing closing brace would make the rest of the file a part of it.
            b'\n' if between_texts && !self.is_too_long && self.members.pass_newline() => {
                Boundary::Blank
            }
            b'\n' => Boundary::After,
            b',' | b']' if between_texts && self.members.object_ended() => Boundary::After,
            _ if between_texts && self.begins_another(byte, 0) => Boundary::Before,
            _ => Boundary::None,
        }
    }

    /// Whether `byte` belongs to another line, because it follows the line's object, or begins an
    /// object where JSON allows none. `taken` bytes are not in the skeleton yet.
    fn begins_another(&self, byte: u8, taken: usize) -> bool {
        if self.members.object_ended() {
            return !matches!(byte, b' ' | b'\t' | b'\r');
        }
        byte == b'{' && !self.members.may_hold_object() && (taken > 0 || !self.skeleton.is_empty())
    }

    /// Reads the bytes between texts, up to the next text or the next [`Boundary`]. Returns their
    /// number.
    fn take_structure(&mut self, rest: &[u8]) -> usize {
        if self.skeleton.is_empty() {
            let between = rest
                .iter()
                .take_while(|byte| lies_between_lines(**byte))
                .count();
            if between > 0 {
                return between;
            }
        }
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'\n' => {
                    self.keep_structure(&rest[..at]);
                    return at;
                }
                byte if self.begins_another(*byte, at) => {
                    self.keep_structure(&rest[..at]);
                    return at;
                }
                b'"' => {
                    self.keep_structure(&rest[..=at]);
                    self.begin_text();
                    return at + 1;
                }
                _ => self.members.pass(*byte, &self.skeleton),
            }
        }
        self.keep_structure(rest);
        rest.len()
    }

    fn keep_structure(&mut self, bytes: &[u8]) {
        if self.is_too_long {
            return;
        }
        let room = self
            .limits
            .skeleton_bytes
            .saturating_sub(self.skeleton.len());
        self.skeleton
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            // The part that was kept is used to find the line's key.
            self.is_too_long = true;
            self.blobs.clear();
        }
    }

    /// Continues after an opening quote.
    fn begin_text(&mut self) {
        let is_image = self.members.begin_text(self.skeleton.len());
        if self.is_too_long || !is_image {
            self.place = Place::Text {
                escaped: false,
                left_out: self.is_too_long,
            };
            return;
        }
        let buffer = self.pool.take();
        let blob = if self.blobs.len() < self.limits.images {
            Blob::new(
                buffer,
                self.limits
                    .image_bytes
                    .min(self.limits.line_bytes - self.decoded_bytes),
            )
        } else {
            Blob::unwanted(buffer, ImageFlaw::TooMany)
        };
        self.place = Place::Image(blob);
    }

    /// Reads a text up to its closing quote or the line's end. Returns the number of bytes.
    fn take_text(&mut self, rest: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let Place::Text { escaped, .. } = &mut self.place else {
                return at;
            };
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
        let Place::Text { left_out, .. } = &mut self.place else {
            return;
        };
        if *left_out {
            return;
        }
        let start = self.members.text_start();
        let kept = self.skeleton.len() - start;
        if kept + bytes.len() <= self.limits.text_bytes {
            self.skeleton.extend_from_slice(bytes);
            return;
        }
        *left_out = true;
        let wanted = if self.members.is_text() {
            BEGINNING_BYTES.min(self.limits.text_bytes)
        } else {
            0
        };
        self.skeleton
            .extend_from_slice(&bytes[..wanted.saturating_sub(kept)]);
        let beginning = &self.skeleton[start..self.skeleton.len().min(start + wanted)];
        self.skeleton.truncate(start + whole_characters(beginning));
    }

    /// Continues after a closing quote.
    fn end_text(&mut self) {
        self.members.end_text(self.skeleton.len());
        self.place = Place::Structure;
        self.keep_structure(b"\"");
    }

    /// Reads base64 up to its closing quote or the line's end. Returns the number of bytes.
    fn take_image(&mut self, rest: &[u8]) -> usize {
        let Place::Image(blob) = &mut self.place else {
            return 0;
        };
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

    /// Continues after the closing quote of an image. In the skeleton its number replaces its text.
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

    /// Returns the line that ends here, unless it is blank, and begins the next one.
    fn end_line(&mut self, ends_file: bool) -> Option<Line> {
        let bad = |reason| Some(Err(BadLine::new(reason, &self.skeleton)));
        let content = match mem::replace(&mut self.place, Place::Structure) {
            _ if self.is_too_long => bad(BadLineReason::LineTooLong),
            Place::Structure if self.skeleton.is_empty() => None,
            Place::Structure => Some(read_line(&self.skeleton, &mut self.blobs, ends_file)),
            Place::Text { .. } | Place::Image(_) if ends_file => bad(BadLineReason::Truncated),
            Place::Text { .. } | Place::Image(_) => bad(BadLineReason::NotJson),
        };
        let line = content.map(|content| Line {
            start: self.start,
            end: self.offset,
            content,
        });
        self.start = self.offset;
        self.skeleton.clear();
        self.is_too_long = false;
        self.blobs.clear();
        self.decoded_bytes = 0;
        self.members = Members::default();
        line
    }
}

/// Reads the body of a synchronous `generateContent` response by the same rules, like a line without
/// a key.
///
/// # Errors
/// [`BadLine`] if the body isn't JSON of the expected form.
pub fn read_response(body: &[u8], limits: Limits, pool: Arc<Pool>) -> Result<Answer, BadLine> {
    let mut scanner = Scanner::new(limits, pool, 0);
    let mut content = None;
    let mut sink = |line: Line| content = Some(line.content);
    scanner.feed(b"{\"response\":", &mut sink);
    // The body spans several lines. Between JSON tokens a newline is equivalent to a space.
    for line in body.split(|byte| *byte == b'\n') {
        scanner.feed(line, &mut sink);
        scanner.feed(b" ", &mut sink);
    }
    scanner.feed(b"}", &mut sink);
    scanner.finish(&mut sink);
    content.unwrap_or_else(|| {
        Err(BadLine {
            reason: BadLineReason::Truncated,
            key: None,
        })
    })
}

#[cfg(test)]
mod tests;
