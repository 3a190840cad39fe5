//! Objects on the file system: opened, committed under a condition, deleted. Everything here
//! blocks.
//!
//! On a durable [`Disk`], an object that is committed under a condition survives the end of the
//! power, and with it everything that was committed before it. The order is: all that is not on the
//! disk yet ([`Unsettled`]), the content, the name, and then the answer to the caller.

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
    checksum::Checksums,
    completed::Completions,
    condition::WriteCondition,
    disk_error,
    files::{Files, Found, find},
    incoming::Temporary,
    place::{Places, is_absent},
    unsettled::{Unsettled, sync_folders},
};

/// How many keys can be committed at the same moment, at most.
const STRIPES: usize = 256;

/// The objects of all buckets under one folder.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) places: Places,
    pub(super) clock: Clock,
    /// One of these is held, by the hash of bucket and key, while an object changes its bytes:
    /// never longer.
    stripes: Vec<RwLock<()>>,
    files: Files,
    numbers: AtomicU64,
    pub(super) disk: Disk,
    unsettled: Unsettled,
    pub(super) completions: Completions,
}

/// An object opened for reading. It stays what it is when the key gets another one.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) file: File,
    pub(super) attributes: Attributes,
}

/// An object to be: its bytes under a temporary name, and what will be known of them.
#[derive(Debug)]
pub(super) struct NewObject {
    pub(super) temporary: Temporary,
    pub(super) file: File,
    pub(super) etag: String,
    pub(super) checksums: Checksums,
    /// As in [`Attributes`].
    pub(super) parts: Vec<u64>,
    pub(super) description: Description,
}

impl Store {
    pub(super) fn open(disk: Disk, root: PathBuf, clock: Clock) -> io::Result<Self> {
        let places = Places::new(root);
        // What a killed process was receiving belongs to nobody.
        match fs::remove_dir_all(places.incoming()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => fs::create_dir_all(places.incoming())?,
        }
        let stripes = std::iter::repeat_with(RwLock::default)
            .take(STRIPES)
            .collect();
        let (files, numbers, unsettled) =
            (Files::default(), AtomicU64::new(0), Unsettled::default());
        Ok(Self {
            places,
            clock,
            stripes,
            files,
            numbers,
            disk,
            unsettled,
            completions: Completions::default(),
        })
    }

    pub(super) fn has_bucket(&self, bucket: &str) -> bool {
        self.places.bucket(bucket).is_dir()
    }

