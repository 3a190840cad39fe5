//! Compares the batches at Gemini that this deployment created with the shard states.

use darkroom::{
    display_name::DisplayName,
    state::{Collecting, EndedBatch, Phase, Shard, Submitted},
};
use gemini::{ApiError, Batch};
use jiff::{SignedDuration, Timestamp};
use tracing::{error, warn};

use crate::{deps::Deps, error::SweepError};

/// The age up to which a batch is compared. A batch lives for at most two days, while Gemini lists
/// batches for six weeks.
const MAX_BATCH_AGE: SignedDuration = SignedDuration::from_hours(72);

/// How long after its end an extra batch is counted. Earlier sweeps have counted the older ones.
const COUNTING_WINDOW: SignedDuration = SignedDuration::from_hours(2);

/// The counts of unexpected batches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Batches without a state.
    pub(crate) orphans: u32,
    /// Second batches of a shard.
    pub(crate) extras: u32,
}

/// The relation of a batch to the state of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// The state names the batch, or `submit` is looking for it at the moment.
    Known,
    /// The state does not name the batch, and never will.
    Extra,
    /// No state can have created the batch.
    Orphan,
}

/// Compares each recent batch with its shard's state. It cancels second batches. It does not cancel
/// batches without a state: a user must have removed the state, and may want the images that were
/// paid for.
///
/// # Errors
/// [`SweepError`] if a state can't be read or a batch can't be cancelled.
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
        // The state is read after the list of batches, so that it names every listed batch.
        let stored = deps.states.read(&name.job, name.shard).await?;
        match relation(stored.as_ref().map(|stored| &stored.shard), &name, batch) {
            Relation::Known => {}
            Relation::Orphan => {
                error!(correlation_id = %name.job, batch = %batch.name, shard = %name.shard, "batch without a state found");
                found.orphans += 1;
            }
            Relation::Extra if !batch.is_terminal() => {
                warn!(correlation_id = %name.job, batch = %batch.name, shard = %name.shard, "second batch of a shard cancelled");
                found.extras += 1;
                match deps.gemini.cancel(&batch.name).await {
                    Ok(()) | Err(ApiError::Conflict { .. } | ApiError::Invalid { .. }) => {}
                    Err(problem) => return Err(problem.into()),
                }
            }
            Relation::Extra => {
                found.extras += u32::from(
                    batch
                        .end_time
                        .is_some_and(|ended| now < ended + COUNTING_WINDOW),
                );
            }
        }
    }
    Ok(found)
}

fn is_recent(batch: &Batch, now: Timestamp) -> bool {
    batch
        .create_time
        .is_none_or(|created| now < created + MAX_BATCH_AGE)
}

/// Returns the relation of a batch to its shard's state.
fn relation(shard: Option<&Shard>, name: &DisplayName, batch: &Batch) -> Relation {
    let Some(shard) = shard else {
        return Relation::Orphan;
    };
    if shard.phase.batch() == Some(&batch.name) {
        return Relation::Known;
    }
    match shard.phase.before_held() {
        Phase::Creating { .. } | Phase::Recovering(_) => Relation::Known,
        // The state has not reached the batch's attempt, so a copy of the state created the batch.
        // Darkroom must not cancel it.
        Phase::Planned { attempts: made } | Phase::Uploading { attempt: made, .. }
            if name.attempt > *made =>
        {
            Relation::Orphan
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
            ended: Some(EndedBatch { attempt: made, .. }),
            ..
        } if name.attempt > *made => Relation::Orphan,
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Submitted(_)
        | Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Generating(_)
        | Phase::Done { .. }
        | Phase::Held { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => Relation::Extra,
    }
}
