//! Shard states in the bucket, which are written only by compare-and-swap.

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

/// How many states are read concurrently.
const CONCURRENCY: usize = 16;

/// The states of all shards.
#[derive(Clone, Debug)]
pub struct ShardStore {
    bucket: Bucket,
    clock: Clock,
    rng: Rng,
    metrics: Metrics,
}

/// A stored state, with the version that the next write must replace.
#[derive(Clone, Debug)]
pub struct StoredShard {
    /// The state.
    pub shard: Shard,
    etag: String,
}

/// The outcome of a write.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and each comes from a network request"
)]
pub enum Cas {
    /// The state was written.
    Written(StoredShard),
    /// Another write came first: read the state again.
    Conflict,
}

/// Why a state can't be read or written now.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The document can't be read or written. Whether a write took effect is unknown.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// The state is missing, because it was deleted by hand.
    #[error("job {0} has no state for shard {1}; restore it from an earlier version")]
    Missing(JobId, ShardId),
    /// The list of keys that a state names is missing or has other content than was written.
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

/// The states of a shard and of its rounds, in order.
#[derive(Clone, Debug)]
pub struct Rounds(pub Vec<StoredShard>);

impl Rounds {
    /// Whether the shard is finished: its last round is terminal and names no other round.
    pub fn are_over(&self) -> bool {
        self.0.last().is_some_and(|last| last.shard.is_terminal())
    }

    /// Whether its images are the job's proof.
    pub fn is_proof(&self) -> bool {
        self.shards().any(|shard| shard.is_proof)
    }

    /// Whether the shard is finished, and each of its images has succeeded in one of its rounds.
    pub fn all_succeeded(&self) -> bool {
        let succeeded = |shard: &Shard| match shard.phase {
            Phase::Done { succeeded, .. } => succeeded.unwrap_or_default(),
            _ => 0,
        };
        let images: u32 = self.shards().map(succeeded).sum();
        let first = self.shards().next();
        self.are_over() && first.is_some_and(|first| images >= first.demand.requests)
    }

    /// The states without their versions.
    pub fn shards(&self) -> impl DoubleEndedIterator<Item = &Shard> {
        self.0.iter().map(|stored| &stored.shard)
    }
}

impl ShardStore {
    /// The states in `bucket`. When a shard enters another phase, a metric is recorded.
    pub fn new(bucket: Bucket, clock: Clock, rng: Rng, metrics: Metrics) -> Self {
        Self {
            bucket,
            clock,
            rng,
            metrics,
        }
    }

    /// A shard's state. Returns none if the shard was never planned.
    ///
    /// # Errors
    /// [`StateError`]. It does not mean that there is no state.
    pub async fn read(
        &self,
        job: &JobId,
        shard: ShardId,
    ) -> Result<Option<StoredShard>, StateError> {
        let stored = cas::read(&self.bucket, &object_keys::state(job, shard)).await?;
        Ok(stored.map(|(shard, etag)| StoredShard { shard, etag }))
    }

    /// The states of all shards of a job, each with its rounds, ordered by number.
    ///
    /// # Errors
    /// [`StateError`] of the first state that can't be read.
    pub async fn read_all(&self, job: &JobId, shards: u32) -> Result<Vec<Rounds>, StateError> {
        stream::iter(0..shards)
            .map(|number| self.read_rounds(job, number))
            .buffered(CONCURRENCY)
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

    /// The request keys of a round. Returns none for a first round, which includes all keys of its
    /// request file.
    ///
    /// # Errors
    /// [`StateError::Keys`] if the list is missing or was changed.
    pub async fn keys(&self, shard: &Shard) -> Result<Option<Vec<RequestKey>>, StateError> {
        let Some(list) = &shard.keys else {
            return Ok(None);
        };
        let key = object_keys::keys(&shard.job, shard.shard, list);
        let unusable = |what: String| StateError::Keys {
            key: key.clone(),
            what,
        };
        let object = self.bucket.read(&key).await.map_err(CasError::from)?;
        let object = object.ok_or_else(|| unusable("it is missing".to_owned()))?;
        Ok(Some(list.read(&object.bytes).map_err(
            |error: KeyListError| unusable(error.to_string()),
        )?))
    }

    /// Stores the request keys of a round, before its first state. The object's name depends on the
    /// keys, so storing the same keys again writes the same object.
    ///
    /// # Errors
    /// [`StateError`]. The list may have been written.
    pub async fn keep_keys(
        &self,
        job: &JobId,
        shard: ShardId,
        keys: &[RequestKey],
    ) -> Result<KeyList, StateError> {
        let (list, bytes) = KeyList::of(keys).map_err(|error| StateError::Keys {
            key: object_keys::state(job, shard),
            what: error.to_string(),
        })?;
        let key = object_keys::keys(job, shard, &list);
        self.bucket
            .put(&key, "application/jsonl", bytes)
            .await
            .map_err(CasError::from)?;
        Ok(list)
    }

    /// Whether a user has canceled the job.
    ///
    /// # Errors
    /// [`StateError`]. It does not mean that the job is not canceled.
    pub async fn cancel_requested(&self, job: &JobId) -> Result<bool, StateError> {
        Ok(self
            .bucket
            .head(&object_keys::cancel(job))
            .await
            .map_err(CasError::from)?
            .is_some())
    }

    /// Records that a user has canceled the job. The time of the first call is kept.
    ///
    /// # Errors
    /// [`StateError`]. The cancellation may have been recorded.
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

    /// Writes a shard's first state. Returns [`Cas::Conflict`] if the shard has a state.
    ///
    /// # Errors
    /// [`StateError`]. The state may have been written.
    pub async fn create(&self, shard: Shard) -> Result<Cas, StateError> {
        let swap = self.write(shard, None).await?;
        self.count(None, &swap);
        Ok(swap)
    }

    /// Replaces the state `stored` with `next`.
    ///
    /// # Errors
    /// [`StateError`]. The state may have been written.
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

    /// Records a metric if the shard has entered another phase.
    fn count(&self, before: Option<&Phase>, swap: &Cas) {
        let Cas::Written(StoredShard { shard, .. }) = swap else {
            return;
        };
        if before.is_none_or(|before| before.name() != shard.phase.name())
            && let Some(metric) = metric(shard)
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

/// The metric of a shard that has entered its phase. Phases that last only seconds have none, and
/// neither has the wait for the approval of a proof, which is no problem to alarm an operator about.
fn metric(shard: &Shard) -> Option<Metric> {
    match &shard.phase {
        Phase::Planned { .. } => Some(Metric::ShardsPlanned),
        Phase::Submitted(_) => Some(Metric::ShardsSubmitted),
        Phase::Ready { .. } => Some(Metric::ShardsReady),
        Phase::Done { .. } => Some(Metric::ShardsDone),
        Phase::Held { .. } if shard.awaits_proof() => None,
        Phase::Held { .. } => Some(Metric::ShardsHeld),
        Phase::Failed(_) => Some(Metric::ShardsFailed),
        Phase::Cancelled => Some(Metric::ShardsCancelled),
        Phase::Recovering(_) => Some(Metric::AmbiguousCreates),
        Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Collecting(_)
        | Phase::Generating(_) => None,
    }
}
