//! How far what is written survives: the end of the process, or the end of the power too.
//!
//! A file that was written and given its name is there for every process at once. On the disk it is
//! there only when the file and the folder that has its name were synchronized. That costs
//! milliseconds each time. It is worth them where a lost state would buy a second batch, which is
//! with the real Gemini. A simulated run pays for nothing, and does without.

pub mod documents;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is done to the disk, for those who watch the order of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskEvent {
    /// A file has got its content under this name.
    Written(PathBuf),
    /// A file has got another name, in place of the file that had it.
    Renamed {
        /// Its name before.
        from: PathBuf,
        /// Its name now.
        to: PathBuf,
    },
    /// A file's content is on the disk.
    FileSynced(PathBuf),
    /// The names in a folder are on the disk.
    FolderSynced(PathBuf),
}

/// Watches what is done to the disk.
type Watch = dyn Fn(DiskEvent) + Send + Sync;

/// The disk.
#[derive(Clone, Default)]
pub struct Disk {
    is_durable: bool,
    watch: Option<Arc<Watch>>,
}

impl Disk {
    /// What is written survives the end of the process, and not that of the power.
    pub fn fast() -> Self {
        Self::default()
    }

    /// What others rely on survives the end of the power.
    pub fn durable() -> Self {
        Self {
            is_durable: true,
            watch: None,
        }
    }

    /// The same, with somebody who watches.
    pub fn watched(self, watch: impl Fn(DiskEvent) + Send + Sync + 'static) -> Self {
        Self {
            watch: Some(Arc::new(watch)),
            ..self
        }
    }

    /// Whether anything is synchronized.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Has the content of an open file reach the disk. `path` is its name at the moment.
    ///
    /// # Errors
    /// What the file system says: whether the content is on the disk isn't known then.
    pub fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        if self.is_durable {
            file.sync_all()?;
            self.tell(|| DiskEvent::FileSynced(path.to_owned()));
        }
        Ok(())
    }

    /// As [`Disk::sync_file`], for a file that is not open. One that is gone needs nothing.
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

    /// Has the names in a folder reach the disk. A folder that is gone needs nothing.
    ///
    /// # Errors
    /// What the file system says: whether the names are on the disk isn't known then.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if !self.is_durable {
            return Ok(());
        }
        match File::open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?.sync_all()?,
        }
        self.tell(|| DiskEvent::FolderSynced(folder.to_owned()));
        Ok(())
    }

    /// Gives a file another name, in place of what has it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.tell(|| DiskEvent::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    /// Writes a small file, in place of what has its name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        fs::write(path, content)?;
        self.tell(|| DiskEvent::Written(path.to_owned()));
        Ok(())
    }

    /// Writes a small file all at once: killed or without power at any moment, a reader finds the
    /// old content or the new one. When this returns, the new one survives as far as anything does.
    ///
    /// # Errors
    /// What the file system says.
    pub fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        self.sync_file(&unfinished, &file)?;
        self.rename(&unfinished, path)?;
        self.sync_folder(path.parent().unwrap_or(path))
    }

    fn tell(&self, event: impl FnOnce() -> DiskEvent) {
        if let Some(watch) = &self.watch {
            watch(event());
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

    fn watched(disk: Disk) -> (Disk, Arc<Mutex<Vec<DiskEvent>>>) {
        let events = Arc::<Mutex<Vec<DiskEvent>>>::default();
        let seen = Arc::clone(&events);
        (
            disk.watched(move |event| seen.lock().unwrap().push(event)),
            events,
        )
    }

    #[test]
    fn a_file_that_is_replaced_is_on_the_disk_before_it_has_its_name_and_its_name_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, events) = watched(Disk::durable());
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
        let (disk, events) = watched(Disk::fast());
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
    fn what_is_gone_needs_no_synchronizing() {
        let folder = tempfile::tempdir().unwrap();
        Disk::durable()
            .sync_path(&folder.path().join("gone"))
            .unwrap();
        Disk::durable()
            .sync_folder(&folder.path().join("gone"))
            .unwrap();
    }
}
