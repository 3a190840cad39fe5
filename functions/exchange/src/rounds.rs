//! Rounds: smaller shards that request again what may still succeed.

use darkroom::{
    job::JobSettings,
    lane::Lane,
    names::{RequestKey, ShardId},
    object_keys,
    plan::PlanLock,
    state::{Generating, Phase, Shard},
};
use jiff::Timestamp;
use runtime::{
    bucket::Bucket,
    document::DocumentError,
    shard_store::{Cas, ShardStore},
};

use crate::{error::RecordError, expectations::ShardExpectations};

/// Returns the keys that a round in `lane` would request again; none if the shard has had all its
/// rounds. A round in another lane is always allowed, because its requests were not tried there.
///
/// # Errors
/// [`RecordError`] if the job's settings can't be read.
pub async fn keys_to_request_again(
    bucket: &Bucket,
    shard: &Shard,
    lane: Lane,
    expectations: &ShardExpectations,
) -> Result<Vec<RequestKey>, RecordError> {
    let keys = expectations.retryable();
    let is_last = !keys.is_empty()
        && lane == shard.lane
        && shard.shard.round >= settings(bucket, shard).await?.max_rounds.get();
    Ok(if is_last { Vec::new() } else { keys })
}

/// Writes the round's keys, then its state.
///
/// # Errors
/// [`RecordError`]; the state may have been written.
pub async fn plan_round(
    states: &ShardStore,
    shard: &Shard,
    keys: Vec<RequestKey>,
    lane: Lane,
    expectations: &ShardExpectations,
    now: Timestamp,
) -> Result<ShardId, RecordError> {
    let id = shard.shard.next_round();
    // In another lane the images have another price.
    let usd = (lane != shard.lane).then(|| expectations.ceiling(&keys, lane));
    let keys = states.keep_keys(&shard.job, id, &keys).await?;
    let round = shard.next_round(keys, lane, usd, now);
    if let Cas::Written(_) = states.create(round.clone()).await? {
        return Ok(id);
    }

    // An earlier invocation wrote this state and crashed before the shard was done, so no message
    // about the round was sent yet.
    let Some(earlier) = states.read(&shard.job, id).await? else {
        return Err(RecordError::NoState(shard.job.clone(), id));
    };
    if earlier.shard.keys == round.keys && earlier.shard.lane == round.lane {
        return Ok(id);
    }

    // It may be replaced as long as its function has not seen it. Replacing a round that has begun
    // could buy the same key twice.
    let is_new = match &earlier.shard.phase {
        Phase::Planned { .. } => true,
        Phase::Generating(generating) => *generating == Generating::default(),
        _ => false,
    };
    if !is_new || earlier.shard.driver.is_some() {
        return Err(RecordError::RoundBegun(id));
    }
    match states.swap(&earlier, round).await? {
        Cas::Written(_) => Ok(id),
        Cas::Conflict => Err(RecordError::Conflict),
    }
}

async fn settings(bucket: &Bucket, shard: &Shard) -> Result<JobSettings, RecordError> {
    let key = object_keys::plan_lock(&shard.job);
    let Some(lock) = bucket.read(&key).await? else {
        return Err(RecordError::Missing(key));
    };
    Ok(serde_json::from_slice::<PlanLock>(&lock.bytes)
        .map_err(DocumentError::at(&key))?
        .settings)
}
