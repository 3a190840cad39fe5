//! What stands beside a manifest and counts for all of its items: the object's own metadata, a
//! `<stem>.job.json`, and the templates of the bucket.

pub(crate) mod metadata;

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::manifest::{
    diagnostics::ItemDiagnostics, dialect::field::bad_name, format::csv::cell, strict_json,
};

/// The folder of stored templates.
pub const TEMPLATES: &str = "templates/";

/// Metadata that a manifest may have, as S3 writes its names (`x-amz-meta-budget-usd`), and where
/// it counts.
const METADATA: [(&str, Meaning); 17] = [
    ("name", Meaning::Job("name")),
    ("run", Meaning::Job("run")),
    ("budget-usd", Meaning::Job("budget_usd")),
    ("mode", Meaning::Job("mode")),
    ("request-check", Meaning::Job("request_check")),
    ("continuation-rows", Meaning::Job("continuation_rows")),
    ("lane", Meaning::Job("lane")),
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
    Default(&'static str),
    References,
    Path,
}

/// What stands beside a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// The object's metadata, by names without `x-amz-meta-`. What tools write by themselves may be
    /// among it.
    pub metadata: BTreeMap<String, String>,
    /// The text of `<stem>.job.json`, if there is one: what JSON Lines write in `{"manifest": …}`.
    pub job: Option<String>,
    /// The texts of stored templates by the names that the manifest may use; of `.json` ones the
    /// JSON.
    pub templates: BTreeMap<String, StoredTemplate>,
}

/// A template of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredTemplate {
    /// Its key, below [`TEMPLATES`].
    pub key: String,
    /// Its content; none as long as only its use is looked for.
    pub text: Option<String>,
}

impl Sidecar {
    /// The key of the job document beside the manifest `key`: `inbox/acme/skus.job.json` of
    /// `inbox/acme/skus.csv.gz`.
    pub fn job_key(key: &str) -> String {
        let plain = key.strip_suffix(".gz").unwrap_or(key);
        let name = plain.rfind('/').map_or(0, |slash| slash + 1);
        let stem = plain[name..]
            .rfind('.')
            .map_or(plain.len(), |dot| name + dot);
        format!("{}.job.json", &plain[..stem])
    }

    /// The stored templates that the manifest `key` may use, each with the name it has there.
    /// `keys` are the objects below [`TEMPLATES`]; a template nearer to the manifest's own folder
    /// hides another of its name.
    ///
    /// `white-bg` in `inbox/acme/fall/skus.csv` is `templates/acme/fall/white-bg.json`, else
    /// `templates/acme/white-bg.json`, else `templates/white-bg.json`; `.txt` is as good.
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

