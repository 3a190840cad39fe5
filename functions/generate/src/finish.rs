//! The end of a shard: a result line for every key, all in one chunk, and a round for keys that may
//! still succeed.

use darkroom::{
    chunks::Chunk,
    lane::Lane,
    results::{NO_CAPACITY, Reason, Status},
    state::Outcome,
};
use exchange::{
    expectations::ShardExpectations,
    images,
    rounds::{self, end_shard},
};

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

/// Writes the last chunk, and ends the shard.
///
/// # Errors
/// [`GenerateError`]; the shard is not done then.
pub(crate) async fn finish(
    session: &mut Session<'_, '_>,
    mut expectations: ShardExpectations,
    end: End,
) -> Result<Outcome, GenerateError> {
    // The chunks of single keys become one, which `report` reads in one request.
    let mut lines = session.take_lines();
    let (deps, shard) = (session.deps, session.turn.shard());
    lines.extend(images::unanswered(
        shard,
        &mut expectations,
        end.of_missing(),
    ));
    let rest = Chunk::rest(lines.len());
    images::write_chunk(&deps.bucket, shard, &rest, &lines).await?;

    let ending = rounds::End {
        ended: None,
        chunks: vec![rest],
        cost_usd: expectations.cost(),
        // A flex shard without capacity continues in another lane.
        lane: match end {
            End::NoCapacity => shard.fallback.unwrap_or(Lane::Batch),
            End::Complete | End::Cancelled | End::Deadline => shard.lane,
        },
        is_canceled: end == End::Cancelled,
    };
    let now = deps.clock.now();
    Ok(end_shard(deps.stores(), session.turn, &expectations, ending, now).await?)
}
