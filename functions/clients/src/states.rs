//! Shard states in the bucket, written by compare-and-swap alone.
//!
//! A conditional write can succeed and still be answered with a refusal or not at all: the SDK sends it again after a
//! time-out, and the second finds the first's object. So every write carries an id of its own, and whoever is refused
//! reads back and compares.

use darkroom::{
    layout,
    names::{JobId, ShardId},
    state::{Phase, Shard},
};

use crate::{
    bucket::{Bucket, BucketError, Conditional},
    chance::Chance,
    clock::Clock,
    metrics::{Metric, Metrics},
};

const JSON: &str = "application/json";

/// The states of all shards.
#[derive(Clone, Debug)]
pub struct States {
    bucket: Bucket,
    clock: Clock,
    chance: Chance,
    metrics: Metrics,
}

/// A state as it is stored, with the version that the next write must replace.
#[derive(Clone, Debug)]
pub struct StoredShard {
    /// The state.
    pub shard: Shard,
    etag: String,
}

/// What became of a write.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, beside a network call")]
pub enum Swap {
    /// Ours: the state is as we wrote it.
    Mine(StoredShard),
    /// Somebody else wrote first: look again.
    Theirs,
}

/// A state that can't be read or written now.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The bucket failed. After a write, whether it happened is unknown.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The stored document isn't a state.
    #[error("{key} is not a shard state: {source}; restore it from an earlier version")]
    Malformed {
        /// The object's key.
        key: String,
        /// What serde found.
        source: serde_json::Error,
    },
}

impl States {
    /// The states in `bucket`. A shard that comes into another phase is counted.
    pub fn new(bucket: Bucket, clock: Clock, chance: Chance, metrics: Metrics) -> Self {
        Self { bucket, clock, chance, metrics }
    }

    /// A shard's state; none if it was never planned.
    ///
    /// # Errors
    /// [`StateError`]. An error is never "none".
    pub async fn read(&self, job: &JobId, shard: ShardId) -> Result<Option<StoredShard>, StateError> {
        let key = layout::state(job, shard);
        let Some(object) = self.bucket.read(&key).await? else { return Ok(None) };
        let shard = serde_json::from_slice(&object.bytes).map_err(|source| StateError::Malformed { key, source })?;
        Ok(Some(StoredShard { shard, etag: object.etag }))
    }

    /// Writes a shard's first state; [`Swap::Theirs`] if it has one already.
    ///
    /// # Errors
    /// [`StateError`]; it may have been written then.
    pub async fn create(&self, shard: Shard) -> Result<Swap, StateError> {
        let swap = self.write(shard, None).await?;
        self.count(None, &swap);
        Ok(swap)
    }

    /// Writes the state that follows `stored`.
    ///
    /// # Errors
    /// [`StateError`]; it may have been written then.
    pub async fn swap(&self, stored: &StoredShard, next: Shard) -> Result<Swap, StateError> {
        let swap = self.write(Shard { rev: stored.shard.rev + 1, ..next }, Some(&stored.etag)).await?;
        self.count(Some(&stored.shard.phase), &swap);
        Ok(swap)
    }

    fn count(&self, before: Option<&Phase>, swap: &Swap) {
        let Swap::Mine(StoredShard { shard, .. }) = swap else { return };
        if before.is_none_or(|before| before.name() != shard.phase.name())
            && let Some(metric) = metric(&shard.phase)
        {
            self.metrics.count(metric);
        }
    }

    async fn write(&self, shard: Shard, etag: Option<&str>) -> Result<Swap, StateError> {
        let shard = Shard { write_id: self.chance.id(), changed_at: self.clock.now(), ..shard };
        let key = layout::state(&shard.job, shard.shard);
        let bytes = match serde_json::to_vec(&shard) {
            Ok(bytes) => bytes,
            Err(source) => return Err(StateError::Malformed { key, source }),
        };
        let written = match etag {
            Some(etag) => self.bucket.replace(&key, etag, JSON, bytes).await,
            None => self.bucket.create(&key, JSON, bytes).await,
        };
        match written {
            Ok(Conditional::Written(etag)) => Ok(Swap::Mine(StoredShard { shard, etag })),
            // Refused, or unanswered: whose write is stored now?
            Ok(Conditional::Refused) | Err(BucketError::Transient { .. }) => {
                match self.read(&shard.job, shard.shard).await? {
                    Some(stored) if stored.shard.write_id == shard.write_id => Ok(Swap::Mine(stored)),
                    _ => match written {
                        Err(unknown) => Err(unknown.into()),
                        Ok(_) => Ok(Swap::Theirs),
                    },
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What a shard that comes into this phase counts as. Those of a moment are not counted.
fn metric(phase: &Phase) -> Option<Metric> {
    match phase {
        Phase::Planned { .. } => Some(Metric::ShardsPlanned),
        Phase::Submitted { .. } => Some(Metric::ShardsSubmitted),
        Phase::Ready { .. } => Some(Metric::ShardsReady),
        Phase::Done { .. } => Some(Metric::ShardsDone),
        Phase::Held { .. } => Some(Metric::ShardsHeld),
        Phase::Failed { .. } => Some(Metric::ShardsFailed),
        Phase::Uploading { .. } | Phase::Creating { .. } | Phase::Collecting { .. } => None,
    }
}
