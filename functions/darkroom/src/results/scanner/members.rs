//! Which member of which object a text is: just enough to know images from everything else.

use std::{mem, ops::Range};

/// Follows names, colons and braces through one line.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Where in the skeleton the last text lies, without its quotes. If a colon follows, it was a name.
    text: Range<usize>,
    /// What the name before the next value says that it is.
    value: Value,
    depth: usize,
    /// The depths inside the `inlineData` that are open, the innermost last.
    inline_data: Vec<usize>,
    /// Whether nothing but blanks came after the end of an object that lies in no other.
    object_ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    InlineData,
    Data,
    #[default]
    Other,
}

impl Members {
    /// Passes a byte that lies between texts. `skeleton` holds the last text, with its quotes.
    pub(super) fn pass(&mut self, byte: u8, skeleton: &[u8]) {
        if matches!(byte, b' ' | b'\t' | b'\r') {
            return;
        }
        let value = mem::take(&mut self.value);
        self.object_ended = false;
        match byte {
            b':' => {
                self.value = self.named(skeleton);
                // Further colons must not read a long name again.
                self.text.end = self.text.start;
            }
            b'{' => {
                self.depth += 1;
                if value == Value::InlineData {
                    self.inline_data.push(self.depth);
                }
            }
            b'}' => {
                self.inline_data.pop_if(|depth| *depth == self.depth);
                self.object_ended = self.depth == 1;
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// Passes an opening quote, after which the skeleton has `at` bytes. Returns whether an image begins there.
    pub(super) fn begin_text(&mut self, at: usize) -> bool {
        self.text = at..at;
        self.object_ended = false;
        self.value == Value::Data && self.inline_data.last() == Some(&self.depth)
    }

    /// Whether an object has ended that is all of the line so far.
    pub(super) fn object_ended(&self) -> bool {
        self.object_ended
    }

    /// Passes a closing quote, before which the skeleton has `at` bytes.
    pub(super) fn end_text(&mut self, at: usize) {
        self.text.end = at;
    }

    /// Where the last text begins.
    pub(super) fn text_start(&self) -> usize {
        self.text.start
    }

    /// What the last text, as a name, says about the value after it. Names may be written with escapes.
    fn named(&self, skeleton: &[u8]) -> Value {
        let name = &skeleton[self.text.clone()];
        let unescaped: Option<String> = name
            .contains(&b'\\')
            .then(|| serde_json::from_slice(&skeleton[self.text.start - 1..=self.text.end]).ok())
            .flatten();
        match unescaped.as_deref().map_or(name, str::as_bytes) {
            b"inlineData" | b"inline_data" => Value::InlineData,
            b"data" => Value::Data,
            _ => Value::Other,
        }
    }
}
