//! Writes the documents of a job that ends before anything is bought: `validation.csv`, the status
//! and the marker.

use std::io;

use darkroom::{
    job::JobFolder,
    manifest::{Diagnostic, Severity, write_validation},
    names::{JobId, ObjectUri},
    object_keys::{self, Marker},
    status::{JobPhase, JobStatus},
};
use jiff::Timestamp;

use crate::{
    bucket::{Bucket, BucketError, Conditional},
    document::DocumentError,
};

/// Why the documents can't be written now.
#[derive(Debug, thiserror::Error)]
pub enum RejectionError {
    /// The request to S3 failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The stored status can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The table can't be built.
    #[error("validation.csv can't be built: {0}")]
    Table(#[from] io::Error),
}

/// Rejects a job: writes its problems, the status and the marker. Returns false if the job is already
/// planned; then only `validation.csv` is written.
///
/// # Errors
/// [`RejectionError`].
pub async fn reject(
    bucket: &Bucket,
    job: &JobId,
    manifest: &ObjectUri,
    folder: Option<&JobFolder>,
    problems: &[Diagnostic],
    errors: u64,
    now: Timestamp,
) -> Result<bool, RejectionError> {
    if !write_reasons(bucket, job, manifest, folder, problems, errors, now).await? {
        return Ok(false);
    }
    bucket
        .put(
            &object_keys::document(job, Marker::Rejected.name()),
            "text/plain",
            "",
        )
        .await?;
    Ok(true)
}

/// Writes the documents of a rejection except the marker. Returns false if the job is already planned.
async fn write_reasons(
    bucket: &Bucket,
    job: &JobId,
    manifest: &ObjectUri,
    folder: Option<&JobFolder>,
    problems: &[Diagnostic],
    errors: u64,
    now: Timestamp,
) -> Result<bool, RejectionError> {
    write_problems(bucket, job, problems).await?;
    let status = JobStatus {
        folder: folder.cloned(),
        errors: Some(errors),
        ..JobStatus::new(job, manifest, JobPhase::Rejected, now)
    };
    write_first_status(bucket, &status).await
}

/// Rejects a job with a locked plan whose manifest was overwritten or deleted before the plan was
/// written, and removes it from the open jobs. Returns false if the job is already planned.
///
/// The written part of the plan is harmless: nothing was bought, and if the same manifest is dropped
/// again under the same key, it is the same job and is planned from its lock.
///
/// # Errors
/// [`RejectionError`].
pub async fn reject_overwritten(
    bucket: &Bucket,
    job: &JobId,
    manifest: &ObjectUri,
    folder: Option<&JobFolder>,
    now: Timestamp,
) -> Result<bool, RejectionError> {
    let message = format!(
        "{} was overwritten or deleted before this version of it was planned: nothing was bought. The new version is \
         another job. To have the images of this version too, drop it again under the same key after that job is planned",
        manifest.key
    );
    let code = "overwritten".to_owned();
    let problem = Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Error,
        code,
        message,
    };
    if !write_reasons(bucket, job, manifest, folder, &[problem], 1, now).await? {
        return Ok(false);
    }

    // An invocation that began before the manifest was overwritten may still be writing the plan. It
    // writes the status and then looks for the marker. This function writes the marker and then reads
    // the status. So at least one of the two notices the other.
    let (open, marker) = (
        object_keys::open_job(job),
        object_keys::document(job, Marker::Rejected.name()),
    );
    bucket.delete(&open).await?;
    bucket.put(&marker, "text/plain", "").await?;
    let is_planned = read_status(bucket, job)
        .await?
        .is_some_and(|(status, _)| status.plan.is_some());
    if is_planned {
        bucket.put(&open, "text/plain", "").await?;
        bucket.delete(&marker).await?;
    }
    Ok(!is_planned)
}

/// The status of a job and its version.
async fn read_status(
    bucket: &Bucket,
    job: &JobId,
) -> Result<Option<(JobStatus, String)>, RejectionError> {
    let key = object_keys::status(job);
    let Some(object) = bucket.read(&key).await? else {
        return Ok(None);
    };
    let status = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(&key))?;
    Ok(Some((status, object.etag)))
}

/// Writes a job's status unless the job is already planned: from then on only `report` writes it.
/// Returns whether it was written.
///
/// # Errors
/// [`RejectionError`].
pub async fn write_first_status(
    bucket: &Bucket,
    status: &JobStatus,
) -> Result<bool, RejectionError> {
    let key = object_keys::status(&status.job);
    let bytes = serde_json::to_vec_pretty(status).map_err(DocumentError::at(&key))?;
    let written = match read_status(bucket, &status.job).await? {
        None => bucket.create(&key, "application/json", bytes).await?,
        Some((earlier, _)) if earlier.plan.is_some() => return Ok(false),
        Some((_, etag)) => {
            bucket
                .replace(&key, &etag, "application/json", bytes)
                .await?
        }
    };
    Ok(matches!(written, Conditional::Written(_)))
}

/// Writes `validation.csv`. For an accepted manifest it holds the warnings.
///
/// # Errors
/// [`RejectionError`].
pub async fn write_problems(
    bucket: &Bucket,
    job: &JobId,
    problems: &[Diagnostic],
) -> Result<(), RejectionError> {
    let mut table = Vec::new();
    write_validation(problems, &mut table)?;
    bucket
        .put(
            &object_keys::document(job, "validation.csv"),
            "text/csv; charset=utf-8",
            table,
        )
        .await?;
    Ok(())
}
