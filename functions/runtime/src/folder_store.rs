//! The folders of tenants, which people write in the bucket: `stack/folders.toml`.

use std::sync::Arc;

use darkroom::{folders::Folders, ledger::FolderCaps, object_keys};

use crate::{
    bucket::{Bucket, BucketError},
    parsed_text::{ParseFault, ParsedText},
};

/// The folders in the bucket. They are read each time, so a change has an effect at once.
#[derive(Clone, Debug)]
pub struct FolderStore {
    bucket: Bucket,
    latest: ParsedText<Folders>,
}

/// Why the folders can't be read now.
#[derive(Debug, thiserror::Error)]
pub enum FolderFault {
    /// The request to S3 failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The object does not list folders. Nothing is planned until a user has corrected or deleted
    /// it, because a manifest could belong to a folder with a cap.
    #[error("{key}: {what}; correct it, or delete it if no folder has settings", key = object_keys::FOLDERS)]
    Broken {
        /// What is wrong, and in which line.
        what: String,
    },
}

impl FolderStore {
    /// The folders in `bucket`.
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            latest: ParsedText::default(),
        }
    }

    /// The folders. There are none if the object does not exist.
    ///
    /// # Errors
    /// [`FolderFault`].
    pub async fn read(&self) -> Result<Arc<Folders>, FolderFault> {
        let read = self
            .latest
            .read(&self.bucket, object_keys::FOLDERS, Folders::parse)
            .await;
        match read {
            Ok(folders) => Ok(folders.unwrap_or_default()),
            Err(ParseFault::Bucket(error)) => Err(FolderFault::Bucket(error)),
            Err(ParseFault::Broken(what)) => Err(FolderFault::Broken { what }),
        }
    }

    /// What the folders may spend. Caps that can't be parsed are unknown, which is not an error:
    /// jobs without a folder continue.
    ///
    /// # Errors
    /// [`BucketError`] if the object can't be read.
    pub async fn caps(&self) -> Result<FolderCaps, BucketError> {
        match self.read().await {
            Ok(folders) => Ok(folders.caps()),
            Err(FolderFault::Bucket(error)) => Err(error),
            Err(fault @ FolderFault::Broken { .. }) => Ok(FolderCaps::Unknown(fault.to_string())),
        }
    }
}
