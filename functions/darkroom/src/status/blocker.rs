//! A document that a job can't be closed without.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A document of the job is missing or damaged, so the job can't be closed.
///
/// ```json
/// {"what":"jobs/catalog-…/plan.jsonl is missing","what_to_do":"Restore …","since":"2026-11-21T09:00:00Z",
///  "documents":[{"key":"jobs/catalog-…/plan.jsonl"}]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// Which document, and what is wrong with it.
    pub what: String,
    /// How to restore it, and what happens then.
    pub what_to_do: String,
    /// When it was noticed.
    pub since: Timestamp,
    /// The documents as they were found. It blocks the job for as long as none of them changes.
    pub documents: Vec<DocumentVersion>,
}

/// An object in the version in which it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentVersion {
    /// The object's key.
    pub key: String,
    /// Its ETag, with quotes. None if there was no such object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl Blocker {
    /// A document that is missing.
    pub fn missing(key: &str, since: Timestamp) -> Self {
        let document = DocumentVersion {
            key: key.to_owned(),
            etag: None,
        };
        Self::new(format!("{key} is missing"), vec![document], since)
    }

    /// A document, or one of several documents, that is not what was written: `damage` says what is
    /// wrong with it.
    pub fn damaged(documents: Vec<DocumentVersion>, damage: &str, since: Timestamp) -> Self {
        let keys: Vec<&str> = documents
            .iter()
            .map(|document| document.key.as_str())
            .collect();
        Self::new(
            format!("{} is damaged: {damage}", keys.join(" or ")),
            documents,
            since,
        )
    }

    fn new(what: String, documents: Vec<DocumentVersion>, since: Timestamp) -> Self {
        let what_to_do = "Restore it from an earlier version of the object, or from a backup. The job is then closed \
                          within an hour; `darkroom run` closes it as soon as the same command is run again. Nothing \
                          is bought again, and every image that was collected is kept.";
        Self {
            what,
            what_to_do: what_to_do.to_owned(),
            since,
            documents,
        }
    }

    /// Whether `other` says the same of the same documents, whenever it was noticed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        *self
            == Self {
                since: self.since,
                ..other.clone()
            }
    }
}
