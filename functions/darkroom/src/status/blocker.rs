//! A missing or damaged document that keeps a job from being closed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a job can't be closed: one of its documents is missing or damaged.
///
/// ```json
/// {"what":"jobs/catalog-…/plan.jsonl is missing","what_to_do":"Restore …","since":"2026-11-21T09:00:00Z",
///  "documents":[{"key":"jobs/catalog-…/plan.jsonl"}]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// The document, and what is wrong with it.
    pub what: String,
    /// How to restore the document, and what happens afterwards.
    pub what_to_do: String,
    /// When the damage was noticed.
    pub since: Timestamp,
    /// The documents as they were found. The job stays blocked until one of them changes.
    pub documents: Vec<DocumentVersion>,
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentVersion {
    /// The object's key.
    pub key: String,
    /// Its ETag, with quotes. None if there is no such object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl Blocker {
    /// Creates the blocker of a missing document.
    pub fn missing(key: &str, since: Timestamp) -> Self {
        let document = DocumentVersion {
            key: key.to_owned(),
            etag: None,
        };
        Self::new(format!("{key} is missing"), vec![document], since)
    }

    /// Creates the blocker of a document, or of one of several documents, that is damaged. `damage`
    /// describes what is wrong.
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
                          within an hour; `darkroom run` closes it as soon as the same command is run again. No \
                          image is bought again, and every image that was collected is kept.";
        Self {
            what,
            what_to_do: what_to_do.to_owned(),
            since,
            documents,
        }
    }

    /// Whether `other` describes the same damage of the same documents, regardless of when it was
    /// noticed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        *self
            == Self {
                since: self.since,
                ..other.clone()
            }
    }
}
