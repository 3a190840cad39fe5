//! What objects there are.

use super::{Bucket, BucketError};

impl Bucket {
    /// The keys of all objects that begin with `prefix`, in order.
    ///
    /// # Errors
    /// [`BucketError`]; a list that could not be read to its end is one.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, BucketError> {
        let mut keys = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| BucketError::of(prefix, error))?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        Ok(keys)
    }
}
