//! A folder of small JSON documents, one file each, in which the stand-ins store what a restart
//! must find.
//!
//! A document is replaced by writing a temporary file and renaming it. If the process is killed at
//! any moment, a reader finds the old document or the new one, and never a part. On a durable
//! [`Disk`] the content is synchronized before the rename. So a power failure may lose the newest
//! documents, but damages none. On a fast disk a power failure may leave a document without
//! content, which counts as lost.

use std::{
    fs::{self, File},
    io::{self, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::Disk;

/// The suffix of a document's file name.
const DOCUMENT_SUFFIX: &str = ".json";

/// The suffix of a temporary file's name.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The maximum length of an encoded id, in bytes. A file name may have 255, and the temporary one
/// is longer.
const MAX_ID_LENGTH: usize = 200;

/// A folder of documents of one kind.
#[derive(Debug)]
pub struct Documents<T> {
    folder: PathBuf,
    disk: Disk,
    temporaries: AtomicU64,
    kind: PhantomData<fn() -> T>,
}

/// The reason why a document could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file system refused. The document is unchanged.
    #[error("can't read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The file system's error.
        #[source]
        source: io::Error,
    },
    /// The file is not a document of this kind, so another program wrote it. Move it away.
    #[error("{} is not a document of this kind: move it away", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        #[source]
        source: serde_json::Error,
    },
}

