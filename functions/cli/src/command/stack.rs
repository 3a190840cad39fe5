//! The bucket that a command looks at: in a folder on this machine, or of a deployment.
//!
//! A folder may belong to a running `darkroom run` or `darkroom serve`. The command therefore only
//! reads its bucket, and leaves requests for that process. The bucket of a deployment is read and
//! written with the AWS credentials of the user.

mod drop;
mod folder;
mod picks;

use std::{fmt, path::Path};

use anyhow::Context;
use aws_sdk_s3::primitives::ByteStream;
use darkroom::{folders::Folders, models::Catalog, names::JobId, object_keys, status::JobStatus};
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use runtime::{
    aws::Aws,
    bucket::{Bucket, Object},
};
use seam::{
    clock::Clock,
    transport::{Body, BoxError},
};
use serde::de::DeserializeOwned;

pub(super) use self::drop::DropOutcome;
use self::folder::Folder;
use super::{StackArgs, plain_text::plain};
use crate::controls::{self, ControlAction};

/// How many documents are read concurrently.
const CONCURRENCY: usize = 16;

/// A bucket with jobs.
#[derive(Clone, Debug)]
pub(super) enum Stack {
    /// The bucket in a folder on this machine.
    Folder(Folder),
    /// The bucket of a deployment.
    Bucket(Bucket),
}

/// An object that is read as a stream.
pub(super) struct Content {
    /// The number of bytes, if it is known in advance.
    pub(super) size: Option<u64>,
    pub(super) body: Body,
}

/// The jobs whose names begin with a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    None,
    /// There is one, or one that is named exactly so.
    One(JobId),
    /// There are several.
    Several(Vec<JobId>),
}

impl Stack {
    /// Opens the bucket that the arguments name.
    pub(super) async fn open(args: &StackArgs) -> Self {
        match &args.bucket {
            Some(name) => Self::Bucket(Bucket::new(Aws::from_env().await.s3, name)),
            None => Self::folder(&args.out),
        }
    }

    /// The bucket in a folder.
    pub(super) fn folder(out: &Path) -> Self {
        Self::Folder(Folder::new(out))
    }

    /// Returns the name of the bucket.
    pub(super) fn bucket_name(&self) -> &str {
        match self {
            Self::Folder(_) => crate::cloud::BUCKET,
            Self::Bucket(bucket) => bucket.name(),
        }
    }

    /// Returns where an object is, as a path or an address that other programs accept.
    pub(super) fn address_of(&self, key: &str) -> String {
        let address = match self {
            Self::Folder(folder) => folder.path_of(key).display().to_string(),
            Self::Bucket(bucket) => format!("s3://{}/{key}", bucket.name()),
        };
        plain(&address).into_owned()
    }

    /// Returns the options that make another command use the same bucket.
    pub(super) fn options(&self) -> String {
        match self {
            Self::Folder(folder) => format!("--out {}", folder.out().display()),
            Self::Bucket(bucket) => format!("--bucket {}", bucket.name()),
        }
    }

