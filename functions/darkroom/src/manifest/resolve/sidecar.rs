//! The sidecar of a manifest, which holds for all of its items: the object's metadata, the job
//! document `<stem>.job.json`, and the stored templates.

pub(crate) mod metadata;

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::manifest::{
    diagnostics::ItemDiagnostics, dialect::field::bad_name, format::csv::cell, strict_json,
};

/// The folder of stored templates.
pub const TEMPLATES: &str = "templates/";

/// The metadata that a manifest may have, by name as in S3 (`x-amz-meta-budget-usd`), and what each
/// sets.
const METADATA: [(&str, Meaning); 21] = [
    ("name", Meaning::Job("name")),
    ("run", Meaning::Job("run")),
    ("budget-usd", Meaning::Job("budget_usd")),
    ("mode", Meaning::Job("mode")),
    ("request-check", Meaning::Job("request_check")),
    ("continuation-rows", Meaning::Job("continuation_rows")),
    ("lane", Meaning::Job("lane")),
    ("within", Meaning::Job("within")),
    ("rescue", Meaning::Job("rescue")),
    ("flex-fallback", Meaning::Job("flex_fallback")),
    ("proof", Meaning::Proof),
    ("template", Meaning::Default("template")),
    ("prompt", Meaning::Default("prompt")),
    ("model", Meaning::Default("model")),
    ("aspect-ratio", Meaning::Default("aspect_ratio")),
    ("image-size", Meaning::Default("image_size")),
    ("key", Meaning::Default("key")),
    ("thinking", Meaning::Default("thinking")),
    ("system", Meaning::Default("system")),
    ("refs", Meaning::References),
    ("output-path", Meaning::Path),
];

#[derive(Clone, Copy)]
enum Meaning {
    Job(&'static str),
    /// The number of images in the proof.
    Proof,
    Default(&'static str),
    References,
    Path,
}

/// What belongs to a manifest besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// The object's metadata, by names without `x-amz-meta-`. It may contain metadata that tools
    /// add automatically.
    pub metadata: BTreeMap<String, String>,
    /// The text of `<stem>.job.json`, if there is one. It has the form of `{"manifest": …}` in JSON
    /// Lines.
    pub job: Option<String>,
    /// What the manifest gets where it sets nothing itself, in the form of a job document
    /// ([`crate::folders::Folder::defaults`]).
    pub folder_defaults: Option<String>,
    /// The stored templates, by the names that the manifest may use.
    pub templates: BTreeMap<String, StoredTemplate>,
}

/// A stored template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredTemplate {
    /// Its key, below [`TEMPLATES`].
    pub key: String,
    /// Its content: a text, or the JSON of a `.json` template. `None` while only its use is
    /// determined.
    pub text: Option<String>,
}

impl Sidecar {
    /// Returns the key of the job document of the manifest `key`: `inbox/acme/skus.job.json` for
    /// `inbox/acme/skus.csv.gz`.
    pub fn job_key(key: &str) -> String {
        let plain = key.strip_suffix(".gz").unwrap_or(key);
        let name = plain.rfind('/').map_or(0, |slash| slash + 1);
        let stem = plain[name..]
            .rfind('.')
            .map_or(plain.len(), |dot| name + dot);
        format!("{}.job.json", &plain[..stem])
    }

    /// Returns the stored templates that the manifest `key` may use, each by the name that it has
    /// there. `keys` are the objects below [`TEMPLATES`]. A template nearer to the manifest's
    /// folder hides another one with its name.
    ///
    /// For `white-bg` in `inbox/acme/fall/skus.csv`, the order of precedence is
    /// `templates/acme/fall/white-bg.json`, `templates/acme/white-bg.json`,
    /// `templates/white-bg.json`. The extension may also be `.txt`.
    pub fn template_names(key: &str, keys: &[String]) -> BTreeMap<String, String> {
        let folder = key.strip_prefix("inbox/").unwrap_or(key);
        let folder = folder.rfind('/').map_or("", |slash| &folder[..=slash]);
        let ends = folder.match_indices('/').map(|(slash, _)| slash + 1);
        let mut names = BTreeMap::new();
        for end in std::iter::once(0).chain(ends) {
            let above = format!("{TEMPLATES}{}", &folder[..end]);
            for key in keys {
                let name = key
                    .strip_prefix(&above)
                    .and_then(|name| name.strip_suffix(".json").or(name.strip_suffix(".txt")));
                if let Some(name) = name.filter(|name| !name.is_empty()) {
                    names.insert(name.to_owned(), key.clone());
                }
            }
        }
        names
    }

