//! The end of a shard, and its next round: a smaller shard that requests again what may still
//! succeed.

use darkroom::{
    chunks::Chunk,
    job::JobSettings,
    lane::Lane,
    money::Usd,
    names::{RequestKey, ShardId},
    object_keys,
    plan::PlanLock,
    state::{EndedBatch, Generating, Outcome, Phase, Shard},
};
use jiff::Timestamp;
use runtime::{
    bucket::Bucket,
    document::DocumentError,
    shard_store::{Cas, ShardStore},
    turn::{Turn, TurnError},
};

use crate::{
    error::RecordError,
    expectations::{ShardExpectations, Stores},
};

/// What is known about the end of a shard.
#[derive(Debug)]
pub struct End {
    /// How its batch ended, if it had one.
    pub ended: Option<EndedBatch>,
    /// The chunks with its result lines.
    pub chunks: Vec<Chunk>,
    /// The maximum that it cost.
    pub cost_usd: Option<Usd>,
    /// The lane of its next round.
    pub lane: Lane,
    /// Whether it ends because a user has canceled the job.
    pub is_canceled: bool,
}

/// Writes the state of a round for keys that may still succeed, then ends the shard. In this order,
/// a job can't close before its last round, and no round begins that its parent does not name.
///
/// # Errors
/// [`RecordError`]; the shard is not done then.
pub async fn end_shard(
    stores: Stores<'_>,
    turn: &mut Turn<'_>,
    expectations: &ShardExpectations,
    end: End,
    now: Timestamp,
) -> Result<Outcome, RecordError> {
    let (shard, lane) = (turn.shard(), end.lane);
    let again = keys_to_request_again(stores.bucket, shard, lane, expectations).await?;

    // A user may have canceled the job while its images were made or collected.
    let is_canceled = end.is_canceled
        || (!again.is_empty()
            && (turn.cancel_requested() || turn.cancel_requested_meanwhile().await?));
    let round = if again.is_empty() || is_canceled {
        None
    } else {
        Some(plan_round(stores.states, shard, again, lane, expectations, now).await?)
    };

    let done = shard.enter(
        Phase::Done {
            ended: end.ended,
            chunks: end.chunks,
            next: round,
            next_lane: round.map_or_else(Lane::default, |_| lane),
            succeeded: shard.is_proof.then(|| expectations.succeeded()),
            cost_usd: end.cost_usd,
        },
        shard.deadline,
    );
    // The end is recorded under the lease: if the write fails, the lease is given back.
    let next = Shard {
        cancel_requested: done.cancel_requested || is_canceled,
        ..done
    };
    turn.enter(next).await?;
    Ok(round.map_or(Outcome::Notify, |round| Outcome::send_round(round, lane)))
}

/// Returns the keys that a round in `lane` would request again; none if the shard has had all its
/// rounds. A round in another lane is always allowed, because its requests were not tried there.
///
/// # Errors
/// [`RecordError`] if the job's settings can't be read.
async fn keys_to_request_again(
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
async fn plan_round(
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
        Cas::Conflict => Err(TurnError::Conflict.into()),
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
