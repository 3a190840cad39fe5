//! Lists objects.

use darkroom::status::DocumentVersion;

use super::{Bucket, BucketError};

impl Bucket {
    /// The keys of all objects that begin with `prefix`, in order.
    ///
    /// # Errors
    /// [`BucketError`], also if a later page of the list can't be read.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, BucketError> {
        let mut keys = Vec::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(prefix)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| BucketError::of(prefix, error))?;
            keys.extend(
                page.contents
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|object| object.key),
            );
        }
        Ok(keys)
    }

    /// The folders below `prefix`: what the keys that begin with it have between it and their next
    /// `/`, each once and in order.
    ///
    /// # Errors
    /// [`BucketError`], also if a later page of the list can't be read.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, BucketError> {
        let mut folders = Vec::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(prefix)
            .delimiter("/")
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| BucketError::of(prefix, error))?;
            let names = page.common_prefixes.unwrap_or_default();
            folders.extend(names.into_iter().filter_map(|folder| {
                let rest = folder.prefix?;
                Some(rest.strip_prefix(prefix)?.strip_suffix('/')?.to_owned())
            }));
        }
        Ok(folders)
    }

    /// An object's ETag, with its quotes. Returns none if there is no such object. Unlike
    /// [`Bucket::head`], this needs no permission to read the object.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn etag(&self, key: &str) -> Result<Option<String>, BucketError> {
        // The list is in order, so of all keys with this prefix the key itself comes first.
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(key)
            .max_keys(1);
        let page = request
            .send()
            .await
            .map_err(|error| BucketError::of(key, error))?;
        let first = page.contents.unwrap_or_default().into_iter().next();
        Ok(first
            .filter(|object| object.key.as_deref() == Some(key))
            .and_then(|object| object.e_tag))
    }

    /// Whether each of these objects still has the version, or is still missing, as recorded.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn are_unchanged(&self, documents: &[DocumentVersion]) -> Result<bool, BucketError> {
        for document in documents {
            if self.etag(&document.key).await? != document.etag {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
