//! A manifest and its sidecar in a folder on this machine, as the library reads them.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use darkroom::manifest::{SourceSet, TEMPLATES};

/// A manifest as a file, with `<stem>.job.json` and `templates/` in the same folder.
#[derive(Clone, Debug)]
pub(super) struct FolderSources {
    path: PathBuf,
}

impl FolderSources {
    /// The manifest at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Opens the manifest.
    fn open(&self) -> anyhow::Result<fs::File> {
        fs::File::open(&self.path).with_context(|| format!("can't open {}", self.path.display()))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

impl SourceSet for FolderSources {
    type Error = anyhow::Error;

    fn manifest(&self) -> anyhow::Result<impl Read> {
        self.open()
    }

    /// A key in the bucket is a path in the folder, except that `inbox/` is the folder itself.
    fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
        let path = self
            .folder()
            .join(key.strip_prefix("inbox/").unwrap_or(key));
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    fn template_keys(&self) -> anyhow::Result<Vec<String>> {
        let mut keys = Vec::new();
        list(&self.folder().join(TEMPLATES), TEMPLATES, &mut keys)?;
        Ok(keys)
    }
}

/// Adds the files of a folder, and of the folders in it, as keys that begin with `prefix`.
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
        // S3 keys are UTF-8, so a file with another name can't be a template.
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
