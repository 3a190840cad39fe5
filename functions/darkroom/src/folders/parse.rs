//! Parses and checks `stack/folders.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::{BELOW, Folder, Folders, defaults};
use crate::{ledger::Caps, models::AllowedModels, money::Usd, names::FolderPath};

/// What every path begins with.
const INBOX: &str = "inbox/";

/// The most folders. The caps of all of them are looked at whenever a shard asks for admission.
const MAX_FOLDERS: usize = 1_000;

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 512;

/// The most labels of one folder, and the longest label in characters: that of an e-mail address.
const MAX_LABELS: usize = 20;
const MAX_LABEL_CHARACTERS: usize = 254;

/// Why a text is not a list of folders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FoldersError {
    /// The line to fix, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    folder: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: Spanned<String>,
    daily_cap_usd: Option<Spanned<Usd>>,
    monthly_cap_usd: Option<Spanned<Usd>>,
    models: Option<Spanned<Vec<String>>>,
    notify: Option<Spanned<Labels>>,
    #[serde(default)]
    defaults: BTreeMap<Spanned<String>, serde_json::Value>,
}

#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a label in quotes, or a list of labels"
)]
enum Labels {
    One(String),
    Many(Vec<String>),
}

impl Folders {
    /// Parses and checks a list of folders. An empty text lists none.
    ///
    /// # Errors
    /// [`FoldersError`] for text of another shape, repeated and impossible paths, caps that are not
    /// above zero, labels that are no labels, and defaults that no manifest accepts.
    pub fn parse(text: &str) -> Result<Self, FoldersError> {
        let File { folder: entries } = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            wrong(text, start, error.message())
        })?;
        if entries.len() > MAX_FOLDERS {
            let start = entries[MAX_FOLDERS].path.span().start;
            let what = format!("there are more than {MAX_FOLDERS} folders: remove some");
            return Err(wrong(text, start, what));
        }
        let mut paths = BTreeSet::new();
        let mut folders = Vec::with_capacity(entries.len());
        for entry in entries {
            if !paths.insert(entry.path.get_ref().clone()) {
                let what = format!("{:?} is there twice: keep one", entry.path.get_ref());
                return Err(wrong(text, entry.path.span().start, what));
            }
            folders.push(checked(text, entry)?);
        }
        Ok(Self { folders })
    }
}

/// Checks one entry.
fn checked(text: &str, entry: Entry) -> Result<Folder, FoldersError> {
    let at = |start: usize| move |what: String| wrong(text, start, what);
    check_path(entry.path.get_ref()).map_err(at(entry.path.span().start))?;
    let path = FolderPath::new(entry.path.into_inner());

    let cap = |usd: Option<Spanned<Usd>>| match usd {
        Some(usd) if *usd.get_ref() <= Usd::ZERO => {
            let what = format!(
                "invalid cap {}: expected dollars above zero, such as 20 or 12.50",
                usd.get_ref()
            );
            Err(wrong(text, usd.span().start, what))
        }
        usd => Ok(usd.map(Spanned::into_inner)),
    };
    let caps = Caps {
        daily_usd: cap(entry.daily_cap_usd)?,
        monthly_usd: cap(entry.monthly_cap_usd)?,
    };

    // An empty list would allow nothing, which is more likely a mistake.
    let models = match entry.models {
        Some(names) if names.get_ref().iter().any(|name| !is_model(name)) => {
            let what = "invalid models: expected names such as \"nano-banana-2\" or a full id";
            return Err(wrong(text, names.span().start, what));
        }
        Some(names) if names.get_ref().is_empty() => {
            let what = "models is empty: name the allowed models, or remove it to allow all";
            return Err(wrong(text, names.span().start, what));
        }
        names => names.map(|names| AllowedModels::new(path.clone(), names.into_inner())),
    };

    let notify = match entry.notify {
        Some(labels) => {
            let start = labels.span().start;
            let labels = match labels.into_inner() {
                Labels::One(label) => vec![label],
                Labels::Many(labels) => labels,
            };
            check_labels(&labels).map_err(at(start))?;
            labels
        }
        None => Vec::new(),
    };

    // Each default is checked alone, so that the line is that of the wrong one.
    let mut set = BTreeMap::new();
    for (name, value) in entry.defaults {
        let start = name.span().start;
        if let Some(what) = defaults::problem(name.get_ref(), &value) {
            return Err(wrong(text, start, what));
        }
        set.insert(name.into_inner(), (start, value));
    }
    let rescues = set.get("rescue").filter(|(_, value)| value != "off");
    if let Some((start, _)) = rescues.filter(|_| !set.contains_key("within")) {
        let what = "rescue needs within, the time after which a batch is rescued: add it, such as \
                    within = \"2h\"";
        return Err(wrong(text, *start, what));
    }
    let set: BTreeMap<_, _> = set
        .into_iter()
        .map(|(name, (_, value))| (name, value))
        .collect();
    let defaults = (!set.is_empty()).then(|| defaults::document(&set));
    Ok(Folder {
        path,
        caps,
        models,
        notify,
        defaults,
    })
}

/// Checks that a path names a folder below the inbox, or the whole inbox.
fn check_path(path: &str) -> Result<(), String> {
    let expected = "expected a folder below the inbox, such as \"inbox/acme/**\"";
    let folder = path
        .strip_prefix(INBOX)
        .and_then(|rest| rest.strip_suffix(BELOW));
    let Some(folder) = folder else {
        return Err(format!("invalid path {path:?}: {expected}"));
    };
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..")
            && !name.contains(['*', '?'])
            && !name.chars().any(char::is_control)
    };
    let names = folder.strip_suffix('/').unwrap_or(folder);
    let is_folder = folder.is_empty() || folder.ends_with('/') && names.split('/').all(is_name);
    if is_folder && path.len() <= MAX_PATH_BYTES {
        Ok(())
    } else {
        Err(format!(
            "invalid path {path:?}: {expected}, without other wildcards and of at most \
             {MAX_PATH_BYTES} bytes"
        ))
    }
}

/// Whether a text may be the name of a model.
fn is_model(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Checks labels, which are repeated in `job.json`.
fn check_labels(labels: &[String]) -> Result<(), String> {
    let is_label = |label: &&String| {
        (1..=MAX_LABEL_CHARACTERS).contains(&label.len())
            && label.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'_' | b'-' | b'+')
            })
    };
    if labels.is_empty() || labels.len() > MAX_LABELS {
        return Err(format!(
            "notify has {} labels: expected 1 to {MAX_LABELS}",
            labels.len()
        ));
    }
    match labels.iter().find(|label| !is_label(label)) {
        Some(label) => Err(format!(
            "invalid label {label:?} in notify: expected an e-mail address or a name of letters, \
             digits and @._-+, with at most {MAX_LABEL_CHARACTERS} characters"
        )),
        None => Ok(()),
    }
}

/// The error at a position of the text, in bytes.
fn wrong(text: &str, start: usize, what: impl Into<String>) -> FoldersError {
    let before = text.as_bytes().iter().take(start);
    FoldersError {
        line: 1 + before.filter(|byte| **byte == b'\n').count(),
        what: what.into(),
    }
}
