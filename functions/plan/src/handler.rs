//! Handles a message of (manifests): plans the manifest whose upload S3 reports.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    ignored_files,
    manifest::Mode,
    messages::ShardMessage,
    names::{JobId, ShardId},
    object_keys::{self, Marker},
    plan::{ContentClaim, CustomNames, PlanLock, PlanSummary},
    state::{Generating, Phase, Shard},
    status::{JobPhase, JobStatus},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    bucket::{BucketError, Conditional},
    deliveries::{Disposition, Message, deliver},
    document::DocumentError,
    notifications::{UploadedObject, uploads},
    queue::Queue,
    rejection::write_first_status,
};
use tracing::{info, warn};

use crate::{
    cancel,
    check::{Checked, check},
    content,
    deps::Deps,
    drop::Dropped,
    error::PlanError,
    estimate::estimate,
    reject::{overwritten, reject, same_content},
    terms::Terms,
    write::write,
};

/// How many shards are looked up and sent concurrently.
const CONCURRENCY: usize = 16;

/// Handles an event of (manifests). `deadline` is when Lambda ends the invocation.
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
        if let Disposition::Later(wait) = process_upload(deps, &upload, deadline).await? {
            return Ok(Disposition::Later(wait));
        }
    }
    Ok(Disposition::Done)
}

