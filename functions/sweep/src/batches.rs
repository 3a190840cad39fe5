//! Batches that carry a name of ours, compared with the shard states.

use darkroom::{
    display_name::DisplayName,
    state::{Collecting, EndedBatch, Phase, Shard, Submitted},
};
use gemini::{ApiError, Batch};
use jiff::{SignedDuration, Timestamp};
use tracing::{error, warn};

use crate::{deps::Deps, handler::SweepError};

/// How old a batch may be to be compared: a batch lives for two days at the most. Lists go back six
/// weeks.
const RECENT: SignedDuration = SignedDuration::from_hours(72);

/// Selector ended batches were not yet counted by an earlier sweep.
const SINCE_LAST: SignedDuration = SignedDuration::from_hours(2);

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Batches without a state.
    pub(crate) orphans: u32,
    /// Second batches of a shard.
    pub(crate) extras: u32,
}

/// What a batch is to the state of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its own, or being looked for right now.
    Known,
    /// A batch that its shard doesn't know, and never will.
    Extra,
    /// There is no such shard.
    Orphan,
}

/// Compares each recent batch with its shard's state. Second batches are cancelled; those without a
/// state are not: a person must have removed the state, and may want what was paid for.
pub(crate) async fn compare(deps: &Deps, batches: &[Batch]) -> Result<Found, SweepError> {
    let now = deps.clock.now();
    let mut found = Found::default();
    for batch in batches.iter().filter(|batch| is_recent(batch, now)) {
        let Ok(name) = batch.display_name.parse::<DisplayName>() else {
            continue;
        };
        if name.stack != deps.stack {
            continue;
        }
        // Read after the list, so that a batch created since then is known by now.
        let stored = deps.states.read(&name.job, name.shard).await?;
        match standing(stored.as_ref().map(|stored| &stored.shard), &name, batch) {
            Standing::Known => {}
            Standing::Orphan => {
                error!(correlation_id = %name.job, batch = %batch.name, shard = %name.shard, "a batch without a state");
                found.orphans += 1;
            }
            Standing::Extra if !batch.is_terminal() => {
                warn!(correlation_id = %name.job, batch = %batch.name, shard = %name.shard, "a second batch: cancelled");
                found.extras += 1;
                match deps.gemini.cancel(&batch.name).await {
                    Ok(()) | Err(ApiError::Conflict { .. } | ApiError::Invalid { .. }) => {}
                    Err(problem) => return Err(problem.into()),
                }
            }
            Standing::Extra => {
                found.extras +=
                    u32::from(batch.end_time.is_some_and(|ended| now < ended + SINCE_LAST));
            }
        }
    }
    Ok(found)
}

fn is_recent(batch: &Batch, now: Timestamp) -> bool {
    batch
        .create_time
        .is_none_or(|created| now < created + RECENT)
}

fn standing(shard: Option<&Shard>, name: &DisplayName, batch: &Batch) -> Standing {
    let Some(shard) = shard else {
        return Standing::Orphan;
    };
    if shard.phase.batch() == Some(&batch.name) {
        return Standing::Known;
    }
    match shard.phase.before_held() {
        Phase::Creating { .. } | Phase::Recovering(_) => Standing::Known,
        // A batch of an attempt that this state has not made was made by a copy of it: it is not
        // ours to cancel.
        Phase::Planned { attempts: made } | Phase::Uploading { attempt: made, .. }
            if name.attempt > *made =>
        {
            Standing::Orphan
        }
        Phase::Submitted(Submitted { attempt: made, .. })
        | Phase::Ready {
            ended: EndedBatch { attempt: made, .. },
        }
        | Phase::Collecting(Collecting {
            ended: EndedBatch { attempt: made, .. },
            ..
        })
        | Phase::Done {
            ended: EndedBatch { attempt: made, .. },
            ..
        } if name.attempt > *made => Standing::Orphan,
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Submitted(_)
        | Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => Standing::Extra,
    }
}
