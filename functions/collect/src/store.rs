//! Where each image goes, and the result line that says so.

use bytes::Bytes;
use darkroom::{
    chunks::{Chunk, ChunkLine, UnmatchedReason, UnmatchedResult},
    keys, layout,
    names::{ObjectUri, RequestKey},
    results::{
        Answer, Image, Lane, Line, Outcome, ResultLine, StoredImage,
        image::{ratio_matches, size_matches},
    },
    state::Shard,
};
use runtime::bucket::BucketError;

use crate::{
    deps::Deps,
    expected::{Expected, Seen, Wanted},
    handler::{CollectError, malformed},
    work::Work,
};

/// What one line of the output asks to be stored.
#[derive(Debug)]
pub(crate) struct Put {
    /// Bytes of its images.
    pub(crate) bytes: usize,
    end: u64,
    images: Vec<(String, Image)>,
    line: ChunkLine,
}

/// What was stored of one line.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Where the next line of the output begins.
    pub(crate) end: u64,
    /// Bytes of its images.
    pub(crate) bytes: usize,
    /// Its line for the part.
    pub(crate) line: ChunkLine,
}

/// Decides, by key alone, whose result a line is. Notes it in `expected`.
pub(crate) fn place(shard: &Shard, expected: &mut Expected, line: Line) -> Put {
    let (key, start, end) = (line.key().cloned(), line.start, line.end);
    let owner = key
        .as_ref()
        .and_then(|key| Some((key.clone(), expected.wanted(key)?.clone())));
    let (images, line) = match owner {
        Some((key, wanted)) if says_more(wanted.seen, &line) => {
            let (images, result) = match line.content {
                Ok(answer) => answered(shard, key, &wanted, answer),
                Err(bad) => (Vec::new(), ResultLine::of_bad_line(key, &bad)),
            };
            (images, ChunkLine::Result(Box::new(of_shard(result, shard))))
        }
        owner => {
            let unmatched = match (&owner, &key) {
                (Some(_), _) => UnmatchedReason::RepeatedKey,
                (None, Some(_)) => UnmatchedReason::UnknownKey,
                (None, None) => UnmatchedReason::NoKey,
            };
            let unmatched = UnmatchedResult {
                key,
                ..UnmatchedResult::new(unmatched, start)
            };
            let (images, unmatched) = match line.content {
                Ok(answer) => set_aside(shard, unmatched, answer),
                Err(_) => (Vec::new(), unmatched),
            };
            (images, ChunkLine::Unmatched(Box::new(unmatched)))
        }
    };
    expected.see_output(&line, !images.is_empty());
    Put {
        bytes: images
            .iter()
            .map(|(_, image)| image.bytes.as_ref().len())
            .sum(),
        end,
        images,
        line,
    }
}

/// Whether a line is the result of its key: the first, or the first with an image. Another reason
/// for no image would be counted, and its tokens paid for, twice.
fn says_more(seen: Seen, line: &Line) -> bool {
    match seen {
        Seen::No => true,
        Seen::Reason { .. } => matches!(
            &line.content,
            Ok(Answer {
                outcome: Outcome::Succeeded { .. },
                ..
            })
        ),
        Seen::Image => false,
    }
}

/// The result of a key that was asked for, and where its images go: the final one first.
fn answered(
    shard: &Shard,
    key: RequestKey,
    wanted: &Wanted,
    answer: Answer,
) -> (Vec<(String, Image)>, ResultLine) {
    let mut result = ResultLine::of_answer(key, &answer);
    let Outcome::Succeeded { image, extras } = answer.outcome else {
        return (Vec::new(), result);
    };
    let (width, height) = (image.width, image.height);
    let ratio = wanted
        .aspect_ratio
        .iter()
        .filter(|ratio| !ratio_matches(width, height, ratio));
    let size = wanted
        .image_size
        .iter()
        .filter(|size| !size_matches(width, height, size));
    for asked in ratio.chain(size) {
        result.warnings.push(format!(
            "asked for {asked}, but the image is {width} x {height}"
        ));
    }
    let path =
        |path: &str, image: &Image| layout::image(&shard.job, path, image.media_type.extension());
    let mut images = vec![(path(&wanted.path, &image), image)];
    for (number, extra) in extras.into_iter().enumerate() {
        images.push((
            path(&keys::extra_path(&wanted.path, number + 1), &extra),
            extra,
        ));
    }
    (images, result)
}

/// What is kept of an answer that is no key's result: its image, and what it cost.
fn set_aside(
    shard: &Shard,
    unmatched: UnmatchedResult,
    answer: Answer,
) -> (Vec<(String, Image)>, UnmatchedResult) {
    let Answer {
        outcome,
        usage,
        response_id,
        ..
    } = answer;
    let images = match outcome {
        Outcome::Succeeded { image, .. } => {
            vec![(
                layout::unmatched_image(
                    &shard.job,
                    shard.shard,
                    unmatched.offset,
                    image.media_type.extension(),
                ),
                image,
            )]
        }
        Outcome::Blocked(_) | Outcome::NoImage(_) | Outcome::Failed(_) | Outcome::Cancelled(_) => {
            Vec::new()
        }
    };
    (
        images,
        UnmatchedResult {
            usage,
            response_id,
            ..unmatched
        },
    )
}

/// Adds what the collector knows of where a result comes from.
pub(crate) fn of_shard(result: ResultLine, shard: &Shard) -> ResultLine {
    ResultLine {
        model: Some(shard.model.clone()),
        lane: Some(Lane::Batch),
        batch_name: shard.phase.batch().cloned(),
        shard: Some(shard.shard),
        attempts: Some(u32::from(shard.shard.round)),
        ..result
    }
}

impl Put {
    /// Writes the images, bytes exactly as Gemini made them, and completes the line.
    pub(crate) async fn run(self, deps: &Deps) -> Result<Stored, BucketError> {
        let Self {
            bytes,
            end,
            images,
            mut line,
        } = self;
        let mut stored = Vec::with_capacity(images.len());
        for (key, image) in images {
            stored.push(store(deps, key, image).await?);
        }
        let mut stored = stored.into_iter();
        match &mut line {
            ChunkLine::Result(result) => {
                result.image = stored.next();
                result.extras = stored.collect();
            }
            ChunkLine::Unmatched(unmatched) => unmatched.image = stored.next(),
        }
        Ok(Stored { end, bytes, line })
    }
}

async fn store(deps: &Deps, key: String, image: Image) -> Result<StoredImage, BucketError> {
    let Image {
        media_type,
        width,
        height,
        bytes,
    } = image;
    let length = bytes.as_ref().len() as u64;
    let etag = deps
        .bucket
        .put(&key, media_type.mime(), Bytes::from_owner(bytes))
        .await?;
    Ok(StoredImage {
        uri: ObjectUri {
            bucket: deps.bucket.name().to_owned(),
            key,
        },
        etag,
        mime_type: media_type,
        width,
        height,
        bytes: length,
    })
}

/// Writes a part: the same lines give the same bytes. A reader that is past its lease writes none:
/// another may have written one of the same name that holds less.
pub(crate) async fn write_chunk(
    work: &Work<'_>,
    chunk: &Chunk,
    lines: &[ChunkLine],
) -> Result<(), CollectError> {
    if work.deps.clock.now() >= work.deadline {
        return Err(CollectError::Contended);
    }
    let key = layout::chunk(&work.about.job, work.about.shard, chunk);
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line).map_err(malformed(&key))?;
        bytes.push(b'\n');
    }
    work.deps
        .bucket
        .put(&key, "application/jsonl", bytes)
        .await?;
    Ok(())
}
