//! What the command line says about a manifest: which file it is, and the metadata that it is
//! dropped with.

use std::{collections::BTreeMap, path::PathBuf};

use darkroom::{ignored_files::is_ignored, manifest::metadata_name, money::Usd};

use super::ManifestArgs;

/// The file, unless its name says that it is none that anybody would drop.
pub(super) fn path(path: PathBuf) -> Result<PathBuf, String> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if is_ignored(name) => {
            Err("by its name it is a temporary file, or one of a file manager's own, \
                                                  which is left alone in inbox/: give it another name"
                .to_owned())
        }
        Some(_) | None => Ok(path),
    }
}

/// Names and values of metadata, by the names that they have in the bucket. A comma within a value
/// is taken for one that separates only where a name and `=` follow it, so that a template may hold
/// commas.
pub(super) fn metadata(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut said: Vec<(&str, String)> = Vec::new();
    for piece in text.split(',') {
        match (
            piece.split_once('=').filter(|(name, _)| is_name(name)),
            said.last_mut(),
        ) {
            (Some((name, value)), _) => said.push((name.trim(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            (None, None) => return Err("write name=value".to_owned()),
        }
    }
    said.into_iter()
        .map(|(name, value)| Ok((metadata_name(name, &value)?.to_owned(), value)))
        .collect()
}

/// Whether a text is written as the names of metadata are.
fn is_name(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// An amount, as it was written: it is part of the job's identity.
pub(super) fn dollars(text: &str) -> Result<String, String> {
    match text.parse::<Usd>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl ManifestArgs {
    /// The metadata that the manifest is dropped with: what `--metadata` says, and what has an
    /// option of its own.
    ///
    /// # Errors
    /// When two of them say something else about the same.
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, String>, String> {
        let mut said: BTreeMap<String, (String, &str)> = BTreeMap::new();
        let given = self
            .metadata
            .iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str(), "--metadata"));
        let dry_run = self.dry_run.then_some(("mode", "dry_run", "--dry-run"));
        let budget = self
            .budget_usd
            .as_deref()
            .map(|usd| ("budget-usd", usd, "--budget-usd"));
        for (name, value, source) in given.chain(dry_run).chain(budget) {
            match said.get(name) {
                Some((before, _)) if means_the_same(name, before, value) => {}
                Some((before, first)) => {
                    return Err(format!(
                        "{first} says {name}={before}, and {source} says {name}={value}: say one of them"
                    ));
                }
                None => {
                    said.insert(name.to_owned(), (value.to_owned(), source));
                }
            }
        }
        Ok(said
            .into_iter()
            .map(|(name, (value, _))| (name, value))
            .collect())
    }
}

fn means_the_same(name: &str, one: &str, other: &str) -> bool {
    let is_estimate = |value: &str| matches!(value, "dry_run" | "estimate");
    let usd = |value: &str| value.parse::<Usd>().ok();
    match name {
        "mode" => one == other || (is_estimate(one) && is_estimate(other)),
        "budget-usd" => one == other || (usd(one).is_some() && usd(one) == usd(other)),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(
        metadata: &[(&str, &str)],
        dry_run: bool,
        budget_usd: Option<&str>,
    ) -> Result<String, String> {
        let metadata = metadata
            .iter()
            .map(|(name, value)| vec![((*name).to_owned(), (*value).to_owned())])
            .collect();
        let budget_usd = budget_usd.map(str::to_owned);
        let said = ManifestArgs {
            manifest: PathBuf::new(),
            metadata,
            dry_run,
            budget_usd,
        }
        .metadata()?;
        Ok(said
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(","))
    }

    #[test]
    fn an_option_says_what_the_metadata_says() {
        assert_eq!(
            said(&[("key", "{sku}")], true, Some("5")),
            Ok("budget-usd=5,key={sku},mode=dry_run".to_owned())
        );
        assert_eq!(
            said(&[("budget-usd", "5")], false, Some("5.00")),
            Ok("budget-usd=5".to_owned())
        );
        assert_eq!(
            said(&[("mode", "estimate")], true, None),
            Ok("mode=estimate".to_owned())
        );
        assert_eq!(said(&[], false, None), Ok(String::new()));
    }

    #[test]
    fn two_values_for_the_same_are_an_error() {
        let two = said(&[("budget-usd", "5")], false, Some("6")).unwrap_err();
        assert_eq!(
            two,
            "--metadata says budget-usd=5, and --budget-usd says budget-usd=6: say one of them"
        );
        assert!(said(&[("mode", "run")], true, None).is_err());
        assert!(said(&[("key", "{a}"), ("key", "{b}")], false, None).is_err());
    }

    #[test]
    fn metadata_has_the_names_of_the_bucket_and_no_other() {
        assert_eq!(
            metadata("Budget_USD=5"),
            Ok(vec![("budget-usd".to_owned(), "5".to_owned())])
        );
        for (text, advice) in [
            ("dry-run=true", "mode=dry_run"),
            ("budget=5", "budget-usd"),
            ("mtime=1", "leave it out"),
        ] {
            let message = metadata(text).unwrap_err();
            assert!(message.contains(advice), "{message}");
        }
        assert!(metadata("mode").is_err());
    }

    #[test]
    fn a_value_may_hold_commas() {
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
            "no value may swallow a mistaken name"
        );
    }

    #[test]
    fn a_temporary_file_is_no_manifest() {
        assert!(
            path(PathBuf::from("a/skus.csv.part")).is_err()
                && path(PathBuf::from("~$skus.csv")).is_err()
        );
        assert!(
            path(PathBuf::from(".hidden/skus.csv")).is_ok(),
            "its folder is not part of its key"
        );
    }
}
