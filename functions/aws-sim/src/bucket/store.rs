//! Objects on the file system: open, commit under a condition, and delete. All functions here
//! block.
//!
//! On a durable [`Disk`], an object that is committed under a condition survives a power failure,
//! and so does everything that was committed before it. The order is: all files that are not
//! synchronized yet ([`UnsyncedFiles`]), the content, the name, and then the answer to the caller.

use std::{
    fs::{self, File, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use disk::Disk;
use jiff::Timestamp;
use s3s::{S3Result, path::check_bucket_name, s3_error};
use seam::clock::Clock;

use super::{
    attributes::{Attributes, Description, FileState},
    body::TemporaryFile,
    checksum::Checksums,
    completed_uploads::CompletedUploads,
    condition::WriteCondition,
    disk_error,
    files::{FoundFile, ObjectFiles, find},
    paths::{Paths, is_absent},
    unsynced::{UnsyncedFiles, sync_folders},
};

/// The number of locks, which is also the maximum number of simultaneous commits.
const STRIPES: usize = 256;

/// The objects of all buckets in one folder.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) paths: Paths,
    pub(super) clock: Clock,
    /// Locks by the hash of bucket and key. One is held only while an object's content is replaced.
    stripes: Vec<RwLock<()>>,
    files: ObjectFiles,
    numbers: AtomicU64,
    pub(super) disk: Disk,
    unsynced: UnsyncedFiles,
    pub(super) completed_uploads: CompletedUploads,
}

/// An object that is open for reading. Its content does not change when the key is written again.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) file: File,
    pub(super) attributes: Attributes,
}

/// An object before its commit: its content in a temporary file, and its attributes.
#[derive(Debug)]
pub(super) struct NewObject {
    pub(super) temporary: TemporaryFile,
    pub(super) file: File,
    pub(super) etag: String,
    pub(super) checksums: Checksums,
    /// As in [`Attributes`].
    pub(super) parts: Vec<u64>,
    pub(super) description: Description,
}

impl Store {
    pub(super) fn open(disk: Disk, root: PathBuf, clock: Clock) -> io::Result<Self> {
        let paths = Paths::new(root);
        // Temporary files of an earlier process belong to no request.
        match fs::remove_dir_all(paths.temporary_folder()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => fs::create_dir_all(paths.temporary_folder())?,
        }
        let stripes = std::iter::repeat_with(RwLock::default)
            .take(STRIPES)
            .collect();
        let (files, numbers, unsynced) = (
            ObjectFiles::default(),
            AtomicU64::new(0),
            UnsyncedFiles::default(),
        );
        Ok(Self {
            paths,
            clock,
            stripes,
            files,
            numbers,
            disk,
            unsynced,
            completed_uploads: CompletedUploads::default(),
        })
    }

    pub(super) fn has_bucket(&self, bucket: &str) -> bool {
        self.paths.bucket(bucket).is_dir()
    }

