//! Lists folders on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Lists the paths of what is in a folder, in any order. A folder that is missing is empty.
///
/// # Errors
/// Returns an error if the folder can't be read.
pub(crate) fn paths_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    listed.with_context(|| format!("can't list {}", folder.display()))
}
