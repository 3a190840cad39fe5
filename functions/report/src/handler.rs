//! One message of (reports): look at all shards of the job, and refresh its status or close it.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use clients::{
    bucket::{Bucket, BucketError},
    catalogue::{CatalogueFault, Catalogues},
    clock::Clock,
    deliveries::{Disposition, Message, deliver},
    lines::LineError,
    metrics::Metrics,
    parts::PartError,
    queue::Queue,
    states::{Rounds, StateError, States},
};
use darkroom::{
    layout::{self, Marker},
    messages::JobMessage,
    models::Catalogue,
    names::JobId,
    status::JobStatus,
};
use jiff::Timestamp;

use crate::{close::close, status};

/// What `report` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Plans, parts and reports.
    pub bucket: Bucket,
    /// Shard states.
    pub states: States,
    /// The queue that triggers it.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// Models and prices: the built-in ones, and once a job is closed, those it was planned with.
    pub catalogue: Arc<Catalogue>,
    /// Models and prices of jobs.
    pub catalogues: Catalogues,
    /// What an operator watches.
    pub metrics: Metrics,
}

/// Why a job could not be looked at, or closed, now; its message comes back.
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
    /// A document is missing.
    #[error("{0} is missing; restore it from an earlier version, or drop the manifest again")]
    Missing(String),
    /// A state can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The job's catalogue can't be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueFault),
    /// An object broke off.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// A part of the results can't be read.
    #[error(transparent)]
    Part(#[from] PartError),
}

/// Handles one event of (reports).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.reports, event, async |message| process(deps, message).await).await
}

async fn process(deps: &Deps, message: &Message) -> Result<Disposition, ReportError> {
    let JobMessage { job, .. } = serde_json::from_str(&message.body).map_err(malformed("the message"))?;
    let key = layout::status(&job);
    let Some(object) = deps.bucket.read(&key).await? else { return Err(ReportError::Missing(key)) };
    let status: JobStatus = serde_json::from_slice(&object.bytes).map_err(malformed(&key))?;
    let Some(plan) = &status.plan else { return Ok(Disposition::Done) };
    if status.phase.is_over() && is_closed(deps, &job).await? {
        deps.bucket.delete(&layout::open_job(&job)).await?;
        return Ok(Disposition::Done);
    }

    let shards = deps.states.read_all(&job, plan.shards).await?;
    if !shards.iter().all(Rounds::are_over) {
        // One that has come back has waited long enough.
        return status::refresh(deps, status, &object.etag, &shards, message.receives > 1).await;
    }
    let deps = &Deps { catalogue: deps.catalogues.of_job(&job).await?, ..deps.clone() };
    close(deps, &job, status, &shards).await?;
    deps.bucket.delete(&layout::open_job(&job)).await?;
    Ok(Disposition::Done)
}

/// Whether the job's marker is there. Before it is, the status says already how the job ends.
async fn is_closed(deps: &Deps, job: &JobId) -> Result<bool, ReportError> {
    for marker in Marker::LAST {
        if deps.bucket.head(&layout::document(job, marker.name())).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names what could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> ReportError {
    let what = what.to_owned();
    move |source| ReportError::Malformed { what, source }
}
