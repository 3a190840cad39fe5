//! Why a request can't be carried out now.

use runtime::{
    bucket::BucketError, document::DocumentError, notifications::EventError, queue::QueueError,
    shard_store::StateError,
};

/// Why a request can't be carried out now. Its message is delivered again.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The message is not about uploads.
    #[error("the message can't be read: {0}")]
    Event(EventError),
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A message can't be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A shard was changed at the same moment.
    #[error("another function changed a held shard at the same moment")]
    Contended,
}
