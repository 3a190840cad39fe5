//! The arguments that describe a manifest: its file and its metadata.

use std::{collections::BTreeMap, path::PathBuf};

use darkroom::{ignored_files::is_ignored, manifest::metadata_name, money::Usd};

use super::ManifestArgs;

/// Accepts the path of a manifest, unless its name marks it as a temporary file. `plan` ignores
/// such files in `inbox/`, so a job would never start.
pub(super) fn path(path: PathBuf) -> Result<PathBuf, String> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if is_ignored(name) => Err(
            "the name is that of a temporary file or of a file manager's own file, and such \
                 files are ignored in inbox/: rename the manifest"
                .to_owned(),
        ),
        Some(_) | None => Ok(path),
    }
}

/// Parses metadata and returns it under the names that it has in the bucket. A comma separates two
/// entries only if a name and `=` follow it, so a value such as a template may contain commas.
pub(super) fn metadata(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut entries: Vec<(&str, String)> = Vec::new();
    for piece in text.split(',') {
        match (
            piece.split_once('=').filter(|(name, _)| is_name(name)),
            entries.last_mut(),
        ) {
            (Some((name, value)), _) => entries.push((name.trim(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            (None, None) => return Err("expected NAME=VALUE".to_owned()),
        }
    }
    entries
        .into_iter()
        .map(|(name, value)| Ok((metadata_name(name, &value)?.to_owned(), value)))
        .collect()
}

/// Whether a text has the form of a metadata name.
fn is_name(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Accepts an amount in US dollars and returns the text as it was written, because the text is part
/// of the job's identity.
pub(super) fn dollars(text: &str) -> Result<String, String> {
    match text.parse::<Usd>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl ManifestArgs {
    /// Returns the metadata of the manifest, from `--metadata` and from the options that stand for
    /// a single entry.
    ///
    /// # Errors
    /// Returns an error if two of them give different values for the same name.
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, String>, String> {
        // Each entry with the option that it comes from, for the error message.
        let listed = self
            .metadata
            .iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str(), "--metadata"));
        let dry_run = self.dry_run.then_some(("mode", "dry_run", "--dry-run"));
        let budget = self
            .budget_usd
            .as_deref()
            .map(|usd| ("budget-usd", usd, "--budget-usd"));

        // The first value wins, since the text of a value is part of the job's identity.
        let mut merged: BTreeMap<String, (String, &str)> = BTreeMap::new();
        for (name, value, option) in listed.chain(dry_run).chain(budget) {
            match merged.get(name) {
                Some((earlier, _)) if is_equivalent(name, earlier, value) => {}
                Some((earlier, first_option)) => {
                    return Err(format!(
                        "conflicting values: {first_option} sets {name}={earlier} and {option} \
                         sets {name}={value}; use only one of them"
                    ));
                }
                None => {
                    merged.insert(name.to_owned(), (value.to_owned(), option));
                }
            }
        }
        Ok(merged
            .into_iter()
            .map(|(name, (value, _))| (name, value))
            .collect())
    }
}

/// Whether two values of the metadata `name` have the same meaning.
fn is_equivalent(name: &str, one: &str, other: &str) -> bool {
    let is_dry_run = |value: &str| matches!(value, "dry_run" | "estimate");
    let usd = |value: &str| value.parse::<Usd>().ok();
    match name {
        "mode" => one == other || (is_dry_run(one) && is_dry_run(other)),
        "budget-usd" => one == other || (usd(one).is_some() && usd(one) == usd(other)),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(
        metadata: &[(&str, &str)],
        dry_run: bool,
        budget_usd: Option<&str>,
    ) -> Result<String, String> {
        let metadata = metadata
            .iter()
            .map(|(name, value)| vec![((*name).to_owned(), (*value).to_owned())])
            .collect();
        let budget_usd = budget_usd.map(str::to_owned);
        let merged = ManifestArgs {
            manifest: PathBuf::new(),
            metadata,
            dry_run,
            budget_usd,
        }
        .metadata()?;
        Ok(merged
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(","))
    }

    #[test]
    fn an_option_is_merged_with_the_metadata() {
        assert_eq!(
            merged(&[("key", "{sku}")], true, Some("5")),
            Ok("budget-usd=5,key={sku},mode=dry_run".to_owned())
        );
        assert_eq!(
            merged(&[("budget-usd", "5")], false, Some("5.00")),
            Ok("budget-usd=5".to_owned())
        );
        assert_eq!(
            merged(&[("mode", "estimate")], true, None),
            Ok("mode=estimate".to_owned())
        );
        assert_eq!(merged(&[], false, None), Ok(String::new()));
    }

    #[test]
    fn rejects_two_values_for_one_name() {
        let error = merged(&[("budget-usd", "5")], false, Some("6")).unwrap_err();
        assert_eq!(
            error,
            "conflicting values: --metadata sets budget-usd=5 and --budget-usd sets budget-usd=6; \
             use only one of them"
        );
        assert!(merged(&[("mode", "run")], true, None).is_err());
        assert!(merged(&[("key", "{a}"), ("key", "{b}")], false, None).is_err());
    }

    #[test]
    fn accepts_only_the_metadata_names_of_the_bucket() {
        assert_eq!(
            metadata("Budget_USD=5"),
            Ok(vec![("budget-usd".to_owned(), "5".to_owned())])
        );
        for (text, advice) in [
            ("dry-run=true", "mode=dry_run"),
            ("budget=5", "budget-usd"),
            ("mtime=1", "remove it"),
        ] {
            let message = metadata(text).unwrap_err();
            assert!(message.contains(advice), "{message}");
        }
        assert!(metadata("mode").is_err());
    }

    #[test]
    fn a_value_may_contain_commas() {
        for (text, expected) in [
            (
                "template=white-bg,budget-usd=150",
                &[("template", "white-bg"), ("budget-usd", "150")][..],
            ),
            (
                "key={sku},template={title}, on white, soft",
                &[("key", "{sku}"), ("template", "{title}, on white, soft")],
            ),
            (
                "template=a, b, key={sku}",
                &[("template", "a, b"), ("key", "{sku}")],
            ),
            ("prompt=x=y,a b=c", &[("prompt", "x=y,a b=c")]),
        ] {
            let found = metadata(text).unwrap();
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
        assert!(
            metadata("template=a,buget=5").is_err(),
            "a misspelled name must not become part of a value"
        );
    }

    #[test]
    fn rejects_a_temporary_file() {
        assert!(
            path(PathBuf::from("a/skus.csv.part")).is_err()
                && path(PathBuf::from("~$skus.csv")).is_err()
        );
        assert!(
            path(PathBuf::from(".hidden/skus.csv")).is_ok(),
            "the folder is not part of the key"
        );
    }
}
