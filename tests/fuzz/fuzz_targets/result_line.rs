//! Feeds any bytes as a result file, in chunks of any size. There must be no panic, and lines and
//! images must be those of a slow reference reader, however the bytes are cut.
#![no_main]

use std::sync::Arc;

use darkroom::results::{Limits, Line, Outcome, Pool, Scanner, image::read_header};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|file: &[u8]| {
    let whole = scan(file, std::iter::repeat(file.len().max(1)));
    let summaries: Vec<Summary> = whole.iter().map(Summary::of).collect();
    for sizes in [
        &mut std::iter::repeat(1_usize) as &mut dyn Iterator<Item = usize>,
        &mut Cuts::of(file),
    ] {
        let cut: Vec<Summary> = scan(file, sizes).iter().map(Summary::of).collect();
        assert_eq!(cut, summaries, "chunks change something");
    }
    let mut at = 0;
    for line in &whole {
        let (start, end) = (line.start as usize, line.end as usize);
        assert!(
            at <= start && start < end && end <= file.len(),
            "lines overlap: {start}..{end}"
        );
        assert!(
            is_blank(&file[at..start]),
            "bytes before {start} belong to no line"
        );
        at = end;
        let Ok(answer) = &line.content else { continue };
        if let Ok(value) = serde_json::from_slice::<Value>(element(&file[start..end])) {
            let images: Vec<&[u8]> = images(line).collect();
            assert_eq!(
                images,
                slow_images(&value, &answer.outcome),
                "another image than a slow reading gives"
            );
            let key = slow_key(&value);
            let is_same = key.as_deref().is_none_or(|key| {
                answer
                    .key
                    .as_ref()
                    .is_some_and(|found| found.as_str() == key)
            });
            assert!(is_same, "another key than {key:?}: {:?}", answer.key);
        }
    }
    assert!(is_blank(&file[at..]), "bytes after the last line");
});

/// The lines of a file that arrives in chunks of these sizes.
fn scan(file: &[u8], sizes: impl Iterator<Item = usize>) -> Vec<Line> {
    let pool = Pool::new(1 << 20);
    let mut scanner = Scanner::new(Limits::default(), Arc::clone(&pool), 0);
    let mut lines = Vec::new();
    let mut rest = file;
    for size in sizes {
        if rest.is_empty() {
            break;
        }
        let (chunk, next) = rest.split_at(size.min(rest.len()));
        scanner.feed(chunk, |line| lines.push(line));
        rest = next;
    }
    scanner.finish(|line| lines.push(line));
    lines
}

/// Chunk sizes from 1 to 64 that follow from the bytes, so that a finding can be repeated.
struct Cuts(u64);

impl Cuts {
    fn of(file: &[u8]) -> Self {
        Self(file.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        }))
    }
}

impl Iterator for Cuts {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        Some((self.0 >> 58) as usize + 1)
    }
}

/// A line in a form that can be compared.
#[derive(Debug, PartialEq)]
struct Summary {
    span: (u64, u64),
    content: String,
    images: Vec<Vec<u8>>,
}

impl Summary {
    fn of(line: &Line) -> Self {
        Self {
            span: (line.start, line.end),
            content: format!("{:?}", line.content),
            images: images(line).map(<[u8]>::to_vec).collect(),
        }
    }
}

/// The images of a line in the order of its parts.
fn images(line: &Line) -> impl Iterator<Item = &[u8]> {
    let images = match line.content.as_ref().map(|answer| &answer.outcome) {
        Ok(Outcome::Succeeded { image, extras }) => extras.iter().chain([image]).collect(),
        Ok(
            Outcome::Blocked(_) | Outcome::NoImage(_) | Outcome::Failed(_) | Outcome::Cancelled(_),
        )
        | Err(_) => vec![],
    };
    images.into_iter().map(|image| image.bytes.as_ref())
}

/// A line's object, without what has no meaning between lines: blanks, and the punctuation of an array.
fn element(line: &[u8]) -> &[u8] {
    let start = line
        .iter()
        .position(|byte| !lies_between(*byte))
        .unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']'))
        .map_or(start, |at| at + 1);
    &line[start..end.max(start)]
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| lies_between(*byte))
}

fn lies_between(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b'[' | b']' | b',' | 0xef | 0xbb | 0xbf
    )
}

/// The key, where a plain parser knows it for sure: numbers lose their spelling when they are parsed.
fn slow_key(line: &Value) -> Option<String> {
    let of = |value: &Value| {
        value
            .as_str()
            .filter(|key| !key.is_empty() && key.len() <= 64 << 10)
            .map(str::to_owned)
    };
    let is_number = |value: &Value| value.is_number();
    let (own, in_metadata) = (&line["key"], &line["metadata"]["key"]);
    if is_number(own) {
        return own.as_u64().map(|number| number.to_string());
    }
    of(own).or_else(|| of(in_metadata))
}

/// The images: those that are no thoughts, or the last thought if there are none and the answer was not refused.
fn slow_images(line: &Value, outcome: &Outcome) -> Vec<Vec<u8>> {
    let response = line
        .get("response")
        .filter(|response| !response.is_null())
        .unwrap_or(line);
    let candidates = list(member(response, "candidates", 0));
    let parts = candidates
        .iter()
        .flat_map(|candidate| list(member(member(candidate, "content", 0), "parts", 0)));
    let (thoughts, finals): (Vec<&Value>, Vec<&Value>) =
        parts.partition(|part| *member(part, "thought", 2) == true);
    let (mut drafts, finals) = (decoded(&thoughts), decoded(&finals));
    let is_refused = matches!(outcome, Outcome::Blocked(_));
    if finals.is_empty() && !is_refused {
        drafts.pop().into_iter().collect()
    } else {
        finals
    }
}

fn decoded(parts: &[&Value]) -> Vec<Vec<u8>> {
    let images = parts.iter().filter_map(|part| {
        let inline = part
            .get("inlineData")
            .filter(|inline| !inline.is_null())
            .or(part.get("inline_data"))?;
        slow_base64(inline["data"].as_str()?)
    });
    images.filter(|bytes| read_header(bytes).is_ok()).collect()
}

/// A member; serde also takes a list of all members' values for an object.
fn member<'a>(value: &'a Value, name: &str, at: usize) -> &'a Value {
    value.get(name).or(value.get(at)).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Base64 of either alphabet, character by character: blanks anywhere, `=` at the end alone.
fn slow_base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<char> = text
        .chars()
        .filter(|char| !matches!(char, ' ' | '\u{8}'..='\u{d}'))
        .collect();
    let is_url = text.get(..5).is_some_and(|scheme| {
        scheme
            .iter()
            .collect::<String>()
            .eq_ignore_ascii_case("data:")
    });
    let text = if is_url {
        text[text.iter().position(|char| *char == ',')? + 1..].to_vec()
    } else {
        text
    };
    let characters = text.len() - text.iter().rev().take_while(|char| **char == '=').count();
    let mut bits = Vec::new();
    for char in &text[..characters] {
        let value = match char {
            'A'..='Z' => *char as u8 - b'A',
            'a'..='z' => *char as u8 - b'a' + 26,
            '0'..='9' => *char as u8 - b'0' + 52,
            '+' | '-' => 62,
            '/' | '_' => 63,
            _ => return None,
        };
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    (characters % 4 != 1).then(|| {
        bits.chunks_exact(8)
            .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit))
            .collect()
    })
}
