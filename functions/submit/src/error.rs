//! Why `submit` can't continue with a shard now.

use darkroom::requests::RequestLineError;
use gemini::{ApiError, UploadError};
use jiff::Timestamp;
use runtime::{
    bucket::BucketError, cas::CasError, chunks::ChunkError, lines::LineError,
    shard_store::StateError, turn::TurnError,
};

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

/// Why a shard has no input file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Gemini refused the upload, or it failed.
    #[error(transparent)]
    Gemini(ApiError),
    /// The shard's objects can't be used, so a retry does not help.
    #[error("{0}")]
    Unusable(String),
    /// A retry may help.
    #[error("{0}")]
    Transient(String),
    /// Another shard of the job is uploading the same pictures.
    #[error("another shard of the job is uploading the same reference pictures")]
    Taken {
        /// When its claim expires.
        until: Timestamp,
    },
}

impl From<BucketError> for InputError {
    fn from(error: BucketError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<CasError> for InputError {
    fn from(error: CasError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<StateError> for InputError {
    fn from(error: StateError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<ChunkError> for InputError {
    fn from(error: ChunkError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<ApiError> for InputError {
    fn from(error: ApiError) -> Self {
        Self::Gemini(error)
    }
}

impl From<LineError> for InputError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Stream(_) => Self::Transient(error.to_string()),
            LineError::TooLong { .. } => Self::Unusable(error.to_string()),
        }
    }
}

impl From<RequestLineError> for InputError {
    fn from(error: RequestLineError) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<UploadError> for InputError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Api(error) => Self::Gemini(error),
            UploadError::Body(_) | UploadError::Length { .. } => Self::Transient(error.to_string()),
        }
    }
}
