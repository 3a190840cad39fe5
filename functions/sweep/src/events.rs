//! Sends lost messages to `notify` again.

use darkroom::{names::JobId, object_keys};

use crate::{deps::Deps, error::SweepError};

/// Sends a message about every job that has events to send, or may have some soon. `notify` ignores
/// a message about a job of which everything is sent.
///
/// A job of which an event could recently not be sent has a message that is being retried. Another
/// one each hour would only add attempts, and dead letters in the end.
///
/// # Errors
/// [`SweepError`]; some of the messages may have been sent.
pub(crate) async fn resend_lost_messages(deps: &Deps) -> Result<(), SweepError> {
    if !deps.announcer.is_on() {
        return Ok(());
    }
    let now = deps.clock.now();
    for key in deps.bucket.keys(object_keys::PENDING_EVENTS).await? {
        let job = JobId::new(key.trim_start_matches(object_keys::PENDING_EVENTS));
        if !deps.outboxes.read(&job).await?.outbox.is_being_retried(now) {
            deps.announcer.send(&job).await?;
        }
    }
    Ok(())
}
