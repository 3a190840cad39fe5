//! Reference pictures: uploaded to Gemini once per content and job, and shared by all requests of the job.

use std::collections::{BTreeSet, HashMap};

use clients::{
    bucket::{Bucket, Conditional},
    gemini::{FileState, UploadRequest},
};
use darkroom::{
    keys::hex,
    layout,
    names::{FileName, JobId, ObjectUri},
    requests::UploadedReference,
    results::image::MediaType,
    state::BATCH_DEADLINE,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{handler::Deps, input::InputError};

/// How many references are in memory at once.
const AT_ONCE: usize = 4;

/// The record of an uploaded reference, `jobs/<job>/refs/<sha256>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The file in the Files API.
    file: FileName,
    /// Its URI there.
    uri: String,
    /// Its MIME type.
    mime_type: String,
    /// When Google deletes it.
    expires_at: Timestamp,
}

/// Uploads the objects that weren't uploaded before, or whose upload won't outlive a batch.
pub(crate) async fn upload(
    deps: &Deps,
    job: &JobId,
    objects: BTreeSet<ObjectUri>,
) -> Result<HashMap<ObjectUri, UploadedReference>, InputError> {
    stream::iter(objects)
        .map(|object| async move {
            let uploaded = upload_one(deps, job, &object).await?;
            Ok((object, uploaded))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn upload_one(deps: &Deps, job: &JobId, object: &ObjectUri) -> Result<UploadedReference, InputError> {
    let Some(content) = bucket_of(deps, object).read(&object.key).await? else {
        return Err(InputError::Unusable(format!("the reference {object} is gone")));
    };
    let Some(media_type) = MediaType::of(&content.bytes) else {
        return Err(InputError::Unusable(format!("the reference {object} is no PNG, JPEG or WebP picture")));
    };
    let key = layout::reference(job, &hex(&Sha256::digest(&content.bytes)));
    let earlier = deps.bucket.read(&key).await?;
    if let Some(earlier) = &earlier
        && let Ok(record) = serde_json::from_slice::<Record>(&earlier.bytes)
        && record.expires_at > deps.clock.now() + BATCH_DEADLINE
    {
        return Ok(UploadedReference { uri: record.uri, mime_type: record.mime_type });
    }

    let request = UploadRequest {
        display_name: object.key.rsplit('/').next().unwrap_or_default().to_owned(),
        mime_type: media_type.mime().to_owned(),
        size_bytes: content.bytes.len() as u64,
        name: None,
    };
    let file = deps.gemini.upload(request, stream::iter([Ok::<_, std::io::Error>(content.bytes)])).await?;
    match file.state {
        FileState::Active => {}
        FileState::Processing | FileState::Unknown(_) => {
            return Err(InputError::Transient(format!("Gemini is still processing the reference {object}")));
        }
        FileState::Failed => return Err(InputError::Unusable(format!("Gemini can't process the reference {object}"))),
    }
    let mime_type = media_type.mime().to_owned();
    // A file whose end isn't known is not used again.
    let expires_at = file.expires_at.unwrap_or_else(|| deps.clock.now());
    let record = Record { file: file.name, uri: file.uri, mime_type, expires_at };
    let bytes = serde_json::to_vec(&record).map_err(|error| InputError::Unusable(error.to_string()))?;
    let written = match earlier {
        None => deps.bucket.create(&key, "application/json", bytes).await?,
        Some(earlier) => deps.bucket.replace(&key, &earlier.etag, "application/json", bytes).await?,
    };
    if let Conditional::Refused = written {
        // Another shard's upload of the same picture was recorded first. Ours serves this shard, and expires unseen.
        tracing::debug!("a reference was uploaded twice at once");
    }
    Ok(UploadedReference { uri: record.uri, mime_type: record.mime_type })
}

fn bucket_of(deps: &Deps, object: &ObjectUri) -> Bucket {
    if object.bucket == deps.bucket.name() { deps.bucket.clone() } else { deps.bucket.other(&object.bucket) }
}
