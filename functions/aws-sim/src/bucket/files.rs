//! The file that holds an object: found, given its name, removed.

use std::{
    fs::{self, Metadata},
    io,
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use disk::Disk;

use super::{
    incoming::Temporary,
    place::{Places, is_absent, is_clash},
};

/// A file that holds an object.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
}

/// Those who give files their names, and those who remove folders: never at the same moment.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Held by all who put a file into a folder, and alone by who removes an empty one.
    folders: RwLock<()>,
}

/// The file of a key: the plain one, or the one set aside.
pub(super) fn find(places: &Places, bucket: &str, key: &str) -> io::Result<Option<Found>> {
    let plain = places.plain(bucket, key);
    for path in plain
        .into_iter()
        .chain([places.set_aside(bucket, key).body])
    {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Ok(Some(Found { path, metadata })),
            Err(error) if !is_absent(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

impl Files {
    /// Gives the bytes their name: the plain one if it can be. Answers with the files that were
    /// written.
    pub(super) fn place(
        &self,
        disk: &Disk,
        places: &Places,
        bytes: &Temporary,
        bucket: &str,
        key: &str,
    ) -> io::Result<Vec<PathBuf>> {
        let _shared = self.folders.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = places.plain(bucket, key) {
            match bytes.rename(disk, &path) {
                Ok(()) => {
                    remove_set_aside(places, bucket, key)?;
                    return Ok(vec![path]);
                }
                Err(error) if !is_clash(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let aside = places.set_aside(bucket, key);
        fs::create_dir_all(&aside.folder)?;
        disk.write(&aside.key, key.as_bytes())?;
        bytes.rename(disk, &aside.body)?;
        Ok(vec![aside.key, aside.body])
    }

    /// Removes a file, and the folders in which it was the last.
    pub(super) fn remove(&self, places: &Places, bucket: &str, found: &Found) -> io::Result<()> {
        fs::remove_file(&found.path)?;
        let top = places.bucket(bucket);
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

fn remove_set_aside(places: &Places, bucket: &str, key: &str) -> io::Result<()> {
    match fs::remove_dir_all(places.set_aside(bucket, key).folder) {
        Err(error) if !is_absent(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