    /// The hash of all that counts, and so of what makes another job of the same manifest. `None`
    /// when nothing does.
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
        if metadata.is_empty() && self.job.is_none() && templates.is_empty() {
            return None;
        }
        let all = json!({"metadata": metadata, "job": self.job, "templates": templates});
        Some(Sha256::digest(all.to_string()).into())
    }

    /// What the metadata says, in the form of a job document: `{"job": …, "defaults": …}`.
    pub(crate) fn metadata_document(&self, diagnostics: &mut ItemDiagnostics) -> Option<String> {
        let (mut job, mut defaults) = (serde_json::Map::new(), serde_json::Map::new());
        let mut said: BTreeMap<&str, (&String, &String)> = BTreeMap::new();
        for (name, value) in &self.metadata {
            let Some((known, meaning)) = known(name, value) else {
                if !metadata::is_written_by_tools(&metadata::canonical(name), value) {
                    diagnostics.error("unknown_metadata", unknown(name));
                }
                continue;
            };
            if let Some((other, before)) = said.insert(known, (name, value))
                && before != value
            {
                let message = format!(
                    "the metadata {other} and {name} are one name, with two values: leave one of them out"
                );
                diagnostics.error("repeated_metadata", message);
            }
            // S3 writes so what isn't ASCII (RFC 2047).
            if value.starts_with("=?") {
                let message = format!(
                    "metadata {name} is not plain ASCII: write it in the job document beside the manifest"
                );
                diagnostics.error("bad_metadata", message);
                continue;
            }
            match meaning {
                Meaning::Job("budget_usd") => {
                    // An amount is a number: what is none is refused as the text it is.
                    let amount = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                    job.insert("budget_usd".to_owned(), amount);
                }
                Meaning::Job(field) => {
                    job.insert(field.to_owned(), json!(value));
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
        let said = !job.is_empty() || !defaults.is_empty();
        said.then(|| json!({"job": job, "defaults": defaults}).to_string())
    }

    /// The stored template of a name: a text, or the JSON of one.
    pub(crate) fn template(&self, name: &str) -> Option<&StoredTemplate> {
        self.templates.get(name)
    }
}

/// The name that metadata has here, and where it counts; none of what tools write, and of what has
/// no meaning.
fn known(name: &str, value: &str) -> Option<(&'static str, Meaning)> {
    let name = metadata::canonical(name);
    METADATA
        .into_iter()
        .find(|(known, _)| *known == name && !metadata::is_written_by_tools(&name, value))
}

fn unknown(name: &str) -> String {
    metadata::unknown(name, &METADATA.map(|(known, _)| known))
}

/// The name of metadata that a person gives by hand, as it is written here. Nothing but what counts
/// is allowed: no tool writes there.
///
/// # Errors
/// What to write instead of a name that has no meaning, or of a `mode` that only tools write.
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

/// Reads a job document's members; those that it can't have are findings.
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
    fn the_job_document_lies_beside_the_manifest() {
        for (manifest, document) in [
            ("inbox/acme/skus.csv", "inbox/acme/skus.job.json"),
            ("inbox/skus.jsonl.gz", "inbox/skus.job.json"),
            ("inbox/v1.2/skus", "inbox/v1.2/skus.job.json"),
        ] {
            assert_eq!(Sidecar::job_key(manifest), document);
        }
    }

    #[test]
    fn the_nearest_template_of_a_name_counts() {
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

    /// What is said by metadata, and what is wrong with it.
    fn said(metadata: &[(&str, &str)]) -> (Option<String>, Vec<(String, String)>) {
        let mut diagnostics = ItemDiagnostics::default();
        let said = with(metadata).metadata_document(&mut diagnostics);
        (
            said,
            diagnostics
                .into_diagnostics(1, None)
                .map(|problem| (problem.code, problem.message))
                .collect(),
        )
    }

    #[test]
    fn what_tools_write_changes_no_job_and_what_people_write_does() {
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
    }

    #[test]
    fn what_tools_write_says_nothing() {
        let tools = [
            ("mtime", "1700000000.5"),
            ("mode", "33188"),
            ("uid", "0"),
            ("s3cmd-attrs", "uid:0"),
            ("sha256", "e3"),
        ];
        assert_eq!(said(&tools), (None, Vec::new()));
        let (job, problems) = said(&[("mode", "dry_run"), ("Budget_USD", "5")]);
        assert_eq!(
            (job.unwrap(), problems),
            (
                r#"{"job":{"budget_usd":5,"mode":"dry_run"},"defaults":{}}"#.to_owned(),
                vec![]
            )
        );
    }

    #[test]
    fn metadata_that_has_no_meaning_is_an_error() {
        for (name, advice) in [
            ("dry-run", "mode=dry_run"),
            ("budget", "budget-usd"),
            ("zzz", "one of name, run"),
        ] {
            let (_, problems) = said(&[(name, "true")]);
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
                "the command line says the same"
            );
        }
        assert_eq!(metadata_name("Aspect_Ratio", "4:5"), Ok("aspect-ratio"));
        for (name, value) in [("mtime", "1700000000"), ("mode", "33188")] {
            assert!(
                metadata_name(name, value).is_err(),
                "no tool writes on the command line"
            );
        }
    }

    #[test]
    fn one_name_in_two_spellings_must_say_one_thing() {
        assert_eq!(said(&[("budget-usd", "5"), ("budget_usd", "5")]).1, []);
        let (_, problems) = said(&[("budget-usd", "5"), ("budget_usd", "6")]);
        assert_eq!(problems[0].0, "repeated_metadata");
    }
}
