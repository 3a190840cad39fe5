//! Stored documents that can't be parsed.

use std::fmt;

/// A stored document is not what it should be. People can restore an earlier version of it: the
/// bucket keeps them.
///
/// The message includes the cause, because log lines show messages alone; the cause is not also the
/// error's source, so that it is not printed twice.
#[derive(Debug)]
pub struct DocumentError {
    /// The object's key.
    pub key: String,
    /// What is wrong with it, and where.
    pub source: serde_json::Error,
}

impl DocumentError {
    /// Adds the object's key to a JSON error.
    pub fn at(key: &str) -> impl FnOnce(serde_json::Error) -> Self {
        |source| Self {
            key: key.to_owned(),
            source,
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source } = self;
        write!(
            f,
            "{key} can't be read: {source}; restore it from an earlier version"
        )
    }
}

impl std::error::Error for DocumentError {}
