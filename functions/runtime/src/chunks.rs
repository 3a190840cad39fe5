//! Reads the results of a shard, which `collect` and `submit` store in chunks.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    names::{JobId, ShardId},
    object_keys,
};

use crate::{
    bucket::{Bucket, BucketError},
    lines::{LineError, Lines},
};

/// Why a chunk can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// There is no such object.
    #[error("{key} is missing; restore it from an earlier version")]
    Missing {
        /// The object's key.
        key: String,
    },
    /// The object has other content than was written.
    #[error("{key} is damaged ({what}); restore it from an earlier version")]
    Damaged {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The request to S3 failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The object could not be read to its end.
    #[error(transparent)]
    Lines(#[from] LineError),
}

/// Calls `take` with each line of a chunk.
///
/// # Errors
/// [`ChunkError`], also if the chunk has fewer or more lines than were written. `take` may have been
/// called by then, so discard what it collected.
pub async fn read_chunk(
    bucket: &Bucket,
    job: &JobId,
    shard: ShardId,
    chunk: &Chunk,
    mut take: impl FnMut(ChunkLine),
) -> Result<(), ChunkError> {
    let key = object_keys::chunk(job, shard, chunk);
    let damaged = |what: String| ChunkError::Damaged {
        key: key.clone(),
        what,
    };
    let Some((stream, _)) = bucket.open(&key, None).await? else {
        return Err(ChunkError::Missing { key });
    };
    let mut lines = Lines::of_document(stream);
    let mut count = 0;
    while let Some(line) = lines.next().await? {
        count += 1;
        let line = serde_json::from_slice(&line)
            .map_err(|error| damaged(format!("line {count}: {error}")))?;
        take(line);
    }
    if count != chunk.lines {
        return Err(damaged(format!(
            "it has {count} lines, but {} were written",
            chunk.lines
        )));
    }
    Ok(())
}
