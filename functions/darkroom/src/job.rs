//! The settings of a job.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{names::FolderPath, settings::MaxRounds};

/// The settings that a deployment applies to every job. They are a part of a job's identity: with
/// different settings the same manifest is a different job.
///
/// Only settings that differ from their defaults are written where a field is marked to be skipped,
/// so that a new setting doesn't change the ids of existing jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// The model of items that name no model.
    pub default_model: String,
    /// Whether models past their shutdown date are allowed.
    pub allow_retired_models: bool,
    /// Whether models that the catalog doesn't list are allowed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unknown_models: bool,
    /// Whether references may be web addresses.
    #[serde(skip_serializing_if = "HttpsReferences::is_default")]
    pub https_references: HttpsReferences,
    /// The maximum number of rounds in which a key is requested: 1 means that a failed key is not
    /// retried.
    pub max_rounds: MaxRounds,
    /// The bounds of one shard.
    pub shard: ShardLimits,
}

/// The folder of `stack/folders.toml` that a job belongs to, as it was when the job was planned. A
/// later change of the file moves no job to another folder.
///
/// ```json
/// {"path":"inbox/acme/**","notify":["studio@acme.example"]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFolder {
    /// The path, by which the ledger counts the job's money.
    pub path: FolderPath,
    /// Labels of who is notified about the job, such as e-mail addresses. Events carry them,
    /// so that subscriptions can select by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
}

/// Whether references may be web addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpsReferences {
    /// Web addresses are rejected. Otherwise the author of a manifest would decide which addresses
    /// this deployment fetches.
    #[default]
    Refuse,
    /// Web addresses are fetched if they are public, and copied to the job's folder.
    Allow,
}

impl HttpsReferences {
    /// Whether web addresses are fetched.
    pub fn are_allowed(self) -> bool {
        match self {
            Self::Refuse => false,
            Self::Allow => true,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The text is neither `allow` nor `refuse`.
#[derive(Debug, thiserror::Error)]
#[error("expected allow or refuse")]
pub struct HttpsReferencesError;

impl FromStr for HttpsReferences {
    type Err = HttpsReferencesError;

    fn from_str(text: &str) -> Result<Self, HttpsReferencesError> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "allow" => Ok(Self::Allow),
            _ => Err(HttpsReferencesError),
        }
    }
}

/// The limits of one shard, and so of one Gemini batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShardLimits {
    /// Requests. Google documents no limit; 1,000 requests limit the damage of a lost batch.
    pub requests: u32,
    /// Bytes of the request file. Google allows 2 GB per file
    /// (<https://ai.google.dev/gemini-api/docs/files>, read 2026-11).
    pub input_bytes: u64,
    /// Estimated bytes of the responses file. One invocation must be able to download it.
    pub response_bytes: u64,
    /// Input tokens. A batch above the project's limit on enqueued tokens would never be accepted
    /// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11; the lowest paid tier
    /// has 1 million).
    pub tokens: u64,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            default_model: "nano-banana-2".to_owned(),
            allow_retired_models: false,
            allow_unknown_models: false,
            https_references: HttpsReferences::default(),
            max_rounds: MaxRounds::default(),
            shard: ShardLimits::default(),
        }
    }
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            requests: 1_000,
            input_bytes: 1_900_000_000,
            response_bytes: 4_000_000_000,
            tokens: 1_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_settings_with_their_default_are_not_written() {
        let settings = serde_json::to_string(&JobSettings::default()).unwrap();
        assert!(
            !settings.contains("https") && !settings.contains("unknown"),
            "{settings}"
        );
    }
}
