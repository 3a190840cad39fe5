//! The identity of a job, and of what it buys.

use sha2::{Digest, Sha256};

use crate::{digest::hex, job::JobSettings, manifest::Sidecar, names::JobId};

/// The maximum length of the part of a job id that comes from the manifest's name.
const MAX_STEM_CHARACTERS: usize = 60;

/// Returns the id of the job that is created when these bytes are dropped under this key. The same
/// drop always gives the same id.
///
/// `manifest_sha256` is the hash of the manifest's bytes as they were dropped. `sidecar` is the
/// job document, the metadata and the templates that belong to the manifest.
pub fn job_id(
    bucket: &str,
    key: &str,
    manifest_sha256: &[u8; 32],
    settings: &JobSettings,
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

/// Returns the id, in hexadecimal, of what a job buys, regardless of the manifest's key: the
/// manifest's bytes, the settings and the sidecar. The key only decides which templates and which
/// job document belong to the sidecar.
pub fn content_id(manifest_sha256: &[u8; 32], settings: &JobSettings, sidecar: &Sidecar) -> String {
    hex(&hash(
        b"darkroom content v1\0",
        &[manifest_sha256, json(settings).as_bytes()],
        sidecar,
    ))
}

fn json(settings: &JobSettings) -> String {
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

/// Returns the manifest's file name without extensions, with letters, digits, `-` and `_` only.
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
        if !(letter == '-' && stem.ends_with('-')) && stem.len() < MAX_STEM_CHARACTERS {
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
    use crate::{job::HttpsReferences, settings::MaxRounds};

    fn id(bucket: &str, key: &str, content: &[u8], settings: &JobSettings) -> String {
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
    fn the_same_drop_is_the_same_job_and_any_change_makes_another_job() {
        let settings = JobSettings::default();
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
                &JobSettings {
                    max_rounds: MaxRounds::new(1).unwrap(),
                    ..settings.clone()
                },
            ),
            id(
                "studio",
                "inbox/acme/skus.csv",
                b"key\n1",
                &JobSettings {
                    https_references: HttpsReferences::Allow,
                    ..settings.clone()
                },
            ),
            id(
                "studio",
                "inbox/acme/skus.csv",
                b"key\n1",
                &JobSettings {
                    allow_unknown_models: true,
                    ..settings.clone()
                },
            ),
        ];
        assert!(others.iter().all(|other| *other != one), "{others:?}");
    }

    #[test]
    fn a_content_id_depends_on_the_content_and_not_on_the_key() {
        let of = |content: &[u8], settings: &JobSettings, sidecar: &Sidecar| {
            content_id(&Sha256::digest(content).into(), settings, sidecar)
        };
        let (settings, nothing) = (JobSettings::default(), Sidecar::default());
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
                &JobSettings {
                    max_rounds: MaxRounds::new(1).unwrap(),
                    ..settings.clone()
                },
                &nothing,
            ),
            of(b"key\n1", &settings, &job),
            of(
                b"key\n1",
                &settings,
                &Sidecar {
                    folder_defaults: Some("{}".to_owned()),
                    ..Sidecar::default()
                },
            ),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn job_ids_are_stable() {
        let manifest = Sha256::digest(b"key,prompt\na,a stone\n").into();
        let (settings, sidecar) = (
            JobSettings::default(),
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
    fn a_job_is_named_after_its_manifest() {
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
