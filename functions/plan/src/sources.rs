//! A manifest and its sidecar in the bucket, as the library reads them.

use std::io::Read;

use darkroom::manifest::{SourceSet, TEMPLATES};
use runtime::bucket::{Bucket, BucketError};
use tokio::runtime::Handle;
use tokio_util::io::SyncIoBridge;

use crate::error::PlanError;

/// The largest job document or template, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// One version of a manifest in the bucket, for a thread that may block: the library is synchronous,
/// and reads from S3 are not.
#[derive(Clone, Debug)]
pub(crate) struct BucketSources {
    bucket: Bucket,
    key: String,
    /// The version's ETag.
    etag: String,
    runtime: Handle,
}

impl BucketSources {
    /// The manifest `key` in the version that `etag` names. Requests are sent by the runtime that
    /// this is called on.
    pub(crate) fn new(bucket: &Bucket, key: &str, etag: &str) -> Self {
        Self {
            bucket: bucket.clone(),
            key: key.to_owned(),
            etag: etag.to_owned(),
            runtime: Handle::current(),
        }
    }
}

impl SourceSet for BucketSources {
    type Error = PlanError;

    fn manifest(&self) -> Result<impl Read, PlanError> {
        let opened = self
            .runtime
            .block_on(self.bucket.open(&self.key, Some(&self.etag)))?;
        match opened {
            Some((stream, _)) => Ok(SyncIoBridge::new_with_handle(
                stream.into_async_read(),
                self.runtime.clone(),
            )),
            None => Err(BucketError::Changed {
                key: self.key.clone(),
            }
            .into()),
        }
    }

    /// A text that is too large or not UTF-8 is cut or replaced: it is then no valid JSON, which
    /// the validation reports.
    fn text(&self, key: &str) -> Result<Option<String>, PlanError> {
        let start = self
            .runtime
            .block_on(self.bucket.peek(key, MAX_TEXT_BYTES))?;
        Ok(start.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn template_keys(&self) -> Result<Vec<String>, PlanError> {
        Ok(self.runtime.block_on(self.bucket.keys(TEMPLATES))?)
    }
}
