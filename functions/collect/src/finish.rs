//! The end of a shard: a result line for every key the output does not mention, and a round for what may yet succeed.

use clients::states::{StoredShard, Swap};
use darkroom::{
    job::Settings,
    layout,
    messages::ShardMessage,
    names::ShardId,
    parts::{LAST_PART, PartLine},
    plan::PlanLock,
    results::{Reason, ResultLine, Status, grpc_status},
    state::{EndedBatch, Phase},
};

use crate::{
    expected::Expected,
    handler::{CollectError, Deps, malformed},
    store,
};

/// Writes the last part, plans the round, and ends the shard: in this order, so that a job can't close early.
pub(crate) async fn finish(
    deps: &Deps,
    stored: &StoredShard,
    mut expected: Expected,
    mut lines: Vec<PartLine>,
) -> Result<(), CollectError> {
    let shard = &stored.shard;
    let Phase::Collecting { ended, parts, .. } = &shard.phase else { return Err(CollectError::Contended) };
    let (status, reason) = unanswered(ended);
    for key in expected.missing() {
        let result = ResultLine { error: Some(reason.clone()), ..ResultLine::new(key, status) };
        let result = store::of_shard(result, shard);
        expected.see(&result);
        lines.push(PartLine::Result(Box::new(result)));
    }
    store::write_part(deps, &layout::part(&shard.job, shard.shard, LAST_PART), &lines).await?;

    let next = plan_round(deps, stored, &expected).await?;
    let parts = parts.iter().copied().chain([LAST_PART]).collect();
    let done = shard.enter(Phase::Done { ended: ended.clone(), parts, next }, shard.deadline);
    match deps.states.swap(stored, done).await? {
        Swap::Mine(_) => Ok(()),
        Swap::Theirs => Err(CollectError::Contended),
    }
}

/// The round's state is written, and its message sent, before its parent is done.
async fn plan_round(deps: &Deps, stored: &StoredShard, expected: &Expected) -> Result<Option<ShardId>, CollectError> {
    let shard = &stored.shard;
    let keys = expected.retryable();
    if keys.is_empty() || shard.shard.round >= settings(deps, stored).await?.max_rounds {
        return Ok(None);
    }
    let round = shard.next_round(keys, deps.clock.now());
    let message = ShardMessage::new(&round.job, round.shard);
    // If it is there already, an earlier invocation wrote it and was ended before this shard was done.
    let (Swap::Mine(_) | Swap::Theirs) = deps.states.create(round).await?;
    deps.shards.send(&message).await?;
    Ok(Some(message.shard))
}

async fn settings(deps: &Deps, stored: &StoredShard) -> Result<Settings, CollectError> {
    let key = layout::plan_lock(&stored.shard.job);
    let Some(lock) = deps.bucket.read(&key).await? else { return Err(CollectError::Missing(key)) };
    Ok(serde_json::from_slice::<PlanLock>(&lock.bytes).map_err(malformed(&key))?.settings)
}

/// What to say of a key that the output does not mention.
fn unanswered(ended: &EndedBatch) -> (Status, Reason) {
    let reason = |code: &str, message: String, retryable| Reason { code: code.to_owned(), message, retryable };
    match (ended.state.as_str(), &ended.error) {
        ("EXPIRED", _) => {
            (Status::Expired, reason("EXPIRED", "the batch expired before this request's turn".into(), true))
        }
        ("CANCELLED", _) => {
            (Status::Cancelled, reason("CANCELLED", "the batch was cancelled before this request's turn".into(), true))
        }
        ("FAILED", Some(failure)) => {
            let (code, retryable) = grpc_status(failure.code);
            (Status::Failed, reason(code, format!("the batch failed: {}", failure.message), retryable))
        }
        ("FAILED", None) => (Status::Failed, reason("BATCH_FAILED", "the batch failed without a reason".into(), true)),
        _ => (Status::Failed, reason("MISSING", "the batch's output has no line for this request".into(), true)),
    }
}

#[cfg(test)]
mod tests {
    use darkroom::{names::BatchName, state::BatchFailure};
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_key_without_a_line_is_asked_again_unless_the_request_was_wrong() {
        let said = |state: &str, code: Option<i64>| {
            let ended = EndedBatch {
                batch: BatchName::new("batches/b"),
                attempt: 1,
                state: state.to_owned(),
                output: None,
                error: code.map(|code| BatchFailure { code, message: "said so".to_owned() }),
                submitted_at: Timestamp::UNIX_EPOCH,
                ended_at: Timestamp::UNIX_EPOCH,
            };
            let (status, reason) = unanswered(&ended);
            (status, reason.code, reason.retryable)
        };
        assert_eq!(said("EXPIRED", Some(4)), (Status::Expired, "EXPIRED".into(), true));
        assert_eq!(said("CANCELLED", Some(13)), (Status::Cancelled, "CANCELLED".into(), true));
        assert_eq!(said("FAILED", Some(3)), (Status::Failed, "INVALID_ARGUMENT".into(), false));
        assert_eq!(said("FAILED", Some(13)), (Status::Failed, "INTERNAL".into(), true));
        assert_eq!(said("FAILED", None), (Status::Failed, "BATCH_FAILED".into(), true));
        assert_eq!(said("SUCCEEDED", None), (Status::Failed, "MISSING".into(), true));
        assert_eq!(said("SOMETHING_NEW", None), (Status::Failed, "MISSING".into(), true));
    }
}
