//! Handles an event of (notifications). The messages about one job are handled together.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    events::{Event, Hold, Outbox},
    messages::JobMessage,
    names::JobId,
    object_keys,
};
use jiff::{SignedDuration, Timestamp};
use runtime::deliveries::{Disposition, Message, deliver_together};
use tracing::{info, warn};

use crate::{deps::Deps, documents, error::NotifyError, targets::Target};

/// How long `control` may take to release what follows a proof that has succeeded.
const RELEASE_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// Handles an event of (notifications).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver_together(&deps.notifications, event, read, async |job, messages| {
        let is_repeated = messages.iter().any(|(message, ())| message.receives > 1);
        notify(deps, job, is_repeated).await
    })
    .await
}

fn read(message: &Message) -> Result<(JobId, ()), NotifyError> {
    let JobMessage { job, .. } =
        serde_json::from_str(&message.body).map_err(NotifyError::Message)?;
    Ok((job, ()))
}

/// Sends the events of a job that were not sent yet.
async fn notify(deps: &Deps, job: &JobId, is_repeated: bool) -> Result<Disposition, NotifyError> {
    // A deployment whose targets were removed has nothing to do for the messages that are left.
    if deps.targets.is_empty() {
        return Ok(Disposition::Done);
    }
    let Some(documents) = documents::read(deps, job).await? else {
        warn!("ignored: the job has no job.json");
        deps.bucket
            .delete(&object_keys::pending_events(job))
            .await?;
        return Ok(Disposition::Done);
    };
    // `report` sends to `control` and to this function at the same time. A user must not be asked
    // about images that `control` is about to release.
    if Hold::may_be_released(&documents.status) && !is_repeated {
        return Ok(Disposition::Later(RELEASE_WAIT));
    }

    // The events are sent first and recorded afterwards: after a crash between the two, an event is
    // sent again, with the same id.
    let stored = deps.outboxes.read(job).await?;
    let mut outbox = stored.clone();
    outbox.follow(&documents.status);
    let events = documents.events(&deps.stack, &outbox);
    let mut failure = None;
    for target in deps.targets.iter() {
        // A target that fails must not keep the others from their events.
        if let Err(error) = send_all(deps, target, &events, &mut outbox).await {
            failure = Some(error);
        }
    }
    outbox.failed_at = failure.as_ref().map(|_| deps.clock.now());
    if outbox != stored {
        deps.outboxes.add(&outbox).await?;
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if documents.is_final() {
        deps.bucket
            .delete(&object_keys::pending_events(job))
            .await?;
    }
    Ok(Disposition::Done)
}

/// Sends the events to a target that it wants and has not got, in their order.
async fn send_all(
    deps: &Deps,
    target: &Target,
    events: &[Event],
    outbox: &mut Outbox,
) -> Result<(), NotifyError> {
    let name = target.name();
    for event in events {
        let kind = event.news.kind();
        if !name.wants(kind) || outbox.was_sent(&event.id, name) {
            continue;
        }
        target
            .send(event)
            .await
            .map_err(|error| NotifyError::Send {
                target: name,
                error,
            })?;
        outbox.record(event, name, deps.clock.now());
        info!(to = %name, event = kind.detail_type(), id = %event.id, "event sent");
    }
    Ok(())
}
