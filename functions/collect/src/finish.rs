//! The end of a shard: a result line for every key the output does not mention, and a round for
//! what may yet succeed.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    job::Settings,
    layout,
    names::{RequestKey, ShardId},
    plan::PlanLock,
    results::{BATCH_FAILED, Reason, ResultLine, Status, UNMATCHED, UNREAD_LINE, grpc_status},
    state::{Collecting, Phase, Shard},
};
use runtime::shard_store::{Cas, StoredShard};

use crate::{
    deps::Deps,
    expected::{Expected, Found},
    handler::{CollectError, malformed},
    store,
    work::Work,
};

/// A shard that is done.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The round that asks again for what failed, not yet woken.
    pub(crate) round: Option<ShardId>,
    /// The shard, whose place in the ledger is not yet settled.
    pub(crate) shard: Shard,
}

/// Writes the last part, then the round's state, and ends the shard: in this order, so that a job
/// can't close early, and no round is woken that its parent doesn't name.
pub(crate) async fn finish(
    work: &Work<'_>,
    stored: &StoredShard,
    mut expected: Expected,
    mut lines: Vec<ChunkLine>,
) -> Result<Ended, CollectError> {
    let shard = &stored.shard;
    let Phase::Collecting(collecting) = &shard.phase else {
        return Err(CollectError::Contended);
    };
    let (status, reason) = unanswered(collecting, &expected.found);
    for key in expected.missing() {
        let result = ResultLine {
            error: Some(reason.clone()),
            ..ResultLine::new(key, status)
        };
        let line = ChunkLine::Result(Box::new(store::of_shard(result, shard)));
        expected.see(&line);
        lines.push(line);
    }
    let rest = Chunk::rest(lines.len());
    store::write_chunk(work, &rest, &lines).await?;

    let again = worth_another_try(work.deps, shard, &expected).await?;
    // A person may have cancelled the job while its images were collected.
    let stopped =
        !again.is_empty() && (work.stopped || work.deps.states.is_stopped(&shard.job).await?);
    let round = if again.is_empty() || stopped {
        None
    } else {
        Some(plan_round(work.deps, shard, again).await?)
    };
    let chunks = collecting.chunks.iter().cloned().chain([rest]).collect();
    let ended = collecting.ended.clone();
    // The cost of an output that never came is unknown: what was reserved for it stays.
    let is_unknown = ended.output.is_none() && ended.state == "SUCCEEDED";
    let cost_usd = expected.cost().filter(|_| !is_unknown);
    let done = shard.enter(
        Phase::Done {
            ended,
            chunks,
            next: round,
            cost_usd,
        },
        shard.deadline,
    );
    match work
        .deps
        .states
        .swap(
            stored,
            Shard {
                stopped: done.stopped || stopped,
                ..done
            },
        )
        .await?
    {
        Cas::Written(stored) => Ok(Ended {
            round,
            shard: stored.shard,
        }),
        Cas::Conflict => Err(CollectError::Contended),
    }
}

/// The keys that a round would ask for again, if there may be one more.
async fn worth_another_try(
    deps: &Deps,
    shard: &Shard,
    expected: &Expected,
) -> Result<Vec<RequestKey>, CollectError> {
    let keys = expected.retryable();
    let is_last = !keys.is_empty() && shard.shard.round >= settings(deps, shard).await?.max_rounds;
    Ok(if is_last { Vec::new() } else { keys })
}

/// Writes the round's keys, then its state.
async fn plan_round(
    deps: &Deps,
    shard: &Shard,
    keys: Vec<RequestKey>,
) -> Result<ShardId, CollectError> {
    let id = shard.shard.next_round();
    let keys = deps.states.keep_keys(&shard.job, id, &keys).await?;
    let round = shard.next_round(keys, deps.clock.now());
    if let Cas::Written(_) = deps.states.create(round.clone()).await? {
        return Ok(id);
    }
    // An earlier invocation wrote it and ended before this shard was done, so it was not sent on
    // its way.
    let Some(earlier) = deps.states.read(&shard.job, id).await? else {
        return Err(CollectError::NoState(shard.job.clone(), id));
    };
    if earlier.shard.keys == round.keys {
        return Ok(id);
    }
    if !matches!(earlier.shard.phase, Phase::Planned { .. }) || earlier.shard.driver.is_some() {
        return Err(CollectError::RoundBegun(id));
    }
    match deps.states.swap(&earlier, round).await? {
        Cas::Written(_) => Ok(id),
        Cas::Conflict => Err(CollectError::Contended),
    }
}

async fn settings(deps: &Deps, shard: &Shard) -> Result<Settings, CollectError> {
    let key = layout::plan_lock(&shard.job);
    let Some(lock) = deps.bucket.read(&key).await? else {
        return Err(CollectError::Missing(key));
    };
    Ok(serde_json::from_slice::<PlanLock>(&lock.bytes)
        .map_err(malformed(&key))?
        .settings)
}

