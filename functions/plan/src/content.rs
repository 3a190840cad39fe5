//! Makes sure that the same content is bought once, under whatever key it is dropped.
//!
//! A job's ID depends on the key of its manifest, so a manifest that was moved, or that was uploaded
//! under a temporary name and renamed, is another job. It must not buy the same images again. So a
//! job claims its content before anything is bought: it creates a document whose name is derived from
//! the content and which names the job. All other jobs with this content are refused.
//!
//! The claim is written after the plan, the request files and the states, and before the status that
//! makes the job planned. Only that status is then missing, and the claim holds what the status needs.
//! An invocation that finds the claim of a job that isn't planned yet completes that job, because the
//! job's own invocation may have been killed. So no invocation waits for another one that may be dead,
//! and no claim is taken from one that may be alive.
//!
//! A claim is valid while its job's `plan.lock` exists, which is written before the claim. If a user
//! deletes the job's folder, the next job takes over the claim.

use bytes::Bytes;
use darkroom::{
    job::JobFolder,
    object_keys,
    plan::{ContentClaim, PlanSummary},
};
use runtime::{
    bucket::{Bucket, BucketError, Conditional},
    document::DocumentError,
};

use crate::{deps::Deps, drop::Dropped, error::PlanError};

/// Returns the valid claim of another job to the content of this one, if there is one.
pub(crate) async fn claim_of_another(
    deps: &Deps,
    dropped: &Dropped,
) -> Result<Option<ContentClaim>, PlanError> {
    let Some((claim, _)) = read(&deps.bucket, &object_keys::content(&dropped.content)).await?
    else {
        return Ok(None);
    };
    Ok(
        if claim.job != dropped.job && is_valid(&deps.bucket, &claim).await? {
            Some(claim)
        } else {
            None
        },
    )
}

/// Claims the content for this job. Returns the valid claim: its own, or that of another job that was
/// first.
pub(crate) async fn claim(
    deps: &Deps,
    dropped: &Dropped,
    folder: Option<&JobFolder>,
    plan: &PlanSummary,
) -> Result<ContentClaim, PlanError> {
    let (bucket, key) = (&deps.bucket, object_keys::content(&dropped.content));
    let own = ContentClaim {
        v: 1,
        job: dropped.job.clone(),
        manifest: dropped.version.uri.clone(),
        folder: folder.cloned(),
        plan: plan.clone(),
    };
    let bytes = Bytes::from(serde_json::to_vec_pretty(&own).map_err(DocumentError::at(&key))?);
    // Each round either finds a valid claim or tries to write one, which fails only if another claim
    // was written at the same moment.
    loop {
        let written = match read(bucket, &key).await? {
            None => {
                bucket
                    .create(&key, "application/json", bytes.clone())
                    .await?
            }
            // This job has the claim already, perhaps from an invocation that was killed after it
            // had claimed the content.
            Some((claim, _)) if claim.job == own.job => return Ok(own),
            Some((claim, _)) if is_valid(bucket, &claim).await? => return Ok(claim),
            Some((_, etag)) => {
                bucket
                    .replace(&key, &etag, "application/json", bytes.clone())
                    .await?
            }
        };
        match written {
            Conditional::Written(_) => return Ok(own),
            // Another job was first, or this one was and the response was lost. Reading the claim
            // again shows which.
            Conditional::Refused => {}
        }
    }
}

/// Whether the job that a claim names still exists.
async fn is_valid(bucket: &Bucket, claim: &ContentClaim) -> Result<bool, BucketError> {
    Ok(bucket
        .head(&object_keys::plan_lock(&claim.job))
        .await?
        .is_some())
}

/// Returns a claim and its version, if there is one.
async fn read(bucket: &Bucket, key: &str) -> Result<Option<(ContentClaim, String)>, PlanError> {
    let Some(object) = bucket.read(key).await? else {
        return Ok(None);
    };
    let claim = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(key))?;
    Ok(Some((claim, object.etag)))
}
