//! Reads the documents of a job from which its events follow.

use darkroom::{
    events::{JobDocuments, marker_of},
    names::JobId,
    object_keys::{self, Marker},
};
use runtime::document::DocumentError;
use serde::de::DeserializeOwned;

use crate::{deps::Deps, error::NotifyError};

/// Reads the documents of a job. Returns none if the job has no status, because it was deleted.
pub(crate) async fn read(deps: &Deps, job: &JobId) -> Result<Option<JobDocuments>, NotifyError> {
    let Some(status) = read_json(deps, &object_keys::status(job)).await? else {
        return Ok(None);
    };
    let mut documents = JobDocuments {
        status,
        has_marker: false,
        summary: None,
    };
    let Some(marker) = marker_of(documents.status.phase) else {
        return Ok(Some(documents));
    };
    // The marker is written last. Without it, the other documents may be incomplete, and another
    // message follows.
    let key = object_keys::document(job, marker.name());
    documents.has_marker = deps.bucket.head(&key).await?.is_some();
    if documents.has_marker && !matches!(marker, Marker::Rejected | Marker::DryRun) {
        let key = object_keys::document(job, "summary.json");
        let summary = read_json(deps, &key).await?;
        documents.summary = Some(summary.ok_or(NotifyError::Missing(key))?);
    }
    Ok(Some(documents))
}

async fn read_json<T: DeserializeOwned>(deps: &Deps, key: &str) -> Result<Option<T>, NotifyError> {
    let Some(object) = deps.bucket.read(key).await? else {
        return Ok(None);
    };
    let document = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(key))?;
    Ok(Some(document))
}
