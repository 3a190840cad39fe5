//! A manifest as it was dropped: one version of it, whose bytes name the job.

use std::io::Read;

use darkroom::{
    digest::hex,
    manifest::Beside,
    names::{JobId, ObjectUri},
    plan::content_id,
    plan::job_id,
    plan::{CustomNames, ManifestVersion, PlanLock},
};
use runtime::bucket::BucketError;
use sha2::{Digest, Sha256};
use tokio_util::io::SyncIoBridge;

use crate::{beside, deps::Deps, handler::PlanError, terms::Terms};

/// One version of a manifest, and the job that it means.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    /// The job.
    pub(crate) job: JobId,
    /// What is bought, whatever the key: another job of the same content is refused.
    pub(crate) content: String,
    /// The version.
    pub(crate) version: ManifestVersion,
    /// What stands beside it.
    pub(crate) beside: Beside,
    /// Whether it has more bytes than a manifest may have. Then its hash is that of its ETag and
    /// size.
    pub(crate) is_too_large: bool,
}

impl Dropped {
    /// Reads the manifest once, for its hash, and what stands beside it. None if it isn't there any
    /// more.
    pub(crate) async fn read(deps: &Deps, key: &str) -> Result<Option<Self>, PlanError> {
        let Some(head) = deps.bucket.head(key).await? else {
            return Ok(None);
        };
        let mut hash = Sha256::new();
        let most = deps.limits.manifest_bytes;
        if head.size > most {
            // No invocation lasts long enough to read it. It is a job of its own, so that its
            // rejection has a place.
            hash.update(format!("too large\0{}\0{}", head.etag, head.size));
            let sha256: [u8; 32] = hash.finalize().into();
            let uri = ObjectUri {
                bucket: deps.bucket.name().to_owned(),
                key: key.to_owned(),
            };
            let version = ManifestVersion {
                uri,
                etag: head.etag,
                sha256: hex(&sha256),
                size_bytes: head.size,
            };
            return Ok(Some(Self::new(
                deps,
                version,
                &sha256,
                Beside::default(),
                true,
            )));
        }
        let Some((mut stream, etag)) = deps.bucket.open(key, Some(&head.etag)).await? else {
            return Ok(None);
        };
        let mut size_bytes = 0;
        while let Some(bytes) = stream.try_next().await.map_err(std::io::Error::other)? {
            hash.update(&bytes);
            size_bytes += bytes.len() as u64;
        }
        let sha256: [u8; 32] = hash.finalize().into();
        let uri = ObjectUri {
            bucket: deps.bucket.name().to_owned(),
            key: key.to_owned(),
        };
        let version = ManifestVersion {
            uri,
            etag,
            sha256: hex(&sha256),
            size_bytes,
        };
        let beside = beside::read(deps, &version, head.metadata).await?;
        Ok(Some(Self::new(deps, version, &sha256, beside, false)))
    }

    fn new(
        deps: &Deps,
        version: ManifestVersion,
        sha256: &[u8; 32],
        beside: Beside,
        is_too_large: bool,
    ) -> Self {
        let job = job_id(
            &version.uri.bucket,
            &version.uri.key,
            sha256,
            &deps.settings,
            &beside,
        );
        let content = content_id(sha256, &deps.settings, &beside);
        Self {
            job,
            content,
            version,
            beside,
            is_too_large,
        }
    }

    /// The same version again, for a thread that may block.
    pub(crate) async fn reader(&self, deps: &Deps) -> Result<impl Read + Send + use<>, PlanError> {
        reader(deps, &self.version).await
    }

    /// What is written down of it before anything else.
    pub(crate) fn lock(&self, deps: &Deps, terms: &Terms, custom_names: &CustomNames) -> PlanLock {
        PlanLock {
            v: 1,
            job: self.job.clone(),
            manifest: self.version.clone(),
            settings: deps.settings.clone(),
            bounds: terms.bounds.clone(),
            templates: self
                .beside
                .templates
                .iter()
                .map(|(name, stored)| (name.clone(), stored.key.clone()))
                .collect(),
            catalog_sha256: PlanLock::hash_of(&deps.catalog),
            planned_at: terms.planned_at,
            custom_names: custom_names.clone(),
        }
    }
}

/// One version of a manifest, for a thread that may block.
pub(crate) async fn reader(
    deps: &Deps,
    version: &ManifestVersion,
) -> Result<impl Read + Send + use<>, PlanError> {
    let key = &version.uri.key;
    match deps.bucket.open(key, Some(&version.etag)).await? {
        Some((stream, _)) => Ok(SyncIoBridge::new(stream.into_async_read())),
        None => Err(BucketError::Changed { key: key.clone() }.into()),
    }
}
