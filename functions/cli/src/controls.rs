//! Requests of users to approve or cancel a job, and manifests that they drop, while the chain may
//! be running in another process.
//!
//! Only the host may write to the bucket. The command therefore leaves a file,
//! `.darkroom/control/<job>.<action>` or `.darkroom/inbox/<name>`, and the host turns it into the
//! object that an S3 client would upload to a deployment: `control/<job>/<action>` or
//! `inbox/<name>`. A file in `.darkroom/copies/` asks for a copy within the bucket.

use std::{fs, io, path::Path};

use anyhow::Context;
use bytes::Bytes;
use darkroom::{digest::hex, names::JobId, results::image::MediaType};
use runtime::bucket::Bucket;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::listing::paths_in;

/// The folder of pending requests, below the internal folder.
const FOLDER: &str = "control";

/// The folder of manifests that wait to be dropped, below the internal folder.
const DROPS: &str = "inbox";

/// The folder of copies that wait to be made, below the internal folder.
const COPIES: &str = "copies";

/// The ending of a file that is still being written.
const UNFINISHED: &str = ".new";

/// What a user can request for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAction {
    /// Let the job's held shards continue.
    Approve,
    /// Cancel the job and keep the images that it has.
    Cancel,
}

impl ControlAction {
    /// Returns the last part of the object's key below `control/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Cancel => "cancel",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Approve, Self::Cancel]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

/// Leaves a request for the host of the folder that contains `internal`.
///
/// # Errors
/// Returns an error if the file can't be written.
pub fn request(internal: &Path, job: &JobId, action: ControlAction) -> anyhow::Result<()> {
    let folder = internal.join(FOLDER);
    fs::create_dir_all(&folder)
        .with_context(|| format!("can't create the folder {}", folder.display()))?;
    let path = folder.join(format!("{job}.{}", action.name()));
    fs::write(&path, "").with_context(|| format!("can't write {}", path.display()))
}

/// Writes the object to `bucket` that requests something for a job.
///
/// # Errors
/// Returns an error if the object can't be written.
pub(crate) async fn write(bucket: &Bucket, job: &str, action: ControlAction) -> anyhow::Result<()> {
    let key = format!("control/{job}/{}", action.name());
    bucket.put(&key, "text/plain", "").await?;
    Ok(())
}

/// Leaves a manifest for the host of the folder that contains `internal`, which puts it into
/// `inbox/` under its name.
///
/// # Errors
/// Returns an error if the file can't be written.
pub fn request_drop(internal: &Path, name: &str, manifest: &[u8]) -> anyhow::Result<()> {
    leave(&internal.join(DROPS), name, manifest)
}

/// A copy of an object within the bucket.
#[derive(Serialize, Deserialize)]
struct Copy {
    from: String,
    to: String,
}

/// Asks the host of the folder that contains `internal` to copy the image `from` to the key `to`. It
/// does so before it takes a manifest that is left later.
///
/// # Errors
/// Returns an error if the file can't be written.
pub(crate) fn request_copy(internal: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let name = hex(&Sha256::digest(to));
    let (from, to) = (from.to_owned(), to.to_owned());
    let copy = serde_json::to_vec(&Copy { from, to })?;
    leave(&internal.join(COPIES), &name, &copy)
}

/// Copies an image within a bucket, unless the copy exists.
///
/// # Errors
/// Returns an error if the image can't be read or written.
pub(crate) async fn copy(bucket: &Bucket, from: &str, to: &str) -> anyhow::Result<()> {
    // An image that is gone is reported by `plan`, as a reference that is missing.
    if let Some(image) = bucket.read(from).await? {
        let kind = MediaType::of(&image.bytes).map_or("application/octet-stream", MediaType::mime);
        bucket.create(to, kind, image.bytes).await?;
    }
    Ok(())
}

/// Writes a file that the host takes as soon as it is complete.
fn leave(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("can't create the folder {}", folder.display()))?;
    // The host may look at any moment, and half a manifest would become another job.
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let path = folder.join(name);
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, &path))
        .with_context(|| format!("can't write {}", path.display()))
}

/// Returns the manifest of this name that waits for the host, if there is one.
///
/// # Errors
/// Returns an error if the file can't be read.
pub fn pending_drop(internal: &Path, name: &str) -> anyhow::Result<Option<Bytes>> {
    let path = internal.join(DROPS).join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Writes an object to `bucket` for each pending request and each pending manifest, and deletes the
/// request.
///
/// # Errors
/// Returns an error if a request can't be read or its object can't be written. The request stays
/// and is forwarded by the next call.
pub(crate) async fn forward_all(internal: &Path, bucket: &Bucket) -> anyhow::Result<()> {
    for path in paths_in(&internal.join(FOLDER))? {
        let name = path.file_name().and_then(|name| name.to_str());
        let parsed = name.and_then(|name| name.rsplit_once('.'));
        if let Some((job, action)) =
            parsed.and_then(|(job, name)| Some((job, ControlAction::from_name(name)?)))
        {
            write(bucket, job, action).await?;
        }
        // The file goes last, so that a crash repeats the request instead of losing it. A file
        // with any other name is deleted, too, or the host would read it again and again.
        delete(&path)?;
    }
    // Manifests are listed before the copies are made, so that the pictures of each exist.
    let drops = paths_in(&internal.join(DROPS))?;
    for path in paths_in(&internal.join(COPIES))? {
        if finished_name(&path).is_some() {
            // Without a readable request there is nothing to copy.
            if let Ok(Copy { from, to }) = serde_json::from_slice(&read(&path)?) {
                copy(bucket, &from, &to).await?;
            }
            delete(&path)?;
        }
    }
    for path in drops {
        let Some(name) = finished_name(&path) else {
            continue;
        };
        let bytes = read(&path)?;
        // An object that exists is that of an earlier try, because names are chosen to be new.
        let (key, kind) = (format!("inbox/{name}"), "application/x-ndjson");
        bucket.create(&key, kind, bytes).await?;
        delete(&path)?;
    }
    Ok(())
}

/// Returns the name of a file that was written completely.
fn finished_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    (!name.ends_with(UNFINISHED)).then_some(name)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

fn delete(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path).with_context(|| format!("can't delete {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_recognized_by_its_name() {
        for action in [ControlAction::Approve, ControlAction::Cancel] {
            assert_eq!(ControlAction::from_name(action.name()), Some(action));
        }
        assert_eq!(ControlAction::from_name("Approve"), None);
    }
}
