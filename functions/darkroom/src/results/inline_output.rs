//! Extracts results from the description of a batch. Such a batch has them inline instead of in a
//! responses file.
//!
//! ```json
//! {"name":"batches/4m85","metadata":{"state":"BATCH_STATE_SUCCEEDED","output":{"inlinedResponses":{"inlinedResponses":[
//!    {"response":{"candidates":[…]},"metadata":{"key":"k0"}},
//!    {"error":{"code":13,"message":"…"},"metadata":{"key":"k1"}}]}}},
//!  "done":true,
//!  "response":{"inlinedResponses":{"inlinedResponses":[the same again]}}}
//! ```

use memchr::memchr2;

/// The names of the member whose array contains the results.
const NAMES: [&[u8]; 2] = [b"inlinedResponses", b"inlined_responses"];

/// The maximum length of a text that is compared with [`NAMES`], without quotes: one more than the
/// longest name.
const NAME_BYTES: usize = 18;

/// Splits the JSON of a batch while it arrives: into the description, which is small, and the inline
/// results, which may have any size and become lines for a [`Scanner`](super::Scanner). Nothing is
/// kept.
///
/// The output does not depend on how the JSON is cut into pieces. Only the first array with results
/// gives lines, because Google writes all results twice. JSON without such an array is passed on
/// unchanged as the description.
#[derive(Debug, Default)]
pub struct InlineOutput {
    within: Within,
    text: Option<OpenText>,
    name: Name,
    /// Whether the next value belongs to one of [`NAMES`].
    is_named: bool,
    first: First,
}

/// A piece of the output of [`InlineOutput`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputPiece<'a> {
    /// A piece of the JSON without the results. An array of results is replaced by `[0]`, or by `[]`
    /// if it is empty.
    Description(&'a [u8]),
    /// A piece of the results: one line per result, without newlines and blanks between tokens.
    Results(&'a [u8]),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Description,
    /// In an array of results, at this depth of objects and arrays.
    Array {
        depth: usize,
        is_empty: bool,
        is_first: bool,
    },
}

/// The progress through the first array with results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum First {
    #[default]
    None,
    Begun,
    Ended,
}

#[derive(Clone, Copy, Debug, Default)]
struct OpenText {
    is_escaped: bool,
}

/// The last text of the description, if it is short enough to be one of [`NAMES`].
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    bytes: [u8; NAME_BYTES],
    length: usize,
}

impl Name {
    fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(NAME_BYTES - self.length);
        self.bytes[self.length..self.length + kept].copy_from_slice(&bytes[..kept]);
        self.length += kept;
    }

    fn is_of_results(&self) -> bool {
        NAMES.contains(&&self.bytes[..self.length])
    }
}

/// The handling of a byte between texts.
enum Step {
    /// The byte is kept.
    Keep,
    /// The byte is kept, and a text begins after it.
    BeginText,
    /// The byte is omitted.
    Drop,
    /// The byte is the comma after a result.
    EndResult,
    /// The byte is the opening bracket of an array of results.
    Enter,
    /// The byte is the closing bracket of an array of results.
    Leave { is_empty: bool },
}

