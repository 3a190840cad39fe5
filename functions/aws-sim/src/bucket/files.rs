//! The files that hold objects: lookup, rename and removal.

use std::{
    fs::{self, Metadata},
    io,
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use disk::Disk;

use super::{
    body::TemporaryFile,
    paths::{Paths, is_absent, is_name_conflict},
};

/// A file that holds an object.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
}

/// Coordinates the writers that move files into place with those that remove empty folders.
#[derive(Debug, Default)]
pub(super) struct ObjectFiles {
    /// Held for reading while a file is moved into a folder, and for writing while an empty folder
    /// is removed. Otherwise a folder could disappear before its file arrives.
    folders: RwLock<()>,
}

/// Returns the file of a key: the plain one, or the one under the key's hash.
pub(super) fn find(paths: &Paths, bucket: &str, key: &str) -> io::Result<Option<FoundFile>> {
    let plain = paths.plain(bucket, key);
    for path in plain.into_iter().chain([paths.hashed(bucket, key).body]) {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Ok(Some(FoundFile { path, metadata })),
            Err(error) if !is_absent(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

impl ObjectFiles {
    /// Moves a temporary file to its final path, which is the plain one if possible. Returns the
    /// files that were written.
    pub(super) fn move_into_place(
        &self,
        disk: &Disk,
        paths: &Paths,
        content: &TemporaryFile,
        bucket: &str,
        key: &str,
    ) -> io::Result<Vec<PathBuf>> {
        let _shared = self.folders.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = paths.plain(bucket, key) {
            match content.rename(disk, &path) {
                Ok(()) => {
                    remove_hashed(paths, bucket, key)?;
                    return Ok(vec![path]);
                }
                Err(error) if !is_name_conflict(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let hashed = paths.hashed(bucket, key);
        fs::create_dir_all(&hashed.folder)?;
        disk.write(&hashed.key, key.as_bytes())?;
        content.rename(disk, &hashed.body)?;
        Ok(vec![hashed.key, hashed.body])
    }

    /// Removes a file, and the folders that are empty without it.
    pub(super) fn remove(&self, paths: &Paths, bucket: &str, found: &FoundFile) -> io::Result<()> {
        fs::remove_file(&found.path)?;
        let top = paths.bucket(bucket);
        if !found.path.starts_with(&top) {
            let folder = found.path.parent().unwrap_or(&found.path);
            return fs::remove_dir_all(folder);
        }
        let _exclusive = self.folders.write().unwrap_or_else(PoisonError::into_inner);
        for folder in found
            .path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != top)
        {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn remove_hashed(paths: &Paths, bucket: &str, key: &str) -> io::Result<()> {
    match fs::remove_dir_all(paths.hashed(bucket, key).folder) {
        Err(error) if !is_absent(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
