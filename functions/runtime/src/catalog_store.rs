//! The catalogs of models and prices: one for the deployment, and a copy for each job.
//!
//! People can write `stack/models.toml` in the bucket, which replaces the built-in catalog. A job
//! keeps a copy of the catalog that it was planned with, so that the actual cost of its images is
//! computed with the prices of the estimate, whatever is written later.

use std::sync::Arc;

use darkroom::{models::Catalog, names::JobId, object_keys};

use crate::{
    bucket::{Bucket, BucketError, Conditional},
    lazy::Lazy,
    parsed_text::{ParseFault, ParsedText},
};

/// The catalogs in the bucket.
#[derive(Clone, Debug)]
pub struct CatalogStore {
    bucket: Bucket,
    built_in: Lazy<Arc<Catalog>>,
    latest: ParsedText<Catalog>,
}

/// Why a catalog can't be read or written now.
#[derive(Debug, thiserror::Error)]
pub enum CatalogFault {
    /// The request to S3 failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The object is not a catalog. Nothing is planned until a user has corrected or deleted it,
    /// because prices are never guessed.
    #[error("{key}: {what}; correct it, or delete it to use the built-in catalog")]
    Broken {
        /// The object's key.
        key: String,
        /// What is wrong, and where.
        what: String,
    },
}

impl CatalogStore {
    /// The catalogs in `bucket`.
    pub fn new(bucket: Bucket, built_in: impl Into<Lazy<Arc<Catalog>>>) -> Self {
        Self {
            bucket,
            built_in: built_in.into(),
            latest: ParsedText::default(),
        }
    }

    /// The catalog to plan a job with: the job's own if it has one, otherwise the deployment's,
    /// otherwise the built-in one.
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

    /// Stores the catalog for the job. Returns false if the job already has another catalog, because
    /// another invocation planned it at the same time and was first.
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
            // Another invocation wrote it, or this one did and the response was lost.
            Conditional::Refused => Ok(self
                .bucket
                .read(&key)
                .await?
                .is_some_and(|kept| kept.bytes == catalog.text().as_bytes())),
        }
    }

    /// The catalog that the job was planned with, or the built-in one if it has none.
    ///
    /// # Errors
    /// [`CatalogFault`].
    pub async fn of_job(&self, job: &JobId) -> Result<Arc<Catalog>, CatalogFault> {
        Ok(self
            .read(&object_keys::job_models(job))
            .await?
            .unwrap_or_else(|| Arc::clone(&self.built_in)))
    }

    /// Reads a catalog. Returns none if there is no such object.
    async fn read(&self, key: &str) -> Result<Option<Arc<Catalog>>, CatalogFault> {
        let read = self.latest.read(&self.bucket, key, Catalog::parse).await;
        read.map_err(|fault| match fault {
            ParseFault::Bucket(error) => CatalogFault::Bucket(error),
            ParseFault::Broken(what) => CatalogFault::Broken {
                key: key.to_owned(),
                what,
            },
        })
    }
}
