//! The job's own documents, read line by line. One that is missing, or not what was written, blocks
//! the job: what it said must not be taken for "there is no result".

use bytes::Bytes;
use darkroom::{
    layout,
    status::{Blocker, DocumentVersion},
};
use runtime::{
    cas::CasError,
    lines::{LineError, Lines},
    shard_store::StateError,
};
use serde::de::DeserializeOwned;

use crate::{deps::Deps, handler::ReportError};

/// A JSON Lines document of a job while it is read.
pub(crate) struct DocumentLines<'a> {
    deps: &'a Deps,
    version: DocumentVersion,
    lines: Lines,
    /// Lines read so far.
    read: u64,
}

impl<'a> DocumentLines<'a> {
    /// Opens a document.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if there is none.
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

    /// The next line, or none at the end.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] for a line that is too long.
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
            // The connection broke off: reading the document again may work.
            Err(error @ LineError::Stream(_)) => Err(error.into()),
        }
    }

    /// The next line as JSON, or none at the end.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] for a line that can't be read.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ReportError> {
        let Some(line) = self.next_bytes().await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&line) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Compares the number of lines that were read to the end with the number that was written.
    ///
    /// # Errors
    /// [`ReportError::Blocked`] if they differ.
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

    /// The number of the line that was read last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.read
    }

    /// The document in the version that is read.
    pub(crate) fn version(&self) -> &DocumentVersion {
        &self.version
    }

    /// The error for the line that was read last, which is not what it should be. It says where,
    /// and not what stands there: it goes into the log.
    pub(crate) fn unreadable(&self, error: &serde_json::Error) -> ReportError {
        self.damaged(&format!(
            "line {} can't be read from column {} on",
            self.read,
            error.column()
        ))
    }

    /// The error for a document that is not what was written.
    pub(crate) fn damaged(&self, damage: &str) -> ReportError {
        damaged(self.deps, vec![self.version.clone()], damage)
    }
}

/// The error for a document that is missing.
pub(crate) fn missing(deps: &Deps, key: &str) -> ReportError {
    ReportError::Blocked(Box::new(Blocker::missing(key, deps.clock.now())))
}

/// The error for documents of which one is not what was written.
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
/// [`ReportError::Blocked`] if there is none, or if it can't be read.
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
            "it can't be read from line {}, column {} on",
            error.line(),
            error.column()
        );
        damaged(deps, vec![version], &damage)
    })
}

/// What it means that states can't be read: the job is blocked by one that is missing or damaged,
/// and by nothing else.
pub(crate) async fn unreadable_state(
    deps: &Deps,
    error: StateError,
) -> Result<ReportError, ReportError> {
    match error {
        StateError::Missing(job, shard) => Ok(missing(deps, &layout::state(&job, shard))),
        StateError::Cas(CasError::Malformed { key, source }) => {
            let etag = deps.bucket.etag(&key).await?;
            let damage = format!(
                "it can't be read from line {}, column {} on",
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
