//! Why `submit` can't continue with a shard now.

use runtime::{bucket::BucketError, turn::TurnError};

/// Why a shard can't be handled now. Its message returns.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The shard's state, the ledger or a queue can't be read or written.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The results of refused requests can't be written to the bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The result of a refused request can't be written as JSON.
    #[error("the result of a refused request can't be written as JSON: {0}")]
    Result(serde_json::Error),
}