impl InlineOutput {
    /// Reads the next bytes of the JSON, and passes their pieces to `sink`.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(OutputPiece<'_>)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = match self.text {
                Some(text) => self.take_text(text, rest, &mut sink),
                None => self.take_structure(rest, &mut sink),
            };
            rest = &rest[taken..];
        }
    }

    /// Whether a result has begun.
    pub fn has_begun(&self) -> bool {
        self.first != First::None
    }

    /// Whether all results were read, because their array has ended.
    pub fn is_complete(&self) -> bool {
        self.first == First::Ended
    }

    /// Reads a text up to its closing quote. Returns the number of bytes.
    fn take_text(
        &mut self,
        mut text: OpenText,
        rest: &[u8],
        sink: &mut impl FnMut(OutputPiece<'_>),
    ) -> usize {
        let mut at = 0;
        let mut is_over = false;
        while !is_over && at < rest.len() {
            if text.is_escaped {
                text.is_escaped = false;
                at += 1;
                continue;
            }
            let run = memchr2(b'"', b'\\', &rest[at..]).unwrap_or(rest.len() - at);
            at += run;
            match rest.get(at) {
                Some(b'"') => is_over = true,
                Some(_) => text.is_escaped = true,
                None => break,
            }
            at += 1;
        }
        if self.within == Within::Description {
            self.name.push(&rest[..at - usize::from(is_over)]);
        }
        self.give(&rest[..at], sink);
        self.text = (!is_over).then_some(text);
        at
    }

    /// Reads the bytes between texts, up to the next text. Returns the number of bytes.
    fn take_structure(&mut self, rest: &[u8], sink: &mut impl FnMut(OutputPiece<'_>)) -> usize {
        let mut from = 0;
        for (at, byte) in rest.iter().enumerate() {
            match self.step(*byte) {
                Step::Keep => continue,
                Step::BeginText => {
                    self.text = Some(OpenText::default());
                    self.give(&rest[from..=at], sink);
                    return at + 1;
                }
                Step::Drop => self.give(&rest[from..at], sink),
                Step::EndResult => {
                    self.give(&rest[from..at], sink);
                    self.give(b"\n", sink);
                }
                Step::Enter => {
                    self.give(&rest[from..=at], sink);
                    self.within = Within::Array {
                        depth: 0,
                        is_empty: true,
                        is_first: self.first == First::None,
                    };
                }
                Step::Leave { is_empty } => {
                    self.give(&rest[from..at], sink);
                    self.leave(is_empty, sink);
                }
            }
            from = at + 1;
        }
        self.give(&rest[from..], sink);
        rest.len()
    }

    /// Returns the handling of a byte between texts.
    fn step(&mut self, byte: u8) -> Step {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let Within::Array {
            depth,
            is_empty,
            is_first,
        } = &mut self.within
        else {
            return self.step_in_description(byte, is_blank);
        };
        match byte {
            _ if is_blank => return Step::Drop,
            b']' if *depth == 0 => {
                return Step::Leave {
                    is_empty: *is_empty,
                };
            }
            b',' if *depth == 0 => return Step::EndResult,
            _ => {}
        }
        if *is_empty && *is_first {
            self.first = First::Begun;
        }
        *is_empty = false;
        match byte {
            b'{' | b'[' => *depth += 1,
            b'}' | b']' => *depth = depth.saturating_sub(1),
            b'"' => return Step::BeginText,
            _ => {}
        }
        Step::Keep
    }

    fn step_in_description(&mut self, byte: u8, is_blank: bool) -> Step {
        if is_blank {
            return Step::Keep;
        }
        let is_named = std::mem::take(&mut self.is_named);
        match byte {
            b'"' => {
                self.name = Name::default();
                Step::BeginText
            }
            b':' => {
                self.is_named = self.name.is_of_results();
                Step::Keep
            }
            b'[' if is_named => Step::Enter,
            _ => Step::Keep,
        }
    }

    fn leave(&mut self, is_empty: bool, sink: &mut impl FnMut(OutputPiece<'_>)) {
        if !is_empty {
            self.give(b"\n", sink);
        }
        if !is_empty && self.first == First::Begun {
            self.first = First::Ended;
        }
        self.within = Within::Description;
        self.give(if is_empty { b"]" } else { b"0]" }, sink);
    }

    /// Passes bytes on as a piece of the description or of the results. The second copy of the
    /// results is omitted.
    fn give(&self, bytes: &[u8], sink: &mut impl FnMut(OutputPiece<'_>)) {
        match self.within {
            _ if bytes.is_empty() => {}
            Within::Description => sink(OutputPiece::Description(bytes)),
            Within::Array { is_first: true, .. } => sink(OutputPiece::Results(bytes)),
            Within::Array {
                is_first: false, ..
            } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Splits a batch's JSON. Returns the description, the results, and whether they are complete.
    fn divided(json: &[u8], size: usize) -> (String, String, bool) {
        let (mut description, mut results) = (Vec::new(), Vec::new());
        let mut output = InlineOutput::default();
        for chunk in json.chunks(size) {
            output.feed(chunk, |piece| match piece {
                OutputPiece::Description(bytes) => description.extend_from_slice(bytes),
                OutputPiece::Results(bytes) => results.extend_from_slice(bytes),
            });
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(description), text(results), output.is_complete())
    }

    /// Splits the JSON in chunks of every size, and returns the result, which must not differ.
    fn of(json: &str) -> (String, String, bool) {
        let whole = divided(json.as_bytes(), usize::MAX);
        for size in 1..=json.len() {
            assert_eq!(
                divided(json.as_bytes(), size),
                whole,
                "in chunks of {size}: {json}"
            );
        }
        whole
    }

    fn batch(elements: &Value) -> Value {
        let output = json!({ "inlinedResponses": { "inlinedResponses": elements } });
        json!({ "name": "batches/1", "metadata": { "output": output, "state": "S" }, "done": true, "response": output })
    }

    #[test]
    fn each_result_becomes_one_line() {
        let elements = json!([
            { "response": { "a": "x, ]} \"\\ \n y", "b": [[1, 2], {}] }, "metadata": { "key": "k0" } },
            { "error": { "code": 13 }, "metadata": { "key": "k1" } },
        ]);
        let expected = format!("{}\n{}\n", elements[0], elements[1]);
        let described = batch(&json!([0]));
        for json in [
            batch(&elements).to_string(),
            serde_json::to_string_pretty(&batch(&elements)).unwrap(),
        ] {
            let (description, results, is_complete) = of(&json);
            assert_eq!((results.as_str(), is_complete), (expected.as_str(), true));
            assert_eq!(
                serde_json::from_str::<Value>(&description).unwrap(),
                described
            );
        }
    }

    #[test]
    fn results_may_follow_an_empty_array() {
        let (description, results, is_complete) =
            of(r#"{"a":{"inlinedResponses":[ ]},"b":{"inlined_responses" : [1]}}"#);
        assert_eq!(
            description,
            r#"{"a":{"inlinedResponses":[]},"b":{"inlined_responses" : [0]}}"#
        );
        assert_eq!((results.as_str(), is_complete), ("1\n", true));
    }

    #[test]
    fn truncated_results_are_not_complete() {
        let whole = batch(&json!([{ "a": 1 }])).to_string();
        let end = whole.find("}]").unwrap() + 2;
        for cut in 0..whole.len() {
            let (_, results, is_complete) = divided(&whole.as_bytes()[..cut], usize::MAX);
            assert_eq!(is_complete, cut >= end, "{cut}");
            assert_eq!(results.ends_with('\n'), is_complete, "{cut}");
            assert!("{\"a\":1}\n".starts_with(&results));
        }
    }

    #[test]
    fn only_the_value_of_the_member_is_an_array_of_results() {
        for json in [
            r#"{"x":"inlinedResponses","y":[1]}"#,
            r#"{"inlinedResponses":{"x":[1]}}"#,
            r#"{"inlinedResponses":"[1]"}"#,
            r#"{"inlinedResponsesX":[1],"XinlinedResponses":[1],"inlinedResponse":[1]}"#,
            r#"["inlinedResponses",[1]]"#,
            r#"{"a\"inlinedResponses":[1]}"#,
            r#"{"inlinedResponses":null,"x":[1]}"#,
        ] {
            assert_eq!(of(json), (json.to_owned(), String::new(), false));
        }
    }

    proptest! {
        #[test]
        fn json_without_results_is_passed_on_unchanged(bytes: Vec<u8>, size in 1_usize..20) {
            let mut description = Vec::new();
            let mut output = InlineOutput::default();
            for chunk in bytes.chunks(size) {
                output.feed(chunk, |piece| match piece {
                    OutputPiece::Description(piece) => description.extend_from_slice(piece),
                    OutputPiece::Results(_) => panic!("results"),
                });
            }
            prop_assert_eq!(description, bytes);
        }

        #[test]
        fn garbage_is_split_the_same_in_any_chunks(
            pieces in prop::collection::vec(prop::sample::select(
                vec!["{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "0", "\"inlinedResponses\":[", "\"inlinedResponses\""]
            ), 0..40),
        ) {
            of(&pieces.concat());
        }
    }
}
