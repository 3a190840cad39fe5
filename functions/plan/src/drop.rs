//! A manifest as it was dropped: one version of it, whose bytes and sidecar decide the job.

use std::sync::Arc;

use darkroom::{
    digest::hex,
    folders::Folder,
    manifest::{Header, OpenedManifest, Sidecar},
    names::{JobId, ObjectUri},
    plan::{CustomNames, ManifestVersion, PlanLock, content_id, job_id},
};
use sha2::{Digest, Sha256};

use crate::{deps::Deps, error::PlanError, sources::BucketSources, terms::Terms};

/// One version of a manifest, and the job that it starts.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    /// The job.
    pub(crate) job: JobId,
    /// What the job buys, whatever the manifest's key: another job with the same content is refused.
    pub(crate) content: String,
    /// The version.
    pub(crate) version: ManifestVersion,
    /// The metadata, the job document and the templates that the manifest uses.
    pub(crate) sidecar: Sidecar,
    /// The folder that the manifest belongs to now. A job that is planned already keeps the one
    /// that its lock names.
    pub(crate) folder: Option<Folder>,
    /// What holds for the whole manifest. Empty for one that is too large.
    pub(crate) header: Arc<Header>,
    /// Whether the manifest has more bytes than are allowed. Its hash is then that of its ETag and
    /// size.
    pub(crate) is_too_large: bool,
    /// The same version, to be opened again on a thread that may block.
    pub(crate) sources: BucketSources,
}

impl Dropped {
    /// Opens the manifest, for its hash, its header and its sidecar. `None` if there is no such
    /// object any more.
    ///
    /// This is the first of three times that a manifest is opened: `check` validates its items, and
    /// `write` turns them into the plan. A fourth is needed only for what
    /// [`OpenedManifest::open`] describes.
    pub(crate) async fn read(deps: &Deps, key: &str) -> Result<Option<Self>, PlanError> {
        let Some(head) = deps.bucket.head(key).await? else {
            return Ok(None);
        };
        let uri = ObjectUri {
            bucket: deps.bucket.name().to_owned(),
            key: key.to_owned(),
        };
        let sources = BucketSources::new(&deps.bucket, key, &head.etag);
        let folder = deps.folders.read().await?.of(key).cloned();

        // No invocation lasts long enough to read a manifest without limit. It gets a job anyway, so
        // that there is a folder for its rejection.
        if head.size > deps.limits.manifest_bytes {
            let sha256 = Sha256::digest(format!("too large\0{}\0{}", head.etag, head.size));
            let (sha256, sidecar) = (sha256.into(), Sidecar::default());
            return Ok(Some(Self {
                job: job_id(&uri.bucket, key, &sha256, &deps.settings, &sidecar),
                content: content_id(&sha256, &deps.settings, &sidecar),
                version: ManifestVersion {
                    uri,
                    etag: head.etag,
                    sha256: hex(&sha256),
                    size_bytes: head.size,
                },
                sidecar,
                folder,
                header: Arc::default(),
                is_too_large: true,
                sources,
            }));
        }

        let (reading, address) = (sources.clone(), uri.clone());
        let defaults = folder.as_ref().and_then(|folder| folder.defaults.clone());
        let opened = tokio::task::spawn_blocking(move || {
            OpenedManifest::open(&reading, &address, head.metadata, defaults)
        })
        .await??;
        Ok(Some(Self {
            job: opened.job_id(&uri, &deps.settings),
            content: opened.content_id(&deps.settings),
            version: ManifestVersion {
                uri,
                etag: head.etag,
                sha256: hex(&opened.sha256),
                size_bytes: opened.size_bytes,
            },
            sidecar: opened.sidecar,
            folder,
            header: Arc::new(opened.header),
            is_too_large: false,
            sources,
        }))
    }

    /// Returns what `plan.lock` records of the manifest before anything else is written.
    pub(crate) fn lock(&self, deps: &Deps, terms: &Terms, custom_names: &CustomNames) -> PlanLock {
        PlanLock {
            v: 1,
            job: self.job.clone(),
            manifest: self.version.clone(),
            settings: deps.settings.clone(),
            bounds: terms.bounds.clone(),
            folder: terms.folder.clone(),
            templates: self
                .sidecar
                .templates
                .iter()
                .map(|(name, stored)| (name.clone(), stored.key.clone()))
                .collect(),
            catalog_sha256: PlanLock::hash_of(&deps.catalog),
            planned_at: terms.planned_at,
            custom_names: custom_names.clone(),
            has_rows: self.header.is_table(),
        }
    }
}