    /// Returns the time in which the jobs run: in a folder, simulated waits are included.
    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::Folder(folder) => folder.now(),
            Self::Bucket(_) => Clock::system().now(),
        }
    }

    /// Whether `darkroom serve` is running on the folder. None for a deployment, which always runs.
    pub(super) fn is_served(&self) -> Option<bool> {
        match self {
            Self::Folder(folder) => Some(folder.is_served()),
            Self::Bucket(_) => None,
        }
    }

    /// Lists the jobs, in the order of their names.
    pub(super) async fn jobs(&self) -> anyhow::Result<Vec<JobId>> {
        self.jobs_like("").await
    }

    async fn jobs_like(&self, prefix: &str) -> anyhow::Result<Vec<JobId>> {
        let mut names = match self {
            Self::Folder(folder) => folder.jobs()?,
            Self::Bucket(bucket) => {
                let folders = bucket.folders(&format!("jobs/{prefix}")).await;
                let folders = folders.with_context(|| format!("can't list the jobs of {self}"))?;
                let full = |rest| format!("{prefix}{rest}");
                folders.into_iter().map(full).collect()
            }
        };
        names.retain(|name| name.starts_with(prefix) && is_job_name(name));
        names.sort();
        Ok(names.into_iter().map(JobId::new).collect())
    }

    /// Looks for the job whose name begins with `prefix`.
    pub(super) async fn find(&self, prefix: &str) -> anyhow::Result<Found> {
        // Other texts can't be the beginning of a name.
        if !is_job_name(prefix) {
            return Ok(Found::None);
        }
        let mut jobs = self.jobs_like(prefix).await?;
        if let Some(exact) = jobs.iter().find(|job| job.as_str() == prefix) {
            return Ok(Found::One(exact.clone()));
        }
        Ok(match jobs.len() {
            0 => Found::None,
            1 => Found::One(jobs.remove(0)),
            _ => Found::Several(jobs),
        })
    }

    /// Returns the job whose name begins with `prefix`. Fails if there is none, or more than one.
    pub(super) async fn find_one(&self, prefix: &str) -> anyhow::Result<JobId> {
        match self.find(prefix).await? {
            Found::One(job) => Ok(job),
            Found::None => anyhow::bail!(
                "there is no job in {self} whose name begins with {prefix:?}: run `darkroom status \
                 {}` for a list",
                self.options()
            ),
            Found::Several(jobs) => anyhow::bail!("{}", ambiguous(prefix, &jobs)),
        }
    }

    /// Reads a small object. Returns `None` if it does not exist.
    pub(super) async fn read(&self, key: &str) -> anyhow::Result<Option<Object>> {
        match self {
            Self::Folder(folder) => folder.read(key).await,
            Self::Bucket(bucket) => Ok(bucket.read(key).await?),
        }
    }

    /// Reads a JSON document. Returns `None` if it does not exist.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> anyhow::Result<Option<T>> {
        let Some(object) = self.read(key).await? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&object.bytes);
        Ok(Some(parsed.with_context(|| format!("can't parse {key}"))?))
    }

    /// Reads the status of a job. Returns none if the job has none yet.
    pub(super) async fn status(&self, job: &JobId) -> anyhow::Result<Option<JobStatus>> {
        self.document(&object_keys::status(job)).await
    }

    /// Returns an object's ETag. Returns `None` if it does not exist.
    pub(super) async fn etag(&self, key: &str) -> anyhow::Result<Option<String>> {
        match self {
            Self::Folder(folder) => folder.etag(key).await,
            Self::Bucket(bucket) => Ok(bucket.head(key).await?.map(|head| head.etag)),
        }
    }

    /// Opens an object as a stream. Returns `None` if it does not exist.
    pub(super) async fn open_object(&self, key: &str) -> anyhow::Result<Option<Content>> {
        match self {
            Self::Folder(folder) => folder.open(key).await,
            Self::Bucket(bucket) => Ok(bucket.open(key, None).await?.map(|(bytes, _)| Content {
                size: bytes.size_hint().1,
                body: body(bytes),
            })),
        }
    }

    /// Lists the keys that begin with `prefix`, which ends with a slash.
    pub(super) async fn keys(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Folder(folder) => folder.keys(prefix),
            Self::Bucket(bucket) => Ok(bucket.keys(prefix).await?),
        }
    }

    /// Returns the models and prices that new jobs get.
    pub(super) async fn catalog(&self) -> anyhow::Result<Catalog> {
        let Some(object) = self.read(object_keys::MODELS).await? else {
            return Ok(Catalog::built_in());
        };
        let text = String::from_utf8_lossy(&object.bytes);
        Catalog::parse(&text)
            .with_context(|| format!("invalid catalog {}", self.address_of(object_keys::MODELS)))
    }

    /// Returns the folders of tenants, by which `plan` finds the folder of a manifest.
    pub(super) async fn folders(&self) -> anyhow::Result<Folders> {
        let Some(object) = self.read(object_keys::FOLDERS).await? else {
            return Ok(Folders::default());
        };
        let text = String::from_utf8_lossy(&object.bytes);
        Folders::parse(&text)
            .with_context(|| format!("invalid folders {}", self.address_of(object_keys::FOLDERS)))
    }

    /// Requests something for a job. In a folder, it takes effect as soon as a host runs there.
    pub(super) async fn control(&self, job: &JobId, action: ControlAction) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => controls::request(&folder.internal()?, job, action),
            Self::Bucket(bucket) => controls::write(bucket, job.as_str(), action).await,
        }
    }
}

/// The text that names the bucket in a message.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.out().display()),
            Self::Bucket(bucket) => write!(f, "the bucket {}", bucket.name()),
        }
    }
}

/// Reads the status of each job, and returns those that have one, in the order of the jobs.
pub(super) async fn statuses(stack: &Stack, jobs: &[JobId]) -> anyhow::Result<Vec<JobStatus>> {
    let found: Vec<Option<JobStatus>> = stream::iter(jobs.to_vec())
        .map(|job| async move { stack.status(&job).await })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether a text has the form of a job's name, or of its beginning.
pub(super) fn is_job_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Returns the message for a beginning that several jobs share.
pub(super) fn ambiguous(prefix: &str, jobs: &[JobId]) -> String {
    let names: Vec<&str> = jobs.iter().take(10).map(JobId::as_str).collect();
    let more = match jobs.len().saturating_sub(names.len()) {
        0 => String::new(),
        more => format!(", or {more} others"),
    };
    format!(
        "ambiguous job {prefix:?}: it could be any of {}{more}",
        names.join(", ")
    )
}

/// Returns what S3 sends as the body of an answer.
fn body(bytes: ByteStream) -> Body {
    let frames = stream::try_unfold(bytes, |mut bytes| async move {
        let next = bytes.try_next().await.map_err(BoxError::from)?;
        Ok::<_, BoxError>(next.map(|chunk| (Frame::data(chunk), bytes)))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_jobs_are_looked_up() {
        for name in ["catalog-9cf485441ecdeefd", "a", "A_b-1"] {
            assert!(is_job_name(name), "{name}");
        }
        for name in [
            "",
            "..",
            "a/b",
            "a.b",
            "a%2fb",
            "a b",
            "é",
            &"x".repeat(101),
        ] {
            assert!(!is_job_name(name), "{name:?}");
        }
    }

    #[tokio::test]
    async fn a_job_is_found_by_its_beginning_unless_several_share_it() {
        let out = tempfile::tempdir().unwrap();
        for job in ["shoes-1", "shoes-12", "hats-1"] {
            std::fs::create_dir_all(out.path().join("darkroom/jobs").join(job)).unwrap();
        }
        let stack = Stack::folder(out.path());
        let found = async |prefix: &str| stack.find(prefix).await.unwrap();
        assert_eq!(found("hats").await, Found::One(JobId::new("hats-1")));
        assert_eq!(found("shoes-1").await, Found::One(JobId::new("shoes-1")));
        assert!(matches!(found("shoes").await, Found::Several(jobs) if jobs.len() == 2));
        for prefix in ["coats", "../hats", "hats-1/", ""] {
            assert_eq!(found(prefix).await, Found::None, "{prefix:?}");
        }
    }
}
