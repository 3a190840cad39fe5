//! Documents that are written only by compare-and-swap.
//!
//! A conditional write can succeed although its response is a refusal, or is lost: the SDK repeats a
//! request after a timeout, and the repetition finds the object of the first. So every write carries
//! a unique ID, and after a refusal the document is read back and its ID compared. The outcome is
//! *written*, *conflict*, or an error. An error means that the outcome is unknown.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bucket::{Bucket, BucketError, Conditional},
    document::DocumentError,
};

/// A document that carries the ID of the write that created it.
pub(crate) trait Stamped: Serialize + DeserializeOwned {
    /// The ID of the write.
    fn write_id(&self) -> &str;
}

/// Why a document can't be read or written now.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
    /// The request to S3 failed. Whether a write took effect is unknown.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Reads a document, with the version that the next write must replace. Returns none if there is no
/// such document.
pub(crate) async fn read<T: DeserializeOwned>(
    bucket: &Bucket,
    key: &str,
) -> Result<Option<(T, String)>, CasError> {
    let Some(object) = bucket.read(key).await? else {
        return Ok(None);
    };
    let document = serde_json::from_slice(&object.bytes).map_err(DocumentError::at(key))?;
    Ok(Some((document, object.etag)))
}

/// Writes a document if the stored version is `etag`, or if there is no document and `etag` is none.
/// Returns the new version, or none if another write came first.
pub(crate) async fn write<T: Stamped>(
    bucket: &Bucket,
    key: &str,
    document: &T,
    etag: Option<&str>,
) -> Result<Option<String>, CasError> {
    let bytes = serde_json::to_vec(document).map_err(DocumentError::at(key))?;
    let written = match etag {
        Some(etag) => bucket.replace(key, etag, "application/json", bytes).await,
        None => bucket.create(key, "application/json", bytes).await,
    };
    match written {
        Ok(Conditional::Written(etag)) => Ok(Some(etag)),
        // The write was refused or its response was lost, and it may have taken effect: the stored
        // document shows whose write came last.
        Ok(Conditional::Refused) | Err(BucketError::Transient { .. }) => {
            let stored = read::<T>(bucket, key).await?;
            match (stored, written) {
                (Some((stored, etag)), _) if stored.write_id() == document.write_id() => {
                    Ok(Some(etag))
                }
                (_, Err(unknown)) => Err(unknown.into()),
                (_, Ok(_)) => Ok(None),
            }
        }
        Err(error) => Err(error.into()),
    }
}
