//! A folder of small JSON documents, one file each: what the stand-ins remember across a restart.
//!
//! A document is replaced by writing a temporary file beside it and renaming that: killed at any
//! moment, a reader finds the old document or the new one, never half of either. On a durable
//! [`Disk`] the content is on the disk before it has its name, so the same holds when the power
//! ends: the newest documents may be lost then, and none is damaged. On a fast one the end of the
//! power may leave a document without content, which counts as lost.

use std::{
    fs::{self, File},
    io::{self, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::Disk;

/// The end of a document's file name.
const DOCUMENT: &str = ".json";

/// The end of a temporary file's name.
const TEMPORARY: &str = ".tmp";

/// The longest encoded id, in bytes: a file name may hold 255, and the temporary one is longer.
const LONGEST_ID: usize = 200;

/// A folder of documents of one kind.
#[derive(Debug)]
pub struct Documents<T> {
    folder: PathBuf,
    disk: Disk,
    temporaries: AtomicU64,
    kind: PhantomData<fn() -> T>,
}

/// Why a document could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file system refused; the document is as it was.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A file that is not a document of this kind: somebody else wrote it. Move it away.
    #[error("{}: not a document of this kind: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl<T: Serialize + DeserializeOwned> Documents<T> {
    /// The documents in `folder`, which is made when it is missing. What a killed process left half
    /// written is removed.
    ///
    /// # Errors
    /// [`DocumentError::Io`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, DocumentError> {
        Self::open_on(Disk::fast(), folder)
    }

    /// As [`Documents::open`], on this disk.
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
            if name.ends_with(TEMPORARY) {
                remove(&path)?;
            }
        }
        Ok(documents)
    }

    /// Keeps `document` under `id`, in place of the one that was there. It is kept when this
    /// returns.
    ///
    /// # Errors
    /// [`DocumentError`]; what was there is still there. An id too long for a file name is an error
    /// too.
    pub fn put(&self, id: &str, document: &T) -> Result<(), DocumentError> {
        let path = self.path(id)?;
        let json = serde_json::to_vec(document).map_err(|source| DocumentError::Malformed {
            path: path.clone(),
            source,
        })?;
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}{TEMPORARY}"));
        self.write(&temporary, &json, &path)
            .map_err(|source| io_error(&path, source))
    }

    fn write(&self, temporary: &Path, json: &[u8], path: &Path) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(json)?;
        self.disk.sync_file(temporary, &file)?;
        self.disk.rename(temporary, path)
    }

    /// Forgets the document under `id`; there may be none.
    ///
    /// # Errors
    /// [`DocumentError::Io`].
    pub fn remove(&self, id: &str) -> Result<(), DocumentError> {
        remove(&self.path(id)?)
    }

    /// All documents with their ids, ordered by id. What has no content was lost with the power,
    /// and is removed.
    ///
    /// # Errors
    /// [`DocumentError`]; [`DocumentError::Malformed`] for a file that holds something else.
    pub fn load_all(&self) -> Result<Vec<(String, T)>, DocumentError> {
        let mut all = Vec::new();
        for (name, path) in self.files()? {
            let Some(id) = name.strip_suffix(DOCUMENT).and_then(decode) else {
                continue;
            };
            let json = fs::read(&path).map_err(|source| io_error(&path, source))?;
            if json.iter().all(|byte| *byte == 0) {
                tracing::warn!(file = %path.display(), "a document without content is removed: the power must have failed");
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
        let path = self.folder.join(format!("{encoded}{DOCUMENT}"));
        if encoded.len() > LONGEST_ID {
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

/// Lower-case letters, digits, `-` and `_` stay; every other byte becomes `%xx`. So two ids never
/// share a file, not even where the file system ignores case.
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
    fn documents_are_there_after_reopening() {
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
    fn half_written_file_is_removed_at_open() {
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
    fn a_document_that_was_lost_with_the_power_is_none() {
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
    fn on_a_durable_disk_the_content_is_there_before_the_name() {
        let (folder, events) = (
            tempfile::tempdir().unwrap(),
            Arc::<Mutex<Vec<DiskEvent>>>::default(),
        );
        let seen = Arc::clone(&events);
        let disk = Disk::durable().watched(move |event| seen.lock().unwrap().push(event));
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
    fn foreign_content_is_an_error_that_names_the_file() {
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
    fn id_too_long_for_a_file_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::<u32>::open(folder.path()).unwrap();
        assert!(documents.put(&"x".repeat(LONGEST_ID), &1).is_ok());
        assert!(matches!(
            documents.put(&"x".repeat(LONGEST_ID + 1), &1),
            Err(DocumentError::Io { .. })
        ));
    }

    proptest! {
        #[test]
        fn ids_survive_the_file_name(id in any::<String>()) {
            let name = encode(&id);
            prop_assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'%')));
            prop_assert_eq!(decode(&name), Some(id));
        }
    }
}
