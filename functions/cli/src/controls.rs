//! Requests of users to approve or cancel a job, made while the chain may be running in another
//! process.
//!
//! Only the host may write to the bucket. The command therefore leaves a file,
//! `.darkroom/control/<job>.<action>`, and the host turns it into the object that an S3 client
//! would upload to a deployment: `control/<job>/<action>`.

use std::{fs, io, path::Path};

use anyhow::Context;
use darkroom::names::JobId;
use runtime::bucket::Bucket;

/// The folder of pending requests, below the internal folder.
const FOLDER: &str = "control";

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

/// Writes an object to `bucket` for each pending request, and deletes the request.
///
/// # Errors
/// Returns an error if a request can't be read or its object can't be written. The request stays
/// and is forwarded by the next call.
pub(crate) async fn forward_all(internal: &Path, bucket: &Bucket) -> anyhow::Result<()> {
    let folder = internal.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("can't list {}", folder.display()));
        }
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("can't list {}", folder.display()))?;
        let name = entry.file_name();
        let parsed = name.to_str().and_then(|name| name.rsplit_once('.'));
        if let Some((job, action)) =
            parsed.and_then(|(job, name)| Some((job, ControlAction::from_name(name)?)))
        {
            write(bucket, job, action).await?;
        }
        // The file goes last, so that a crash repeats the request instead of losing it. A file
        // with any other name is deleted, too, or the host would read it again and again.
        let path = entry.path();
        fs::remove_file(&path).with_context(|| format!("can't delete {}", path.display()))?;
    }
    Ok(())
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
