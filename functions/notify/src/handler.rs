//! Handles an event of (notifications). The messages about one job are handled together.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    events::{Event, Hold, Outbox, TargetName},
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

/// How long a message stays away at first if another invocation sends the events of its job. The
/// wait grows with each receive, so that a message outlives the claim of an invocation that was killed.
const CLAIMED_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// Handles an event of (notifications). `deadline` is when Lambda ends the invocation, and with it
/// every claim of a record of events.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver_together(&deps.notifications, event, read, async |job, messages| {
        let receives = messages.iter().map(|(message, ())| message.receives);
        notify(deps, job, receives.max().unwrap_or(1), deadline).await
    })
    .await
}

fn read(message: &Message) -> Result<(JobId, ()), NotifyError> {
    let JobMessage { job, .. } =
        serde_json::from_str(&message.body).map_err(NotifyError::Message)?;
    Ok((job, ()))
}

/// Sends the events of a job that were not sent yet.
async fn notify(
    deps: &Deps,
    job: &JobId,
    receives: u32,
    deadline: Timestamp,
) -> Result<Disposition, NotifyError> {
    // A deployment whose targets were removed has nothing to do for the messages that are left.
    if deps.targets.is_empty() {
        return Ok(Disposition::Done);
    }
    // The record is read before the documents. An invocation that replaces this version of it has
    // therefore read documents that are at least as new as those of all earlier ones.
    let mut stored = deps.outboxes.read(job).await?;
    let Some(documents) = documents::read(deps, job).await? else {
        warn!("ignored: the job has no job.json");
        deps.bucket
            .delete(&object_keys::pending_events(job))
            .await?;
        return Ok(Disposition::Done);
    };
    // `report` sends to `control` and to this function at the same time. A user must not be asked
    // about images that `control` is about to release. This comes before the claim, because a message
    // that a claim turns away returns as a repeated one.
    if Hold::may_be_released(&documents.status) && receives == 1 {
        return Ok(Disposition::Later(RELEASE_WAIT));
    }
    let claimed_by_another = Disposition::Later(CLAIMED_WAIT * receives.try_into().unwrap_or(1));
    if stored.outbox.is_claimed(deps.clock.now()) {
        return Ok(claimed_by_another);
    }

    let mut outbox = stored.outbox.clone();
    outbox.follow(&documents.status);
    outbox.claimed_until = None;
    let events = documents.events(&deps.stack, &outbox);
    let due: Vec<(&Target, Vec<&Event>)> = deps
        .targets
        .iter()
        .map(|target| (target, due(&events, target.name(), &outbox)))
        .collect();
    if due.iter().any(|(_, events)| !events.is_empty()) {
        let claim = Outbox {
            claimed_until: Some(deadline),
            ..outbox.clone()
        };
        let Some(claimed) = deps.outboxes.replace(&stored, claim).await? else {
            return Ok(claimed_by_another);
        };
        stored = claimed;
    }

    // The events are sent first and recorded afterwards: after a crash between the two, an event is
    // sent again, with the same id.
    let mut failure = None;
    for (target, events) in due {
        // A target that fails must not keep the others from their events.
        if let Err(error) = send_all(deps, target, &events, &mut outbox).await {
            failure = Some(error);
        }
    }
    outbox.failed_at = failure.as_ref().map(|_| deps.clock.now());
    if outbox != stored.outbox && deps.outboxes.replace(&stored, outbox).await?.is_none() {
        return Ok(claimed_by_another);
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

/// Returns the events that a target wants and has not got, in their order.
fn due<'a>(events: &'a [Event], target: TargetName, outbox: &Outbox) -> Vec<&'a Event> {
    events
        .iter()
        .filter(|event| target.wants(event.news.kind()) && !outbox.was_sent(&event.id, target))
        .collect()
}

/// Sends the events to a target, in their order, and records each.
async fn send_all(
    deps: &Deps,
    target: &Target,
    events: &[&Event],
    outbox: &mut Outbox,
) -> Result<(), NotifyError> {
    let name = target.name();
    for event in events {
        let kind = event.news.kind();
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