    /// Returns the hash of everything that has an effect, and so makes another job of the same
    /// manifest. `None` if nothing has one.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let known = self
            .metadata
            .iter()
            .filter_map(|(name, value)| Some((known(name, value)?.0, value)));
        let metadata: BTreeMap<&str, &String> = known.collect();
        let templates: BTreeMap<&String, &Option<String>> = self
            .templates
            .iter()
            .map(|(name, template)| (name, &template.text))
            .collect();
        let is_empty = metadata.is_empty() && self.job.is_none() && templates.is_empty();
        if is_empty && self.folder_defaults.is_none() {
            return None;
        }
        let mut all = json!({"metadata": metadata, "job": self.job, "templates": templates});
        // It is left out if there are none, so that the ids of other jobs stay as they are.
        if let Some(defaults) = &self.folder_defaults {
            all["folder"] = json!(defaults);
        }
        Some(Sha256::digest(all.to_string()).into())
    }

    /// Returns the metadata in the form of a job document: `{"job": …, "defaults": …}`.
    pub(crate) fn metadata_document(&self, diagnostics: &mut ItemDiagnostics) -> Option<String> {
        let (mut job, mut defaults) = (serde_json::Map::new(), serde_json::Map::new());
        let mut seen: BTreeMap<&str, (&String, &String)> = BTreeMap::new();
        for (name, value) in &self.metadata {
            // Metadata of tools is ignored, and other unknown metadata is an error.
            let Some((known, meaning)) = known(name, value) else {
                if !metadata::is_written_by_tools(&metadata::canonical(name), value) {
                    diagnostics.error("unknown_metadata", unknown(name));
                }
                continue;
            };
            if let Some((other, before)) = seen.insert(known, (name, value))
                && before != value
            {
                let message = format!(
                    "the metadata {other} and {name} are the same name with two values: remove \
                     one of them"
                );
                diagnostics.error("repeated_metadata", message);
            }
            // S3 encodes text that is not ASCII this way (RFC 2047).
            if value.starts_with("=?") {
                let message = format!(
                    "metadata {name} is not plain ASCII: write it into the job document next to \
                     the manifest"
                );
                diagnostics.error("bad_metadata", message);
                continue;
            }

            // The metadata sets a field of the job or of the defaults.
            match meaning {
                Meaning::Job("budget_usd") => {
                    // An amount is a number. Anything else is passed on as text and refused with
                    // the job.
                    let amount = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                    job.insert("budget_usd".to_owned(), amount);
                }
                Meaning::Job(field) => {
                    job.insert(field.to_owned(), json!(value));
                }
                Meaning::Proof => {
                    // As with the budget, anything but a number is refused with the job.
                    let count: serde_json::Value =
                        serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                    job.insert("proof".to_owned(), json!({ "count": count }));
                }
                Meaning::Default(field) => {
                    defaults.insert(field.to_owned(), json!(value));
                }
                Meaning::References => {
                    defaults.insert("refs".to_owned(), json!(cell::references(value)));
                }
                Meaning::Path => {
                    defaults.insert("output".to_owned(), json!({"path": value}));
                }
            }
        }
        let is_declared = !job.is_empty() || !defaults.is_empty();
        is_declared.then(|| json!({"job": job, "defaults": defaults}).to_string())
    }

    /// Returns the stored template of a name.
    pub(crate) fn template(&self, name: &str) -> Option<&StoredTemplate> {
        self.templates.get(name)
    }
}

/// Returns the canonical name of a metadata entry, and what it sets. `None` if a tool added it, or
/// if it is unknown.
fn known(name: &str, value: &str) -> Option<(&'static str, Meaning)> {
    let name = metadata::canonical(name);
    METADATA
        .into_iter()
        .find(|(known, _)| *known == name && !metadata::is_written_by_tools(&name, value))
}

fn unknown(name: &str) -> String {
    metadata::unknown(name, &METADATA.map(|(known, _)| known))
}

/// Returns the canonical name of a metadata entry that a user has typed. Only known names are
/// allowed, because no tool adds any there.
///
/// # Errors
/// A message with what to write instead, if the name is unknown, or if only tools write this value
/// of `mode`.
pub fn metadata_name(name: &str, value: &str) -> Result<&'static str, String> {
    let canonical = metadata::canonical(name);
    match METADATA.iter().find(|(known, _)| *known == canonical) {
        Some((known, _)) if metadata::is_written_by_tools(&canonical, value) => {
            Err(format!("{known} must be run or dry_run, not {value}"))
        }
        Some((known, _)) => Ok(known),
        None => Err(unknown(name)),
    }
}

/// The members of a job document, and of `{"manifest": …}`.
pub(crate) const JOB_DOCUMENT: [&str; 6] = [
    "version",
    "job",
    "defaults",
    "templates",
    "references",
    "$schema",
];

