//! Why a job could not be updated or closed.

use std::io;

use darkroom::{names::JobId, status::Blocker};
use runtime::{
    announcer::AnnounceError, bucket::BucketError, catalog_store::CatalogFault,
    document::DocumentError, lines::LineError, queue::QueueError, shard_store::StateError,
};

/// Why a job could not be updated or closed now.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The body is not a message about a job.
    #[error("not a job message: {0}")]
    Message(serde_json::Error),
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A line of the results can't be encoded.
    #[error("a line of the results can't be encoded: {0}")]
    Encoding(#[from] io::Error),
    /// There is no such job, or it is still being planned.
    #[error("job {0} has no job.json: it is not planned yet, or there is no such job")]
    NotPlanned(JobId),
    /// A document that is needed to close the job is missing or damaged. `job.json` reports it.
    #[error("{}. {}", .0.what, .0.what_to_do)]
    Blocked(Box<Blocker>),
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A message to another function can't be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An event can't be announced.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The job's catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// The connection broke while a document was read.
    #[error(transparent)]
    Lines(#[from] LineError),
}
