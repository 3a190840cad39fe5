//! One message of (manifests): what S3 says was uploaded, and a plan for it.

use std::io;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    ignored_files,
    manifest::{Mode, ReadError},
    messages::ShardMessage,
    names::{JobId, ShardId},
    object_keys::{self, Marker},
    plan::{ContentClaim, CustomNames, PlanLock, PlanSummary},
    state::Phase,
    status::{JobPhase, JobStatus},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    bucket::{BucketError, Conditional},
    catalog_store::CatalogFault,
    deliveries::{Disposition, Message, deliver},
    notifications::{EventError, UploadedObject, uploads},
    queue::QueueError,
    rejection::{RejectionError, write_first_status},
    shard_store::StateError,
};
use tracing::{info, warn};

use crate::{
    cancel,
    check::{Checked, check},
    content,
    deps::Deps,
    drop::Dropped,
    estimate::estimate,
    reject::{overwritten, reject, same_content},
    terms::Terms,
    time::is_time_up,
    write::write,
};

/// Shards whose message is sent at once.
const AT_ONCE: usize = 16;

/// Why a manifest could not be planned now; its message comes back. What is wrong *in* a manifest
/// is no error here.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The body can't be read as one about uploads.
    #[error("the message can't be read: {0}")]
    Event(EventError),
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
        error: ReadError,
    },
    /// The manifest broke off while its hash was taken.
    #[error("the manifest broke off: {0}")]
    Broken(#[from] io::Error),
    /// A picture from the web has no copy, though it was checked: a defect.
    #[error("a reference by web address was not copied")]
    NotCopied,
    /// There is no catalog to plan with: nobody's manifest is wrong, so none is rejected.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The reading thread was ended.
    #[error("reading the manifest was ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
    /// The invocation ends soon.
    #[error("the invocation has no time left for this manifest")]
    TimeUp,
    /// The documents of a job that isn't planned can't be written.
    #[error(transparent)]
    Rejection(#[from] RejectionError),
}

fn cause(error: &ReadError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Source(inner) | ReadError::Sink(inner) if is_time_up(inner) => Self::TimeUp,
            ReadError::Source(_) | ReadError::Sink(_) => Self::Manifest { error },
        }
    }
}

/// Handles one event of (manifests). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.manifests, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, PlanError> {
    for upload in uploads(&message.body).map_err(PlanError::Event)? {
        if let Disposition::Later(wait) = uploaded(deps, &upload, deadline).await? {
            return Ok(Disposition::Later(wait));
        }
    }
    Ok(Disposition::Done)
}

async fn uploaded(
    deps: &Deps,
    upload: &UploadedObject,
    deadline: Timestamp,
) -> Result<Disposition, PlanError> {
    if upload.key.ends_with(".job.json") {
        return Ok(Disposition::Done);
    }
    if ignored_files::is_ignored(&upload.key) {
        info!(
            key = upload.key,
            "left alone: by its name it is a temporary file, or one of a file manager's own"
        );
        return Ok(Disposition::Done);
    }
    if upload.bucket != deps.bucket.name() {
        return Err(PlanError::ForeignBucket(upload.bucket.clone()));
    }
    let dropped = match Dropped::read(deps, &upload.key).await {
        Ok(Some(dropped)) => dropped,
        Ok(None) => {
            info!("the manifest is gone again");
            return Ok(Disposition::Done);
        }
        Err(error) if is_overwritten(&error, &upload.key) => {
            return Ok(Disposition::Later(SignedDuration::ZERO));
        }
        Err(error) => return Err(error),
    };
    match plan(deps, &dropped, deadline).await {
        Err(error) if is_overwritten(&error, &upload.key) => {
            overwritten(deps, &dropped).await?;
            Ok(Disposition::Later(SignedDuration::ZERO))
        }
        // Where the plan is locked it goes on from there, and needs not look at any reference
        // again.
        Err(PlanError::TimeUp) => {
            warn!(correlation_id = %dropped.job, "not planned to the end: the next invocation goes on");
            Ok(Disposition::Later(SignedDuration::ZERO))
        }
        planned => planned,
    }
}

/// Whether another version of the manifest was dropped meanwhile, or it was deleted. A newer
/// version has an event of its own, but reading again does the same.
fn is_overwritten(error: &PlanError, manifest: &str) -> bool {
    matches!(error, PlanError::Bucket(BucketError::Changed { key }) if key == manifest)
}

