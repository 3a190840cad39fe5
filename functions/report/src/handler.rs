//! Handles one event of the reports queue. The messages about one job are handled together, in one
//! update of the job.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    messages::JobMessage,
    names::{JobId, ShardId},
};
use jiff::Timestamp;
use runtime::deliveries::{Message, deliver_together};

use crate::{
    changes::Changes,
    deps::Deps,
    error::{ReportError, malformed},
    job_update::update_job,
};

/// Handles one event of the reports queue.
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver_together(&deps.reports, event, read, async |job, messages| {
        update_job(deps, job, &Changes::of(messages)).await
    })
    .await
}

/// Reads which job, and which of its shards, a message is about.
fn read(message: &Message) -> Result<(JobId, Option<ShardId>), ReportError> {
    let JobMessage { job, shard, .. } =
        serde_json::from_str(&message.body).map_err(malformed("the message"))?;
    Ok((job, shard))
}
