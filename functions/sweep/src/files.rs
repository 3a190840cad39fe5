//! Input files at Gemini that no batch will read any more. They would expire by themselves, but
//! until then they take up the project's 20 GB.

use darkroom::{
    display_name::DisplayName,
    state::{Phase, Recovering, Shard, Submitted},
};
use gemini::ApiError;

use crate::{deps::Deps, handler::SweepError, known::Known};

/// Deletes the spent input files of this deployment. Answers with how many there were.
pub(crate) async fn delete_spent(deps: &Deps, known: &mut Known<'_>) -> Result<u32, SweepError> {
    let mut deleted = 0;
    for file in deps.gemini.files().await? {
        let Ok(name) = file.display_name.parse::<DisplayName>() else {
            continue;
        };
        if name.stack != deps.stack {
            continue;
        }
        let shard = known.state(&name.job, name.shard).await?;
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

/// Whether the input file of this attempt was read, or never will be. What deleting the file of a
/// live batch does is not documented, so as long as there may be one, it stays.
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
        Phase::Ready { .. } | Phase::Collecting(_) | Phase::Done { .. } | Phase::Cancelled => true,
        Phase::Held { .. } | Phase::Failed(_) => false,
    }
}
