//! The end of a shard: a result line for every key, all in one chunk, and a round for keys that may
//! still succeed.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    lane::Lane,
    results::{NO_CAPACITY, Reason, ResultLine, Status},
    state::{Outcome, Phase, Shard},
};
use exchange::{
    error::RecordError,
    expectations::ShardExpectations,
    images,
    rounds::{keys_to_request_again, plan_round},
};
use runtime::chunks::read_chunk;

use crate::{error::GenerateError, session::Session};

/// Why a shard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every request was made.
    Complete,
    /// The flex tier has had no capacity for too long.
    NoCapacity,
    /// A user has canceled the job.
    Cancelled,
    /// The shard's deadline has passed.
    Deadline,
}

impl End {
    /// The result of a key whose image was not requested.
    fn of_missing(self) -> (Status, Reason) {
        let (status, code, message, retryable) = match self {
            Self::Complete => (
                Status::Failed,
                "MISSING",
                "the request file has no request for this image",
                false,
            ),
            Self::NoCapacity => (
                Status::Failed,
                NO_CAPACITY,
                "the flex tier had no capacity",
                true,
            ),
            Self::Cancelled => (
                Status::Cancelled,
                "CANCELLED",
                "the job was cancelled before this image was requested",
                true,
            ),
            Self::Deadline => (
                Status::Failed,
                "DEADLINE",
                "the image could not be requested in time",
                false,
            ),
        };
        let reason = Reason {
            code: code.to_owned(),
            message: message.to_owned(),
            retryable,
        };
        (status, reason)
    }
}

/// Writes the last chunk, then the round's state, and ends the shard. In this order, a job can't
/// close before its last round, and no round is requested that its parent does not name.
///
/// # Errors
/// [`GenerateError`]; the shard is not done then.
pub(crate) async fn finish(
    session: &mut Session<'_, '_>,
    mut expectations: ShardExpectations,
    end: End,
) -> Result<Outcome, GenerateError> {
    let (deps, shard) = (session.deps, session.turn.shard());

    // The chunks of single keys become one, which `report` reads in one request.
    let mut lines = Vec::new();
    for chunk in session.chunks() {
        read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, |line| {
            lines.push(line)
        })
        .await
        .map_err(RecordError::from)?;
    }

    // Every key ends with exactly one result line.
    let (status, reason) = end.of_missing();
    for key in expectations.missing() {
        let result = ResultLine {
            error: Some(reason.clone()),
            ..ResultLine::new(key, status)
        };
        let line = ChunkLine::Result(Box::new(images::of_shard(result, shard, shard.lane)));
        expectations.see(&line);
        lines.push(line);
    }
    let rest = Chunk::rest(lines.len());
    images::write_chunk(&deps.bucket, shard, &rest, &lines).await?;

    // A flex shard without capacity continues in another lane.
    let lane = match end {
        End::NoCapacity => shard.fallback.unwrap_or(Lane::Batch),
        End::Complete | End::Cancelled | End::Deadline => shard.lane,
    };
    let again = keys_to_request_again(&deps.bucket, shard, lane, &expectations).await?;
    let is_canceled = end == End::Cancelled
        || (!again.is_empty()
            && (session.turn.cancel_requested()
                || session.turn.cancel_requested_meanwhile().await?));
    let round = if again.is_empty() || is_canceled {
        None
    } else {
        let now = deps.clock.now();
        Some(plan_round(&deps.states, shard, again, lane, &expectations, now).await?)
    };

    let done = shard.enter(
        Phase::Done {
            ended: None,
            chunks: vec![rest],
            next: round,
            next_lane: round.map_or_else(Lane::default, |_| lane),
            succeeded: shard.is_proof.then(|| expectations.succeeded()),
            cost_usd: expectations.cost(),
        },
        shard.deadline,
    );
    let next = Shard {
        cancel_requested: done.cancel_requested || is_canceled,
        ..done
    };
    session.turn.enter(next).await?;
    Ok(round.map_or(Outcome::Notify, |round| Outcome::send_round(round, lane)))
}
