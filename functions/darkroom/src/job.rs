//! A job's identity and settings.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::MaxRounds;

/// What a deployment decides about every job, and so part of a job's identity: with another setting
/// the same manifest is another job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// The model of items that name none.
    pub default_model: String,
    /// Whether models past their shutdown date may be asked for.
    pub allow_retired_models: bool,
    /// Whether models that the catalog doesn't know may be asked for. Left out where not, as the
    /// next.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unknown_models: bool,
    /// Whether references may be web addresses. Left out where they may not, as before there was
    /// the choice: the jobs of then keep their ids.
    #[serde(skip_serializing_if = "HttpsReferences::is_default")]
    pub https_references: HttpsReferences,
    /// How often a key that failed for a retryable reason is paid for, at the most: 1 means no
    /// second try.
    pub max_rounds: MaxRounds,
    /// The bounds of one shard.
    pub shard: ShardLimits,
}

/// Whether references may be web addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpsReferences {
    /// They may not: whoever drops a manifest would say what this deployment fetches.
    #[default]
    Refuse,
    /// They are fetched, from public addresses, and copied to the job's folder.
    Allow,
}

impl HttpsReferences {
    /// Whether they are fetched.
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

/// A text that says neither.
#[derive(Debug, thiserror::Error)]
#[error("it is neither allow nor refuse")]
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

/// What one Gemini batch may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShardLimits {
    /// Requests. Google documents no limit; a thousand keeps a lost batch bearable.
    pub requests: u32,
    /// Bytes of the request file. Google: 2 GB a file
    /// (<https://ai.google.dev/gemini-api/docs/files>, read 2026-11).
    pub input_bytes: u64,
    /// Bytes of the responses file, as far as they can be foretold: one download must fit one
    /// invocation.
    pub response_bytes: u64,
    /// Input tokens: a batch above the project's enqueued-token limit would never be accepted
    /// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11; 1 M is the lowest paid
    /// tier's).
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
    fn a_setting_that_is_as_it_always_was_leaves_the_ids_as_they_were() {
        let settings = serde_json::to_string(&JobSettings::default()).unwrap();
        assert!(
            !settings.contains("https") && !settings.contains("unknown"),
            "{settings}"
        );
    }
}
