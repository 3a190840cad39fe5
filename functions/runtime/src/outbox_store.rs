//! The records of sent events in the bucket, which are changed only by compare-and-swap.

use darkroom::{events::Outbox, names::JobId, object_keys};
use seam::rng::Rng;

use crate::{
    bucket::Bucket,
    cas::{self, CasError, Stamped},
};

/// The records of the events of all jobs.
#[derive(Clone, Debug)]
pub struct OutboxStore {
    bucket: Bucket,
    rng: Rng,
}

/// A record as last read or written.
#[derive(Clone, Debug)]
pub struct StoredOutbox {
    /// The record. It is empty if there is none.
    pub outbox: Outbox,
    /// The ETag of the stored record, or none if nothing is stored.
    etag: Option<String>,
}

impl Stamped for Outbox {
    fn write_id(&self) -> &str {
        &self.write_id
    }
}

impl OutboxStore {
    /// The records in `bucket`.
    pub fn new(bucket: Bucket, rng: Rng) -> Self {
        Self { bucket, rng }
    }

    /// Returns the record of a job's events, or an empty one if there is none.
    ///
    /// # Errors
    /// [`CasError`].
    pub async fn read(&self, job: &JobId) -> Result<StoredOutbox, CasError> {
        let stored = cas::read(&self.bucket, &object_keys::outbox(job)).await?;
        Ok(match stored {
            Some((outbox, etag)) => StoredOutbox {
                outbox,
                etag: Some(etag),
            },
            None => StoredOutbox {
                outbox: Outbox::new(job),
                etag: None,
            },
        })
    }

    /// Replaces `stored` by `outbox`. Returns the new version, or none if another invocation has
    /// changed the record since `stored` was read.
    ///
    /// # Errors
    /// [`CasError`]. The record may have been written.
    pub async fn replace(
        &self,
        stored: &StoredOutbox,
        mut outbox: Outbox,
    ) -> Result<Option<StoredOutbox>, CasError> {
        outbox.write_id = self.rng.id();
        let key = object_keys::outbox(&outbox.job);
        let written = cas::write(&self.bucket, &key, &outbox, stored.etag.as_deref()).await?;
        Ok(written.map(|etag| StoredOutbox {
            outbox,
            etag: Some(etag),
        }))
    }
}