/// Reads the members of a job document. Unknown ones are reported.
pub(crate) fn document<'a>(
    name: &str,
    text: &'a str,
    diagnostics: &mut ItemDiagnostics,
) -> Vec<(std::borrow::Cow<'a, str>, &'a serde_json::value::RawValue)> {
    let mut members = strict_json::members_of(name, text, diagnostics);
    members.retain(|(member, _)| {
        let known = JOB_DOCUMENT.contains(&member.as_ref());
        if !known {
            let (code, message) = bad_name(member, JOB_DOCUMENT.into_iter());
            diagnostics.error(code, format!("in {name}: {message}"));
        }
        known
    });
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_document_is_next_to_the_manifest() {
        for (manifest, document) in [
            ("inbox/acme/skus.csv", "inbox/acme/skus.job.json"),
            ("inbox/skus.jsonl.gz", "inbox/skus.job.json"),
            ("inbox/v1.2/skus", "inbox/v1.2/skus.job.json"),
        ] {
            assert_eq!(Sidecar::job_key(manifest), document);
        }
    }

    #[test]
    fn the_nearest_template_of_a_name_takes_precedence() {
        let keys = [
            "templates/white.txt",
            "templates/acme/white.json",
            "templates/acme/fall/dark.json",
            "templates/x.md",
        ];
        let keys = keys.map(str::to_owned);
        let names = |key: &str| Sidecar::template_names(key, &keys);
        let of = |key: &str, name: &str| names(key).get(name).cloned().unwrap_or_default();
        assert_eq!(of("inbox/skus.csv", "white"), "templates/white.txt");
        assert_eq!(
            of("inbox/acme/skus.csv", "white"),
            "templates/acme/white.json"
        );
        assert_eq!(
            of("inbox/acme/fall/skus.csv", "white"),
            "templates/acme/white.json"
        );
        assert_eq!(
            of("inbox/acme/fall/skus.csv", "dark"),
            "templates/acme/fall/dark.json"
        );
        assert_eq!(
            of("inbox/skus.csv", "acme/fall/dark"),
            "templates/acme/fall/dark.json",
            "or by its whole name"
        );
        assert!(!names("inbox/skus.csv").contains_key("x"));
    }

    fn with(metadata: &[(&str, &str)]) -> Sidecar {
        let metadata = metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Sidecar {
            metadata,
            ..Sidecar::default()
        }
    }

    /// The job document that metadata makes, and its diagnostics.
    fn document_of(metadata: &[(&str, &str)]) -> (Option<String>, Vec<(String, String)>) {
        let mut diagnostics = ItemDiagnostics::default();
        let document = with(metadata).metadata_document(&mut diagnostics);
        (
            document,
            diagnostics
                .into_diagnostics(1, None)
                .map(|problem| (problem.code, problem.message))
                .collect(),
        )
    }

    #[test]
    fn metadata_of_tools_does_not_change_the_job_and_that_of_users_does() {
        assert_eq!(
            with(&[
                ("mtime", "1"),
                ("mode", "33188"),
                ("goog-reserved-posix-uid", "0")
            ])
            .digest(),
            None
        );
        assert_ne!(
            with(&[("budget-usd", "1")]).digest(),
            with(&[("budget-usd", "2")]).digest()
        );
        assert_eq!(
            with(&[("Budget_USD", "1"), ("uid", "0")]).digest(),
            with(&[("budget-usd", "1")]).digest()
        );
        assert_ne!(with(&[("mode", "dry_run")]).digest(), None);
        let job = Sidecar {
            job: Some("{}".to_owned()),
            ..Sidecar::default()
        };
        assert!(job.digest().is_some());
        let folder = |defaults: &str| Sidecar {
            folder_defaults: Some(defaults.to_owned()),
            ..Sidecar::default()
        };
        assert!(folder("{}").digest().is_some());
        assert_ne!(folder("{}").digest(), job.digest());
        assert_ne!(
            folder("{}").digest(),
            folder(r#"{"job":{"lane":"flex"}}"#).digest()
        );
    }

    #[test]
    fn metadata_of_tools_has_no_effect() {
        let tools = [
            ("mtime", "1700000000.5"),
            ("mode", "33188"),
            ("uid", "0"),
            ("s3cmd-attrs", "uid:0"),
            ("sha256", "e3"),
        ];
        assert_eq!(document_of(&tools), (None, Vec::new()));
        let (job, problems) = document_of(&[("mode", "dry_run"), ("Budget_USD", "5")]);
        assert_eq!(
            (job.unwrap(), problems),
            (
                r#"{"job":{"budget_usd":5,"mode":"dry_run"},"defaults":{}}"#.to_owned(),
                vec![]
            )
        );
    }

    #[test]
    fn unknown_metadata_is_an_error() {
        for (name, advice) in [
            ("dry-run", "mode=dry_run"),
            ("budget", "budget-usd"),
            ("zzz", "one of name, run"),
        ] {
            let (_, problems) = document_of(&[(name, "true")]);
            let [(code, message)] = &problems[..] else {
                panic!("{problems:?}")
            };
            assert!(
                code == "unknown_metadata" && message.contains(advice),
                "{message}"
            );
            assert_eq!(
                metadata_name(name, "true").unwrap_err(),
                *message,
                "the command line gives the same message"
            );
        }
        assert_eq!(metadata_name("Aspect_Ratio", "4:5"), Ok("aspect-ratio"));
        for (name, value) in [("mtime", "1700000000"), ("mode", "33188")] {
            assert!(
                metadata_name(name, value).is_err(),
                "no tool adds metadata on the command line"
            );
        }
    }

    #[test]
    fn one_name_in_two_spellings_must_have_one_value() {
        assert_eq!(
            document_of(&[("budget-usd", "5"), ("budget_usd", "5")]).1,
            []
        );
        let (_, problems) = document_of(&[("budget-usd", "5"), ("budget_usd", "6")]);
        assert_eq!(problems[0].0, "repeated_metadata");
    }
}
