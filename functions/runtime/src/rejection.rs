//! A job that ends before anything is bought: its problems, its status and its marker.

use std::io;

use darkroom::{
    manifest::{Diagnostic, Severity, write_validation},
    names::{JobId, ObjectUri},
    object_keys::{self, Marker},
    status::{JobPhase, JobStatus},
};
use jiff::Timestamp;

use crate::bucket::{Bucket, BucketError, Conditional};

/// The documents could not be written now.
#[derive(Debug, thiserror::Error)]
pub enum RejectionError {
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The stored status isn't what it should be.
    #[error("{key} can't be read: {source}")]
    Malformed {
        /// The object's key.
        key: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// The table could not be made.
    #[error("the table of problems can't be written: {0}")]
    Table(#[from] io::Error),
}

/// Rejects a job: writes its problems, the status, and the marker. False if the job was planned
/// already, which then stays as it is.
///
/// # Errors
/// [`RejectionError`].
pub async fn reject(
    bucket: &Bucket,
    job: &JobId,
    manifest: &ObjectUri,
    problems: &[Diagnostic],
    errors: u64,
    now: Timestamp,
) -> Result<bool, RejectionError> {
    if !write_reasons(bucket, job, manifest, problems, errors, now).await? {
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

/// Writes all of a rejection but its marker. False if the job was planned already.
async fn write_reasons(
    bucket: &Bucket,
    job: &JobId,
    manifest: &ObjectUri,
    problems: &[Diagnostic],
    errors: u64,
    now: Timestamp,
) -> Result<bool, RejectionError> {
    write_problems(bucket, job, problems).await?;
    let status = JobStatus {
        errors: Some(errors),
        ..JobStatus::new(job, manifest, JobPhase::Rejected, now)
    };
    write_first_status(bucket, &status).await
}

/// Rejects a job whose plan was locked, and whose manifest was overwritten or deleted before the
/// plan was written. It is no open job any more. What was written of its plan does no harm: nothing
/// was bought, and if the same manifest is dropped again under the same key, it is the same job and
/// is planned from its lock.
///
/// # Errors
/// [`RejectionError`].
pub async fn reject_overwritten(
    bucket: &Bucket,
    job: &JobId,
    manifest: &ObjectUri,
    now: Timestamp,
) -> Result<bool, RejectionError> {
    let message = format!(
        "{} was overwritten or deleted before this version of it was planned: nothing was bought. The new version is a job \
         of its own; to have this one as well, drop it again under the same key when that is planned",
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
    if !write_reasons(bucket, job, manifest, &[problem], 1, now).await? {
        return Ok(false);
    }

    // An invocation that began before the manifest was overwritten may be writing the plan. It
    // writes the status first, then looks for the marker; this writes the marker first, then looks
    // at the status. So one of them sees the other.
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

async fn read_status(
    bucket: &Bucket,
    job: &JobId,
) -> Result<Option<(JobStatus, String)>, RejectionError> {
    let key = object_keys::status(job);
    let Some(object) = bucket.read(&key).await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&object.bytes) {
        Ok(status) => Ok(Some((status, object.etag))),
        Err(source) => Err(RejectionError::Malformed { key, source }),
    }
}

/// Writes a job's status unless it was planned already: from then on `report` alone writes it.
/// Whether it was written.
///
/// # Errors
/// [`RejectionError`].
pub async fn write_first_status(
    bucket: &Bucket,
    status: &JobStatus,
) -> Result<bool, RejectionError> {
    let key = object_keys::status(&status.job);
    let bytes = serde_json::to_vec_pretty(status).map_err(|source| RejectionError::Malformed {
        key: key.clone(),
        source,
    })?;
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

/// `validation.csv`: for an accepted manifest, its warnings.
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