    /// All buckets with the time their folder last changed, by name.
    pub(super) fn buckets(&self) -> io::Result<Vec<(String, SystemTime)>> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(self.places.root())? {
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

    /// A name for a body that is being received.
    pub(super) fn temporary(&self) -> PathBuf {
        self.places.incoming().join(self.number().to_string())
    }

    /// A number that nobody else gets as long as this process lives.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The present moment in whole seconds, as objects are dated.
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

    /// The object of a key, if there is one.
    pub(super) fn find_object(&self, bucket: &str, key: &str) -> io::Result<Option<Object>> {
        let (mut file, metadata, kept) = {
            // The bytes and what is known of them are looked up together, so that no commit comes
            // between.
            let _shared = self.read_lock(bucket, key);
            let Some(found) = find(&self.places, bucket, key)? else {
                return Ok(None);
            };
            let file = match File::open(&found.path) {
                // Taken away by hand in this moment.
                Err(error) if is_absent(&error) => return Ok(None),
                opened => opened?,
            };
            let metadata = file.metadata()?;
            let kept = self.kept(bucket, key, &metadata);
            (file, metadata, kept)
        };
        let attributes = match kept {
            Some(attributes) => attributes,
            None => self.learn(bucket, key, &mut file, &metadata)?,
        };
        Ok(Some(Object { file, attributes }))
    }

    /// Gives a key its new object, if the condition holds: all at once, for readers and for a kill
    /// at any moment.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey`; nothing has changed then.
    pub(super) fn commit(
        &self,
        new: NewObject,
        bucket: &str,
        key: &str,
        condition: &WriteCondition,
    ) -> S3Result<Attributes> {
        self.check_bucket(bucket)?;
        let attributes = Attributes {
            key: key.to_owned(),
            of: FileState::of(&new.file.metadata().map_err(disk_error)?),
            etag: new.etag,
            last_modified: self.now(),
            checksums: new.checksums,
            parts: new.parts,
            description: new.description,
        };
        // Somebody may rely on an object that is written under a condition: on all that it names
        // too.
        let is_relied_on = condition.is_conditional();
        if is_relied_on {
            self.settle()
                .and_then(|()| new.temporary.sync(&self.disk, &new.file))
                .map_err(disk_error)?;
        }

        let _exclusive = self.write_lock(bucket, key);
        let present = find(&self.places, bucket, key).map_err(disk_error)?;
        self.check(condition, bucket, key, present.as_ref())?;
        if present.is_some() && !is_relied_on {
            // Without power in a moment, there is the old object or the new one, and not an empty
            // file.
            new.temporary
                .sync(&self.disk, &new.file)
                .map_err(disk_error)?;
        }
        let kept = self.places.attributes(bucket, key, attributes.of.inode);
        attributes.write(&self.disk, &kept).map_err(disk_error)?;
        let mut written = self
            .files
            .place(&self.disk, &self.places, &new.temporary, bucket, key)
            .map_err(disk_error)?;
        written.push(kept);
        if is_relied_on {
            // Readers wait for it: they, too, may go by what it says.
            self.sync_names(&written).map_err(disk_error)?;
        } else {
            self.unsettled
                .add(&self.disk, self.places.root(), written)
                .map_err(disk_error)?;
        }
        if let Some(replaced) = present {
            self.forget(bucket, key, &replaced);
        }
        Ok(attributes)
    }

    /// Has everything that was committed until now reach the disk.
    fn settle(&self) -> io::Result<()> {
        self.unsettled.settle(&self.disk, self.places.root())
    }

    /// Has the names of an object's files reach the disk, and what is small of them.
    fn sync_names(&self, written: &[PathBuf]) -> io::Result<()> {
        written
            .iter()
            .try_for_each(|path| self.disk.sync_path(path))?;
        sync_folders(&self.disk, self.places.root(), written)
    }

    /// Deletes the object of a key; there may be none.
    ///
    /// # Errors
    /// `NoSuchBucket`; `PreconditionFailed`, `NoSuchKey`.
    pub(super) fn delete(&self, bucket: &str, key: &str, condition: &WriteCondition) -> S3Result {
        self.check_bucket(bucket)?;
        let _exclusive = self.write_lock(bucket, key);
        let mut present = find(&self.places, bucket, key).map_err(disk_error)?;
        self.check(condition, bucket, key, present.as_ref())?;
        // More than one time only when a process was killed while the key moved from one place to
        // the other.
        while let Some(found) = present {
            self.files
                .remove(&self.places, bucket, &found)
                .map_err(disk_error)?;
            self.forget(bucket, key, &found);
            present = find(&self.places, bucket, key).map_err(disk_error)?;
        }
        Ok(())
    }

    /// # Errors
    /// As the condition says.
    fn check(
        &self,
        condition: &WriteCondition,
        bucket: &str,
        key: &str,
        present: Option<&Found>,
    ) -> S3Result {
        let etag = match present.filter(|_| condition.needs_etag()) {
            Some(found) => Some(self.etag(bucket, key, found).map_err(disk_error)?),
            None => None,
        };
        condition.check(present.is_some(), etag.as_deref())
    }

    fn etag(&self, bucket: &str, key: &str, found: &Found) -> io::Result<String> {
        if let Some(kept) = self.kept(bucket, key, &found.metadata) {
            return Ok(kept.etag);
        }
        let mut file = File::open(&found.path)?;
        let metadata = file.metadata()?;
        Ok(self.learn(bucket, key, &mut file, &metadata)?.etag)
    }

    fn kept(&self, bucket: &str, key: &str, metadata: &Metadata) -> Option<Attributes> {
        let state = FileState::of(metadata);
        Attributes::read(&self.places.attributes(bucket, key, state.inode), state)
    }

    /// Reads a file that was put there or changed by hand, and keeps what it learns: the next time
    /// costs nothing.
    fn learn(
        &self,
        bucket: &str,
        key: &str,
        file: &mut File,
        metadata: &Metadata,
    ) -> io::Result<Attributes> {
        let attributes = Attributes::from_content(key, file, metadata)?;
        if FileState::of(&file.metadata()?) == attributes.of {
            attributes.write(
                &self.disk,
                &self.places.attributes(bucket, key, attributes.of.inode),
            )?;
        }
        Ok(attributes)
    }

    /// Removes what was known of bytes that are gone.
    fn forget(&self, bucket: &str, key: &str, gone: &Found) {
        let path = self
            .places
            .attributes(bucket, key, FileState::of(&gone.metadata).inode);
        // It describes nothing any more: that it stays costs some room and no more.
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
        let (temporary, mut file) = Temporary::create(store.temporary()).unwrap();
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
        fs::read_dir(store.places.attributes(BUCKET, "", 0).parent().unwrap())
            .map_or(0, Iterator::count)
    }

    #[test]
    fn kill_before_the_rename_leaves_the_old_object_with_its_attributes() {
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
        // What a process does before it is killed: all but the rename, and no clearing up.
        let new = new_object(&store, b"new");
        let state = FileState::of(&new.file.metadata().unwrap());
        let old = store.object(BUCKET, "a").unwrap().attributes;
        let unborn = Attributes {
            of: state,
            etag: "new".to_owned(),
            ..old.clone()
        };
        unborn
            .write(
                &store.disk,
                &store.places.attributes(BUCKET, "a", state.inode),
            )
            .unwrap();
        std::mem::forget(new);

        let store = self::store(root.path());
        assert_eq!(store.object(BUCKET, "a").unwrap().attributes, old);
        assert_eq!(fs::read_dir(store.places.incoming()).unwrap().count(), 0);
    }

    #[test]
    fn object_changed_by_hand_is_read_once_and_then_known() {
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
        assert_eq!(store.kept(BUCKET, "a", &metadata), Some(object.attributes));
    }

    #[test]
    fn what_is_known_of_replaced_and_deleted_bytes_is_forgotten() {
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
        assert_eq!(fs::read_dir(store.places.incoming()).unwrap().count(), 0);
    }

    #[test]
    fn object_and_its_attributes_are_read_together() {
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
                            // The creators' ETag is the one that the successors expect; theirs is
                            // another.
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
    fn folder_that_a_delete_takes_away_is_made_again() {
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
