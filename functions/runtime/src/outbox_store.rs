//! The records of sent events in the bucket, which are changed only by compare-and-swap.

use darkroom::{events::Outbox, names::JobId, object_keys};
use seam::rng::Rng;

use crate::{
    bucket::Bucket,
    cas::{self, CasError, Stamped},
};

/// How many times a change is attempted if other changes come first.
const MAX_ATTEMPTS: u32 = 20;

/// The records of the events of all jobs.
#[derive(Clone, Debug)]
pub struct OutboxStore {
    bucket: Bucket,
    rng: Rng,
}

/// Why a record can't be read or changed now.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// It can't be read or written.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// Other changes came first every time.
    #[error("other invocations changed the record of events {MAX_ATTEMPTS} times in a row")]
    Contended,
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
    /// [`OutboxError::Cas`].
    pub async fn read(&self, job: &JobId) -> Result<Outbox, OutboxError> {
        Ok(self
            .stored(job)
            .await?
            .map_or_else(|| Outbox::new(job), |(outbox, _)| outbox))
    }

    /// Adds what `outbox` records to the stored record.
    ///
    /// # Errors
    /// [`OutboxError`]. The record may have been written.
    pub async fn add(&self, outbox: &Outbox) -> Result<(), OutboxError> {
        let job = &outbox.job;
        for _ in 0..MAX_ATTEMPTS {
            let (mut merged, etag) = match self.stored(job).await? {
                None => (Outbox::new(job), None),
                Some((stored, etag)) => (stored, Some(etag)),
            };
            merged.merge(outbox);
            merged.write_id = self.rng.id();
            let key = object_keys::outbox(job);
            let written = cas::write(&self.bucket, &key, &merged, etag.as_deref()).await?;
            if written.is_some() {
                return Ok(());
            }
        }
        Err(OutboxError::Contended)
    }

    async fn stored(&self, job: &JobId) -> Result<Option<(Outbox, String)>, CasError> {
        cas::read(&self.bucket, &object_keys::outbox(job)).await
    }
}
