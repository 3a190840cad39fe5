//! Records which reference pictures a job has uploaded to Gemini, by the hash of their content.
//!
//! The shards of a job start at the same time and share their pictures. So an invocation claims a
//! picture by compare-and-swap before it uploads it, and other invocations wait for the upload. A
//! claim is a lease, because its owner may be killed. The lease is short, because a second upload of a
//! picture is harmless.

use darkroom::{
    names::{FileName, JobId},
    object_keys,
    requests::UploadedReference,
};
use jiff::{SignedDuration, Timestamp};
use seam::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::{
    bucket::Bucket,
    cas::{self, CasError, Stamped},
};

/// How long a claim is valid. An upload takes seconds, so after this time its owner is assumed to have
/// been killed.
const LEASE: SignedDuration = SignedDuration::from_mins(2);

/// How many times a claim is attempted if other claims come first.
const MAX_ATTEMPTS: u32 = 3;

/// The records of uploaded references, `jobs/<job>/refs/<sha256>.json`.
#[derive(Clone, Debug)]
pub struct UploadStore {
    bucket: Bucket,
    rng: Rng,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    #[serde(default)]
    write_id: String,
    #[serde(flatten)]
    upload: Upload,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Upload {
    Done(ReferenceFile),
    /// An invocation uploads the picture, or was killed while it did.
    Claimed {
        claimed_until: Timestamp,
    },
}

impl Stamped for Record {
    fn write_id(&self) -> &str {
        &self.write_id
    }
}

/// A reference in the Files API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceFile {
    /// The file.
    pub file: FileName,
    /// Its URI there.
    pub uri: String,
    /// Its MIME type, as determined by its bytes.
    pub mime_type: String,
    /// When Google deletes it.
    pub expires_at: Timestamp,
}

/// The result of claiming a picture.
#[derive(Debug)]
pub enum Claim {
    /// The picture is uploaded, and exists for as long as it is needed.
    Uploaded(UploadedReference),
    /// Another invocation holds the claim; retry once its lease has expired, or earlier.
    Taken {
        /// When the lease ends.
        until: Timestamp,
    },
    /// The caller holds the claim and uploads the picture.
    Ours(Claimed),
}

/// A claim that the caller holds. It ends with [`UploadStore::uploaded`] or [`UploadStore::release`].
#[derive(Debug)]
pub struct Claimed {
    key: String,
    etag: String,
}

impl UploadStore {
    /// The records in `bucket`.
    pub fn new(bucket: Bucket, rng: Rng) -> Self {
        Self { bucket, rng }
    }

    /// Claims the upload of a picture, unless it is uploaded and exists for `needed_for` from `now` on.
    ///
    /// # Errors
    /// [`CasError`]. The claim may have been recorded; it then ends with its lease.
    pub async fn claim(
        &self,
        job: &JobId,
        sha256: &str,
        now: Timestamp,
        needed_for: SignedDuration,
    ) -> Result<Claim, CasError> {
        let key = object_keys::reference(job, sha256);
        for _ in 0..MAX_ATTEMPTS {
            // An upload that lasts long enough or a valid claim ends the search; any other record can
            // be replaced.
            let etag = match cas::read::<Record>(&self.bucket, &key).await? {
                Some((
                    Record {
                        upload: Upload::Done(file),
                        ..
                    },
                    _,
                )) if file.expires_at > now + needed_for => {
                    return Ok(Claim::Uploaded(UploadedReference {
                        uri: file.uri,
                        mime_type: file.mime_type,
                    }));
                }
                Some((
                    Record {
                        upload: Upload::Claimed { claimed_until },
                        ..
                    },
                    _,
                )) if claimed_until > now => {
                    return Ok(Claim::Taken {
                        until: claimed_until,
                    });
                }
                earlier => earlier.map(|(_, etag)| etag),
            };
            let claim = self.record(Upload::Claimed {
                claimed_until: now + LEASE,
            });
            if let Some(etag) = cas::write(&self.bucket, &key, &claim, etag.as_deref()).await? {
                return Ok(Claim::Ours(Claimed { key, etag }));
            }
        }
        Ok(Claim::Taken { until: now })
    }

    /// Records the uploaded file and ends the claim. If the lease expired and another invocation
    /// recorded its own upload, that record stays: both files can be used.
    ///
    /// # Errors
    /// [`CasError`].
    pub async fn uploaded(&self, claimed: Claimed, file: ReferenceFile) -> Result<(), CasError> {
        self.replace(&claimed, Upload::Done(file)).await
    }

    /// Ends a claim without an upload.
    ///
    /// # Errors
    /// [`CasError`].
    pub async fn release(&self, claimed: Claimed) -> Result<(), CasError> {
        self.replace(
            &claimed,
            Upload::Claimed {
                claimed_until: Timestamp::UNIX_EPOCH,
            },
        )
        .await
    }

    async fn replace(&self, claimed: &Claimed, upload: Upload) -> Result<(), CasError> {
        let written = cas::write(
            &self.bucket,
            &claimed.key,
            &self.record(upload),
            Some(&claimed.etag),
        )
        .await?;
        if written.is_none() {
            tracing::debug!("another invocation recorded its upload of this reference first");
        }
        Ok(())
    }

    fn record(&self, upload: Upload) -> Record {
        Record {
            write_id: self.rng.id(),
            upload,
        }
    }
}
