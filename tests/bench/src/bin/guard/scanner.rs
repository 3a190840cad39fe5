//! The scanner of result files. The pieces are as large as the content of a TLS record, in which a
//! download arrives.

use std::{fs, path::Path, sync::Arc};

use bench::responses::{Form, line};
use darkroom::{
    results::{Answer, Limits, Line, Outcome, Pool, Scanner},
    settings::CollectLimits,
};
use fastrand::Rng;
use serde_json::json;

use crate::Work;

/// The number of bytes of a piece.
pub(crate) const PIECE_BYTES: usize = 16 << 10;

/// The numbers of images and lines.
pub(crate) const PNG_IMAGES: usize = 2;
pub(crate) const JPEG_IMAGES: usize = 6;
pub(crate) const LINES: usize = 2_000;
pub(crate) const SAMPLE_LINES: usize = 50;

/// Files of `tests/corpus/results`: other forms of a list, spellings of an image, and errors.
const SAMPLES: [&str; 6] = [
    "array-pretty-printed",
    "base64-spellings",
    "error-spellings",
    "refusals",
    "several-images",
    "snake-case",
];

/// Images as most collectors see them.
pub(crate) fn png() -> anyhow::Result<Work> {
    Ok(scan(images(Form::Png, PNG_IMAGES)?, holds_image))
}

pub(crate) fn jpeg() -> anyhow::Result<Work> {
    Ok(scan(images(Form::Jpeg, JPEG_IMAGES)?, holds_image))
}

/// An image with an escape every few dozen characters, as some writers of JSON escape slashes.
pub(crate) fn escaped() -> anyhow::Result<Work> {
    let file = String::from_utf8(images(Form::Jpeg, 1)?)?;
    Ok(scan(file.replace('/', "\\/").into_bytes(), holds_image))
}

/// Lines without images: withheld ones, blocked prompts and errors.
pub(crate) fn refusals() -> anyhow::Result<Work> {
    let mut file = String::new();
    for number in 0..LINES {
        let answer = match number % 3 {
            0 => json!({
                "candidates": [{
                    "content": { "parts": [{ "text": "I can't draw this \"shoe\"." }], "role": "model" },
                    "finishReason": "IMAGE_SAFETY",
                    "finishMessage": "Unable to show the generated image.",
                    "index": 0,
                }],
                "usageMetadata": { "promptTokenCount": 1290, "totalTokenCount": 1290 },
                "modelVersion": "gemini-2.5-flash-image",
                "responseId": format!("r-{number}"),
            }),
            1 => json!({
                "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" },
                "usageMetadata": { "promptTokenCount": 32, "totalTokenCount": 32 },
                "modelVersion": "gemini-2.5-flash-image",
                "responseId": format!("r-{number}"),
            }),
            _ => json!({
                "code": 8,
                "message": "The model is overloaded. Please try again later.",
                "status": "RESOURCE_EXHAUSTED",
            }),
        };
        let member = if number % 3 == 2 { "error" } else { "response" };
        let line = json!({ "key": format!("shoe-{number:04}"), member: answer });
        file += &format!("{line}\n");
    }
    Ok(scan(file.into_bytes(), |line| line.content.is_ok()))
}

/// Files of the repository.
pub(crate) fn samples() -> anyhow::Result<Work> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/results");
    let mut files = Vec::new();
    for name in SAMPLES {
        files.push(fs::read(folder.join(name).with_extension("jsonl"))?);
    }
    let pool = pool();
    Ok(Box::new(move || {
        Ok(files
            .iter()
            .map(|file| lines(file.chunks(PIECE_BYTES), &pool, |_| true))
            .sum::<usize>())
    }))
}

/// Returns a responses file with this number of images.
pub(crate) fn images(form: Form, count: usize) -> anyhow::Result<Vec<u8>> {
    let mut random = Rng::with_seed(7);
    let mut file = Vec::new();
    for number in 0..count {
        let image = form.image(&mut random);
        file.extend(line(&format!("shoe-{number:04}"), form, &image)?);
    }
    Ok(file)
}

/// Returns the work of scanning a file, of which the lines that `counts` are counted.
fn scan(file: Vec<u8>, counts: fn(&Line) -> bool) -> Work {
    let pool = pool();
    Box::new(move || Ok(lines(file.chunks(PIECE_BYTES), &pool, counts)))
}

/// Whether a line has an image.
pub(crate) fn holds_image(line: &Line) -> bool {
    matches!(
        &line.content,
        Ok(Answer {
            outcome: Outcome::Succeeded { .. },
            ..
        })
    )
}

/// Returns the buffers that `collect` has.
pub(crate) fn pool() -> Arc<Pool> {
    Pool::new(CollectLimits::default().put_bytes)
}

/// Scans the pieces of a file. Returns the number of lines for which `counts` is true.
pub(crate) fn lines(
    pieces: impl Iterator<Item = impl AsRef<[u8]>>,
    pool: &Arc<Pool>,
    counts: impl Fn(&Line) -> bool,
) -> usize {
    let mut scanner = Scanner::new(Limits::default(), Arc::clone(pool), 0);
    let mut found = 0;
    let mut see = |line: Line| found += usize::from(counts(&line));
    for piece in pieces {
        scanner.feed(piece.as_ref(), &mut see);
    }
    scanner.finish(&mut see);
    found
}
