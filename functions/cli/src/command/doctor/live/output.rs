//! Reads the output of the batch: what each line holds, and whether a download can begin in the
//! middle.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use darkroom::{
    names::FileName,
    results::{Answer, Image, Limits, Line, Outcome, Pool, Scanner},
};
use disk::Disk;
use futures_util::StreamExt;
use gemini::{ApiError, Batch, Gemini};
use serde_json::Value;

use super::record::{ImageSeen, LineSeen, Output, RangeSeen};
use crate::command::doctor::report::foreign;

/// The maximum size of an output. Four images have some 40 MB as base64.
const MAX_OUTPUT_BYTES: u64 = 512 << 20;

/// The maximum size of a line whose members are listed. A line without an image has some kilobytes.
const MAX_SHAPED_BYTES: usize = 64 << 10;

/// The maximum number of members that are listed.
const MAX_MEMBERS: usize = 40;

/// How many bytes at the end of the file are requested again.
const TAIL_BYTES: usize = 4096;

/// Where the images are stored.
#[derive(Debug)]
pub(super) struct Images<'a> {
    pub(super) disk: &'a Disk,
    pub(super) folder: &'a Path,
}

impl Images<'_> {
    /// Stores an image under the key of its request. The keys are those of the examination, so a
    /// name from elsewhere is not used.
    pub(super) fn store(&self, key: &str, image: &Image) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.folder)?;
        let name = format!("{key}.{}", image.media_type.extension());
        self.disk
            .replace(&self.folder.join(name), image.bytes.as_ref())?;
        Ok(())
    }
}

/// Reads the output of a batch and stores its images. `keys` are those that were requested.
///
/// # Errors
/// Returns an [`ApiError`] if the output can't be downloaded, or another error if an image can't be
/// stored.
pub(super) async fn read(
    gemini: &Gemini,
    batch: &Batch,
    keys: &[&str],
    images: &Images<'_>,
) -> anyhow::Result<Output> {
    let download = match &batch.output_file {
        Some(file) => gemini.download(file, 0).await?,
        None => gemini.inline_results(&batch.name).await?,
    };
    let mut scan = Scan::default();
    let mut scanner = Scanner::new(Limits::default(), Pool::new(0), 0);
    let mut body = download.body;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        scan.shapes.feed(&piece);
        scan.tail.feed(&piece);
        scan.bytes += piece.len() as u64;
        if scan.bytes > MAX_OUTPUT_BYTES {
            anyhow::bail!("the output has more than {MAX_OUTPUT_BYTES} bytes");
        }
        let mut lines = Vec::new();
        scanner.feed(&piece, |line| lines.push(line));
        scan.take(lines, keys, images)?;
    }
    let mut lines = Vec::new();
    scanner.finish(|line| lines.push(line));
    scan.take(lines, keys, images)?;

    let range = match &batch.output_file {
        Some(file) => range_of(gemini, file, scan.bytes, &scan.tail.bytes).await,
        None => RangeSeen::Inline,
    };
    let shapes = scan.shapes.finish();
    let mut lines = scan.lines;
    for line in lines.iter_mut().filter(|line| line.image.is_none()) {
        let shape = line.key.as_ref().and_then(|key| shapes.get(key));
        line.shape = shape.cloned().unwrap_or_default();
    }
    Ok(Output {
        bytes: scan.bytes,
        range,
        lines,
    })
}

/// Returns what was seen of an answer. `key` is the key of its request.
pub(super) fn line_of(key: Option<String>, answer: &Answer) -> LineSeen {
    let image = match &answer.outcome {
        Outcome::Succeeded { image, .. } => Some(ImageSeen {
            width: image.width,
            height: image.height,
            mime_type: image.media_type.mime().to_owned(),
        }),
        Outcome::Blocked(_) | Outcome::NoImage(_) | Outcome::Failed(_) | Outcome::Cancelled(_) => {
            None
        }
    };
    LineSeen {
        key,
        status: Some(answer.outcome.status()),
        code: answer.outcome.reason().map(|reason| foreign(&reason.code)),
        image,
        usage: answer.usage,
        model_version: answer.model_version.as_deref().map(foreign),
        shape: Vec::new(),
    }
}

/// What was read of the output so far.
#[derive(Default)]
struct Scan {
    bytes: u64,
    lines: Vec<LineSeen>,
    shapes: Shapes,
    tail: Tail,
}

