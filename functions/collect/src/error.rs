//! Why a shard can't be collected further now.

use exchange::error::RecordError;
use gemini::ApiError;
use runtime::{bucket::BucketError, turn::TurnError};

/// Why a shard can't be collected further now. Its message returns.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The shard's state, the ledger or a queue can't be read or written.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// A document of the shard's results can't be read or written.
    #[error(transparent)]
    Record(RecordError),
    /// An image can't be written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The output can't be downloaded.
    #[error(transparent)]
    Gemini(#[from] ApiError),
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
}

impl From<RecordError> for CollectError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Turn(error) => Self::Turn(error),
            error => Self::Record(error),
        }
    }
}