    /// Returns all buckets by name, with the time of their folder's last change.
    pub(super) fn buckets(&self) -> io::Result<Vec<(String, SystemTime)>> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(self.paths.root())? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().filter(|name| check_bucket_name(name))
                && entry.file_type()?.is_dir()
            {
                buckets.push((name.to_owned(), entry.metadata()?.modified()?));
            }
        }
        buckets.sort_unstable();
        Ok(buckets)
    }

    /// # Errors
    /// `NoSuchBucket`.
    pub(super) fn check_bucket(&self, bucket: &str) -> S3Result {
        if self.has_bucket(bucket) {
            Ok(())
        } else {
            Err(s3_error!(NoSuchBucket))
        }
    }

    /// Returns a new path for a temporary file.
    pub(super) fn temporary_path(&self) -> PathBuf {
        self.paths
            .temporary_folder()
            .join(self.next_number().to_string())
    }

    /// Returns a number that is unique within this process.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the current time in whole seconds, the resolution of `Last-Modified`.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock.now().as_second()).unwrap_or_default()
    }

    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub(super) fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        if let Some(object) = self.find_object(bucket, key).map_err(disk_error)? {
            return Ok(object);
        }
        self.check_bucket(bucket)?;
        Err(s3_error!(NoSuchKey))
    }

    /// Returns the object of a key, if there is one.
    pub(super) fn find_object(&self, bucket: &str, key: &str) -> io::Result<Option<Object>> {
        let (mut file, metadata, stored) = {
            // Content and attributes are opened under one lock, so that no commit comes between.
            let _shared = self.read_lock(bucket, key);
            let Some(found) = find(&self.paths, bucket, key)? else {
                return Ok(None);
            };
            let file = match File::open(&found.path) {
                // The file was removed by hand in the meantime.
                Err(error) if is_absent(&error) => return Ok(None),
                opened => opened?,
            };
            let metadata = file.metadata()?;
            let stored = self.stored_attributes(bucket, key, &metadata);
            (file, metadata, stored)
        };
        let attributes = match stored {
            Some(attributes) => attributes,
            None => self.compute_attributes(bucket, key, &mut file, &metadata)?,
        };
        Ok(Some(Object { file, attributes }))
    }

    /// Commits a new object to a key if the condition holds. The change is atomic for readers, and
    /// also if the process is killed.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey`. The old object is then unchanged.
    pub(super) fn commit(
        &self,
        new: NewObject,
        bucket: &str,
        key: &str,
        condition: &WriteCondition,
    ) -> S3Result<Attributes> {
        self.check_bucket(bucket)?;
        // The attributes name the inode of the temporary file, which a rename keeps.
        let attributes = Attributes {
            key: key.to_owned(),
            file: FileState::of(&new.file.metadata().map_err(disk_error)?),
            etag: new.etag,
            last_modified: self.now(),
            checksums: new.checksums,
            parts: new.parts,
            description: new.description,
        };
        // Other callers may rely on an object that is written under a condition, and on every
        // object that it names.
        let is_conditional = condition.is_conditional();
        if is_conditional {
            self.sync_committed()
                .and_then(|()| new.temporary.sync(&self.disk, &new.file))
                .map_err(disk_error)?;
        }

        let _exclusive = self.write_lock(bucket, key);
        let present = find(&self.paths, bucket, key).map_err(disk_error)?;
        self.check(condition, bucket, key, present.as_ref())?;
        if present.is_some() && !is_conditional {
            // After a power failure there must be the old object or the new one, and not an empty
            // file.
            new.temporary
                .sync(&self.disk, &new.file)
                .map_err(disk_error)?;
        }
        // The attributes are written first. Until the rename, no reader looks for this inode.
        let attributes_file = self.paths.attributes(bucket, key, attributes.file.inode);
        attributes
            .write(&self.disk, &attributes_file)
            .map_err(disk_error)?;
        let mut written = self
            .files
            .move_into_place(&self.disk, &self.paths, &new.temporary, bucket, key)
            .map_err(disk_error)?;
        written.push(attributes_file);
        if is_conditional {
            // Readers wait for the lock, because they may also act on the object's content.
            self.sync_names(&written).map_err(disk_error)?;
        } else {
            self.unsynced
                .add(&self.disk, self.paths.root(), written)
                .map_err(disk_error)?;
        }
        if let Some(replaced) = present {
            self.remove_attributes(bucket, key, &replaced);
        }
        Ok(attributes)
    }

    /// Synchronizes everything that was committed so far.
    fn sync_committed(&self) -> io::Result<()> {
        self.unsynced.sync_all(&self.disk, self.paths.root())
    }

    /// Synchronizes an object's small files, and the folders that hold its names.
    fn sync_names(&self, written: &[PathBuf]) -> io::Result<()> {
        written
            .iter()
            .try_for_each(|path| self.disk.sync_path(path))?;
        sync_folders(&self.disk, self.paths.root(), written)
    }

    /// Deletes the object of a key. Succeeds if there is none.
    ///
    /// # Errors
    /// `NoSuchBucket`; `PreconditionFailed` or `NoSuchKey` if the condition does not hold.
    pub(super) fn delete(&self, bucket: &str, key: &str, condition: &WriteCondition) -> S3Result {
        self.check_bucket(bucket)?;
        let _exclusive = self.write_lock(bucket, key);
        let mut present = find(&self.paths, bucket, key).map_err(disk_error)?;
        self.check(condition, bucket, key, present.as_ref())?;
        // A key has two files only if a process was killed while it moved the object between the
        // plain path and the hashed one.
        while let Some(found) = present {
            self.files
                .remove(&self.paths, bucket, &found)
                .map_err(disk_error)?;
            self.remove_attributes(bucket, key, &found);
            present = find(&self.paths, bucket, key).map_err(disk_error)?;
        }
        Ok(())
    }

    /// # Errors
    /// As [`WriteCondition::check`].
    fn check(
        &self,
        condition: &WriteCondition,
        bucket: &str,
        key: &str,
        present: Option<&FoundFile>,
    ) -> S3Result {
        let etag = match present.filter(|_| condition.needs_etag()) {
            Some(found) => Some(self.etag(bucket, key, found).map_err(disk_error)?),
            None => None,
        };
        condition.check(present.is_some(), etag.as_deref())
    }

    fn etag(&self, bucket: &str, key: &str, found: &FoundFile) -> io::Result<String> {
        if let Some(stored) = self.stored_attributes(bucket, key, &found.metadata) {
            return Ok(stored.etag);
        }
        let mut file = File::open(&found.path)?;
        let metadata = file.metadata()?;
        Ok(self
            .compute_attributes(bucket, key, &mut file, &metadata)?
            .etag)
    }

    fn stored_attributes(
        &self,
        bucket: &str,
        key: &str,
        metadata: &Metadata,
    ) -> Option<Attributes> {
        let state = FileState::of(metadata);
        Attributes::read(&self.paths.attributes(bucket, key, state.inode), state)
    }

    /// Computes and stores the attributes of a file that was added or changed by hand, so that the
    /// next read needs only the stored ones.
    fn compute_attributes(
        &self,
        bucket: &str,
        key: &str,
        file: &mut File,
        metadata: &Metadata,
    ) -> io::Result<Attributes> {
        let attributes = Attributes::from_content(key, file, metadata)?;
        if FileState::of(&file.metadata()?) == attributes.file {
            attributes.write(
                &self.disk,
                &self.paths.attributes(bucket, key, attributes.file.inode),
            )?;
        }
        Ok(attributes)
    }

    /// Removes the attributes of content that no longer exists.
    fn remove_attributes(&self, bucket: &str, key: &str, gone: &FoundFile) {
        let path = self
            .paths
            .attributes(bucket, key, FileState::of(&gone.metadata).inode);
        // Attributes without content are never read. A file that can't be removed only takes up
        // space.
        let _ = fs::remove_file(path);
    }

    fn read_lock(&self, bucket: &str, key: &str) -> RwLockReadGuard<'_, ()> {
        self.stripe(bucket, key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self, bucket: &str, key: &str) -> RwLockWriteGuard<'_, ()> {
        self.stripe(bucket, key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn stripe(&self, bucket: &str, key: &str) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        (bucket, key).hash(&mut hasher);
        let hash = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or_default();
        &self.stripes[hash]
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::Path};

    use s3s::dto::ETag;

    use super::*;

    const BUCKET: &str = "bucket";

    fn store(root: &Path) -> Store {
        fs::create_dir_all(root.join(BUCKET)).unwrap();
        Store::open(
            Disk::fast(),
            root.to_owned(),
            Clock::from_fn(|| Timestamp::UNIX_EPOCH),
        )
        .unwrap()
    }

    fn new_object(store: &Store, body: &[u8]) -> NewObject {
        let (temporary, mut file) = TemporaryFile::create(store.temporary_path()).unwrap();
        file.write_all(body).unwrap();
        let description = Description {
            content_type: Some("image/png".to_owned()),
            ..Description::default()
        };
        let (etag, checksums, parts) = ("parts-2".to_owned(), Checksums::new(), Vec::new());
        NewObject {
            temporary,
            file,
            etag,
            checksums,
            parts,
            description,
        }
    }

    fn kept(store: &Store) -> usize {
        fs::read_dir(store.paths.attributes(BUCKET, "", 0).parent().unwrap())
            .map_or(0, Iterator::count)
    }

    #[test]
    fn a_kill_before_the_rename_leaves_the_old_object_and_its_attributes() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        store
            .commit(
                new_object(&store, b"old"),
                BUCKET,
                "a",
                &WriteCondition::Any,
            )
            .unwrap();
        // This is what a process does before it is killed: everything but the rename, and no
        // cleanup.
        let new = new_object(&store, b"new");
        let state = FileState::of(&new.file.metadata().unwrap());
        let old = store.object(BUCKET, "a").unwrap().attributes;
        let uncommitted = Attributes {
            file: state,
            etag: "new".to_owned(),
            ..old.clone()
        };
        uncommitted
            .write(
                &store.disk,
                &store.paths.attributes(BUCKET, "a", state.inode),
            )
            .unwrap();
        std::mem::forget(new);

        let store = self::store(root.path());
        assert_eq!(store.object(BUCKET, "a").unwrap().attributes, old);
        assert_eq!(
            fs::read_dir(store.paths.temporary_folder())
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn attributes_of_an_object_changed_by_hand_are_computed_once() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        store
            .commit(
                new_object(&store, b"ours"),
                BUCKET,
                "a",
                &WriteCondition::Any,
            )
            .unwrap();
        fs::write(root.path().join(BUCKET).join("a"), b"hello").unwrap();
        let object = store.object(BUCKET, "a").unwrap();
        assert_eq!(object.attributes.etag, "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(object.attributes.description, Description::default());
        let metadata = object.file.metadata().unwrap();
        assert_eq!(
            store.stored_attributes(BUCKET, "a", &metadata),
            Some(object.attributes)
        );
    }

    #[test]
    fn attributes_of_replaced_and_deleted_objects_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        for body in [b"one", b"two"] {
            store
                .commit(
                    new_object(&store, body),
                    BUCKET,
                    "folder/a",
                    &WriteCondition::Any,
                )
                .unwrap();
        }
        assert_eq!(kept(&store), 1);
        store
            .delete(BUCKET, "folder/a", &WriteCondition::Any)
            .unwrap();
        assert_eq!(kept(&store), 0);
        assert_eq!(
            fs::read_dir(store.paths.temporary_folder())
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn an_object_and_its_attributes_are_read_together() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let put = |number: usize| {
            let mut new = new_object(&store, &vec![b'x'; number]);
            new.etag = format!("{number}-2");
            store
                .commit(new, BUCKET, "a", &WriteCondition::Any)
                .unwrap();
        };
        put(1);
        std::thread::scope(|scope| {
            scope.spawn(|| (1..400).for_each(put));
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..400 {
                        let object = store.object(BUCKET, "a").unwrap();
                        assert_eq!(
                            object.attributes.etag,
                            format!("{}-2", object.file.metadata().unwrap().len())
                        );
                    }
                });
            }
        });
    }

    #[test]
    fn one_of_many_commits_under_the_same_condition_succeeds() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        for round in 0..50 {
            let key = format!("state-{round}.json");
            for condition in [
                WriteCondition::Absent,
                WriteCondition::Matches(ETag::Strong("parts-2".to_owned())),
            ] {
                let start = std::sync::Barrier::new(8);
                let winners = AtomicU64::new(0);
                std::thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            let mut new = new_object(&store, b"state");
                            // The second round expects the ETag that the first round creates, and
                            // writes another.
                            if condition.needs_etag() {
                                new.etag = "next-2".to_owned();
                            }
                            start.wait();
                            let won = store.commit(new, BUCKET, &key, &condition).is_ok();
                            winners.fetch_add(u64::from(won), Ordering::Relaxed);
                        });
                    }
                });
                assert_eq!(winners.into_inner(), 1, "{condition:?}");
            }
        }
    }

    #[test]
    fn a_commit_recreates_a_folder_that_a_delete_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        std::thread::scope(|scope| {
            for key in ["deep/er/a", "deep/er/b"] {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..200 {
                        store
                            .commit(
                                new_object(store, b"x"),
                                BUCKET,
                                key,
                                &WriteCondition::Absent,
                            )
                            .unwrap();
                        store.delete(BUCKET, key, &WriteCondition::Present).unwrap();
                    }
                });
            }
        });
        assert!(!root.path().join(BUCKET).join("deep").exists());
    }
}
