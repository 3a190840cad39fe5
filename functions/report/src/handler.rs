//! One event of (reports): the messages about one job are handled together, in one look at the job.

use std::collections::BTreeSet;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    messages::JobMessage,
    names::{JobId, ShardId},
    status::Blocker,
};
use jiff::Timestamp;
use runtime::{
    bucket::BucketError,
    catalog_store::CatalogFault,
    deliveries::{Message, deliver_together},
    lines::LineError,
    shard_store::StateError,
};

use crate::{deps::Deps, look::look};

/// Why a job could not be looked at, or closed, now.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The body, or a stored document, is not what it should be.
    #[error("{what} can't be read: {source}")]
    Malformed {
        /// The message or the document.
        what: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// There is no such job, or it is still being planned.
    #[error("job {0} has no job.json: it is not planned yet, or there is no such job")]
    NotPlanned(JobId),
    /// A document that the job can't be closed without is missing or damaged. People are told in
    /// `job.json`.
    #[error("{}. {}", .0.what, .0.what_to_do)]
    Blocked(Box<Blocker>),
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The job's catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// An object broke off.
    #[error(transparent)]
    Lines(#[from] LineError),
}

/// What the messages of one event say of a job.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The shards that have changed.
    pub(crate) shards: BTreeSet<ShardId>,
    /// Whether any shard may have changed.
    pub(crate) whole_job: bool,
    /// Whether a message has come back, and so has waited long enough.
    pub(crate) waited: bool,
}

/// Handles one event of (reports).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver_together(&deps.reports, event, read, async |job, messages| {
        look(deps, job, &News::of(messages)).await
    })
    .await
}

fn read(message: &Message) -> Result<(JobId, Option<ShardId>), ReportError> {
    let JobMessage { job, shard, .. } =
        serde_json::from_str(&message.body).map_err(malformed("the message"))?;
    Ok((job, shard))
}

impl News {
    fn of(messages: &[(Message, Option<ShardId>)]) -> Self {
        Self {
            shards: messages.iter().filter_map(|(_, shard)| *shard).collect(),
            whole_job: messages.iter().any(|(_, shard)| shard.is_none()),
            waited: messages.iter().any(|(message, _)| message.receives > 1),
        }
    }
}

/// Names what could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> ReportError {
    let what = what.to_owned();
    move |source| ReportError::Malformed { what, source }
}
