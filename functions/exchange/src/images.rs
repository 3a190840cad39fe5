//! The place of each image in the bucket, and the result line that names it.

use std::{fmt::Display, time::Duration};

use bytes::Bytes;
use darkroom::{
    chunks::{Chunk, ChunkLine, UnmatchedReason, UnmatchedResult},
    image_paths,
    lane::Lane,
    names::{ObjectUri, RequestKey},
    object_keys,
    results::{
        Answer, Image, Line, Outcome, Reason, ResultLine, Status, StoredImage,
        image::{Provenance, ratio_matches, size_matches},
    },
    state::Shard,
};
use runtime::{
    bucket::{Bucket, BucketError},
    document::DocumentError,
};
use tracing::warn;

use crate::{
    error::RecordError,
    expectations::{Seen, ShardExpectations, Wanted},
};

/// The code of a request that Gemini refused.
pub const REFUSED: &str = "INVALID_ARGUMENT";

/// The pause after a first failed write of an image. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The images and the result line of one line of the output.
#[derive(Debug)]
pub struct Put {
    /// The size of its images, in bytes.
    pub bytes: usize,
    end: u64,
    images: Vec<(String, Image)>,
    line: ChunkLine,
}

/// A line whose images are stored.
#[derive(Debug)]
pub struct Stored {
    /// The offset of the next line of the output.
    pub end: u64,
    /// The size of its images, in bytes.
    pub bytes: usize,
    /// Its line for the chunk.
    pub line: ChunkLine,
}

/// Decides, by key alone, which request a line belongs to, and counts it in `expectations`. `lane`
/// is the lane that served the answer, by which it is charged for.
pub fn place(shard: &Shard, lane: Lane, expectations: &mut ShardExpectations, line: Line) -> Put {
    let (key, start, end) = (line.key().cloned(), line.start, line.end);
    let owner = key
        .as_ref()
        .and_then(|key| Some((key.clone(), expectations.wanted(key)?.clone())));
    let (images, line) = match owner {
        Some((key, wanted)) if is_result(wanted.seen, &line) => {
            let (images, mut result) = match line.content {
                Ok(answer) => answered(shard, key, &wanted, answer),
                Err(bad) => (Vec::new(), ResultLine::of_bad_line(key, &bad)),
            };
            if lane != shard.lane {
                result.warnings.push(format!(
                    "asked for the lane {}, but Gemini served it in the lane {lane}",
                    shard.lane
                ));
            }
            (
                images,
                ChunkLine::Result(Box::new(of_shard(result, shard, lane))),
            )
        }
        // The line belongs to no request, or repeats a result: it is kept and counted.
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
                Ok(answer) => keep_unmatched(shard, unmatched, answer),
                Err(_) => (Vec::new(), unmatched),
            };
            (images, ChunkLine::Unmatched(Box::new(unmatched)))
        }
    };
    expectations.see_output(&line, !images.is_empty());
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

/// Whether a line is the result of its key: the first line, or the first line with an image. A
/// second reason for no image would count its tokens twice.
fn is_result(seen: Seen, line: &Line) -> bool {
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

/// Returns the result of a requested key, and its images with their keys in the bucket, the final
/// image first.
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

    // An image in another size than requested is kept, with a warning.
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

    let path = |path: &str, image: &Image| {
        object_keys::image(&shard.job, path, image.media_type.extension())
    };
    let mut images = vec![(path(&wanted.path, &image), image)];
    for (number, extra) in extras.into_iter().enumerate() {
        images.push((
            path(&image_paths::extra_path(&wanted.path, number + 1), &extra),
            extra,
        ));
    }
    (images, result)
}

/// Returns what is kept of an answer that is not the result of a key: its image, and its usage.
fn keep_unmatched(
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
    // Its name has the offset of the line, since it has no key of this shard.
    let images = match outcome {
        Outcome::Succeeded { image, .. } => {
            vec![(
                object_keys::unmatched_image(
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

/// Returns the line of a key of `shard` that has no image, for this reason.
pub fn without_image(
    shard: &Shard,
    key: RequestKey,
    (status, reason): (Status, Reason),
) -> ChunkLine {
    let result = ResultLine {
        error: Some(reason),
        ..ResultLine::new(key, status)
    };
    ChunkLine::Result(Box::new(of_shard(result, shard, shard.lane)))
}

/// Returns a line for every key that has no result yet, and counts it in `expectations`. With them,
/// every key ends with exactly one result line.
pub fn unanswered(
    shard: &Shard,
    expectations: &mut ShardExpectations,
    result: (Status, Reason),
) -> Vec<ChunkLine> {
    let lines = expectations
        .missing()
        .into_iter()
        .map(|key| without_image(shard, key, result.clone()));
    let lines: Vec<ChunkLine> = lines.collect();
    lines.iter().for_each(|line| expectations.see(line));
    lines
}

/// Returns the result of a request that Gemini refused, in Gemini's words.
pub fn refused(message: &dyn Display) -> (Status, Reason) {
    let reason = Reason {
        code: REFUSED.to_owned(),
        message: format!("Gemini refused the request: {message}"),
        retryable: false,
    };
    (Status::Failed, reason)
}

/// Adds the shard, model and batch from which a result comes, and the lane that served it.
fn of_shard(result: ResultLine, shard: &Shard, lane: Lane) -> ResultLine {
    ResultLine {
        model: Some(shard.model.clone()),
        lane: Some(lane),
        batch_name: shard.phase.batch().cloned(),
        shard: Some(shard.shard),
        attempts: Some(u32::from(shard.shard.round)),
        ..result
    }
}

impl Put {
    /// Writes the images, byte for byte as Gemini made them, and completes the line. Each write is
    /// tried up to `attempts` times, with a pause in between.
    ///
    /// # Errors
    /// [`BucketError`] of the last attempt; some of the images may be stored then.
    pub async fn run(self, bucket: &Bucket, attempts: u32) -> Result<Stored, BucketError> {
        let Self {
            bytes,
            end,
            images,
            mut line,
        } = self;
        let mut stored = Vec::with_capacity(images.len());
        for (key, image) in images {
            stored.push(store(bucket, attempts, key, image).await?);
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

async fn store(
    bucket: &Bucket,
    attempts: u32,
    key: String,
    image: Image,
) -> Result<StoredImage, BucketError> {
    let Image {
        media_type,
        width,
        height,
        bytes,
    } = image;
    let length = bytes.as_ref().len() as u64;
    let provenance = Provenance::of(bytes.as_ref());
    let (bytes, mut attempt) = (Bytes::from_owner(bytes), 1);
    let etag = loop {
        match bucket.put(&key, media_type.mime(), bytes.clone()).await {
            Err(problem) if attempt < attempts => {
                warn!(attempt, "image not stored: {problem}");
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            written => break written?,
        }
    };
    Ok(StoredImage {
        uri: ObjectUri {
            bucket: bucket.name().to_owned(),
            key,
        },
        etag,
        mime_type: media_type,
        width,
        height,
        bytes: length,
        provenance: Some(provenance),
    })
}

/// Writes a chunk; the same lines give the same bytes.
///
/// # Errors
/// [`RecordError`]; the chunk may have been written.
pub async fn write_chunk(
    bucket: &Bucket,
    shard: &Shard,
    chunk: &Chunk,
    lines: &[ChunkLine],
) -> Result<(), RecordError> {
    let key = object_keys::chunk(&shard.job, shard.shard, chunk);
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line).map_err(DocumentError::at(&key))?;
        bytes.push(b'\n');
    }
    bucket.put(&key, "application/jsonl", bytes).await?;
    Ok(())
}
