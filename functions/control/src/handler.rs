//! Handles a message of (controls): carries out what a user requested for a job.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{messages::JobMessage, names::JobId, object_keys, status::JobStatus};
use jiff::Timestamp;
use runtime::{
    deliveries::{Disposition, Message, deliver},
    document::DocumentError,
    notifications::uploads,
    shard_store::{Cas, Rounds, StoredShard},
};
use tracing::{info, warn};

use crate::{deps::Deps, error::ControlError};

/// What a user can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// End the job with the images that it has.
    Cancel,
    /// Continue its held shards.
    Approve,
}

/// Handles an event of (controls).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.controls, event, async |message| {
        process(deps, message).await
    })
    .await
}

async fn process(deps: &Deps, message: &Message) -> Result<Disposition, ControlError> {
    // `report` asks for the release of what follows a proof. Any other message is a notification.
    if let Ok(JobMessage { job, .. }) = serde_json::from_str(&message.body) {
        follow_proof(deps, &job).await?;
        return Ok(Disposition::Done);
    }
    for upload in uploads(&message.body).map_err(ControlError::Event)? {
        match request(&upload.key) {
            Some((job, request)) if upload.bucket == deps.bucket.name() => {
                carry_out(deps, &job, request).await?
            }
            _ => warn!("ignored: expected control/<job>/cancel or control/<job>/approve"),
        }
    }
    Ok(Disposition::Done)
}

/// The job and the request that a key below `control/` names.
fn request(key: &str) -> Option<(JobId, Request)> {
    let (job, word) = key.strip_prefix("control/")?.split_once('/')?;
    let request = match word {
        "cancel" => Request::Cancel,
        "approve" => Request::Approve,
        _ => return None,
    };
    (!job.is_empty()).then(|| (JobId::new(job), request))
}

async fn carry_out(deps: &Deps, job: &JobId, request: Request) -> Result<(), ControlError> {
    // People can write any name below control/, so nothing is stored for an unknown one. A cancel
    // that comes too early for this check is not lost: `plan` looks for it before and after it
    // writes the lock.
    if deps
        .bucket
        .head(&object_keys::plan_lock(job))
        .await?
        .is_none()
    {
        warn!(correlation_id = %job, "ignored: the job does not exist or is not planned yet");
        return Ok(());
    }
    let status = status(deps, job).await?;
    if status
        .as_ref()
        .is_some_and(|status| status.phase.is_terminal())
    {
        info!(correlation_id = %job, "ignored: the job is closed");
        return Ok(());
    }

    // `submit`, `poll` and `collect` check for the cancellation before each step.
    if request == Request::Cancel {
        deps.states.stop(job).await?;
    }

    let shards = all_rounds(deps, job, status).await?;
    for last in shards.iter().filter_map(|Rounds(rounds)| rounds.last()) {
        match request {
            Request::Cancel => deps.queues.notify_owner(&last.shard).await?,
            Request::Approve => approve(deps, last).await?,
        }
    }
    deps.queues.notify_report(job).await?;
    info!(correlation_id = %job, "carried out: {request:?}");
    Ok(())
}

/// Releases the shards that follow the proof, if all its images have succeeded.
async fn follow_proof(deps: &Deps, job: &JobId) -> Result<(), ControlError> {
    let status = status(deps, job).await?;
    let shards = all_rounds(deps, job, status).await?;
    let has_failed = shards
        .iter()
        .filter(|rounds| rounds.is_proof())
        .any(|rounds| !rounds.all_succeeded());
    if has_failed || deps.states.cancel_requested(job).await? {
        return Ok(());
    }
    for last in shards.iter().filter_map(|Rounds(rounds)| rounds.last()) {
        if last.shard.is_released_by_proof() {
            approve(deps, last).await?;
        }
    }
    deps.queues.notify_report(job).await?;
    info!(correlation_id = %job, "the proof has succeeded: the other images are released");
    Ok(())
}

async fn status(deps: &Deps, job: &JobId) -> Result<Option<JobStatus>, ControlError> {
    let key = object_keys::status(job);
    let Some(object) = deps.bucket.read(&key).await? else {
        return Ok(None);
    };
    let status = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(&key))?;
    Ok(Some(status))
}

/// Returns all shards of a job. A job that is still being planned has none: each shard finds a
/// cancellation when it is submitted.
async fn all_rounds(
    deps: &Deps,
    job: &JobId,
    status: Option<JobStatus>,
) -> Result<Vec<Rounds>, ControlError> {
    let plan = status.and_then(|status| status.plan);
    let shards = plan.map_or(0, |plan| plan.shards);
    Ok(deps.states.read_all(job, shards).await?)
}

/// Continues a shard if it is held.
async fn approve(deps: &Deps, stored: &StoredShard) -> Result<(), ControlError> {
    let Some(next) = stored.shard.approved(deps.clock.now()) else {
        return Ok(());
    };
    match deps.states.swap(stored, next).await? {
        Cas::Written(stored) => Ok(deps.queues.notify_owner(&stored.shard).await?),
        Cas::Conflict => Err(ControlError::Contended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_job_and_the_request() {
        assert_eq!(
            request("control/catalog-1/cancel"),
            Some((JobId::new("catalog-1"), Request::Cancel))
        );
        assert_eq!(
            request("control/catalog-1/approve"),
            Some((JobId::new("catalog-1"), Request::Approve))
        );
        for other in [
            "control/cancel",
            "control//cancel",
            "control/a/b/cancel",
            "control/a/Cancel",
            "inbox/a/cancel",
        ] {
            assert_eq!(request(other), None, "{other}");
        }
    }
}
