//! One content is one job, under whatever key it is dropped.
//!
//! A job's id holds its manifest's key, so a manifest that was moved, or that was uploaded under a
//! temporary name and renamed, is another job. It must not buy the same images again. So a job
//! claims its content before anything is bought: it creates a document that is named by the content
//! and names the job. All other jobs of this content are refused.
//!
//! The claim comes when the plan, the request files and the states are written, and before the
//! status that makes the job planned. Nothing but that status is then missing, and the claim holds
//! what is in it: whoever comes upon the claim of a job that isn't planned yet, because its
//! invocation was killed or is about to write the status, makes it planned. So nobody waits for an
//! invocation that may be dead, and no claim is taken from one that may be alive.
//!
//! A claim counts as long as its job's `plan.lock` is there, which is written before it. If a
//! person has deleted the job's folder, the next job takes the claim over.

use bytes::Bytes;
use darkroom::{
    object_keys,
    plan::{ContentClaim, PlanSummary},
};
use runtime::bucket::{Bucket, BucketError, Conditional};

use crate::{
    deps::Deps,
    drop::Dropped,
    handler::{PlanError, malformed},
};

/// The claim of another job to the content of this one, if there is one that counts.
pub(crate) async fn claim_of_another(
    deps: &Deps,
    dropped: &Dropped,
) -> Result<Option<ContentClaim>, PlanError> {
    let Some((claim, _)) = read(&deps.bucket, &object_keys::content(&dropped.content)).await?
    else {
        return Ok(None);
    };
    Ok(
        if claim.job != dropped.job && counts(&deps.bucket, &claim).await? {
            Some(claim)
        } else {
            None
        },
    )
}

/// Claims the content for this job. The claim that counts then: its own, or that of another job
/// which was first.
pub(crate) async fn claim(
    deps: &Deps,
    dropped: &Dropped,
    plan: &PlanSummary,
) -> Result<ContentClaim, PlanError> {
    let (bucket, key) = (&deps.bucket, object_keys::content(&dropped.content));
    let own = ContentClaim {
        v: 1,
        job: dropped.job.clone(),
        manifest: dropped.version.uri.clone(),
        plan: plan.clone(),
    };
    let bytes = Bytes::from(serde_json::to_vec_pretty(&own).map_err(malformed(&key))?);
    loop {
        let written = match read(bucket, &key).await? {
            None => {
                bucket
                    .create(&key, "application/json", bytes.clone())
                    .await?
            }
            // It was planned before, perhaps by an invocation that was killed after it had claimed
            // the content.
            Some((claim, _)) if claim.job == own.job => return Ok(own),
            Some((claim, _)) if counts(bucket, &claim).await? => return Ok(claim),
            Some((_, etag)) => {
                bucket
                    .replace(&key, &etag, "application/json", bytes.clone())
                    .await?
            }
        };
        match written {
            Conditional::Written(_) => return Ok(own),
            // Another was first, or it was this one and the answer was lost: the next look tells.
            Conditional::Refused => {}
        }
    }
}

/// Whether the job that a claim names is still there.
async fn counts(bucket: &Bucket, claim: &ContentClaim) -> Result<bool, BucketError> {
    Ok(bucket
        .head(&object_keys::plan_lock(&claim.job))
        .await?
        .is_some())
}

async fn read(bucket: &Bucket, key: &str) -> Result<Option<(ContentClaim, String)>, PlanError> {
    let Some(object) = bucket.read(key).await? else {
        return Ok(None);
    };
    let claim = serde_json::from_slice(&object.bytes).map_err(malformed(key))?;
    Ok(Some((claim, object.etag)))
}
