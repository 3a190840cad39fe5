//! Why requests can't be prepared, and why results can't be recorded.

use darkroom::{
    names::{JobId, ShardId},
    requests::RequestLineError,
};
use gemini::{ApiError, UploadError};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    bucket::BucketError, cas::CasError, catalog_store::CatalogFault, chunks::ChunkError,
    document::DocumentError, lines::LineError, shard_store::StateError, turn::TurnError,
};

/// Why the requests of a shard can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
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

/// The shortest wait for another shard's upload of the same reference.
const MIN_CLAIM_WAIT: SignedDuration = SignedDuration::from_secs(1);
/// The longest such wait: most uploads end long before their claim expires.
const MAX_CLAIM_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// Returns how long to wait for another shard's upload, whose claim expires at `until`.
pub fn wait_for_claim(until: Timestamp, now: Timestamp) -> SignedDuration {
    until
        .duration_since(now)
        .clamp(MIN_CLAIM_WAIT, MAX_CLAIM_WAIT)
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

/// Why the documents of a shard's results can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A document is missing.
    #[error("{0} is missing; restore it from an earlier version")]
    Missing(String),
    /// The state of a round was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(JobId, ShardId),
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
    /// A chunk of the results can't be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The round has other keys than it should, and has begun.
    #[error("round {0} has begun already, with other keys than those to request again")]
    RoundBegun(ShardId),
    /// The state of the shard or of its round can't be written, or another invocation has changed
    /// it.
    #[error(transparent)]
    Turn(#[from] TurnError),
}
