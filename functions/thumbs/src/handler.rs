//! Handles one message of (thumbnails).

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::messages::{JobMessage, ShardMessage};
use jiff::{SignedDuration, Timestamp};
use runtime::deliveries::{Disposition, Message, deliver};
use tracing::{info, warn};

use crate::{
    deps::Deps,
    error::ThumbsError,
    list::List,
    work::{Progress, make_missing},
};

/// How long before its end an invocation starts no further image. The largest image takes a few
/// seconds, and the rest is for S3 in a bad minute.
const RESERVE: SignedDuration = SignedDuration::from_mins(1);

/// Handles one event of (thumbnails). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.thumbnails, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, ThumbsError> {
    let ShardMessage { job, shard, .. } =
        serde_json::from_str(&message.body).map_err(ThumbsError::Message)?;
    let Some(stored) = deps.states.read(&job, shard).await? else {
        warn!("ignored: there is no such shard");
        return Ok(Disposition::Done);
    };
    // `report` sends another message when the shard has ended.
    if !stored.shard.is_terminal() {
        warn!("ignored: the shard has not ended");
        return Ok(Disposition::Done);
    }
    let chunks = stored.shard.phase.chunks();

    let mut list = List::read(&deps.bucket, &job, shard).await?;
    if list.thumbnails.is_complete(chunks) {
        // An earlier delivery of this message may have ended after the last write and before its
        // message to `report`. A second message about the same shard needs no second one.
        if message.receives > 1 {
            notify(deps, &list).await?;
        }
        return Ok(Disposition::Done);
    }

    let stop_at = deadline.saturating_sub(RESERVE).unwrap_or(deadline);
    match make_missing(deps, &mut list, chunks, stop_at).await? {
        Progress::Complete => {
            let (made, failed) = (list.thumbnails.made.len(), list.thumbnails.failed.len());
            info!(made, failed, "thumbnails made");
            notify(deps, &list).await?;
            Ok(Disposition::Done)
        }
        Progress::OutOfTime => {
            info!(made = list.thumbnails.made.len(), "to be continued");
            Ok(Disposition::Later(SignedDuration::ZERO))
        }
    }
}

/// Notifies `report` that the page of the job can show more thumbnails, unless there are none.
async fn notify(deps: &Deps, list: &List) -> Result<(), ThumbsError> {
    if list.thumbnails.made.is_empty() {
        return Ok(());
    }
    let message = JobMessage::of_shard(&list.job, list.shard);
    Ok(deps.reports.send(&message).await?)
}
