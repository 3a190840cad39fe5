//! Reference pictures on this machine, and their keys below `refs/`.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use darkroom::{digest::hex, names::ObjectUri};
use disk::Disk;
use sha2::{Digest, Sha256};

use crate::cloud::BUCKET;

/// The only folder of the bucket that references may name.
const REFS: &str = "refs";

/// The size of the largest picture that a job accepts.
const MAX_BYTES: usize = 20 << 20;

/// How many digits of a picture's hash distinguish it from another of the same name.
const HASH_DIGITS: usize = 8;

/// A reference picture.
#[derive(Debug)]
pub(super) struct Picture {
    /// Its key, which is also its path in the folder of a manifest.
    pub(super) key: String,
    pub(super) bytes: Vec<u8>,
}

/// Reads pictures, and chooses a key for each that no other picture in `folder` has.
pub(super) fn read(paths: &[PathBuf], folder: &Path) -> anyhow::Result<Vec<Picture>> {
    let mut pictures: Vec<Picture> = Vec::new();
    for path in paths {
        let bytes = fs::read(path)
            .with_context(|| format!("can't read the reference {}", path.display()))?;
        anyhow::ensure!(
            bytes.len() <= MAX_BYTES,
            "the reference {} has {} MiB, but at most {} are allowed: make it smaller",
            path.display(),
            bytes.len().div_ceil(1 << 20),
            MAX_BYTES >> 20
        );
        let key = wanted_key(path).with_context(|| {
            format!("the name of the reference {} is not valid", path.display())
        })?;
        let mut picture = Picture { key, bytes };
        let is_taken = pictures
            .iter()
            .any(|other| other.key == picture.key && other.bytes != picture.bytes);
        if is_taken || !picture.fits(folder)? {
            picture.key = picture.hashed_key();
        }
        pictures.push(picture);
    }
    Ok(pictures)
}

impl Picture {
    /// The picture with this key that is stored in `folder`.
    pub(super) fn stored(key: &str, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(key);
        let bytes = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        Ok(Self {
            key: key.to_owned(),
            bytes,
        })
    }

    pub(super) fn uri(&self) -> ObjectUri {
        ObjectUri {
            bucket: BUCKET.to_owned(),
            key: self.key.clone(),
        }
    }

    /// Whether the key is free in `folder`, or is that of this picture.
    pub(super) fn fits(&self, folder: &Path) -> anyhow::Result<bool> {
        let path = folder.join(&self.key);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes == self.bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    /// Returns a key that contains the hash of the picture.
    pub(super) fn hashed_key(&self) -> String {
        let hash = hex(&Sha256::digest(&self.bytes));
        let hash = &hash[..HASH_DIGITS];
        match self.key.rsplit_once('.') {
            Some((stem, extension)) => format!("{stem}-{hash}.{extension}"),
            None => format!("{}-{hash}", self.key),
        }
    }

    /// Writes the picture below `folder`, unless it is there already.
    pub(super) fn store(&self, disk: &Disk, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(&self.key);
        if path.exists() && self.fits(folder)? {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .with_context(|| format!("can't create the folder {}", parent.display()))?;
        disk.replace(&path, &self.bytes)
            .with_context(|| format!("can't write {}", path.display()))
    }
}

/// Returns the key of a picture: its path if it is below `refs/` already, and otherwise its name
/// below `refs/`.
fn wanted_key(path: &Path) -> Option<String> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let names: Option<Vec<&str>> = parts
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match names {
        Some(names) if names.len() > 1 && names[0] == REFS => Some(names.join("/")),
        _ => Some(format!("{REFS}/{}", path.file_name()?.to_str()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_path_below_refs() {
        for (path, key) in [
            ("refs/shoe.png", "refs/shoe.png"),
            ("./refs/a/shoe.png", "refs/a/shoe.png"),
            ("photos/shoe.png", "refs/shoe.png"),
            ("../refs/shoe.png", "refs/shoe.png"),
            ("refs/../shoe.png", "refs/shoe.png"),
            ("/tmp/refs/shoe.png", "refs/shoe.png"),
            ("shoe.png", "refs/shoe.png"),
        ] {
            assert_eq!(wanted_key(Path::new(path)).as_deref(), Some(key), "{path}");
        }
        assert_eq!(wanted_key(Path::new("..")), None);
    }

    #[test]
    fn another_picture_of_the_same_name_gets_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("a")).unwrap();
        fs::write(path("x.png"), "one").unwrap();
        fs::write(path("a/x.png"), "two").unwrap();
        let paths = [path("x.png"), path("a/x.png"), path("x.png")];
        let keys: Vec<String> = read(&paths, &path("try"))
            .unwrap()
            .into_iter()
            .map(|picture| picture.key)
            .collect();
        assert_eq!(keys, ["refs/x.png", "refs/x-3fc4ccfe.png", "refs/x.png"]);
    }
}
