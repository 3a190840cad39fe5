//! Reads the documents of a job. A document that is missing or damaged blocks the job, because its
//! content must not be mistaken for missing results.

use bytes::Bytes;
use darkroom::{
    object_keys,
    status::{Blocker, DocumentVersion},
};
use runtime::{
    cas::CasError,
    lines::{LineError, Lines},
    shard_store::StateError,
};
use serde::de::DeserializeOwned;

use crate::{deps::Deps, error::ReportError};

/// Reads a JSON Lines document of a job line by line.
pub(crate) struct DocumentLines<'a> {
    deps: &'a Deps,
    version: DocumentVersion,
    lines: Lines,
    /// The number of lines that were read so far.
    read: u64,
}

impl<'a> DocumentLines<'a> {
    /// Opens a document.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if the document is missing.
    pub(crate) async fn open(deps: &'a Deps, key: &str) -> Result<Self, ReportError> {
        let Some((stream, etag)) = deps.bucket.open(key, None).await? else {
            return Err(missing(deps, key));
        };
        let version = DocumentVersion {
            key: key.to_owned(),
            etag: Some(etag),
        };
        Ok(Self {
            deps,
            version,
            lines: Lines::of_document(stream),
            read: 0,
        })
    }

    /// Returns the next line, or `None` at the end.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] for a line that is too long, [`ReportError::Lines`] if the
    /// connection breaks.
    pub(crate) async fn next_bytes(&mut self) -> Result<Option<Bytes>, ReportError> {
        match self.lines.next().await {
            Ok(line) => {
                self.read += u64::from(line.is_some());
                Ok(line)
            }
            Err(error @ LineError::TooLong { .. }) => {
                let damage = format!("line {}: {error}", self.read + 1);
                Err(self.damaged(&damage))
            }
            // The connection broke, so reading the document again may succeed.
            Err(error @ LineError::Stream(_)) => Err(error.into()),
        }
    }

    /// Returns the next line as JSON, or `None` at the end.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] for a line that can't be parsed.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ReportError> {
        let Some(line) = self.next_bytes().await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&line) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Compares the number of lines that were read with the number that was written.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if the numbers differ.
    pub(crate) fn check_count(&self, written: u64) -> Result<(), ReportError> {
        if written == self.read {
            Ok(())
        } else {
            Err(self.damaged(&format!(
                "it has {} lines, and {written} were written",
                self.read
            )))
        }
    }

    /// Returns the number of the line that was read last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.read
    }

    /// Returns the version of the document that is read.
    pub(crate) fn version(&self) -> &DocumentVersion {
        &self.version
    }

    /// Returns the error for the line that was read last, which can't be parsed. It contains the
    /// position but not the text, because errors are logged.
    pub(crate) fn unreadable(&self, error: &serde_json::Error) -> ReportError {
        self.damaged(&format!(
            "line {} can't be read, starting at column {}",
            self.read,
            error.column()
        ))
    }

    /// Returns the error for the document, which is damaged in this way.
    pub(crate) fn damaged(&self, damage: &str) -> ReportError {
        damaged(self.deps, vec![self.version.clone()], damage)
    }
}

/// Returns the error for a document that is missing.
pub(crate) fn missing(deps: &Deps, key: &str) -> ReportError {
    ReportError::Blocked(Box::new(Blocker::missing(key, deps.clock.now())))
}

/// Returns the error for documents of which at least one is damaged in this way.
pub(crate) fn damaged(deps: &Deps, documents: Vec<DocumentVersion>, damage: &str) -> ReportError {
    ReportError::Blocked(Box::new(Blocker::damaged(
        documents,
        damage,
        deps.clock.now(),
    )))
}

/// Reads a small JSON document of a job.
///
/// # Errors
/// [`ReportError::Blocked`] if the document is missing or can't be parsed.
pub(crate) async fn read_json<T: DeserializeOwned>(
    deps: &Deps,
    key: &str,
) -> Result<T, ReportError> {
    let Some(object) = deps.bucket.read(key).await? else {
        return Err(missing(deps, key));
    };
    serde_json::from_slice(&object.bytes).map_err(|error| {
        let version = DocumentVersion {
            key: key.to_owned(),
            etag: Some(object.etag.clone()),
        };
        let damage = format!(
            "it can't be read, starting at line {}, column {}",
            error.line(),
            error.column()
        );
        damaged(deps, vec![version], &damage)
    })
}

/// Converts the error of a state that can't be read. A state that is missing or damaged blocks the
/// job. Any other error is returned as it is, and the message is retried.
pub(crate) async fn unreadable_state(
    deps: &Deps,
    error: StateError,
) -> Result<ReportError, ReportError> {
    match error {
        StateError::Missing(job, shard) => Ok(missing(deps, &object_keys::state(&job, shard))),
        StateError::Cas(CasError::Malformed { key, source }) => {
            let etag = deps.bucket.etag(&key).await?;
            let damage = format!(
                "it can't be read, starting at line {}, column {}",
                source.line(),
                source.column()
            );
            Ok(damaged(deps, vec![DocumentVersion { key, etag }], &damage))
        }
        StateError::Keys { key, what } => match deps.bucket.etag(&key).await? {
            None => Ok(missing(deps, &key)),
            etag @ Some(_) => Ok(damaged(deps, vec![DocumentVersion { key, etag }], &what)),
        },
        StateError::Cas(CasError::Bucket(_)) => Err(error.into()),
    }
}