/// What to say of a key that the output does not mention.
fn unanswered(collecting: &Collecting, found: &Found) -> (Status, Reason) {
    let ended = &collecting.ended;
    let reason = |code: &str, message: String, retryable| Reason {
        code: code.to_owned(),
        message,
        retryable,
    };
    if let Some(reason) = perhaps_made(collecting, found) {
        return (Status::Failed, reason);
    }
    match (ended.state.as_str(), &ended.error) {
        ("EXPIRED", _) => (
            Status::Expired,
            reason(
                "EXPIRED",
                "the batch expired before this request's turn".into(),
                true,
            ),
        ),
        ("CANCELLED", _) => (
            Status::Cancelled,
            reason(
                "CANCELLED",
                "the batch was cancelled before this request's turn".into(),
                true,
            ),
        ),
        ("FAILED", Some(failure)) => {
            let (code, retryable) = grpc_status(failure.code);
            (
                Status::Failed,
                reason(
                    code,
                    format!("the batch failed: {}", failure.message),
                    retryable,
                ),
            )
        }
        ("FAILED", None) => (
            Status::Failed,
            reason(
                BATCH_FAILED,
                "the batch failed without a reason".into(),
                true,
            ),
        ),
        _ => {
            let may_ask_again = collecting
                .unmatched
                .is_none_or(|unmatched| unmatched.buy_again);
            (
                Status::Failed,
                reason(
                    "MISSING",
                    "the batch's output has no line for this request".into(),
                    may_ask_again,
                ),
            )
        }
    }
}

/// The reason of a key without a line, where an image that may be its own was made: it is not
/// bought again unless a person says so.
fn perhaps_made(collecting: &Collecting, found: &Found) -> Option<Reason> {
    let retryable = collecting
        .unmatched
        .is_some_and(|unmatched| unmatched.buy_again);
    let where_it_is = collecting.ended.whereabouts();
    let (code, message) = if found.skipped_lines > 0 {
        let message = format!(
            "its line may be one of {} lines of the output at which reading ended each time; {where_it_is}",
            found.skipped_lines
        );
        (UNREAD_LINE, message)
    } else if found.keyless_images > 0 || (found.matched == 0 && found.unmatched_images > 0) {
        let message = format!(
            "its image may be one of {} images of the batch that belong to no request; {where_it_is}",
            found.unmatched_images
        );
        (UNMATCHED, message)
    } else {
        return None;
    };
    Some(Reason {
        code: code.to_owned(),
        message,
        retryable,
    })
}

#[cfg(test)]
mod tests {
    use darkroom::{
        names::BatchName,
        state::{BatchFailure, EndedBatch, Unmatched},
    };
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_key_whose_image_may_have_been_made_is_not_bought_again_unless_a_person_says_so() {
        let said = |found: Found, unmatched: Option<Unmatched>| {
            let collecting = Collecting {
                unmatched,
                ..Collecting::of(ended("SUCCEEDED", None))
            };
            let (_, reason) = unanswered(&collecting, &found);
            (reason.code, reason.retryable)
        };
        let keyless = Found {
            matched: 3,
            keyless_images: 1,
            unmatched_images: 1,
            ..Found::default()
        };
        assert_eq!(said(keyless, None), (UNMATCHED.into(), false));
        let skipped = Found {
            matched: 3,
            skipped_lines: 1,
            ..Found::default()
        };
        assert_eq!(said(skipped, None), (UNREAD_LINE.into(), false));
        // Images under a key that was not asked for are extra where requests have their lines, and
        // suspect where none has.
        let unknown = |matched| Found {
            matched,
            unmatched_images: 2,
            ..Found::default()
        };
        assert_eq!(said(unknown(3), None), ("MISSING".into(), true));
        assert_eq!(said(unknown(0), None), (UNMATCHED.into(), false));
        let by_person = Some(Unmatched {
            images: 2,
            buy_again: true,
        });
        assert_eq!(said(unknown(0), by_person), (UNMATCHED.into(), true));
        let nothing = |buy_again| {
            Some(Unmatched {
                images: 0,
                buy_again,
            })
        };
        assert_eq!(
            said(Found::default(), nothing(false)),
            ("MISSING".into(), false)
        );
        assert_eq!(
            said(Found::default(), nothing(true)),
            ("MISSING".into(), true)
        );
    }

    fn ended(state: &str, code: Option<i64>) -> EndedBatch {
        EndedBatch {
            batch: BatchName::new("batches/b"),
            attempt: 1,
            state: state.to_owned(),
            output: None,
            error: code.map(|code| BatchFailure {
                code,
                message: "said so".to_owned(),
            }),
            submitted_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_key_without_a_line_is_asked_again_unless_the_request_was_wrong() {
        let said = |state: &str, code: Option<i64>| {
            let (status, reason) =
                unanswered(&Collecting::of(ended(state, code)), &Found::default());
            (status, reason.code, reason.retryable)
        };
        assert_eq!(
            said("EXPIRED", Some(4)),
            (Status::Expired, "EXPIRED".into(), true)
        );
        assert_eq!(
            said("CANCELLED", Some(13)),
            (Status::Cancelled, "CANCELLED".into(), true)
        );
        assert_eq!(
            said("FAILED", Some(3)),
            (Status::Failed, "INVALID_ARGUMENT".into(), false)
        );
        assert_eq!(
            said("FAILED", Some(13)),
            (Status::Failed, "INTERNAL".into(), true)
        );
        assert_eq!(
            said("FAILED", None),
            (Status::Failed, "BATCH_FAILED".into(), true)
        );
        assert_eq!(
            said("SUCCEEDED", None),
            (Status::Failed, "MISSING".into(), true)
        );
        assert_eq!(
            said("SOMETHING_NEW", None),
            (Status::Failed, "MISSING".into(), true)
        );
    }
}
