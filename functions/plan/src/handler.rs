//! One message of (manifests): what S3 says was uploaded, and a plan for it.

use std::{io, sync::Arc};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use clients::{
    bucket::{Bucket, BucketError, Conditional},
    catalogue::{CatalogueFault, Catalogues},
    clock::Clock,
    deliveries::{Disposition, Message, deliver},
    queue::{Queue, QueueError},
    states::{StateError, States},
    uploads::{Upload, uploads},
    web::Web,
};
use darkroom::{
    job::Settings,
    layout::{self, Marker},
    manifest::{Limits, Mode, ReadError},
    messages::ShardMessage,
    models::Catalogue,
    names::{JobId, ShardId},
    plan::PlanLock,
    state::Phase,
    status::JobStatus,
};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use crate::{check::check, drop::Dropped, estimate::estimate, reject::reject, write::write};

/// What `plan` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Manifests, references and jobs.
    pub bucket: Bucket,
    /// Shard states.
    pub states: States,
    /// The queue that triggers it.
    pub manifests: Queue,
    /// Where planned shards go.
    pub shards: Queue,
    /// The time.
    pub clock: Clock,
    /// Models and prices: the built-in ones, and once it is known which job is planned, those of the job.
    pub catalogue: Arc<Catalogue>,
    /// Models and prices, of deployment and jobs.
    pub catalogues: Catalogues,
    /// What holds for every job.
    pub settings: Settings,
    /// The bounds of a manifest.
    pub limits: Limits,
    /// Where references by web address are fetched from.
    pub web: Web,
}

/// Why a manifest could not be planned now; its message comes back. What is wrong *in* a manifest is no error here.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The body is no S3 event.
    #[error("not an S3 event: {0}")]
    Event(#[source] serde_json::Error),
    /// The event is of another bucket than this deployment's.
    #[error("the event is of bucket {0}, which this function does not serve")]
    ForeignBucket(String),
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
    /// The manifest can't be read to its end.
    #[error("{error}: {cause}", cause = cause(.error))]
    Manifest {
        /// Where reading stopped.
        #[from]
        error: ReadError,
    },
    /// The manifest broke off while its hash was taken.
    #[error("the manifest broke off: {0}")]
    Broken(#[from] io::Error),
    /// A picture from the web has no copy, though it was checked: a defect.
    #[error("a reference by web address was not copied")]
    NotCopied,
    /// There is no catalogue to plan with: nobody's manifest is wrong, so none is rejected.
    #[error(transparent)]
    Catalogue(#[from] CatalogueFault),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The reading thread was ended.
    #[error("reading the manifest was ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

fn cause(error: &ReadError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

/// Handles one event of (manifests).
pub async fn handle(deps: &Deps, event: SqsEvent, _deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.manifests, event, async |message| process(deps, message).await).await
}

async fn process(deps: &Deps, message: &Message) -> Result<Disposition, PlanError> {
    for upload in uploads(&message.body).map_err(PlanError::Event)? {
        if let Disposition::Later(wait) = uploaded(deps, &upload).await? {
            return Ok(Disposition::Later(wait));
        }
    }
    Ok(Disposition::Done)
}

async fn uploaded(deps: &Deps, upload: &Upload) -> Result<Disposition, PlanError> {
    if upload.key.ends_with(".job.json") {
        return Ok(Disposition::Done);
    }
    if upload.bucket != deps.bucket.name() {
        return Err(PlanError::ForeignBucket(upload.bucket.clone()));
    }
    match Dropped::read(deps, &upload.key).await {
        Ok(Some(dropped)) => plan(deps, &dropped).await,
        Ok(None) => {
            info!("the manifest is gone again");
            Ok(Disposition::Done)
        }
        // The newer version has an event of its own, but reading again is as good.
        Err(PlanError::Bucket(BucketError::Changed { .. })) => Ok(Disposition::Later(SignedDuration::ZERO)),
        Err(error) => Err(error),
    }
}

/// Plans a job that was not planned before; for one that was, only makes sure that it goes on.
async fn plan(deps: &Deps, dropped: &Dropped) -> Result<Disposition, PlanError> {
    let job = &dropped.job;
    for marker in Marker::LAST {
        if deps.bucket.head(&layout::document(job, marker.name())).await?.is_some() {
            return Ok(Disposition::Done);
        }
    }
    if let Some(status) = read_json::<JobStatus>(deps, &layout::status(job)).await?
        && let Some(plan) = status.plan
    {
        wake(deps, job, plan.shards).await?;
        return Ok(Disposition::Done);
    }
    let deps = &Deps { catalogue: deps.catalogues.to_plan(job).await?, ..deps.clone() };
    let lock = read_json::<PlanLock>(deps, &layout::plan_lock(job)).await?;
    let planned_at = lock.as_ref().map_or_else(|| deps.clock.now(), |lock| lock.planned_at);

    let checked = check(deps, dropped, planned_at).await?;
    if checked.reading.errors > 0 {
        return reject(deps, dropped, &checked.reading).await;
    }
    if checked.header.job().mode == Some(Mode::DryRun) {
        return estimate(deps, dropped, &checked, planned_at).await;
    }
    if lock.is_none() {
        if !deps.catalogues.keep(job, &deps.catalogue).await? {
            // Somebody else is planning the same drop with other prices: plan with those.
            return Ok(Disposition::Later(SignedDuration::ZERO));
        }
        let key = layout::plan_lock(job);
        let lock = dropped.lock(deps, planned_at);
        let bytes = serde_json::to_vec_pretty(&lock).map_err(malformed(&key))?;
        if let Conditional::Refused = deps.bucket.create(&key, "application/json", bytes).await? {
            // Somebody else is planning the same drop, perhaps on the other side of midnight: plan what they plan.
            return Ok(Disposition::Later(SignedDuration::ZERO));
        }
    }
    deps.bucket.put(&layout::open_job(job), "text/plain", "").await?;
    let summary = write(deps, dropped, checked, planned_at).await?;
    deps.bucket.delete(&layout::document(job, Marker::Rejected.name())).await?;
    info!(correlation_id = %job, images = summary.images, shards = summary.shards, "planned");
    wake(deps, job, summary.shards).await?;
    Ok(Disposition::Done)
}

/// Sends the message of each shard that nobody has begun.
async fn wake(deps: &Deps, job: &JobId, shards: u32) -> Result<(), PlanError> {
    for shard in (0..shards).map(ShardId::first) {
        let stored = deps.states.read(job, shard).await?;
        if stored.is_some_and(|stored| matches!(stored.shard.phase, Phase::Planned { .. })) {
            deps.shards.send(&ShardMessage::new(job, shard)).await?;
        }
    }
    Ok(())
}

async fn read_json<T: serde::de::DeserializeOwned>(deps: &Deps, key: &str) -> Result<Option<T>, PlanError> {
    let Some(object) = deps.bucket.read(key).await? else { return Ok(None) };
    serde_json::from_slice(&object.bytes).map(Some).map_err(malformed(key))
}

/// Names the document that could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> PlanError {
    let what = what.to_owned();
    move |source| PlanError::Malformed { what, source }
}
