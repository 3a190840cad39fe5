//! Why a shard's images can't be requested now.

use exchange::error::{InputError, RecordError};
use runtime::turn::TurnError;

/// Why a shard's images can't be requested now. Its message returns.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The shard's state, the ledger or a queue can't be read or written.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The requests can't be read, or a reference picture can't be placed.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A document of the shard's results can't be read or written.
    #[error(transparent)]
    Record(RecordError),
}

impl From<RecordError> for GenerateError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Turn(error) => Self::Turn(error),
            error => Self::Record(error),
        }
    }
}
