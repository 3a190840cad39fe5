//! A job's identity and settings.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{keys::hex, manifest::Sidecar, names::JobId};

/// The longest stem that a job id keeps of its manifest's name.
const STEM_CHARACTERS: usize = 60;

/// What a deployment decides about every job, and so part of a job's identity: with another setting
/// the same manifest is another job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
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
    pub max_rounds: u8,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_model: "nano-banana-2".to_owned(),
            allow_retired_models: false,
            allow_unknown_models: false,
            https_references: HttpsReferences::default(),
            max_rounds: 3,
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

/// The id of the job that dropping these bytes under this key means: the same drop is the same job
/// for ever.
///
/// `manifest_sha256` is the hash of the manifest's bytes as they were dropped, `sidecar` what stands
/// beside them.
pub fn job_id(
    bucket: &str,
    key: &str,
    manifest_sha256: &[u8; 32],
    settings: &Settings,
    sidecar: &Sidecar,
) -> JobId {
    let settings = json(settings);
    let parts = [
        bucket.as_bytes(),
        key.as_bytes(),
        manifest_sha256,
        settings.as_bytes(),
    ];
    JobId::new(format!(
        "{}-{}",
        stem(key),
        hex(&hash(b"darkroom job v1\0", &parts, sidecar)[..8])
    ))
}

/// What is bought, whatever its key: the same manifest with the same settings, and the same beside
/// it, in hexadecimal. The key itself decides nothing but which templates and which job document
/// stand beside the manifest.
pub fn content_id(manifest_sha256: &[u8; 32], settings: &Settings, sidecar: &Sidecar) -> String {
    hex(&hash(
        b"darkroom content v1\0",
        &[manifest_sha256, json(settings).as_bytes()],
        sidecar,
    ))
}

fn json(settings: &Settings) -> String {
    serde_json::to_string(settings)
        .unwrap_or_else(|error| unreachable!("settings are JSON: {error}"))
}

fn hash(purpose: &[u8], parts: &[&[u8]], sidecar: &Sidecar) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(purpose);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    if let Some(digest) = sidecar.digest() {
        hash.update(digest);
    }
    hash.finalize().into()
}

/// The manifest's file name without extensions, of letters, digits, `-` and `_` only.
fn stem(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or(key);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let name = name.rsplit_once('.').map_or(name, |(before, _)| before);
    let mut stem = String::new();
    for letter in name.chars() {
        let letter = if letter.is_ascii_alphanumeric() || letter == '_' {
            letter
        } else {
            '-'
        };
        if !(letter == '-' && stem.ends_with('-')) && stem.len() < STEM_CHARACTERS {
            stem.push(letter);
        }
    }
    let trimmed = stem.trim_matches('-');
    if trimmed.is_empty() {
        "job".to_owned()
    } else {
        trimmed.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bucket: &str, key: &str, content: &[u8], settings: &Settings) -> String {
        job_id(
            bucket,
            key,
            &Sha256::digest(content).into(),
            settings,
            &Sidecar::default(),
        )
        .to_string()
    }

    #[test]
    fn the_same_drop_is_the_same_job_and_any_change_is_another() {
        let settings = Settings::default();
        let one = id("studio", "inbox/acme/skus.csv", b"key\n1", &settings);
        assert_eq!(
            one,
            id("studio", "inbox/acme/skus.csv", b"key\n1", &settings)
        );
        let others = [
            id("studi", "oinbox/acme/skus.csv", b"key\n1", &settings),
            id("studio", "inbox/acme/skus2.csv", b"key\n1", &settings),
            id("studio", "inbox/acme/skus.csv", b"key\n2", &settings),
            id(
                "studio",
                "inbox/acme/skus.csv",
                b"key\n1",
                &Settings {
                    max_rounds: 1,
                    ..settings.clone()
                },
            ),
            id(
                "studio",
                "inbox/acme/skus.csv",
                b"key\n1",
                &Settings {
                    https_references: HttpsReferences::Allow,
                    ..settings.clone()
                },
            ),
            id(
                "studio",
                "inbox/acme/skus.csv",
                b"key\n1",
                &Settings {
                    allow_unknown_models: true,
                    ..settings.clone()
                },
            ),
        ];
        assert!(others.iter().all(|other| *other != one), "{others:?}");
    }

    #[test]
    fn a_content_is_the_same_under_every_key_and_no_other_content_is() {
        let of = |content: &[u8], settings: &Settings, sidecar: &Sidecar| {
            content_id(&Sha256::digest(content).into(), settings, sidecar)
        };
        let (settings, nothing) = (Settings::default(), Sidecar::default());
        let one = of(b"key\n1", &settings, &nothing);
        let job = Sidecar {
            job: Some("{}".to_owned()),
            ..Sidecar::default()
        };
        let by_tools = Sidecar {
            metadata: [("mtime".to_owned(), "1".to_owned())].into(),
            ..Sidecar::default()
        };
        assert_eq!(
            (one.len(), &one),
            (64, &of(b"key\n1", &settings, &by_tools))
        );
        for other in [
            of(b"key\n2", &settings, &nothing),
            of(
                b"key\n1",
                &Settings {
                    max_rounds: 1,
                    ..settings.clone()
                },
                &nothing,
            ),
            of(b"key\n1", &settings, &job),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_ids_of_jobs_stay_what_they_were() {
        let manifest = Sha256::digest(b"key,prompt\na,a stone\n").into();
        let (settings, sidecar) = (
            Settings::default(),
            Sidecar {
                job: Some("{}".to_owned()),
                ..Sidecar::default()
            },
        );
        let of = |sidecar: &Sidecar| {
            job_id("studio", "inbox/skus.csv", &manifest, &settings, sidecar).to_string()
        };
        assert_eq!(of(&Sidecar::default()), "skus-3987f93b63a0dc78");
        assert_eq!(of(&sidecar), "skus-9363fb36e3b93baf");
    }

    #[test]
    fn a_setting_that_is_as_it_always_was_leaves_the_ids_as_they_were() {
        let settings = serde_json::to_string(&Settings::default()).unwrap();
        assert!(
            !settings.contains("https") && !settings.contains("unknown"),
            "{settings}"
        );
    }

    #[test]
    fn a_job_is_called_after_its_manifest() {
        for (key, expected) in [
            ("inbox/skus.csv", "skus"),
            ("inbox/a/b/Fall 26 (final).jsonl.gz", "Fall-26-final"),
            ("inbox/日本.csv", "job"),
            ("inbox/.csv", "job"),
            ("inbox/x", "x"),
        ] {
            assert_eq!(stem(key), expected, "{key}");
        }
    }
}
