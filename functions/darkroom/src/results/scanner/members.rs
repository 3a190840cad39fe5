//! Which member of which object a text is: just enough to know images from everything else.

use std::{mem, ops::Range};

/// Follows names, colons and braces through one line.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Where in the skeleton the last text lies, without its quotes. If a colon follows, it was a
    /// name.
    text: Range<usize>,
    /// What the name before the next value says that it is.
    value: Value,
    depth: usize,
    containers: Containers,
    /// The last byte that is no blank; a quote for a whole text.
    last: u8,
    /// Whether the line's object is printed over several lines of text.
    is_pretty: bool,
    /// The depths inside the `inlineData` that are open, the innermost last.
    inline_data: Vec<usize>,
    /// Whether nothing but blanks came after the end of an object that lies in no other.
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

/// Which of the objects and arrays that are open is an array, as bits: the innermost is the last,
/// before the outermost stands a 1. Zero if they were too many, and no more is known.
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
    /// Passes a byte that lies between texts. `skeleton` holds the last text, with its quotes.
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
                // Further colons must not read a long name again.
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

    /// Passes a newline that lies between texts. Returns whether it lies within an object that is
    /// printed over several lines of text: one that began with an opening brace and nothing behind
    /// it.
    pub(super) fn pass_newline(&mut self) -> bool {
        self.is_pretty |= self.depth == 1 && self.last == b'{';
        self.is_pretty && self.depth > 0
    }

    /// Whether JSON allows an object here, within the object that is open: as the value of a
    /// member, or as an element.
    pub(super) fn may_hold_object(&self) -> bool {
        let is_expected = match self.last {
            b':' | b'[' => true,
            b',' => self.containers.may_be_in_array(),
            _ => false,
        };
        is_expected && self.depth > 0
    }

    /// Passes an opening quote, after which the skeleton has `at` bytes. Returns whether an image
    /// begins there.
    pub(super) fn begin_text(&mut self, at: usize) -> bool {
        self.text = at..at;
        self.object_ended = false;
        self.last = b'"';
        self.value == Value::Data && self.inline_data.last() == Some(&self.depth)
    }

    /// Whether an object has ended that is all of the line so far.
    pub(super) fn object_ended(&self) -> bool {
        self.object_ended
    }

    /// Whether the text that was begun is the value of a member `text`.
    pub(super) fn is_text(&self) -> bool {
        self.value == Value::Text
    }

    /// Passes a closing quote, before which the skeleton has `at` bytes.
    pub(super) fn end_text(&mut self, at: usize) {
        self.text.end = at;
    }

    /// Where the last text begins.
    pub(super) fn text_start(&self) -> usize {
        self.text.start
    }

    /// What the last text, as a name, says about the value after it. Names may be written with
    /// escapes.
    fn named(&self, skeleton: &[u8]) -> Value {
        let name = &skeleton[self.text.clone()];
        // In a line that is too long, the closing quote may be missing.
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
