//! Why thumbnails can't be made.

use darkroom::results::image::ImageFlaw;
use runtime::{
    bucket::BucketError, chunks::ChunkError, document::DocumentError, queue::QueueError,
    shard_store::StateError,
};

/// Why the thumbnails of a shard can't be made now. The message is delivered again.
#[derive(Debug, thiserror::Error)]
pub enum ThumbsError {
    /// The body is not a message about a shard.
    #[error("not a shard message: {0}")]
    Message(serde_json::Error),
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A chunk of results can't be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The message to `report` can't be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Another invocation made thumbnails of the same shard.
    #[error("another invocation changed the list of thumbnails at the same moment")]
    Contended,
}

/// Why an image has no thumbnail. Trying again would give the same result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// A user has deleted the image.
    #[error("the image does not exist")]
    Missing,
    /// It has more bytes than any image that Darkroom stores.
    #[error("the image has {0} bytes, which is more than are accepted")]
    TooLarge(u64),
    /// Its header can't be read.
    #[error(transparent)]
    Header(#[from] ImageFlaw),
    /// Its pixels can't be decoded.
    #[error("the image can't be decoded: {0}")]
    Damaged(String),
    /// The decoder panicked.
    #[error("the decoder failed on this image")]
    Crashed,
    /// Not even a small thumbnail fits.
    #[error("its thumbnail has more than {0} bytes")]
    TooDetailed(usize),
    /// The thumbnail can't be encoded.
    #[error("the thumbnail can't be encoded: {0}")]
    Encoding(#[from] jpeg_encoder::EncodingError),
}