/// Plans a job that was not planned before; for one that was, only makes sure that it goes on.
async fn plan(
    deps: &Deps,
    dropped: &Dropped,
    deadline: Timestamp,
) -> Result<Disposition, PlanError> {
    let job = &dropped.job;
    if is_over(deps, job).await? {
        return Ok(Disposition::Done);
    }
    if let Some(plan) = planned(deps, job).await? {
        wake(deps, job, plan.shards).await?;
        return Ok(Disposition::Done);
    }
    let lock = read_json::<PlanLock>(deps, &object_keys::plan_lock(job)).await?;
    if lock.is_none() && cancel::is_asked(deps, job).await? {
        return cancel::end(deps, dropped).await;
    }
    if let Some(claim) = content::claim_of_another(deps, dropped).await? {
        return refuse(deps, dropped, &claim, lock.is_some()).await;
    }
    let deps = &Deps {
        catalog: deps.catalogs.to_plan(job).await?,
        ..deps.clone()
    };
    let terms = Terms::of(lock, deps);

    let good = match check(deps, dropped, &terms, deadline).await? {
        Checked::Good(good) => *good,
        Checked::Bad(reading) => return reject(deps, dropped, &terms, &reading).await,
    };
    if good.header.job().mode == Some(Mode::DryRun) {
        return estimate(deps, dropped, &terms, &good).await;
    }
    if !terms.are_locked && !lock_plan(deps, dropped, &terms, &good.custom_names).await? {
        // Another invocation plans the same drop, perhaps by other prices or on the other side of
        // midnight: plan what it plans.
        return Ok(Disposition::Later(SignedDuration::ZERO));
    }
    if cancel::is_asked(deps, job).await? {
        // From here on `control` knows the job; what it came upon before is found here. No shard
        // will be submitted.
        deps.states.stop(job).await?;
    }
    deps.bucket
        .put(&object_keys::open_job(job), "text/plain", "")
        .await?;
    let summary = write(deps, dropped, &terms, good, deadline).await?;
    // From here on its images are bought: those of no other job with the same content.
    let claim = content::claim(deps, dropped, &summary).await?;
    if claim.job != *job {
        return refuse(deps, dropped, &claim, true).await;
    }
    begin(deps, &claim).await?;
    info!(correlation_id = %job, images = summary.images, shards = summary.shards, "planned");
    Ok(Disposition::Done)
}

/// Refuses a job whose content another one has claimed, and makes sure that that one goes on.
async fn refuse(
    deps: &Deps,
    dropped: &Dropped,
    claim: &ContentClaim,
    is_locked: bool,
) -> Result<Disposition, PlanError> {
    if !is_over(deps, &claim.job).await? {
        match planned(deps, &claim.job).await? {
            // Its invocation may have been killed before it sent the last message, and its manifest
            // may be gone since.
            Some(plan) => wake(deps, &claim.job, plan.shards).await?,
            None => {
                begin(deps, claim).await?;
                info!(correlation_id = %claim.job, "planned, as another job with the same content came upon it");
            }
        }
    }
    same_content(deps, dropped, claim, is_locked).await
}

/// Makes the job planned whose content is claimed, and so has all but its status, and sends its
/// shards on.
async fn begin(deps: &Deps, claim: &ContentClaim) -> Result<(), PlanError> {
    let ContentClaim {
        job,
        manifest,
        plan,
        ..
    } = claim;
    let status = JobStatus {
        plan: Some(plan.clone()),
        ..JobStatus::new(job, manifest, JobPhase::Submitting, deps.clock.now())
    };
    // It is not written where the job is planned already, or where a rejection is written at the
    // same moment.
    while !write_first_status(&deps.bucket, &status).await? && planned(deps, job).await?.is_none() {
    }
    let rejected = object_keys::document(job, Marker::Rejected.name());
    if deps.bucket.head(&rejected).await?.is_some() {
        // It was rejected once, perhaps while this was under way, as its manifest was overwritten:
        // it is open after all.
        deps.bucket
            .put(&object_keys::open_job(job), "text/plain", "")
            .await?;
        deps.bucket.delete(&rejected).await?;
    }
    wake(deps, job, plan.shards).await
}

/// Whether a job is carried through.
async fn is_over(deps: &Deps, job: &JobId) -> Result<bool, PlanError> {
    for marker in Marker::LAST {
        if deps
            .bucket
            .head(&object_keys::document(job, marker.name()))
            .await?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The plan of a job that is planned.
async fn planned(deps: &Deps, job: &JobId) -> Result<Option<PlanSummary>, PlanError> {
    Ok(read_json::<JobStatus>(deps, &object_keys::status(job))
        .await?
        .and_then(|status| status.plan))
}

/// Writes the job's catalog, then the lock. False if another invocation was first.
async fn lock_plan(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    custom_names: &CustomNames,
) -> Result<bool, PlanError> {
    let job = &dropped.job;
    if !deps.catalogs.keep(job, &deps.catalog).await? {
        return Ok(false);
    }
    let key = object_keys::plan_lock(job);
    let bytes = serde_json::to_vec_pretty(&dropped.lock(deps, terms, custom_names))
        .map_err(malformed(&key))?;
    Ok(matches!(
        deps.bucket.create(&key, "application/json", bytes).await?,
        Conditional::Written(_)
    ))
}

/// Sends the message of each shard that is still to be begun.
async fn wake(deps: &Deps, job: &JobId, shards: u32) -> Result<(), PlanError> {
    stream::iter((0..shards).map(ShardId::first))
        .map(|shard| async move {
            let stored = deps.states.read(job, shard).await?;
            if stored.is_some_and(|stored| matches!(stored.shard.phase, Phase::Planned { .. })) {
                deps.shards.send(&ShardMessage::new(job, shard)).await?;
            }
            Ok::<_, PlanError>(())
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn read_json<T: serde::de::DeserializeOwned>(
    deps: &Deps,
    key: &str,
) -> Result<Option<T>, PlanError> {
    let Some(object) = deps.bucket.read(key).await? else {
        return Ok(None);
    };
    serde_json::from_slice(&object.bytes)
        .map(Some)
        .map_err(malformed(key))
}

/// Names the document that could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> PlanError {
    let what = what.to_owned();
    move |source| PlanError::Malformed { what, source }
}
