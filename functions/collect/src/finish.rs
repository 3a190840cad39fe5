//! The end of a shard: a result line for every key that the output does not mention, and a round
//! for keys that may still succeed.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    results::{BATCH_FAILED, Reason, Status, UNMATCHED, UNREAD_LINE, grpc_status},
    state::{Collecting, Outcome},
};
use exchange::{
    expectations::{Found, ShardExpectations},
    images,
    rounds::{End, end_shard},
};

use crate::{error::CollectError, reading::Reading};

/// Writes the last chunk, and ends the shard.
///
/// # Errors
/// [`CollectError`]; the shard is not done then.
pub(crate) async fn finish(
    reading: &mut Reading<'_, '_>,
    mut expectations: ShardExpectations,
    mut lines: Vec<ChunkLine>,
) -> Result<Outcome, CollectError> {
    let (deps, shard) = (reading.deps, reading.turn.shard());
    let collecting = &reading.collecting;

    // Keys that the output does not mention get their line here.
    let result = unanswered(collecting, &expectations.found);
    lines.extend(images::unanswered(shard, &mut expectations, result));
    let rest = Chunk::rest(lines.len());
    reading.write_chunk(&rest, &lines).await?;

    // The cost of an output that never appeared is unknown, so its reservation counts as spent.
    let now = deps.clock.now();
    let ended = collecting.ended.clone();
    let is_unknown = ended.output.is_none() && ended.state == "SUCCEEDED";
    let end = End {
        cost_usd: expectations.cost().filter(|_| !is_unknown),
        chunks: collecting.chunks.iter().cloned().chain([rest]).collect(),
        ended: Some(ended),
        lane: shard.lane_of_next_round(now),
        is_canceled: false,
    };
    Ok(end_shard(deps.stores(), reading.turn, &expectations, end, now).await?)
}

/// Returns the result of a key that the output does not mention.
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

    // Otherwise the end of the batch is the reason.
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
        // A success without a line for the key: requesting it again is safe, unless the whole
        // output is unmatched and an operator has not approved.
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

/// Returns the reason for a key without a line, if the batch made an image that may belong to it.
/// Such an image is bought again only if an operator approves.
fn perhaps_made(collecting: &Collecting, found: &Found) -> Option<Reason> {
    let retryable = collecting
        .unmatched
        .is_some_and(|unmatched| unmatched.buy_again);
    let output = collecting.ended.describe_output();

    // A skipped line was not read, so it may hold any image.
    let (code, message) = if found.skipped_lines > 0 {
        let message = format!(
            "its line may be one of {} lines of the output at which every reader crashed; {output}",
            found.skipped_lines
        );
        (UNREAD_LINE, message)
    } else if found.keyless_images > 0 || (found.matched == 0 && found.unmatched_images > 0) {
        let message = format!(
            "its image may be one of {} images of the batch that belong to no request; {output}",
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
    fn an_image_that_may_exist_is_bought_again_only_with_approval() {
        let result = |found: Found, unmatched: Option<Unmatched>| {
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
        assert_eq!(result(keyless, None), (UNMATCHED.into(), false));
        let skipped = Found {
            matched: 3,
            skipped_lines: 1,
            ..Found::default()
        };
        assert_eq!(result(skipped, None), (UNREAD_LINE.into(), false));
        // Images under unknown keys are extra if requests have their lines. If none has, they may
        // belong to the requests.
        let unknown = |matched| Found {
            matched,
            unmatched_images: 2,
            ..Found::default()
        };
        assert_eq!(result(unknown(3), None), ("MISSING".into(), true));
        assert_eq!(result(unknown(0), None), (UNMATCHED.into(), false));
        let approved = Some(Unmatched {
            images: 2,
            buy_again: true,
        });
        assert_eq!(result(unknown(0), approved), (UNMATCHED.into(), true));
        let nothing = |buy_again| {
            Some(Unmatched {
                images: 0,
                buy_again,
            })
        };
        assert_eq!(
            result(Found::default(), nothing(false)),
            ("MISSING".into(), false)
        );
        assert_eq!(
            result(Found::default(), nothing(true)),
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
                message: "reason".to_owned(),
            }),
            submitted_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_key_without_a_line_is_retryable_unless_the_request_was_invalid() {
        let result = |state: &str, code: Option<i64>| {
            let (status, reason) =
                unanswered(&Collecting::of(ended(state, code)), &Found::default());
            (status, reason.code, reason.retryable)
        };
        assert_eq!(
            result("EXPIRED", Some(4)),
            (Status::Expired, "EXPIRED".into(), true)
        );
        assert_eq!(
            result("CANCELLED", Some(13)),
            (Status::Cancelled, "CANCELLED".into(), true)
        );
        assert_eq!(
            result("FAILED", Some(3)),
            (Status::Failed, "INVALID_ARGUMENT".into(), false)
        );
        assert_eq!(
            result("FAILED", Some(13)),
            (Status::Failed, "INTERNAL".into(), true)
        );
        assert_eq!(
            result("FAILED", None),
            (Status::Failed, "BATCH_FAILED".into(), true)
        );
        assert_eq!(
            result("SUCCEEDED", None),
            (Status::Failed, "MISSING".into(), true)
        );
        assert_eq!(
            result("SOMETHING_NEW", None),
            (Status::Failed, "MISSING".into(), true)
        );
    }
}
