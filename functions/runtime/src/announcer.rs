//! Announces to `notify` that events of a job may have to be sent.

use darkroom::{messages::JobMessage, names::JobId, object_keys};

use crate::{
    bucket::{Bucket, BucketError},
    queue::{Queue, QueueError},
};

/// Announces events, if the deployment has a target for them.
#[derive(Clone, Debug)]
pub struct Announcer(Option<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    bucket: Bucket,
    notifications: Queue,
}

/// Why an event can't be announced now.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The job can't be added to the list of those with events to send.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The message can't be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Announcer {
    /// An announcer for a deployment without a target. It does nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// An announcer that lists jobs in `bucket` and sends messages to `notifications`.
    pub fn new(bucket: Bucket, notifications: Queue) -> Self {
        Self(Some(Parts {
            bucket,
            notifications,
        }))
    }

    /// Whether the deployment has a target for events.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Announces that a job has news. Call it after the document or the marker is written that the
    /// event is about, and before the message is acknowledged that caused the write.
    ///
    /// # Errors
    /// [`AnnounceError`]; the message may have been sent.
    pub async fn announce(&self, job: &JobId) -> Result<(), AnnounceError> {
        self.list(job).await?;
        Ok(self.send(job).await?)
    }

    /// Adds a job to the list of those with events to send. `sweep` sends messages about these.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn list(&self, job: &JobId) -> Result<(), BucketError> {
        if let Some(parts) = &self.0 {
            let key = object_keys::pending_events(job);
            parts.bucket.put(&key, "text/plain", "").await?;
        }
        Ok(())
    }

    /// Sends a message about a job to `notify`.
    ///
    /// # Errors
    /// [`QueueError`]; the message may have been sent.
    pub async fn send(&self, job: &JobId) -> Result<(), QueueError> {
        match &self.0 {
            Some(parts) => parts.notifications.send(&JobMessage::new(job)).await,
            None => Ok(()),
        }
    }
}
