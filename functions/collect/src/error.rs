//! Why a shard can't be collected further now.

use darkroom::names::{JobId, ShardId};
use gemini::ApiError;
use runtime::{
    bucket::BucketError, catalog_store::CatalogFault, chunks::ChunkError, lines::LineError,
    shard_store::StateError, turn::TurnError,
};

/// Why a shard can't be collected further now. Its message returns.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A stored document is not what it should be.
    #[error("{what} can't be read: {source}")]
    Malformed {
        /// The document's key.
        what: String,
        /// The error that serde reports.
        source: serde_json::Error,
    },
    /// A document is missing.
    #[error("{0} is missing; restore it from an earlier version")]
    Missing(String),
    /// The state of a round was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(JobId, ShardId),
    /// The shard's state, the ledger or a queue can't be read or written.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The job's catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// The state of a round, or a list of keys, can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The connection was lost while an object was read.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// The output can't be downloaded.
    #[error(transparent)]
    Gemini(#[from] ApiError),
    /// A chunk of the results can't be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The output was read to the end, and none of its lines belongs to a request or has an image.
    #[error("none of the output's {lines} lines belongs to a request of its batch or has an image")]
    NothingUsable {
        /// The number of its lines.
        lines: u64,
    },
    /// The output ends before the offset up to which it was read.
    #[error("the output is shorter than the part of it that was read before")]
    Shrunk,
    /// The invocation's time ran out during a wait for Gemini or the bucket.
    #[error("the invocation's time ran out during a wait for the output or the bucket")]
    OutOfTime,
    /// The round has other keys than it should, and has begun.
    #[error("round {0} has begun already, with other keys than those to request again")]
    RoundBegun(ShardId),
}

/// Names the document that can't be read or written.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> CollectError {
    let what = what.to_owned();
    move |source| CollectError::Malformed { what, source }
}
