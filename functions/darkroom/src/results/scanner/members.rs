//! Tracks which member of which object a text belongs to, as far as it is needed to detect images.

use std::{mem, ops::Range};

/// Tracks names, colons and braces through one line.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// The range of the last text in the skeleton, without its quotes. If a colon follows, the text
    /// was a name.
    text: Range<usize>,
    /// The kind of the next value, according to its name.
    value: Value,
    depth: usize,
    containers: Containers,
    /// The last byte that is not blank. A quote represents a whole text.
    last: u8,
    /// Whether the line's object is pretty-printed over several lines of text.
    is_pretty: bool,
    /// The depths within the open `inlineData` objects, the innermost last.
    inline_data: Vec<usize>,
    /// Whether the outermost object has ended, with only blanks after it.
    object_ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    InlineData,
    Data,
    Text,
    #[default]
    Other,
}

/// Which of the open objects and arrays are arrays, as bits: the last bit is the innermost, and a 1
/// precedes the outermost. It is zero if the nesting was too deep to track.
#[derive(Clone, Copy, Debug)]
struct Containers(u64);

impl Default for Containers {
    fn default() -> Self {
        Self(1)
    }
}

impl Containers {
    fn open(&mut self, is_array: bool) {
        self.0 = if self.0.leading_zeros() > 0 {
            self.0 << 1
        } else {
            0
        };
        if self.0 > 0 {
            self.0 |= u64::from(is_array);
        }
    }

    fn close(&mut self) {
        if self.0 > 1 {
            self.0 >>= 1;
        }
    }

    fn may_be_in_array(self) -> bool {
        self.0 == 0 || self.0 > 1 && self.0 & 1 == 1
    }
}

impl Members {
    /// Handles a byte between texts. `skeleton` contains the last text, with its quotes.
    pub(super) fn pass(&mut self, byte: u8, skeleton: &[u8]) {
        if matches!(byte, b' ' | b'\t' | b'\r') {
            return;
        }
        let value = mem::take(&mut self.value);
        self.object_ended = false;
        self.last = byte;
        match byte {
            b':' => {
                self.value = self.named(skeleton);
                // Without this, further colons would read a long name again.
                self.text.end = self.text.start;
            }
            b'{' => {
                self.depth += 1;
                self.containers.open(false);
                if value == Value::InlineData {
                    self.inline_data.push(self.depth);
                }
            }
            b'}' => {
                self.inline_data.pop_if(|depth| *depth == self.depth);
                self.object_ended = self.depth == 1;
                self.depth = self.depth.saturating_sub(1);
                self.containers.close();
            }
            b'[' => self.containers.open(true),
            b']' => self.containers.close(),
            _ => {}
        }
    }

    /// Handles a newline between texts. Returns whether it is within a pretty-printed object, which
    /// is one whose opening brace is the last byte of its line of text.
    pub(super) fn pass_newline(&mut self) -> bool {
        self.is_pretty |= self.depth == 1 && self.last == b'{';
        self.is_pretty && self.depth > 0
    }

    /// Whether JSON allows an object at this position in the open object: as the value of a member,
    /// or as an element.
    pub(super) fn may_hold_object(&self) -> bool {
        let is_expected = match self.last {
            b':' | b'[' => true,
            b',' => self.containers.may_be_in_array(),
            _ => false,
        };
        is_expected && self.depth > 0
    }

    /// Handles an opening quote, after which the skeleton has `at` bytes. Returns whether an image
    /// begins there.
    pub(super) fn begin_text(&mut self, at: usize) -> bool {
        self.text = at..at;
        self.object_ended = false;
        self.last = b'"';
        self.value == Value::Data && self.inline_data.last() == Some(&self.depth)
    }

    /// Whether the line so far consists of one complete object.
    pub(super) fn object_ended(&self) -> bool {
        self.object_ended
    }

    /// Whether the current text is the value of a member `text`.
    pub(super) fn is_text(&self) -> bool {
        self.value == Value::Text
    }

    /// Handles a closing quote, before which the skeleton has `at` bytes.
    pub(super) fn end_text(&mut self, at: usize) {
        self.text.end = at;
    }

    /// Returns the position at which the last text begins.
    pub(super) fn text_start(&self) -> usize {
        self.text.start
    }

    /// Returns the kind of the value whose name is the last text. Names may contain escapes.
    fn named(&self, skeleton: &[u8]) -> Value {
        let name = &skeleton[self.text.clone()];
        // The closing quote may be missing in a line that is too long.
        let quoted = || skeleton.get(self.text.start - 1..=self.text.end);
        let unescaped: Option<String> = name
            .contains(&b'\\')
            .then(|| serde_json::from_slice(quoted()?).ok())
            .flatten();
        match unescaped.as_deref().map_or(name, str::as_bytes) {
            b"inlineData" | b"inline_data" => Value::InlineData,
            b"data" => Value::Data,
            b"text" => Value::Text,
            _ => Value::Other,
        }
    }
}
