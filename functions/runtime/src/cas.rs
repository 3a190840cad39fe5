//! Documents that are written by compare-and-swap alone.
//!
//! A conditional write can succeed and still be answered with a refusal or not at all: the SDK
//! sends it again after a time-out, and the second finds the first's object. So every write carries
//! an id of its own, and whoever is refused reads back and compares. The answer is *mine*,
//! *theirs*, or an error, which means unknown, and never "absent".

use serde::{Serialize, de::DeserializeOwned};

use crate::bucket::{Bucket, BucketError, Conditional};

/// A document that carries the id of the write that made it.
pub(crate) trait Stamped: Serialize + DeserializeOwned {
    /// The id of the write.
    fn write_id(&self) -> &str;
}

/// A document that can't be read or written now.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
    /// The bucket failed. After a write, whether it happened is unknown.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The stored document isn't what it should be.
    #[error("{key} can't be read: {source}; restore it from an earlier version")]
    Malformed {
        /// The object's key.
        key: String,
        /// What serde found.
        source: serde_json::Error,
    },
}

/// A document with the version that the next write must replace; none if there is none.
pub(crate) async fn read<T: DeserializeOwned>(
    bucket: &Bucket,
    key: &str,
) -> Result<Option<(T, String)>, CasError> {
    let Some(object) = bucket.read(key).await? else {
        return Ok(None);
    };
    let document =
        serde_json::from_slice(&object.bytes).map_err(|source| malformed(key, source))?;
    Ok(Some((document, object.etag)))
}

/// Writes a document over the version `etag`, or as the first where there is none. Answers with its
/// new version, or with nothing if somebody else wrote first.
pub(crate) async fn write<T: Stamped>(
    bucket: &Bucket,
    key: &str,
    document: &T,
    etag: Option<&str>,
) -> Result<Option<String>, CasError> {
    let bytes = serde_json::to_vec(document).map_err(|source| malformed(key, source))?;
    let written = match etag {
        Some(etag) => bucket.replace(key, etag, "application/json", bytes).await,
        None => bucket.create(key, "application/json", bytes).await,
    };
    match written {
        Ok(Conditional::Written(etag)) => Ok(Some(etag)),
        // Refused, or unanswered: whose write is stored now?
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

fn malformed(key: &str, source: serde_json::Error) -> CasError {
    CasError::Malformed {
        key: key.to_owned(),
        source,
    }
}
