//! The paths of an object's content and attributes on the disk.
//!
//! ```text
//! <root>/<bucket>/<key>                                     if the key is a valid path
//! <root>/.darkroom/buckets/<bucket>/keys/<hash>/{key,body}  otherwise
//! <root>/.darkroom/buckets/<bucket>/attributes/<hash>.<inode>
//! <root>/.darkroom/buckets/<bucket>/uploads/<id>/           active multipart uploads
//! <root>/.darkroom/incoming/                                bodies being received
//! <root>/.darkroom/notifications/<bucket>.json              notification rules
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use darkroom::digest::hex;
use sha2::{Digest, Sha256};

/// The folder for internal data, next to the buckets. No bucket's name can begin with a dot.
const DATA_FOLDER: &str = ".darkroom";

/// The longest file name of common file systems, in bytes. A file system with a lower limit reports
/// an error, and the object is then stored under the hash of its key.
const MAX_NAME_LENGTH: usize = 255;

/// The paths under one root folder.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    root: PathBuf,
}

/// The files of an object whose key is not a valid path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HashedObject {
    pub(super) folder: PathBuf,
    /// The file that holds the key itself.
    pub(super) key: PathBuf,
    /// The file that holds the object.
    pub(super) body: PathBuf,
}

impl Paths {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    /// Returns the folder for temporary files. It is on the same file system as the buckets, so
    /// that a rename can commit an object.
    pub(super) fn temporary_folder(&self) -> PathBuf {
        self.root.join(DATA_FOLDER).join("incoming")
    }

    /// Returns the folder of the notification configurations.
    pub(super) fn notifications(&self) -> PathBuf {
        self.root.join(DATA_FOLDER).join("notifications")
    }

    /// Returns the plain file of an object, or none if the key is not a valid path.
    pub(super) fn plain(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        is_path(key).then(|| self.bucket(bucket).join(key))
    }

    pub(super) fn hashed(&self, bucket: &str, key: &str) -> HashedObject {
        self.hashed_in(self.hashed_keys(bucket).join(hash(key)))
    }

    /// Returns the files of the object in one folder of [`Self::hashed_keys`].
    pub(super) fn hashed_in(&self, folder: PathBuf) -> HashedObject {
        HashedObject {
            key: folder.join("key"),
            body: folder.join("body"),
            folder,
        }
    }

    /// Returns the folder of the objects that are stored under a hash.
    pub(super) fn hashed_keys(&self, bucket: &str) -> PathBuf {
        self.bucket_data(bucket).join("keys")
    }

    pub(super) fn attributes(&self, bucket: &str, key: &str, inode: u64) -> PathBuf {
        self.bucket_data(bucket)
            .join("attributes")
            .join(format!("{}.{inode}", hash(key)))
    }

    /// Returns the folder of the active multipart uploads.
    pub(super) fn uploads(&self, bucket: &str) -> PathBuf {
        self.bucket_data(bucket).join("uploads")
    }

    fn bucket_data(&self, bucket: &str) -> PathBuf {
        self.root.join(DATA_FOLDER).join("buckets").join(bucket)
    }
}

/// Whether a key is a valid relative path: each segment is a file name of acceptable length, and
/// none is empty, `.` or `..`.
pub(super) fn is_path(key: &str) -> bool {
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_LENGTH && !name.contains('\0')
    };
    key.split('/').all(is_name)
}

/// Whether the error means that nothing exists at the path: no such file, a file in place of a
/// folder, or a name that the file system does not allow.
pub(super) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

/// Whether the error means that no file can have this path: it is a folder, it leads through a
/// file, or the name is too long.
pub(super) fn is_name_conflict(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, InvalidFilename, IsADirectory, NotADirectory,
    };
    matches!(
        error.kind(),
        AlreadyExists | DirectoryNotEmpty | InvalidFilename | IsADirectory | NotADirectory
    )
}

fn hash(key: &str) -> String {
    hex(&Sha256::digest(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_escape_or_are_too_long_are_not_paths() {
        for key in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\0b",
            &"x".repeat(256),
        ] {
            assert!(!is_path(key), "{key:?}");
        }
        for key in [
            "a",
            "a/b",
            ".hidden",
            "...",
            "a b+c%25",
            "ümläut/画像.png",
            "back\\slash",
            &"x".repeat(255),
        ] {
            assert!(is_path(key), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn no_key_escapes_its_bucket(key in "[a./\\\\\0é]{0,12}") {
            let paths = Paths::new(PathBuf::from("/buckets"));
            if let Some(path) = paths.plain("bucket", &key) {
                let normal = path.components().all(|part| !matches!(part, std::path::Component::ParentDir | std::path::Component::CurDir));
                prop_assert!(normal && path.starts_with("/buckets/bucket/"));
                prop_assert_eq!(path.strip_prefix("/buckets/bucket/").unwrap().to_str().unwrap(), key);
            }
        }
    }
}