async fn process_upload(
    deps: &Deps,
    upload: &UploadedObject,
    deadline: Timestamp,
) -> Result<Disposition, PlanError> {
    // A job document belongs to a manifest and has no job itself.
    if upload.key.ends_with(".job.json") {
        return Ok(Disposition::Done);
    }
    if ignored_files::is_ignored(&upload.key) {
        info!(
            key = upload.key,
            "ignored: the name is that of a temporary file or of a file manager's own file"
        );
        return Ok(Disposition::Done);
    }
    if upload.bucket != deps.bucket.name() {
        return Err(PlanError::ForeignBucket(upload.bucket.clone()));
    }

    // The object may have been overwritten or deleted since the event was sent, and may be again
    // while it is planned.
    let dropped = match Dropped::read(deps, &upload.key).await {
        Ok(Some(dropped)) => dropped,
        Ok(None) => {
            info!("the manifest has been deleted");
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
        // Once the plan is locked, the next invocation continues from the lock and does not check
        // the references again.
        Err(PlanError::TimeUp) => {
            warn!(correlation_id = %dropped.job, "out of time: the next invocation continues the plan");
            Ok(Disposition::Later(SignedDuration::ZERO))
        }
        planned => planned,
    }
}

/// Whether the manifest was overwritten or deleted in the meantime. A newer version has its own
/// event, but reading the key again has the same effect.
fn is_overwritten(error: &PlanError, manifest: &str) -> bool {
    matches!(error, PlanError::Bucket(BucketError::Changed { key }) if key == manifest)
}

/// Plans a job, or resends the messages of a job that is already planned.
///
/// The order of the writes makes a plan repeatable after a crash: the lock fixes what the plan
/// depends on, the plan and the shard states follow, then the claim to the content, and last the
/// status that makes the job planned.
async fn plan(
    deps: &Deps,
    dropped: &Dropped,
    deadline: Timestamp,
) -> Result<Disposition, PlanError> {
    // A job that is closed, planned or cancelled needs no plan.
    let job = &dropped.job;
    if is_closed(deps, job).await? {
        // An earlier delivery may have ended after it had closed a canceled job.
        deps.announcer.announce(job).await?;
        return Ok(Disposition::Done);
    }
    if let Some(plan) = planned(deps, job).await? {
        start(deps, job, plan.shards).await?;
        return Ok(Disposition::Done);
    }
    let lock = read_json::<PlanLock>(deps, &object_keys::plan_lock(job)).await?;
    if lock.is_none() && cancel::is_requested(deps, job).await? {
        return cancel::end(deps, dropped).await;
    }

    // Another job with the same content has already bought the images.
    if let Some(claim) = content::claim_of_another(deps, dropped).await? {
        return refuse(deps, dropped, &claim, lock.is_some()).await;
    }

    // From here on, the prices are those of the job's own catalog.
    let deps = &Deps {
        catalog: deps.catalogs.to_plan(job).await?.into(),
        ..deps.clone()
    };
    let terms = Terms::of(lock, deps, dropped);
    let good = match check(deps, dropped, &terms, deadline).await? {
        Checked::Good(good) => *good,
        Checked::Bad(reading) => return reject(deps, dropped, &terms, &reading).await,
    };
    if good.header.job().mode == Some(Mode::DryRun) {
        return estimate(deps, dropped, &terms, &good).await;
    }

    if !terms.are_locked && !lock_plan(deps, dropped, &terms, &good.custom_names).await? {
        // Another invocation plans the same manifest, perhaps with other prices or on the other side
        // of midnight. The next delivery continues with its terms.
        return Ok(Disposition::Later(SignedDuration::ZERO));
    }
    if cancel::is_requested(deps, job).await? {
        // From here on `control` knows the job. It ignored a request that came before the lock,
        // which this lookup finds: no shard will be submitted.
        deps.states.stop(job).await?;
    }
    deps.bucket
        .put(&object_keys::open_job(job), "text/plain", "")
        .await?;
    let summary = write(deps, dropped, &terms, good, deadline).await?;

    // The claim decides which job buys the images of this content.
    let claim = content::claim(deps, dropped, terms.folder.as_ref(), &summary).await?;
    if claim.job != *job {
        return refuse(deps, dropped, &claim, true).await;
    }
    begin(deps, &claim).await?;
    info!(correlation_id = %job, images = summary.images, shards = summary.shards, "planned");
    Ok(Disposition::Done)
}

/// Rejects a job whose content another job has claimed, and makes sure that the other job continues:
/// its invocation may have been killed before it sent the last message, and its manifest may have
/// been deleted since.
async fn refuse(
    deps: &Deps,
    dropped: &Dropped,
    claim: &ContentClaim,
    is_locked: bool,
) -> Result<Disposition, PlanError> {
    if !is_closed(deps, &claim.job).await? {
        match planned(deps, &claim.job).await? {
            Some(plan) => start(deps, &claim.job, plan.shards).await?,
            None => {
                begin(deps, claim).await?;
                info!(correlation_id = %claim.job, "planned, on behalf of a job with the same content");
            }
        }
    }
    same_content(deps, dropped, claim, is_locked).await
}

/// Writes the status of the job that holds the claim, which makes it planned, and sends its shards.
/// Everything else of the plan was written before the claim.
async fn begin(deps: &Deps, claim: &ContentClaim) -> Result<(), PlanError> {
    let ContentClaim {
        job,
        manifest,
        folder,
        plan,
        ..
    } = claim;
    let status = JobStatus {
        folder: folder.clone(),
        plan: Some(plan.clone()),
        ..JobStatus::new(job, manifest, JobPhase::Submitting, deps.clock.now())
    };
    // The write is refused if the job is already planned, or if a rejection is written at the same
    // moment. In the second case it is repeated.
    while !write_first_status(&deps.bucket, &status).await? && planned(deps, job).await?.is_none() {
    }
    let rejected = object_keys::document(job, Marker::Rejected.name());
    if deps.bucket.head(&rejected).await?.is_some() {
        // The job was rejected earlier, perhaps in the meantime because its manifest was
        // overwritten. Now it is open.
        deps.bucket
            .put(&object_keys::open_job(job), "text/plain", "")
            .await?;
        deps.bucket.delete(&rejected).await?;
    }
    start(deps, job, plan.shards).await
}

/// Starts a job that is planned: sends its shards, and announces that it is accepted. Nothing of it
/// waits for the announcement.
async fn start(deps: &Deps, job: &JobId, shards: u32) -> Result<(), PlanError> {
    send_shards(deps, job, shards).await?;
    Ok(deps.announcer.announce(job).await?)
}

/// Whether a job has its final marker.
async fn is_closed(deps: &Deps, job: &JobId) -> Result<bool, PlanError> {
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

/// The summary of a job's plan, if the job is planned.
async fn planned(deps: &Deps, job: &JobId) -> Result<Option<PlanSummary>, PlanError> {
    Ok(read_json::<JobStatus>(deps, &object_keys::status(job))
        .await?
        .and_then(|status| status.plan))
}

/// Writes the job's catalog, then the lock. Returns false if another invocation was first.
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
        .map_err(DocumentError::at(&key))?;
    Ok(matches!(
        deps.bucket.create(&key, "application/json", bytes).await?,
        Conditional::Written(_)
    ))
}

/// Sends a message for each shard that `submit` or `generate` has not begun.
async fn send_shards(deps: &Deps, job: &JobId, shards: u32) -> Result<(), PlanError> {
    stream::iter((0..shards).map(ShardId::first))
        .map(|shard| async move {
            let stored = deps.states.read(job, shard).await?;
            if let Some(stored) = stored
                && let Some(queue) = queue_of(deps, &stored.shard)
            {
                queue.send(&ShardMessage::new(job, shard)).await?;
            }
            Ok::<_, PlanError>(())
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

/// Returns the queue of a shard that its function has not begun.
fn queue_of<'a>(deps: &'a Deps, shard: &Shard) -> Option<&'a Queue> {
    match shard.phase.before_held() {
        Phase::Planned { .. } => Some(&deps.shards),
        Phase::Generating(generating) if *generating == Generating::default() => {
            Some(&deps.generations)
        }
        _ => None,
    }
}

async fn read_json<T: serde::de::DeserializeOwned>(
    deps: &Deps,
    key: &str,
) -> Result<Option<T>, PlanError> {
    let Some(object) = deps.bucket.read(key).await? else {
        return Ok(None);
    };
    let document = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(key))?;
    Ok(Some(document))
}
