//! How a shard returns to `Planned` after an attempt without a batch, and when its next attempt
//! begins.

use darkroom::state::{
    HELD_DEADLINE, Outcome, Phase, REFUSED_CREATES_BEFORE_HELD, Shard, retry_wait,
};
use gemini::ApiError;
use jiff::{SignedDuration, Timestamp};

/// The shortest wait after a refusal for quota, credit or key. Batch quotas free up as batches end,
/// and shorter waits would use up the receives of the message before the shard's deadline.
pub(crate) const QUOTA_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// Returns the shard as it is before its next attempt, after `attempts` without a batch.
pub(crate) fn planned(shard: &Shard, attempts: u32) -> Shard {
    shard.enter(Phase::Planned { attempts }, shard.deadline)
}

/// Plans the next attempt after an error.
pub(crate) fn retry(shard: &Shard, attempt: u32, problem: &str) -> Outcome {
    let tried = planned(shard, attempt);
    let outcome = Outcome::retry(&tried, problem, SignedDuration::ZERO);
    // While the next attempt is far away, other shards may use this one's place in the ledger.
    if retry_wait(tried.errors + 1) >= QUOTA_WAIT {
        outcome.with_refund()
    } else {
        outcome
    }
}

/// Plans the next attempt after a refusal for quota or credit, which is not an error of the shard.
/// Other shards may use its place in the ledger meanwhile.
pub(crate) fn wait_for_quota(
    shard: &Shard,
    attempt: u32,
    why: String,
    wait: SignedDuration,
) -> Outcome {
    let next = planned(shard, attempt).waiting(why);
    Outcome::wait(next, wait.max(QUOTA_WAIT)).with_refund()
}

/// Plans the next attempt after Gemini rejected the API key or its project.
pub(crate) fn wait_for_key(shard: &Shard, attempt: u32, why: String) -> Outcome {
    let next = Shard {
        refused_key: true,
        ..planned(shard, attempt).waiting(why)
    };
    Outcome::wait(next, QUOTA_WAIT).with_refund()
}

/// Plans the next attempt after Gemini refused the batch without naming an invalid request. The
/// refusal may be a transient fault of the service, so the call is repeated a few times. Then the
/// shard is held, or ends if its model does not exist.
pub(crate) fn refused_as_a_whole(
    shard: &Shard,
    attempt: u32,
    error: &ApiError,
    now: Timestamp,
) -> Outcome {
    let refused_creates = shard.refused_creates + 1;
    let tried = Shard {
        refused_creates,
        ..planned(shard, attempt)
    };
    if refused_creates < REFUSED_CREATES_BEFORE_HELD {
        let problem = format!("Gemini refused the batch: {error}");
        return Outcome::retry(&tried, problem, SignedDuration::ZERO);
    }
    match error {
        ApiError::NotFound { message } => Outcome::end(tried.failed("NOT_FOUND", message)),
        ApiError::RateLimited { .. }
        | ApiError::PrepaymentDepleted { .. }
        | ApiError::Unauthorized { .. }
        | ApiError::Conflict { .. }
        | ApiError::Invalid { .. }
        | ApiError::Transient { .. }
        | ApiError::Malformed { .. } => {
            let reason = format!(
                "Gemini refused the batch {refused_creates} times without naming an invalid \
                 request: {error}. Nothing was bought. Approve to try again, cancel to end without \
                 these images"
            );
            Outcome::hold(tried.held(reason, now), HELD_DEADLINE).with_refund()
        }
    }
}
