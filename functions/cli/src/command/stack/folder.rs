//! The bucket in a folder on this machine, which another process may be using.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use aws_sim::bucket::object_file;
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use runtime::bucket::Object;
use seam::{clock::Clock, transport::BoxError};
use tokio::io::AsyncReadExt;

use super::Content;
use crate::{
    cloud::{self, BUCKET, INTERNAL},
    command::environment,
    controls,
    listing::paths_in,
    time::Time,
};

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// The folder that `--out` names. It does not have to exist.
#[derive(Clone, Debug)]
pub(in crate::command) struct Folder {
    out: PathBuf,
}

impl Folder {
    pub(super) fn new(out: &Path) -> Self {
        Self {
            out: out.to_owned(),
        }
    }

    /// Returns the folder itself.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// Returns the path of an object that users look at.
    pub(super) fn path_of(&self, key: &str) -> PathBuf {
        self.out.join(BUCKET).join(key)
    }

    /// Returns the folder for requests to the host, and creates it if it is missing.
    pub(super) fn internal(&self) -> anyhow::Result<PathBuf> {
        environment::internal_folder(&self.out)
    }

    /// Returns the folder's time. If the simulated time can't be read, the time is real.
    pub(super) fn now(&self) -> Timestamp {
        match Time::simulated(&self.out.join(INTERNAL)) {
            Ok(time) => time.now(),
            Err(_) => Clock::system().now(),
        }
    }

    /// Whether `darkroom serve` is running on the folder.
    pub(super) fn is_served(&self) -> bool {
        // Without the file, no such process has run here. A shared lock is held for an instant; a
        // process that starts at this moment waits for it.
        let Ok(file) = File::open(self.out.join(INTERNAL).join(cloud::SERVE_LOCK)) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    /// Lists the names of the folders of jobs.
    pub(super) fn jobs(&self) -> anyhow::Result<Vec<String>> {
        let paths = paths_in(&self.path_of("jobs"))?;
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Lists the keys of the files below a folder.
    pub(super) fn keys(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let mut keys = Vec::new();
        let folder = self.path_of(prefix);
        list(&folder, prefix, &mut keys)
            .with_context(|| format!("can't list {}", folder.display()))?;
        keys.sort();
        Ok(keys)
    }

    pub(super) async fn read(&self, key: &str) -> anyhow::Result<Option<Object>> {
        let Some((mut file, size, etag)) = self.file(key).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.read_to_end(&mut bytes)
            .await
            .with_context(|| format!("can't read {key}"))?;
        let bytes = Bytes::from(bytes);
        Ok(Some(Object { bytes, etag }))
    }

    pub(super) async fn etag(&self, key: &str) -> anyhow::Result<Option<String>> {
        Ok(self.file(key).await?.map(|(_, _, etag)| etag))
    }

    pub(super) async fn open(&self, key: &str) -> anyhow::Result<Option<Content>> {
        let Some((file, size, _)) = self.file(key).await? else {
            return Ok(None);
        };
        let frames = stream::try_unfold(file, |mut file| async move {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = file.read_buf(&mut chunk).await.map_err(BoxError::from)?;
            Ok::<_, BoxError>((read > 0).then(|| (Frame::data(Bytes::from(chunk)), file)))
        });
        Ok(Some(Content {
            size: Some(size),
            body: BodyExt::boxed(StreamBody::new(frames)),
        }))
    }

    /// Returns a manifest that waits to be dropped, if there is one of this name.
    pub(super) fn pending(&self, name: &str) -> anyhow::Result<Option<Bytes>> {
        controls::pending_drop(&self.out.join(INTERNAL), name)
    }

    /// Opens the file of an object, and returns its size and a version that changes with its
    /// content.
    async fn file(&self, key: &str) -> anyhow::Result<Option<(tokio::fs::File, u64, String)>> {
        let cannot = || format!("can't read {key} in {}", self.out.display());
        let Some(path) = object_file(&self.out, BUCKET, key).with_context(cannot)? else {
            return Ok(None);
        };
        // A write may have replaced the file since, and a later one may have removed it.
        let file = match tokio::fs::File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(cannot),
        };
        let metadata = file.metadata().await.with_context(cannot)?;
        let (size, inode) = (metadata.len(), metadata.ino());
        let etag = format!(
            "\"{:x}.{:x}-{inode:x}-{size:x}\"",
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        Ok(Some((file, size, etag)))
    }
}

/// Adds the keys of the files below a folder, which may be missing.
fn list(folder: &Path, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let key = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{key}/"), keys)?;
        } else {
            keys.push(key);
        }
    }
    Ok(())
}
