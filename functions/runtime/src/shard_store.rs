//! Shard states in the bucket, written by compare-and-swap alone.

use darkroom::{
    key_list::{KeyList, KeyListError},
    names::{JobId, RequestKey, ShardId},
    object_keys,
    state::{Phase, Shard},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use seam::{clock::Clock, rng::Rng};
use serde_json::json;

use crate::{
    bucket::Bucket,
    cas::{self, CasError, Stamped},
    metrics::{Metric, Metrics},
};

/// How many states are read at once.
const AT_ONCE: usize = 16;

/// The states of all shards.
#[derive(Clone, Debug)]
pub struct ShardStore {
    bucket: Bucket,
    clock: Clock,
    rng: Rng,
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
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, beside a network call"
)]
pub enum Cas {
    /// Ours: the state is as we wrote it.
    Written(StoredShard),
    /// Somebody else wrote first: look again.
    Conflict,
}

/// A state that can't be read or written now.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It can't be read or written. After a write, whether it happened is unknown.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// There is none, though there should be: it was removed by hand.
    #[error("job {0} has no state for shard {1}; restore it from an earlier version")]
    Missing(JobId, ShardId),
    /// The list of keys that a state names isn't there, or isn't what was written.
    #[error("{key} can't be used: {what}; restore it from an earlier version")]
    Keys {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Stamped for Shard {
    fn write_id(&self) -> &str {
        &self.write_id
    }
}

/// A shard and its rounds, in order.
#[derive(Clone, Debug)]
pub struct Rounds(pub Vec<StoredShard>);

impl Rounds {
    /// Whether nothing more happens to the shard: its last round is terminal, and names no other.
    pub fn are_over(&self) -> bool {
        self.0.last().is_some_and(|last| last.shard.is_terminal())
    }

    /// The shard and its rounds, without their versions.
    pub fn shards(&self) -> impl DoubleEndedIterator<Item = &Shard> {
        self.0.iter().map(|stored| &stored.shard)
    }
}

impl ShardStore {
    /// The states in `bucket`. A shard that comes into another phase is counted.
    pub fn new(bucket: Bucket, clock: Clock, rng: Rng, metrics: Metrics) -> Self {
        Self {
            bucket,
            clock,
            rng,
            metrics,
        }
    }

    /// A shard's state; none if it was never planned.
    ///
    /// # Errors
    /// [`StateError`]. An error is never "none".
    pub async fn read(
        &self,
        job: &JobId,
        shard: ShardId,
    ) -> Result<Option<StoredShard>, StateError> {
        let stored = cas::read(&self.bucket, &object_keys::state(job, shard)).await?;
        Ok(stored.map(|(shard, etag)| StoredShard { shard, etag }))
    }

    /// The states of all shards of a job, each with its rounds, in order of their numbers.
    ///
    /// # Errors
    /// [`StateError`]; that of the first that can't be read.
    pub async fn read_all(&self, job: &JobId, shards: u32) -> Result<Vec<Rounds>, StateError> {
        stream::iter(0..shards)
            .map(|number| self.read_rounds(job, number))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn read_rounds(&self, job: &JobId, number: u32) -> Result<Rounds, StateError> {
        let mut rounds = Vec::new();
        let mut next = Some(ShardId::first(number));
        while let Some(id) = next {
            let Some(stored) = self.read(job, id).await? else {
                return Err(StateError::Missing(job.clone(), id));
            };
            next = if let Phase::Done { next, .. } = &stored.shard.phase {
                *next
            } else {
                None
            };
            rounds.push(stored);
        }
        Ok(Rounds(rounds))
    }

    /// The request keys of a round; none in a first round, which asks for all of its request file.
    ///
    /// # Errors
    /// [`StateError::Keys`] when the list is gone or was changed.
    pub async fn keys(&self, shard: &Shard) -> Result<Option<Vec<RequestKey>>, StateError> {
        let Some(list) = &shard.keys else {
            return Ok(None);
        };
        let key = object_keys::keys(&shard.job, shard.shard, list);
        let wrong = |what: String| StateError::Keys {
            key: key.clone(),
            what,
        };
        let object = self.bucket.read(&key).await.map_err(CasError::from)?;
        let object = object.ok_or_else(|| wrong("it is missing".to_owned()))?;
        Ok(Some(
            list.read(&object.bytes)
                .map_err(|error: KeyListError| wrong(error.to_string()))?,
        ))
    }

    /// Stores the request keys of a round, before its first state. The same keys are the same
    /// object.
    ///
    /// # Errors
    /// [`StateError`]; it may have been written then.
    pub async fn keep_keys(
        &self,
        job: &JobId,
        shard: ShardId,
        keys: &[RequestKey],
    ) -> Result<KeyList, StateError> {
        let malformed = |error: serde_json::Error| StateError::Keys {
            key: job.to_string(),
            what: error.to_string(),
        };
        let (list, bytes) = KeyList::of(keys).map_err(malformed)?;
        let key = object_keys::keys(job, shard, &list);
        self.bucket
            .put(&key, "application/jsonl", bytes)
            .await
            .map_err(CasError::from)?;
        Ok(list)
    }

    /// Whether a person has cancelled the job.
    ///
    /// # Errors
    /// [`StateError`]. An error is never "no".
    pub async fn cancel_requested(&self, job: &JobId) -> Result<bool, StateError> {
        Ok(self
            .bucket
            .head(&object_keys::cancel(job))
            .await
            .map_err(CasError::from)?
            .is_some())
    }

    /// Writes down that a person has cancelled the job. The first time stays.
    ///
    /// # Errors
    /// [`StateError`]; it may have been written then.
    pub async fn stop(&self, job: &JobId) -> Result<(), StateError> {
        let mark = json!({ "v": 1, "job": job, "cancelled_at": self.clock.now() });
        let created = self
            .bucket
            .create(
                &object_keys::cancel(job),
                "application/json",
                mark.to_string(),
            )
            .await;
        created
            .map(drop)
            .map_err(|error| CasError::from(error).into())
    }

    /// Writes a shard's first state; [`Swap::Theirs`] if it has one already.
    ///
    /// # Errors
    /// [`StateError`]; it may have been written then.
    pub async fn create(&self, shard: Shard) -> Result<Cas, StateError> {
        let swap = self.write(shard, None).await?;
        self.count(None, &swap);
        Ok(swap)
    }

    /// Writes the state that follows `stored`.
    ///
    /// # Errors
    /// [`StateError`]; it may have been written then.
    pub async fn swap(&self, stored: &StoredShard, next: Shard) -> Result<Cas, StateError> {
        let swap = self
            .write(
                Shard {
                    rev: stored.shard.rev + 1,
                    ..next
                },
                Some(&stored.etag),
            )
            .await?;
        self.count(Some(&stored.shard.phase), &swap);
        Ok(swap)
    }

    fn count(&self, before: Option<&Phase>, swap: &Cas) {
        let Cas::Written(StoredShard { shard, .. }) = swap else {
            return;
        };
        if before.is_none_or(|before| before.name() != shard.phase.name())
            && let Some(metric) = metric(&shard.phase)
        {
            self.metrics.count(metric);
        }
    }

    async fn write(&self, shard: Shard, etag: Option<&str>) -> Result<Cas, StateError> {
        let shard = Shard {
            write_id: self.rng.id(),
            changed_at: self.clock.now(),
            ..shard
        };
        let key = object_keys::state(&shard.job, shard.shard);
        Ok(match cas::write(&self.bucket, &key, &shard, etag).await? {
            Some(etag) => Cas::Written(StoredShard { shard, etag }),
            None => Cas::Conflict,
        })
    }
}

/// What a shard that comes into this phase counts as. Those of a moment are not counted.
fn metric(phase: &Phase) -> Option<Metric> {
    match phase {
        Phase::Planned { .. } => Some(Metric::ShardsPlanned),
        Phase::Submitted(_) => Some(Metric::ShardsSubmitted),
        Phase::Ready { .. } => Some(Metric::ShardsReady),
        Phase::Done { .. } => Some(Metric::ShardsDone),
        Phase::Held { .. } => Some(Metric::ShardsHeld),
        Phase::Failed(_) => Some(Metric::ShardsFailed),
        Phase::Cancelled => Some(Metric::ShardsCancelled),
        Phase::Recovering(_) => Some(Metric::AmbiguousCreates),
        Phase::Uploading { .. } | Phase::Creating { .. } | Phase::Collecting(_) => None,
    }
}
