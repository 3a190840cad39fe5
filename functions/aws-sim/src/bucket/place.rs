//! Where an object's bytes and what is known of them lie on the disk.
//!
//! ```text
//! <root>/<bucket>/<key>                                     wherever the key can be a path
//! <root>/.darkroom/buckets/<bucket>/keys/<hash>/{key,body}  where it can't
//! <root>/.darkroom/buckets/<bucket>/attributes/<hash>.<inode>
//! <root>/.darkroom/buckets/<bucket>/uploads/<id>/           multipart uploads under way
//! <root>/.darkroom/incoming/                                bodies being received
//! <root>/.darkroom/notifications/<bucket>.json              who is told of its new objects
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use darkroom::digest::hex;
use sha2::{Digest, Sha256};

/// The folder beside the buckets that a person need not look into. No bucket's name begins with a
/// dot.
const ASIDE: &str = ".darkroom";

/// The longest file name of common file systems, in bytes. A file system with a lower limit says
/// so, and the object is set aside then.
const LONGEST_NAME: usize = 255;

/// The paths under one root folder.
#[derive(Clone, Debug)]
pub(super) struct Places {
    root: PathBuf,
}

/// The folder of an object whose key can't be a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) folder: PathBuf,
    /// The file that holds the key itself.
    pub(super) key: PathBuf,
    /// The file that holds the object.
    pub(super) body: PathBuf,
}

impl Places {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    /// Where bodies are received: on the same file system as the buckets, so that a rename is all
    /// it takes to commit.
    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join(ASIDE).join("incoming")
    }

    /// The folder of the notification configurations.
    pub(super) fn notifications(&self) -> PathBuf {
        self.root.join(ASIDE).join("notifications")
    }

    /// The plain file of an object; none if the key can't be a path.
    pub(super) fn plain(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        is_path(key).then(|| self.bucket(bucket).join(key))
    }

    pub(super) fn set_aside(&self, bucket: &str, key: &str) -> SetAside {
        self.set_aside_in(self.keys(bucket).join(hash(key)))
    }

    /// The set-aside object in one folder of [`Self::keys`].
    pub(super) fn set_aside_in(&self, folder: PathBuf) -> SetAside {
        SetAside {
            key: folder.join("key"),
            body: folder.join("body"),
            folder,
        }
    }

    /// The folder of the objects set aside.
    pub(super) fn keys(&self, bucket: &str) -> PathBuf {
        self.about(bucket).join("keys")
    }

    pub(super) fn attributes(&self, bucket: &str, key: &str, inode: u64) -> PathBuf {
        self.about(bucket)
            .join("attributes")
            .join(format!("{}.{inode}", hash(key)))
    }

    /// The folder of the multipart uploads under way.
    pub(super) fn uploads(&self, bucket: &str) -> PathBuf {
        self.about(bucket).join("uploads")
    }

    fn about(&self, bucket: &str) -> PathBuf {
        self.root.join(ASIDE).join("buckets").join(bucket)
    }
}

/// Whether the parts of a key can be names of folders and of a file: none empty, none too long,
/// none that points elsewhere. The empty text is no path.
pub(super) fn is_path(key: &str) -> bool {
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && !name.contains('\0')
    };
    key.split('/').all(is_name)
}

/// Whether the file system found nothing there: no such file, a file where the path wants a folder,
/// or a name that it can't hold.
pub(super) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

/// Whether the file system can't have a file there: there is a folder, a file where the path wants
/// a folder, or the name is too long for it.
pub(super) fn is_clash(error: &io::Error) -> bool {
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
    fn keys_that_point_elsewhere_are_no_paths() {
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
        fn no_key_leaves_its_bucket(key in "[a./\\\\\0é]{0,12}") {
            let places = Places::new(PathBuf::from("/buckets"));
            if let Some(path) = places.plain("bucket", &key) {
                let normal = path.components().all(|part| !matches!(part, std::path::Component::ParentDir | std::path::Component::CurDir));
                prop_assert!(normal && path.starts_with("/buckets/bucket/"));
                prop_assert_eq!(path.strip_prefix("/buckets/bucket/").unwrap().to_str().unwrap(), key);
            }
        }
    }
}
