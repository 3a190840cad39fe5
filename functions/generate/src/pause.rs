//! Why no further call is made in this invocation, and when the next one begins.

use darkroom::state::{Outcome, Shard};
use gemini::ApiError;
use jiff::SignedDuration;

/// The wait after a refusal for the key or the credit, which an operator must change.
const OPERATOR_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// The shortest wait after a refusal for quota. A minute is the shortest window of Google's quotas
/// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11).
const QUOTA_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// The wait after a refusal for a quota of the day that does not say when it ends.
const DAY_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// Why no further call is made in this invocation.
#[derive(Debug)]
pub(crate) enum Pause {
    /// No key of the request file lacks its result, or is not claimed.
    NothingLeft,
    /// The invocation's time is up: the message returns at once.
    TimeUp,
    /// A quota is exhausted.
    Quota {
        /// The wait.
        wait: SignedDuration,
        /// Google's message.
        why: String,
    },
    /// Gemini rejects the key or its project.
    Key(String),
    /// The prepaid credit is exhausted.
    Credit(String),
    /// A call failed, or its answer was lost. Waits grow with such errors in a row.
    Failed(String),
    /// The flex tier had no capacity for long enough: the images go to another lane.
    NoCapacity,
    /// A user has canceled the job.
    Cancelled,
}

impl Pause {
    /// The pause after Gemini refused a call, which had no effect. None if only this request is
    /// wrong.
    pub(crate) fn after(refusal: &ApiError) -> Option<Self> {
        match refusal {
            ApiError::RateLimited {
                retry_after, quota, ..
            } => {
                let is_of_day = quota.as_ref().is_some_and(|id| id.contains("PerDay"));
                let unnamed = if is_of_day { DAY_WAIT } else { QUOTA_WAIT };
                let wait = retry_after.unwrap_or(unnamed);
                Some(Self::Quota {
                    // A request for no wait at all would make a tight loop.
                    wait: wait.max(SignedDuration::from_secs(1)),
                    why: refusal.to_string(),
                })
            }
            ApiError::PrepaymentDepleted { .. } => Some(Self::Credit(format!(
                "{refusal}. It continues automatically once credit is added"
            ))),
            ApiError::Unauthorized { .. } => Some(Self::Key(refusal.to_string())),
            ApiError::Conflict { .. } | ApiError::Transient { .. } | ApiError::Malformed { .. } => {
                Some(Self::Failed(refusal.to_string()))
            }
            ApiError::Invalid { .. } | ApiError::NotFound { .. } => None,
        }
    }

    /// Returns the outcome for the shard `next`, which has no lease. After a pause that ends the
    /// shard, the caller finishes it instead.
    pub(crate) fn outcome(&self, next: Shard) -> Outcome {
        let zero = SignedDuration::ZERO;
        match self {
            Self::NothingLeft | Self::TimeUp | Self::NoCapacity | Self::Cancelled => Outcome::wait(
                Shard {
                    waiting: None,
                    ..next
                },
                zero,
            ),
            Self::Quota { wait, why } => Outcome::wait(next.waiting(why), *wait),
            Self::Credit(why) => Outcome::wait(next.waiting(why), OPERATOR_WAIT),
            Self::Key(why) => {
                let next = Shard {
                    refused_key: true,
                    ..next.waiting(why)
                };
                Outcome::wait(next, OPERATOR_WAIT)
            }
            Self::Failed(why) => Outcome::retry(&next, why, zero),
        }
    }

    /// Whether this pause replaces an earlier one of the same invocation: the one that waits longer,
    /// or that ends the shard.
    pub(crate) fn outranks(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    fn rank(&self) -> u8 {
        match self {
            Self::NothingLeft | Self::TimeUp => 0,
            Self::Failed(_) => 1,
            Self::Quota { .. } => 2,
            Self::Credit(_) | Self::Key(_) => 3,
            Self::NoCapacity => 4,
            Self::Cancelled => 5,
        }
    }
}
