//! Why a manifest can't be planned now.

use std::io;

use darkroom::manifest::ReadError;
use runtime::{
    announcer::AnnounceError, bucket::BucketError, catalog_store::CatalogFault,
    document::DocumentError, folder_store::FolderFault, notifications::EventError,
    queue::QueueError, rejection::RejectionError, shard_store::StateError,
};

use crate::time::is_time_up;

/// Why a manifest can't be planned now. Its message is delivered again. What is wrong *in* a
/// manifest is a diagnostic, not an error.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The message is not about uploads.
    #[error("the message can't be read: {0}")]
    Event(EventError),
    /// The event is from another bucket than this deployment's.
    #[error("the event is from bucket {0}, which this function does not serve")]
    ForeignBucket(String),
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The manifest can't be read to its end.
    #[error("{error}: {cause}", cause = cause(.error))]
    Manifest {
        /// Where reading stopped.
        error: ReadError,
    },
    /// The connection broke while the manifest was hashed.
    #[error("the manifest could not be read to its end: {0}")]
    Broken(#[from] io::Error),
    /// A picture from the web has no copy although the check copied it. This is a defect.
    #[error("a reference by web address was not copied")]
    NotCopied,
    /// The catalog can't be read. No manifest is rejected for that.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// The folders can't be read. No manifest is rejected for that.
    #[error(transparent)]
    Folders(#[from] FolderFault),
    /// A message can't be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An event can't be announced.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// The thread that reads the manifest panicked or was cancelled.
    #[error("reading the manifest was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The invocation ends soon.
    #[error("the invocation has no time left for this manifest")]
    TimeUp,
    /// The documents of a job that isn't planned can't be written.
    #[error(transparent)]
    Rejection(#[from] RejectionError),
}

fn cause(error: &ReadError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Source(inner) | ReadError::Sink(inner) if is_time_up(inner) => Self::TimeUp,
            ReadError::Source(_) | ReadError::Sink(_) => Self::Manifest { error },
        }
    }
}
