//! All keys of a bucket that begin with a prefix, as the folders have them.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
};

use super::place::{Places, is_absent, is_path};

/// The keys that begin with `prefix`, ordered by their UTF-8 bytes. Only folders that can hold such
/// keys are read.
pub(super) fn keys(places: &Places, bucket: &str, prefix: &str) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.is_empty() {
        plain(&places.bucket(bucket), "", prefix, &mut keys)?;
    } else if is_path(folder) {
        plain(
            &places.bucket(bucket).join(folder),
            &format!("{folder}/"),
            prefix,
            &mut keys,
        )?;
    }
    set_aside(places, bucket, prefix, &mut keys)?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The keys below `folder`, whose own keys begin with `start`.
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
        } else if key.starts_with(prefix) && (kind.is_file() || leads_to_a_file(&entry)) {
            keys.push(key);
        }
    }
    Ok(())
}

fn set_aside(
    places: &Places,
    bucket: &str,
    prefix: &str,
    keys: &mut Vec<String>,
) -> io::Result<()> {
    for entry in entries(&places.keys(bucket))? {
        let aside = places.set_aside_in(entry.path());
        match fs::read_to_string(&aside.key) {
            Ok(key) if key.starts_with(prefix) && aside.body.is_file() => keys.push(key),
            Err(error) if !is_absent(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// What is in a folder: nothing if it is gone, which a delete may do at any moment.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn leads_to_a_file(entry: &DirEntry) -> bool {
    fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file())
}
