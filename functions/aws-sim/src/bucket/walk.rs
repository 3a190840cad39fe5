//! Finds all keys of a bucket that begin with a prefix.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
};

use super::paths::{Paths, is_absent, is_path};

/// Returns the keys that begin with `prefix`, ordered by their UTF-8 bytes. Reads only folders that
/// can hold such keys.
pub(super) fn keys(paths: &Paths, bucket: &str, prefix: &str) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.is_empty() {
        plain(&paths.bucket(bucket), "", prefix, &mut keys)?;
    } else if is_path(folder) {
        plain(
            &paths.bucket(bucket).join(folder),
            &format!("{folder}/"),
            prefix,
            &mut keys,
        )?;
    }
    hashed(paths, bucket, prefix, &mut keys)?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Adds the keys below `folder`. `start` is the key of the folder itself, with its slash.
fn plain(folder: &Path, start: &str, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    for entry in entries(folder)? {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let key = format!("{start}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let start = key + "/";
            if start.starts_with(prefix) || prefix.starts_with(&start) {
                plain(&entry.path(), &start, prefix, keys)?;
            }
        } else if key.starts_with(prefix) && (kind.is_file() || links_to_a_file(&entry)) {
            keys.push(key);
        }
    }
    Ok(())
}

fn hashed(paths: &Paths, bucket: &str, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    for entry in entries(&paths.hashed_keys(bucket))? {
        let object = paths.hashed_in(entry.path());
        match fs::read_to_string(&object.key) {
            Ok(key) if key.starts_with(prefix) && object.body.is_file() => keys.push(key),
            Err(error) if !is_absent(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Returns the entries of a folder, or none if a concurrent delete removed the folder.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn links_to_a_file(entry: &DirEntry) -> bool {
    fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file())
}
