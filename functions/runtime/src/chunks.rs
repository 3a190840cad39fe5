//! Reading what `collect` and `submit` wrote down of a shard's results, part by part.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    names::{JobId, ShardId},
    object_keys,
};

use crate::{
    bucket::{Bucket, BucketError},
    lines::{LineError, Lines},
};

/// A part that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// There is no such object.
    #[error("{key} is missing; restore it from an earlier version")]
    Missing {
        /// The object's key.
        key: String,
    },
    /// The object is not what was written.
    #[error("{key} is damaged ({what}); restore it from an earlier version")]
    Damaged {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The object can't be read now.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The object broke off while it was read.
    #[error(transparent)]
    Lines(#[from] LineError),
}

/// Gives each line of a part to `take`.
///
/// # Errors
/// [`ChunkError`]. By then some lines were given: start anew with what they went into. A part that
/// is not whole is an error, never an end.
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
            "it has {count} lines, and {} were written",
            chunk.lines
        )));
    }
    Ok(())
}
