//! The stored list of a shard's thumbnails, which is written by compare-and-swap: an invocation
//! never replaces what another one has added.

use darkroom::{
    names::{JobId, ShardId},
    object_keys,
    thumbnails::{Thumbnail, Thumbnails},
};
use runtime::{
    bucket::{Bucket, Conditional},
    document::DocumentError,
};

use crate::error::{Flaw, ThumbsError};

/// The list of a shard's thumbnails, with what was added since it was stored.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) job: JobId,
    pub(crate) shard: ShardId,
    /// The content.
    pub(crate) thumbnails: Thumbnails,
    /// The number of images that were added since the list was stored.
    pub(crate) unsaved: usize,
    /// The version that the next write must replace. None if the list is not stored yet.
    etag: Option<String>,
}

impl List {
    /// Reads the list, which is empty if it does not exist.
    ///
    /// # Errors
    /// [`ThumbsError::Document`] if it can't be parsed.
    pub(crate) async fn read(
        bucket: &Bucket,
        job: &JobId,
        shard: ShardId,
    ) -> Result<Self, ThumbsError> {
        let key = object_keys::thumbnails(job, shard);
        let (thumbnails, etag) = match bucket.read(&key).await? {
            Some(object) => {
                let read = serde_json::from_slice(&object.bytes);
                (read.map_err(DocumentError::at(&key))?, Some(object.etag))
            }
            None => (Thumbnails::default(), None),
        };
        Ok(Self {
            job: job.clone(),
            shard,
            thumbnails,
            unsaved: 0,
            etag,
        })
    }

    /// Adds the result of an image.
    pub(crate) fn add(&mut self, path: String, result: Result<Thumbnail, Flaw>) {
        match result {
            Ok(thumbnail) => drop(self.thumbnails.made.insert(path, thumbnail)),
            Err(flaw) => drop(self.thumbnails.failed.insert(path, flaw.to_string())),
        }
        self.unsaved += 1;
    }

    /// Stores the list.
    ///
    /// # Errors
    /// [`ThumbsError::Contended`] if another invocation has written it.
    pub(crate) async fn save(&mut self, bucket: &Bucket) -> Result<(), ThumbsError> {
        let key = object_keys::thumbnails(&self.job, self.shard);
        let bytes = serde_json::to_vec(&self.thumbnails).map_err(DocumentError::at(&key))?;
        let written = match &self.etag {
            Some(etag) => {
                bucket
                    .replace(&key, etag, "application/json", bytes)
                    .await?
            }
            None => bucket.create(&key, "application/json", bytes).await?,
        };
        match written {
            Conditional::Written(etag) => {
                self.etag = Some(etag);
                self.unsaved = 0;
                Ok(())
            }
            // It may be our own write, whose response was lost. The message returns and finds it.
            Conditional::Refused => Err(ThumbsError::Contended),
        }
    }
}