impl<T: Serialize + DeserializeOwned> Documents<T> {
    /// Opens the documents in `folder`, which is created if it is missing. Removes the temporary
    /// files of a killed process.
    ///
    /// # Errors
    /// [`DocumentError::Io`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, DocumentError> {
        Self::open_on(Disk::fast(), folder)
    }

    /// Opens the documents like [`Documents::open`], with the durability of `disk`.
    ///
    /// # Errors
    /// [`DocumentError::Io`].
    pub fn open_on(disk: Disk, folder: impl Into<PathBuf>) -> Result<Self, DocumentError> {
        let documents = Self {
            folder: folder.into(),
            disk,
            temporaries: AtomicU64::new(0),
            kind: PhantomData,
        };
        fs::create_dir_all(&documents.folder)
            .map_err(|source| io_error(&documents.folder, source))?;
        for (name, path) in documents.files()? {
            if name.ends_with(TEMPORARY_SUFFIX) {
                remove(&path)?;
            }
        }
        Ok(documents)
    }

    /// Stores `document` under `id`, and replaces any earlier one. The document is stored when this
    /// returns.
    ///
    /// # Errors
    /// [`DocumentError`], and any earlier document is unchanged. An id that is too long for a file
    /// name is an error too.
    pub fn put(&self, id: &str, document: &T) -> Result<(), DocumentError> {
        let path = self.path(id)?;
        let json = serde_json::to_vec(document).map_err(|source| DocumentError::Malformed {
            path: path.clone(),
            source,
        })?;
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}{TEMPORARY_SUFFIX}"));
        self.write(&temporary, &json, &path)
            .map_err(|source| io_error(&path, source))
    }

    fn write(&self, temporary: &Path, json: &[u8], path: &Path) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(json)?;
        self.disk.sync_file(temporary, &file)?;
        self.disk.rename(temporary, path)
    }

    /// Removes the document under `id`. Succeeds if there is none.
    ///
    /// # Errors
    /// [`DocumentError::Io`].
    pub fn remove(&self, id: &str) -> Result<(), DocumentError> {
        remove(&self.path(id)?)
    }

    /// Returns all documents with their ids, ordered by id. Removes documents without content,
    /// which a power failure leaves behind.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] for a file that is not a document of this kind;
    /// [`DocumentError::Io`].
    pub fn load_all(&self) -> Result<Vec<(String, T)>, DocumentError> {
        let mut all = Vec::new();
        for (name, path) in self.files()? {
            let Some(id) = name.strip_suffix(DOCUMENT_SUFFIX).and_then(decode) else {
                continue;
            };
            let json = fs::read(&path).map_err(|source| io_error(&path, source))?;
            if json.iter().all(|byte| *byte == 0) {
                tracing::warn!(file = %path.display(), "document without content removed, probably after a power failure");
                remove(&path)?;
                continue;
            }
            let document = serde_json::from_slice(&json)
                .map_err(|source| DocumentError::Malformed { path, source })?;
            all.push((id, document));
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    fn path(&self, id: &str) -> Result<PathBuf, DocumentError> {
        let encoded = encode(id);
        let path = self.folder.join(format!("{encoded}{DOCUMENT_SUFFIX}"));
        if encoded.len() > MAX_ID_LENGTH {
            return Err(io_error(&path, io::ErrorKind::InvalidFilename.into()));
        }
        Ok(path)
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>, DocumentError> {
        let mut files = Vec::new();
        let entries =
            fs::read_dir(&self.folder).map_err(|source| io_error(&self.folder, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| io_error(&self.folder, source))?;
            if let Ok(name) = entry.file_name().into_string() {
                files.push((name, entry.path()));
            }
        }
        Ok(files)
    }
}

/// Encodes an id as a file name. Lower-case letters, digits, `-` and `_` stay, and every other byte
/// becomes `%xx`. So two ids never share a file, even on a file system that ignores case.
fn encode(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

fn decode(name: &str) -> Option<String> {
    let mut id = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            id.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        id.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(id).ok()
}

fn remove(path: &Path) -> Result<(), DocumentError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn io_error(path: &Path, source: io::Error) -> DocumentError {
    DocumentError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::DiskEvent;

    #[test]
    fn documents_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::<Vec<u32>>::open(folder.path()).unwrap();
        documents.put("files/A b", &vec![1]).unwrap();
        documents.put("files/A b", &vec![2, 3]).unwrap();
        documents.put("files/a b", &vec![4]).unwrap();
        documents.put("gone", &vec![]).unwrap();
        documents.remove("gone").unwrap();
        documents.remove("never was").unwrap();
        drop(documents);

        let again = Documents::<Vec<u32>>::open(folder.path()).unwrap();
        assert_eq!(
            again.load_all().unwrap(),
            [
                ("files/A b".to_owned(), vec![2, 3]),
                ("files/a b".to_owned(), vec![4])
            ]
        );
    }

    #[test]
    fn an_unfinished_file_is_removed_at_open() {
        let folder = tempfile::tempdir().unwrap();
        Documents::<u32>::open(folder.path())
            .unwrap()
            .put("kept", &7)
            .unwrap();
        fs::write(folder.path().join("kept.0.tmp"), b"{\"torn").unwrap();

        let again = Documents::<u32>::open(folder.path()).unwrap();
        assert_eq!(again.load_all().unwrap(), [("kept".to_owned(), 7)]);
        assert!(!folder.path().join("kept.0.tmp").exists());
    }

    #[test]
    fn a_document_without_content_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::<u32>::open(folder.path()).unwrap();
        documents.put("kept", &7).unwrap();
        for (name, left) in [("empty.json", &b""[..]), ("zeros.json", &[0; 512])] {
            fs::write(folder.path().join(name), left).unwrap();
        }
        assert_eq!(documents.load_all().unwrap(), [("kept".to_owned(), 7)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_durable_disk_synchronizes_the_content_before_the_rename() {
        let (folder, events) = (
            tempfile::tempdir().unwrap(),
            Arc::<Mutex<Vec<DiskEvent>>>::default(),
        );
        let seen = Arc::clone(&events);
        let disk = Disk::durable().with_observer(move |event| seen.lock().unwrap().push(event));
        Documents::<u32>::open_on(disk, folder.path())
            .unwrap()
            .put("a", &7)
            .unwrap();
        let [
            DiskEvent::FileSynced(synced),
            DiskEvent::Renamed { from, .. },
        ] = &events.lock().unwrap()[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(synced, from);
    }

    #[test]
    fn malformed_content_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::<u32>::open(folder.path()).unwrap();
        fs::write(folder.path().join("other.json"), b"\"text\"").unwrap();
        let error = documents.load_all().unwrap_err();
        assert!(
            matches!(&error, DocumentError::Malformed { path, .. } if path.ends_with("other.json")),
            "{error}"
        );
    }

    #[test]
    fn an_id_too_long_for_a_file_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::<u32>::open(folder.path()).unwrap();
        assert!(documents.put(&"x".repeat(MAX_ID_LENGTH), &1).is_ok());
        assert!(matches!(
            documents.put(&"x".repeat(MAX_ID_LENGTH + 1), &1),
            Err(DocumentError::Io { .. })
        ));
    }

    proptest! {
        #[test]
        fn ids_round_trip_through_the_file_name(id in any::<String>()) {
            let name = encode(&id);
            prop_assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'%')));
            prop_assert_eq!(decode(&name), Some(id));
        }
    }
}
