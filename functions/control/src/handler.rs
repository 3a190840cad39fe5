//! One message of (controls): which job, and what is asked.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{names::JobId, object_keys, status::JobStatus};
use jiff::Timestamp;
use runtime::{
    bucket::BucketError,
    deliveries::{Disposition, Message, deliver},
    notifications::{EventError, uploads},
    queue::QueueError,
    shard_store::{Cas, Rounds, StateError, StoredShard},
};
use tracing::{info, warn};

use crate::deps::Deps;

/// What a person can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// End the job with what it has.
    Cancel,
    /// Let its held shards go on.
    Approve,
}

/// Why it could not be done now; the message comes back.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The body can't be read as one about uploads.
    #[error("the message can't be read: {0}")]
    Event(EventError),
    /// A stored document is not what it should be.
    #[error("{what} can't be read: {source}")]
    Malformed {
        /// The document.
        what: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// A state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A shard was changed by somebody else at the same moment.
    #[error("a held shard was changed by somebody else just now")]
    Contended,
}

/// Handles one event of (controls).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.controls, event, async |message| {
        process(deps, message).await
    })
    .await
}

async fn process(deps: &Deps, message: &Message) -> Result<Disposition, ControlError> {
    for upload in uploads(&message.body).map_err(ControlError::Event)? {
        match request(&upload.key) {
            Some((job, request)) if upload.bucket == deps.bucket.name() => {
                asked(deps, &job, request).await?
            }
            _ => warn!(
                "ignored: what is dropped here is called control/<job>/cancel or control/<job>/approve"
            ),
        }
    }
    Ok(Disposition::Done)
}

/// What a key below `control/` asks of which job.
fn request(key: &str) -> Option<(JobId, Request)> {
    let (job, word) = key.strip_prefix("control/")?.split_once('/')?;
    let request = match word {
        "cancel" => Request::Cancel,
        "approve" => Request::Approve,
        _ => return None,
    };
    (!job.is_empty()).then(|| (JobId::new(job), request))
}

async fn asked(deps: &Deps, job: &JobId, request: Request) -> Result<(), ControlError> {
    if deps
        .bucket
        .head(&object_keys::plan_lock(job))
        .await?
        .is_none()
    {
        // Any name can be written below control/, so nothing is kept of one that is unknown. `plan`
        // looks at what was dropped there itself, before and after it writes the lock: a cancel
        // that comes too early for this is not lost.
        warn!(correlation_id = %job, "there is no such job, or it isn't planned yet");
        return Ok(());
    }
    let key = object_keys::status(job);
    let status = match deps.bucket.read(&key).await? {
        Some(object) => {
            Some(serde_json::from_slice::<JobStatus>(&object.bytes).map_err(malformed(&key))?)
        }
        None => None,
    };
    if status
        .as_ref()
        .is_some_and(|status| status.phase.is_terminal())
    {
        info!(correlation_id = %job, "the job is over");
        return Ok(());
    }
    if request == Request::Cancel {
        // `submit`, `poll` and `collect` look for it before each step.
        deps.states.stop(job).await?;
    }
    // While it is being planned there are no shards to wake: each sees the mark when its turn
    // comes.
    let shards = status
        .and_then(|status| status.plan)
        .map_or(0, |plan| plan.shards);
    let shards = deps.states.read_all(job, shards).await?;
    for last in shards.iter().filter_map(|Rounds(rounds)| rounds.last()) {
        match request {
            Request::Cancel => deps.wake.shard(&last.shard).await?,
            Request::Approve => approve(deps, last).await?,
        }
    }
    deps.wake.report(job).await?;
    info!(correlation_id = %job, "{request:?} done");
    Ok(())
}

async fn approve(deps: &Deps, stored: &StoredShard) -> Result<(), ControlError> {
    let Some(next) = stored.shard.approved(deps.clock.now()) else {
        return Ok(());
    };
    match deps.states.swap(stored, next).await? {
        Cas::Written(stored) => Ok(deps.wake.shard(&stored.shard).await?),
        Cas::Conflict => Err(ControlError::Contended),
    }
}

/// Names what could not be read.
fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> ControlError {
    let what = what.to_owned();
    move |source| ControlError::Malformed { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_follows_from_the_key() {
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
