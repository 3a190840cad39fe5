//! Why a sweep, or a part of it, failed.

use gemini::ApiError;
use runtime::{
    announcer::AnnounceError, bucket::BucketError, cas::CasError, document::DocumentError,
    ledger_store::LedgerError, queue::QueueError, rejection::RejectionError,
    shard_store::StateError,
};

/// Why a part of a sweep failed. The next sweep, an hour later, repeats the part.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An object can't be read or listed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A call to Gemini failed.
    #[error(transparent)]
    Gemini(#[from] ApiError),
    /// A queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An event can't be announced.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// The record of a job's events can't be read.
    #[error(transparent)]
    Outbox(#[from] CasError),
    /// A job can't be rejected.
    #[error(transparent)]
    Rejection(#[from] RejectionError),
}

/// The number of parts of a sweep that failed. Each failure was logged.
#[derive(Debug, thiserror::Error)]
#[error("{0} parts of the sweep failed: see the preceding log lines")]
pub struct Incomplete(pub(crate) u32);
