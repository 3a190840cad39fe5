//! Why a job could not be updated or closed.

use darkroom::{names::JobId, status::Blocker};
use runtime::{
    bucket::BucketError, catalog_store::CatalogFault, lines::LineError, shard_store::StateError,
};

/// Why a job could not be updated or closed now.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A message, a stored document or a line could not be read or written as JSON.
    #[error("{what} can't be read or written as JSON: {error}")]
    Malformed {
        /// The message or the key of the document.
        what: String,
        /// The error that serde found.
        error: serde_json::Error,
    },
    /// There is no such job, or it is still being planned.
    #[error("job {0} has no job.json: it is not planned yet, or there is no such job")]
    NotPlanned(JobId),
    /// A document that is needed to close the job is missing or damaged. `job.json` reports it.
    #[error("{}. {}", .0.what, .0.what_to_do)]
    Blocked(Box<Blocker>),
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
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

/// Returns a function that adds the name of a message or document to serde's error.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> ReportError {
    let what = what.to_owned();
    move |error| ReportError::Malformed { what, error }
}
