//! Deletes input files at Gemini that no batch needs any longer. They would expire eventually, but
//! until then they count toward the project's storage limit of 20 GB.

use darkroom::{
    display_name::DisplayName,
    state::{Phase, Recovering, Shard, Submitted},
};
use gemini::ApiError;

use crate::{deps::Deps, error::SweepError, state_cache::StateCache};

/// Deletes the spent input files of this deployment, and returns their number.
///
/// # Errors
/// [`SweepError`] if a state can't be read, or a file can't be listed or deleted.
pub(crate) async fn delete_spent(
    deps: &Deps,
    states: &mut StateCache<'_>,
) -> Result<u32, SweepError> {
    let mut deleted = 0;
    for file in deps.gemini.files().await? {
        let Ok(name) = file.display_name.parse::<DisplayName>() else {
            continue;
        };
        if name.stack != deps.stack {
            continue;
        }
        let shard = states.state(&name.job, name.shard).await?;
        if shard.is_some_and(|shard| is_spent(shard, name.attempt)) {
            match deps.gemini.delete_file(&file.name).await {
                Ok(()) => deleted += 1,
                Err(ApiError::NotFound { .. }) => {}
                Err(problem) => return Err(problem.into()),
            }
        }
    }
    Ok(deleted)
}

/// Whether the input file of this attempt was read or will never be read. Google doesn't document
/// what happens when the file of a live batch is deleted, so the file stays as long as there may be
/// such a batch.
fn is_spent(shard: &Shard, attempt: u32) -> bool {
    match shard.phase.before_held() {
        Phase::Planned { .. } => false,
        Phase::Uploading {
            attempt: current, ..
        }
        | Phase::Creating {
            attempt: current, ..
        }
        | Phase::Recovering(Recovering {
            attempt: current, ..
        })
        | Phase::Submitted(Submitted {
            attempt: current, ..
        }) => attempt < *current,
        // A shard that was rescued before it had a batch creates none.
        Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Generating(_)
        | Phase::Done { .. }
        | Phase::Cancelled => true,
        Phase::Held { .. } | Phase::Failed(_) => false,
    }
}
