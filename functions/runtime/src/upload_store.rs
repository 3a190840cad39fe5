//! Selector reference pictures a job has uploaded to Gemini, by the hash of their content.
//!
//! Shards of a job start at the same moment and share their pictures. So whoever is about to upload
//! one claims it first, by compare-and-swap, and others wait for the upload instead of making a
//! second. A claim is a lease, as its owner may die. Two uploads of one picture would be a waste
//! and nothing worse, so the lease is short.

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

/// How long an upload is left to whoever claimed it. It takes seconds; after this its owner counts
/// as dead.
const LEASE: SignedDuration = SignedDuration::from_mins(2);

/// How often a claim is made anew because somebody else's came first.
const TRIES: u32 = 3;

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
    /// Somebody uploads it, or died in it.
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
    /// Its MIME type, by its bytes.
    pub mime_type: String,
    /// When Google deletes it.
    pub expires_at: Timestamp,
}

/// Whether a picture is to be uploaded.
#[derive(Debug)]
pub enum Claim {
    /// It was, and is there as long as it is needed.
    Uploaded(UploadedReference),
    /// Somebody else is at it, or was until he died: look again then, or earlier.
    Taken {
        /// When the lease ends.
        until: Timestamp,
    },
    /// It is ours to upload.
    Ours(Claimed),
}

/// A picture that is ours to upload: to be given up with [`UploadStore::uploaded`] or
/// [`UploadStore::release`].
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

    /// Claims the upload of a picture, unless it was made and outlives `needed_for` from `now` on.
    ///
    /// # Errors
    /// [`SwapError`]. It may be claimed then, by somebody who doesn't know: that passes with the
    /// lease.
    pub async fn claim(
        &self,
        job: &JobId,
        sha256: &str,
        now: Timestamp,
        needed_for: SignedDuration,
    ) -> Result<Claim, CasError> {
        let key = object_keys::reference(job, sha256);
        for _ in 0..TRIES {
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

    /// Writes down what became of a claim. Whoever was slower than the lease may find another's
    /// upload there, which then stays: both files serve.
    ///
    /// # Errors
    /// [`SwapError`].
    pub async fn uploaded(&self, claimed: Claimed, file: ReferenceFile) -> Result<(), CasError> {
        self.replace(&claimed, Upload::Done(file)).await
    }

    /// Gives a claim back unused.
    ///
    /// # Errors
    /// [`SwapError`].
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
            tracing::debug!("another's upload of a reference was recorded first");
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
