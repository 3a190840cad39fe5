//! Files that are renamed into place but not synchronized to the disk yet.
//!
//! Objects that are written without a condition (images, parts, request files) are numerous and
//! large, and nothing relies on them before a state names them, so they are not synchronized one by
//! one. Before an object is written under a condition (a state, the ledger, a claim, a marker),
//! everything that was written until then is synchronized.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use disk::Disk;

/// The maximum number of unsynchronized files. At this number they are synchronized without waiting
/// for a state.
const MAX_UNSYNCED: usize = 512;

/// How many files are synchronized in parallel, so that the file system can combine several in one
/// step of its journal.
const CONCURRENCY: usize = 8;

/// The files that are not synchronized yet.
#[derive(Debug, Default)]
pub(super) struct UnsyncedFiles {
    files: Mutex<Vec<PathBuf>>,
    /// Held while files are synchronized, so that a second caller also waits for the files that the
    /// first one took.
    syncing: Mutex<()>,
}

impl UnsyncedFiles {
    /// Adds files that were just written.
    ///
    /// # Errors
    /// Returns the file system's error if the limit is reached and the files can't be synchronized.
    pub(super) fn add(
        &self,
        disk: &Disk,
        root: &Path,
        written: impl IntoIterator<Item = PathBuf>,
    ) -> io::Result<()> {
        if !disk.is_durable() {
            return Ok(());
        }
        let count = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.extend(written);
            files.len()
        };
        if count >= MAX_UNSYNCED {
            self.sync_all(disk, root)
        } else {
            Ok(())
        }
    }

    /// Synchronizes all added files, then their names in the folders below `root`.
    ///
    /// # Errors
    /// Returns the file system's error. All files are then tried again in the next call.
    pub(super) fn sync_all(&self, disk: &Disk, root: &Path) -> io::Result<()> {
        if !disk.is_durable() {
            return Ok(());
        }
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        let synced = sync_files(disk, &files).and_then(|()| sync_folders(disk, root, &files));
        if synced.is_err() {
            self.files
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(files);
        }
        synced
    }
}

fn sync_files(disk: &Disk, files: &[PathBuf]) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let sync_some = || {
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            disk.sync_path(path)?;
        }
        Ok(())
    };
    if files.len() <= 2 {
        return sync_some();
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONCURRENCY.min(files.len()))
            .map(|_| scope.spawn(sync_some))
            .collect();
        let results = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| {
                Err(io::Error::other(
                    "a thread panicked while it synchronized files",
                ))
            })
        });
        results.collect()
    })
}

/// Synchronizes the folders of these files and their parents up to `root`, because each of them may
/// have been created for the file.
pub(super) fn sync_folders(disk: &Disk, root: &Path, files: &[PathBuf]) -> io::Result<()> {
    let above = |path: &PathBuf| {
        let folders = path
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(root));
        folders.map(Path::to_owned).collect::<Vec<_>>()
    };
    // The deepest folder comes first, so that no folder's name is on the disk before its entries
    // are.
    let folders: BTreeSet<PathBuf> = files.iter().flat_map(above).collect();
    folders
        .iter()
        .rev()
        .try_for_each(|folder| disk.sync_folder(folder))
}
