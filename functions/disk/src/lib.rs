//! Durability of written files: they survive a killed process, or a power failure too.
//!
//! A file that was written and renamed is visible to every process immediately. It is on the disk
//! only after the file and its folder were synchronized, which takes milliseconds each time. With
//! the real Gemini this is worth it, because a lost state would buy a second batch. A simulated run
//! buys nothing, and does without.

pub mod documents;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// An operation on the disk, for tests that observe their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskEvent {
    /// A file was written under this name.
    Written(PathBuf),
    /// A file was renamed and replaced any file at its new path.
    Renamed {
        /// The old path.
        from: PathBuf,
        /// The new path.
        to: PathBuf,
    },
    /// A file's content was synchronized.
    FileSynced(PathBuf),
    /// A folder's entries were synchronized.
    FolderSynced(PathBuf),
}

/// A function that observes the operations on the disk.
type Observer = dyn Fn(DiskEvent) + Send + Sync;

/// Writes files with a chosen durability. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Disk {
    is_durable: bool,
    observer: Option<Arc<Observer>>,
}

impl Disk {
    /// Returns a disk whose files survive a killed process, but not a power failure.
    pub fn fast() -> Self {
        Self::default()
    }

    /// Returns a disk whose synchronized files survive a power failure.
    pub fn durable() -> Self {
        Self {
            is_durable: true,
            observer: None,
        }
    }

    /// Returns the same disk with a function that observes its operations.
    pub fn with_observer(self, observer: impl Fn(DiskEvent) + Send + Sync + 'static) -> Self {
        Self {
            observer: Some(Arc::new(observer)),
            ..self
        }
    }

    /// Whether files are synchronized.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Synchronizes the content of an open file. `path` is its current path.
    ///
    /// # Errors
    /// Returns the file system's error. The content may or may not be on the disk.
    pub fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        if self.is_durable {
            file.sync_all()?;
            self.emit(|| DiskEvent::FileSynced(path.to_owned()));
        }
        Ok(())
    }

    /// Synchronizes a file that is not open. Does nothing if the file does not exist.
    ///
    /// # Errors
    /// As [`Disk::sync_file`].
    pub fn sync_path(&self, path: &Path) -> io::Result<()> {
        if !self.is_durable {
            return Ok(());
        }
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => self.sync_file(path, &opened?),
        }
    }

    /// Synchronizes a folder's entries. Does nothing if the folder does not exist.
    ///
    /// # Errors
    /// Returns the file system's error. The entries may or may not be on the disk.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if !self.is_durable {
            return Ok(());
        }
        match File::open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?.sync_all()?,
        }
        self.emit(|| DiskEvent::FolderSynced(folder.to_owned()));
        Ok(())
    }

    /// Renames a file, and replaces any file at `to`.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.emit(|| DiskEvent::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    /// Writes a small file, and replaces the content of any file at `path`. Not atomic.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        fs::write(path, content)?;
        self.emit(|| DiskEvent::Written(path.to_owned()));
        Ok(())
    }

    /// Replaces a small file atomically: after a kill or a power failure at any moment, a reader
    /// finds the old content or the new one. On a durable disk, the new content survives a power
    /// failure once this returns.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        self.sync_file(&unfinished, &file)?;
        self.rename(&unfinished, path)?;
        self.sync_folder(path.parent().unwrap_or(path))
    }

    fn emit(&self, event: impl FnOnce() -> DiskEvent) {
        if let Some(observer) = &self.observer {
            observer(event());
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("is_durable", &self.is_durable)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn observed(disk: Disk) -> (Disk, Arc<Mutex<Vec<DiskEvent>>>) {
        let events = Arc::<Mutex<Vec<DiskEvent>>>::default();
        let seen = Arc::clone(&events);
        (
            disk.with_observer(move |event| seen.lock().unwrap().push(event)),
            events,
        )
    }

    #[test]
    fn a_replaced_file_is_synchronized_before_its_rename_and_its_folder_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, events) = observed(Disk::durable());
        let (path, unfinished) = (folder.path().join("a"), folder.path().join("a.new"));
        disk.replace(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let renamed = DiskEvent::Renamed {
            from: unfinished.clone(),
            to: path,
        };
        let synced = DiskEvent::FolderSynced(folder.path().to_owned());
        assert_eq!(
            *events.lock().unwrap(),
            [DiskEvent::FileSynced(unfinished), renamed, synced]
        );
    }

    #[test]
    fn a_fast_disk_synchronizes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, events) = observed(Disk::fast());
        disk.replace(&folder.path().join("a"), b"one").unwrap();
        disk.sync_path(&folder.path().join("a")).unwrap();
        disk.sync_folder(folder.path()).unwrap();
        let events = events.lock().unwrap();
        assert!(
            matches!(events[..], [DiskEvent::Renamed { .. }]),
            "{events:?}"
        );
    }

    #[test]
    fn synchronizing_a_missing_path_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        Disk::durable()
            .sync_path(&folder.path().join("gone"))
            .unwrap();
        Disk::durable()
            .sync_folder(&folder.path().join("gone"))
            .unwrap();
    }
}
