//! The sidecar of a manifest on this machine: the metadata from the command line, and the files
//! that `plan` will find in the bucket.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use darkroom::manifest::{Beside, StoredTemplate, TEMPLATES};

/// Reads the sidecar of the manifest at `path`, which becomes the object `key`: `<stem>.job.json`
/// and the texts below `templates/` in the manifest's folder.
pub(super) fn read(
    path: &Path,
    key: &str,
    metadata: BTreeMap<String, String>,
) -> anyhow::Result<Beside> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let job_key = Beside::job_key(key);
    let job = text(&folder.join(job_key.rsplit('/').next().unwrap_or(&job_key)))?;
    let mut keys = Vec::new();
    list(&folder.join(TEMPLATES), TEMPLATES, &mut keys)?;
    let mut templates = BTreeMap::new();
    for (name, key) in Beside::template_names(key, &keys) {
        let text = text(&folder.join(&key))?;
        templates.insert(name, StoredTemplate { key, text });
    }
    Ok(Beside {
        metadata,
        job,
        templates,
    })
}

/// Reads a file as text. None if there is no such file.
fn text(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Adds the keys of all files below a folder. A folder that does not exist has no files.
fn list(folder: &PathBuf, prefix: &str, keys: &mut Vec<String>) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("can't list {}", folder.display()));
        }
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("can't list {}", folder.display()))?;
        // A name that is not valid UTF-8 can't be the key of an object.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let key = format!("{prefix}{name}");
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{key}/"), keys)?;
        } else {
            keys.push(key);
        }
    }
    keys.sort();
    Ok(())
}
