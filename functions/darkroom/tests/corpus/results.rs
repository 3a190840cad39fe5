//! Result files: the stored cases, and the report of scanning any file.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use darkroom::{
    digest::hex,
    results::{Answer, Image, Limits, Line, Outcome, Pool, Scanner},
};
use sha2::{Digest, Sha256};

use super::{
    bytes::{Pieces, Slow, text},
    memory::{alone, peak},
    shelf,
};

/// The sizes of the chunks in which every case arrives.
pub(crate) const CHUNKS: [usize; 4] = [usize::MAX, 64 << 10, 7, 1];

/// The most lines of a report. Further lines are counted.
const LISTED: usize = 40;

/// The most memory that scanning may take, whatever the file: the images of one line, half of them
/// again while a buffer grows, and sixteen times the rest of a line, which is parsed.
pub(crate) fn bound() -> usize {
    let limits = Limits::default();
    limits.line_bytes / 2 * 3 + 16 * limits.skeleton_bytes
}

#[test]
fn every_stored_result_file_has_its_expected_outcome() {
    let mut wrong = Vec::new();
    for case in shelf::cases("tests/corpus/results") {
        alone(|| {
            for size in CHUNKS {
                let (found, peak) = peak(|| report(text(&*case.bytes), size));
                assert!(peak <= bound(), "{}: {peak} bytes", case.name);
                if let Err(problem) = case.check(&found) {
                    wrong.push(format!("in chunks of {size}, {problem}"));
                    break;
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Returns the report of scanning a file, with a line for each of its lines.
pub(crate) fn report(file: Pieces, size: usize) -> String {
    let pool = Pool::new(0);
    let mut scanner = Scanner::new(Limits::default(), Arc::clone(&pool), 0);
    let mut report = Report::default();
    let mut file = Slow::new(file, size);
    while let Some(chunk) = file.next_chunk() {
        scanner.feed(chunk, |line| report.add(&line));
    }
    scanner.finish(|line| report.add(&line));
    assert_eq!(pool.held_bytes(), 0, "a buffer is left");
    report.text()
}

#[derive(Default)]
struct Report {
    lines: String,
    listed: usize,
    more: BTreeMap<String, usize>,
}

impl Report {
    fn add(&mut self, line: &Line) {
        let (outcome, details) = match &line.content {
            Ok(answer) => answered(answer),
            Err(bad) => (format!("unreadable {}", bad.reason.code()), String::new()),
        };
        if self.listed == LISTED {
            return *self.more.entry(outcome).or_default() += 1;
        }
        self.listed += 1;
        let key = line
            .key()
            .map_or_else(|| "no key".to_owned(), |key| brief(key.as_str()));
        writeln!(
            self.lines,
            "{}..{} {key} {outcome}{details}",
            line.start, line.end
        )
        .unwrap();
    }

    fn text(mut self) -> String {
        for (outcome, count) in &self.more {
            writeln!(self.lines, "and {count} more: {outcome}").unwrap();
        }
        if self.lines.is_empty() {
            "no lines\n".to_owned()
        } else {
            self.lines
        }
    }
}

fn answered(answer: &Answer) -> (String, String) {
    let mut details = String::new();
    let outcome = match &answer.outcome {
        Outcome::Succeeded { image, extras } => {
            write!(details, " {}", described(image)).unwrap();
            extras
                .iter()
                .for_each(|extra| write!(details, ", before it {}", described(extra)).unwrap());
            "succeeded".to_owned()
        }
        Outcome::Blocked(reason)
        | Outcome::NoImage(reason)
        | Outcome::Failed(reason)
        | Outcome::Cancelled(reason) => {
            write!(
                details,
                " {}, {}",
                if reason.retryable {
                    "retryable"
                } else {
                    "final"
                },
                brief(&reason.message)
            )
            .unwrap();
            let status = serde_json::to_value(answer.outcome.status()).unwrap();
            format!("{} {}", status.as_str().unwrap(), reason.code)
        }
    };
    if let Some(usage) = answer.usage {
        write!(
            details,
            ", tokens {} in {} image {} text {} thought",
            usage.prompt_tokens,
            usage.output_image_tokens,
            usage.output_text_tokens,
            usage.thought_tokens
        )
        .unwrap();
    }
    if answer.thought_images > 0 {
        write!(details, ", thought images {}", answer.thought_images).unwrap();
    }
    answer
        .warnings
        .iter()
        .for_each(|warning| write!(details, ", warning: {warning}").unwrap());
    (outcome, details)
}

/// `image/png 1x1, 24 bytes, sha256 0123456789abcdef`
fn described(image: &Image) -> String {
    let bytes = image.bytes.as_ref();
    let digest = hex(&Sha256::digest(bytes)[..8]);
    format!(
        "{} {}x{} {} bytes sha256 {digest}",
        image.media_type.mime(),
        image.width,
        image.height,
        bytes.len()
    )
}

/// Returns a text in quotes, shortened to 60 characters.
fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}… of {} bytes", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}
