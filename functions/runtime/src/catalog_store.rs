//! Selector models and prices hold: the catalog that a deployment was given, and the one that each
//! job keeps.
//!
//! `stack/models.toml` in the bucket, written by people, replaces the catalog that is built in. A
//! job keeps a copy of what it was planned with: what its images did cost is counted by the prices
//! that it was estimated with, whatever is put there later.

use std::sync::{Arc, Mutex, PoisonError};

use darkroom::{
    models::{Catalog, CatalogError},
    names::JobId,
    object_keys,
};

use crate::bucket::{Bucket, BucketError, Conditional};

/// The catalogs in the bucket.
#[derive(Clone, Debug)]
pub struct CatalogStore {
    bucket: Bucket,
    built_in: Arc<Catalog>,
    /// What was read last, so that the same text isn't parsed twice.
    latest: Arc<Mutex<Option<Arc<Catalog>>>>,
}

/// No catalog can be had now.
#[derive(Debug, thiserror::Error)]
pub enum CatalogFault {
    /// It can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// What somebody put there is none. Prices are not guessed: nothing is planned before it is
    /// mended.
    #[error("{key}: {what}; mend it, or delete it to have the built-in catalog")]
    Broken {
        /// The object's key.
        key: String,
        /// What is wrong where.
        what: String,
    },
}

impl CatalogStore {
    /// Those in `bucket`.
    pub fn new(bucket: Bucket, built_in: Arc<Catalog>) -> Self {
        Self {
            bucket,
            built_in,
            latest: Arc::default(),
        }
    }

    /// The one to plan a job with: its own if it has one already, else what the deployment was
    /// given, else the built-in.
    ///
    /// # Errors
    /// [`CatalogFault`].
    pub async fn to_plan(&self, job: &JobId) -> Result<Arc<Catalog>, CatalogFault> {
        match self.read(&object_keys::job_models(job)).await? {
            Some(own) => Ok(own),
            None => Ok(self
                .read(object_keys::MODELS)
                .await?
                .unwrap_or_else(|| Arc::clone(&self.built_in))),
        }
    }

    /// Has the job keep the catalog. False if it keeps another: somebody else is planning it, and
    /// was first.
    ///
    /// # Errors
    /// [`CatalogFault`].
    pub async fn keep(&self, job: &JobId, catalog: &Catalog) -> Result<bool, CatalogFault> {
        let key = object_keys::job_models(job);
        match self
            .bucket
            .create(&key, "application/toml", catalog.text().to_owned())
            .await?
        {
            Conditional::Written(_) => Ok(true),
            // By another, or by us, if the answer to it was lost.
            Conditional::Refused => Ok(self
                .bucket
                .read(&key)
                .await?
                .is_some_and(|kept| kept.bytes == catalog.text().as_bytes())),
        }
    }

    /// The one that the job was planned with. A job from before they were kept has the built-in
    /// one.
    ///
    /// # Errors
    /// [`CatalogFault`].
    pub async fn of_job(&self, job: &JobId) -> Result<Arc<Catalog>, CatalogFault> {
        Ok(self
            .read(&object_keys::job_models(job))
            .await?
            .unwrap_or_else(|| Arc::clone(&self.built_in)))
    }

    async fn read(&self, key: &str) -> Result<Option<Arc<Catalog>>, CatalogFault> {
        let Some(object) = self.bucket.read(key).await? else {
            return Ok(None);
        };
        let latest = || self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalog) = &*latest()
            && catalog.text().as_bytes() == object.bytes
        {
            return Ok(Some(Arc::clone(catalog)));
        }
        let broken = |what: String| CatalogFault::Broken {
            key: key.to_owned(),
            what,
        };
        let text = std::str::from_utf8(&object.bytes)
            .map_err(|error| broken(format!("it is no text: {error}")))?;
        let catalog = Arc::new(
            Catalog::parse(text).map_err(|error: CatalogError| broken(error.to_string()))?,
        );
        *latest() = Some(Arc::clone(&catalog));
        Ok(Some(catalog))
    }
}
