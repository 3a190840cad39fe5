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

    // A model that does not exist is the manifest's mistake, so no operator needs to decide.
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

#[cfg(test)]
mod tests {
    use darkroom::{
        names::{JobId, ShardId},
        state::{Demand, Pause},
    };

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn uploading(errors: u32) -> Shard {
        let demand = Demand::default();
        let id = ShardId::first(0);
        let shard = Shard::planned(&JobId::new("job"), id, "model", demand, (0, 9), NOW);
        let phase = Phase::Uploading {
            attempt: 1,
            lease_until: NOW,
        };
        Shard {
            errors,
            ..shard.enter(phase, shard.deadline)
        }
    }

    #[test]
    fn only_a_long_wait_gives_the_reservation_up() {
        let refund = |errors| match retry(&uploading(errors), 1, "no connection") {
            Outcome::Retry(Pause { next, wait, refund }) => {
                assert_eq!(next.phase, Phase::Planned { attempts: 1 });
                assert_eq!((next.errors, wait), (errors + 1, retry_wait(errors + 1)));
                refund
            }
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!([0, 3, 4, 200].map(refund), [false, false, true, true]);
    }

    #[test]
    fn a_refusal_for_quota_waits_a_quarter_of_an_hour_and_is_not_an_error() {
        let wait = |asked| match wait_for_quota(&uploading(2), 1, "quota".to_owned(), asked) {
            Outcome::Wait(pause) => (pause.wait, pause.refund, pause.next.errors),
            outcome => panic!("{outcome:?}"),
        };
        let hour = SignedDuration::from_hours(1);
        assert_eq!(wait(SignedDuration::ZERO), (QUOTA_WAIT, true, 2));
        assert_eq!(wait(hour), (hour, true, 2));
    }

    #[test]
    fn a_batch_that_is_refused_five_times_is_held_or_ends() {
        let invalid = ApiError::NotFound {
            message: "no such model".to_owned(),
        };
        let after = |refused_creates, error: &ApiError| {
            let shard = Shard {
                refused_creates,
                ..uploading(0)
            };
            refused_as_a_whole(&shard, 1, error, NOW)
        };
        assert!(matches!(after(3, &invalid), Outcome::Retry(_)));
        let Outcome::End(ended) = after(4, &invalid) else {
            panic!("a model that does not exist is no reason to hold the shard")
        };
        assert_eq!(ended.phase.name(), "failed");
        let conflict = ApiError::Conflict {
            message: "busy".to_owned(),
        };
        let Outcome::Hold(pause) = after(4, &conflict) else {
            panic!("an operator decides")
        };
        assert!(pause.refund && pause.next.phase.is_held());
    }
}
