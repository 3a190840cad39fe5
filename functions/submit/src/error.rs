//! Why `submit` can't continue with a shard now.

use exchange::error::RecordError;
use runtime::turn::TurnError;

/// Why a shard can't be handled now. Its message returns.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The shard's state, the ledger or a queue can't be read or written.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The results of refused requests can't be written to the bucket.
    #[error(transparent)]
    Record(#[from] RecordError),
}