impl Scan {
    fn take(&mut self, lines: Vec<Line>, keys: &[&str], images: &Images<'_>) -> anyhow::Result<()> {
        for line in lines {
            let key = line.key().map(|key| foreign(key.as_str()));
            let seen = match &line.content {
                Ok(answer) => {
                    let known = keys.iter().find(|known| Some(**known) == key.as_deref());
                    if let (Outcome::Succeeded { image, .. }, Some(known)) =
                        (&answer.outcome, known)
                    {
                        images.store(known, image)?;
                    }
                    line_of(key, answer)
                }
                Err(bad) => LineSeen {
                    key,
                    status: None,
                    code: Some(bad.reason.code().to_owned()),
                    image: None,
                    usage: None,
                    model_version: None,
                    shape: Vec::new(),
                },
            };
            self.lines.push(seen);
        }
        Ok(())
    }
}

/// The last bytes of a file.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    fn feed(&mut self, piece: &Bytes) {
        self.bytes.extend_from_slice(piece);
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        self.bytes.drain(..excess);
    }
}

/// Requests the last bytes of a file, and compares them.
async fn range_of(gemini: &Gemini, file: &FileName, bytes: u64, tail: &[u8]) -> RangeSeen {
    let wanted = &tail[tail.len() / 2..];
    let offset = bytes - wanted.len() as u64;
    if offset == 0 {
        return RangeSeen::Wrong("the file is too short".to_owned());
    }
    let mut download = match gemini.download(file, offset).await {
        Ok(download) => download,
        Err(error) => return RangeSeen::Wrong(problem(&error)),
    };
    if download.starts_at != offset {
        return RangeSeen::Ignored;
    }
    let mut found = Vec::new();
    while let Some(piece) = download.body.next().await {
        match piece {
            Ok(piece) => found.extend_from_slice(&piece),
            Err(error) => return RangeSeen::Wrong(problem(&error)),
        }
        if found.len() > wanted.len() {
            break;
        }
    }
    if found == wanted {
        RangeSeen::Honored
    } else {
        RangeSeen::Wrong("other bytes than those of the whole download".to_owned())
    }
}

/// Returns an error of Gemini as a short and harmless text.
pub(super) fn problem(error: &ApiError) -> String {
    foreign(&error.to_string())
}

/// The members of short lines, by key.
#[derive(Default)]
struct Shapes {
    line: Vec<u8>,
    by_key: BTreeMap<String, Vec<String>>,
}

impl Shapes {
    fn feed(&mut self, piece: &Bytes) {
        for (index, part) in piece.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                self.end_line();
            }
            // A longer line is cut, so that it is no JSON and has no shape.
            let room = (MAX_SHAPED_BYTES + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.len() > MAX_SHAPED_BYTES {
            return;
        }
        let Ok(value) = serde_json::from_slice::<Value>(&line) else {
            return;
        };
        if let Some(key) = value["key"].as_str() {
            let mut members = Vec::new();
            push_members(&value, "", &mut members);
            self.by_key.insert(foreign(key), members);
        }
    }

    fn finish(mut self) -> BTreeMap<String, Vec<String>> {
        self.end_line();
        self.by_key
    }
}

/// Adds the paths of the values in a JSON value.
fn push_members(value: &Value, path: &str, members: &mut Vec<String>) {
    if members.len() >= MAX_MEMBERS {
        return;
    }
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                push_members(value, &format!("{path}{dot}{}", foreign(name)), members);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let path = format!("{path}[]");
            items
                .iter()
                .for_each(|item| push_members(item, &path, members));
        }
        _ => members.push(foreign(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_a_line_is_its_members_without_values() {
        let mut shapes = Shapes::default();
        let refused = r#"{"key":"refused","response":{"promptFeedback":{"blockReason":"SAFETY"},"#;
        shapes.feed(&Bytes::from(refused));
        shapes.feed(&Bytes::from(
            "\"candidates\":[{\"content\":{}}]}}\n{\"key\":\"long\",\"x\":\"",
        ));
        shapes.feed(&Bytes::from("x".repeat(MAX_SHAPED_BYTES)));
        shapes.feed(&Bytes::from(
            "\"}\n{\"key\":\"last\",\"error\":{\"code\":3}}",
        ));
        let shapes = shapes.finish();
        assert_eq!(
            shapes["refused"],
            [
                "key",
                "response.promptFeedback.blockReason",
                "response.candidates[].content"
            ]
        );
        assert_eq!(shapes["last"], ["key", "error.code"]);
        assert!(!shapes.contains_key("long"));
    }

    #[test]
    fn the_tail_is_the_end_of_the_file() {
        let mut tail = Tail::default();
        tail.feed(&Bytes::from(vec![1; TAIL_BYTES]));
        tail.feed(&Bytes::from(vec![2; 3]));
        assert_eq!(tail.bytes.len(), TAIL_BYTES);
        assert_eq!(tail.bytes[TAIL_BYTES - 4..], [1, 2, 2, 2]);
    }
}
