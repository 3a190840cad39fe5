//! Files that have their names, and are not on the disk yet.
//!
//! Objects that are written without a condition (images, parts, request files) are many and large,
//! and nothing relies on them before a state names them. So they are not synchronized one by one.
//! Before an object is written under a condition (a state, the ledger, a claim, a marker), all that
//! was written until then is.

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

/// How many files may wait. More are synchronized without waiting for a state.
const MOST: usize = 512;

/// How many files are synchronized at once: the file system can then write several names with one
/// step of its journal.
const CONCURRENCY: usize = 8;

/// What waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    files: Mutex<Vec<PathBuf>>,
    /// Held while files are synchronized, so that another caller that comes meanwhile waits for
    /// them too.
    settling: Mutex<()>,
}

impl Unsettled {
    /// Remembers files that were written just now.
    ///
    /// # Errors
    /// What the file system says, when so many wait that they are synchronized at once.
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
        if count >= MOST {
            self.settle(disk, root)
        } else {
            Ok(())
        }
    }

    /// Has everything that was remembered until now reach the disk: the files, then their names in
    /// the folders below `root`.
    ///
    /// # Errors
    /// What the file system says; all of it is tried again the next time.
    pub(super) fn settle(&self, disk: &Disk, root: &Path) -> io::Result<()> {
        if !disk.is_durable() {
            return Ok(());
        }
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        let settled = sync_files(disk, &files).and_then(|()| sync_folders(disk, root, &files));
        if settled.is_err() {
            self.files
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(files);
        }
        settled
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
        let ended = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("panicked")))
        });
        ended.collect()
    })
}

/// Synchronizes the folders of these files, and those above them up to `root`: each may have been
/// made for the file.
pub(super) fn sync_folders(disk: &Disk, root: &Path, files: &[PathBuf]) -> io::Result<()> {
    let above = |path: &PathBuf| {
        let folders = path
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(root));
        folders.map(Path::to_owned).collect::<Vec<_>>()
    };
    // The deepest first, so that no folder has a name on the disk before its content has.
    let folders: BTreeSet<PathBuf> = files.iter().flat_map(above).collect();
    folders
        .iter()
        .rev()
        .try_for_each(|folder| disk.sync_folder(folder))
}
