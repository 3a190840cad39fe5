//! Which models and prices hold: the catalogue that a deployment was given, and the one that each
//! job keeps.
//!
//! `stack/models.toml` in the bucket, written by people, replaces the catalogue that is built in. A
//! job keeps a copy of what it was planned with: what its images did cost is counted by the prices
//! that it was estimated with, whatever is put there later.

use std::sync::{Arc, Mutex, PoisonError};

use darkroom::{
    layout,
    models::{Catalogue, CatalogueError},
    names::JobId,
};

use crate::bucket::{Bucket, BucketError, Conditional};

/// The catalogues in the bucket.
#[derive(Clone, Debug)]
pub struct Catalogues {
    bucket: Bucket,
    built_in: Arc<Catalogue>,
    /// What was read last, so that the same text isn't parsed twice.
    latest: Arc<Mutex<Option<Arc<Catalogue>>>>,
}

/// No catalogue can be had now.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueFault {
    /// It can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// What somebody put there is none. Prices are not guessed: nothing is planned before it is
    /// mended.
    #[error("{key}: {what}; mend it, or delete it to have the built-in catalogue")]
    Broken {
        /// The object's key.
        key: String,
        /// What is wrong where.
        what: String,
    },
}

impl Catalogues {
    /// Those in `bucket`.
    pub fn new(bucket: Bucket, built_in: Arc<Catalogue>) -> Self {
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
    /// [`CatalogueFault`].
    pub async fn to_plan(&self, job: &JobId) -> Result<Arc<Catalogue>, CatalogueFault> {
        match self.read(&layout::job_models(job)).await? {
            Some(own) => Ok(own),
            None => Ok(self
                .read(layout::MODELS)
                .await?
                .unwrap_or_else(|| Arc::clone(&self.built_in))),
        }
    }

    /// Has the job keep the catalogue. False if it keeps another: somebody else is planning it, and
    /// was first.
    ///
    /// # Errors
    /// [`CatalogueFault`].
    pub async fn keep(&self, job: &JobId, catalogue: &Catalogue) -> Result<bool, CatalogueFault> {
        let key = layout::job_models(job);
        match self
            .bucket
            .create(&key, "application/toml", catalogue.text().to_owned())
            .await?
        {
            Conditional::Written(_) => Ok(true),
            // By another, or by us, if the answer to it was lost.
            Conditional::Refused => Ok(self
                .bucket
                .read(&key)
                .await?
                .is_some_and(|kept| kept.bytes == catalogue.text().as_bytes())),
        }
    }

    /// The one that the job was planned with. A job from before they were kept has the built-in
    /// one.
    ///
    /// # Errors
    /// [`CatalogueFault`].
    pub async fn of_job(&self, job: &JobId) -> Result<Arc<Catalogue>, CatalogueFault> {
        Ok(self
            .read(&layout::job_models(job))
            .await?
            .unwrap_or_else(|| Arc::clone(&self.built_in)))
    }

    async fn read(&self, key: &str) -> Result<Option<Arc<Catalogue>>, CatalogueFault> {
        let Some(object) = self.bucket.read(key).await? else {
            return Ok(None);
        };
        let latest = || self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalogue) = &*latest()
            && catalogue.text().as_bytes() == object.bytes
        {
            return Ok(Some(Arc::clone(catalogue)));
        }
        let broken = |what: String| CatalogueFault::Broken {
            key: key.to_owned(),
            what,
        };
        let text = std::str::from_utf8(&object.bytes)
            .map_err(|error| broken(format!("it is no text: {error}")))?;
        let catalogue = Arc::new(
            Catalogue::parse(text).map_err(|error: CatalogueError| broken(error.to_string()))?,
        );
        *latest() = Some(Arc::clone(&catalogue));
        Ok(Some(catalogue))
    }
}
