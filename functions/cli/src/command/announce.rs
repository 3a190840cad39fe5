//! A line on the terminal whenever a job goes on, for a host that runs many.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use darkroom::{
    names::JobId,
    object_keys,
    status::{JobPhase, JobStatus},
};
use http::{Method, Request, Response};
use seam::transport::{Body, BoxFuture, Transport, TransportError};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::check::count;
use crate::cloud::BUCKET;

/// Sees every `job.json` that is written.
pub(super) struct Announcing(UnboundedSender<JobId>);

/// What was seen, to be told.
pub(super) struct Announced {
    bucket: PathBuf,
    written: UnboundedReceiver<JobId>,
}

impl Announcing {
    /// For the bucket below `out`.
    pub(super) fn new(out: &Path) -> (Self, Announced) {
        let (sender, written) = mpsc::unbounded_channel();
        (
            Self(sender),
            Announced {
                bucket: out.join(BUCKET),
                written,
            },
        )
    }

    /// Around what answers for S3.
    pub(super) fn around(self, wire: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Announcer {
            wire,
            written: self.0,
        })
    }
}

struct Announcer {
    wire: Arc<dyn Transport>,
    written: UnboundedSender<JobId>,
}

impl Transport for Announcer {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let job = (request.method() == Method::PUT)
            .then(|| job_of(request.uri().path()))
            .flatten();
        Box::pin(async move {
            let answer = self.wire.send(request).await?;
            if let Some(job) = job
                && answer.status().is_success()
            {
                // Nobody listens any more once the command ends.
                let _ = self.written.send(job);
            }
            Ok(answer)
        })
    }
}

/// The job whose `job.json` a path names.
fn job_of(path: &str) -> Option<JobId> {
    let key = path
        .strip_prefix('/')?
        .strip_prefix(BUCKET)?
        .strip_prefix('/')?;
    let job = key.strip_prefix("jobs/")?.strip_suffix("/job.json")?;
    (!job.contains(['/', '.'])).then(|| JobId::new(job))
}

impl Announced {
    /// Tells of every phase that a job enters, until nobody can write any more.
    pub(super) async fn tell(mut self) {
        let mut told: HashMap<JobId, JobPhase> = HashMap::new();
        while let Some(job) = self.written.recv().await {
            let path = self.bucket.join(object_keys::status(&job));
            let Some(status) = fs::read(path)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            else {
                continue;
            };
            let status: JobStatus = status;
            if told.get(&job) != Some(&status.phase) {
                println!("{job}  {}", words(&status));
            }
            if status.phase.is_terminal() {
                told.remove(&job)
            } else {
                told.insert(job, status.phase)
            };
        }
    }
}

fn words(status: &JobStatus) -> String {
    let images = status.plan.as_ref().map_or(0, |plan| plan.images);
    let cost = status
        .cost_usd
        .map_or_else(String::new, |cost| format!(", {cost}"));
    match status.phase {
        JobPhase::Rejected => {
            format!(
                "rejected: {}; see validation.csv. Nothing was bought",
                count(status.errors.unwrap_or(0), "error")
            )
        }
        JobPhase::Estimated => format!("estimated: {}; nothing was bought", count(images, "image")),
        JobPhase::Submitting => format!("planned: {}", count(images, "image")),
        JobPhase::Waiting => "waiting for Gemini".to_owned(),
        JobPhase::Collecting => "collecting images".to_owned(),
        JobPhase::Blocked => format!("can't be closed: {}", blocker(status)),
        JobPhase::Succeeded => format!("done: all of {}{cost}", count(images, "image")),
        JobPhase::Partial => format!(
            "done: {} of {images} images{cost}; see retry.jsonl",
            status.finished
        ),
        JobPhase::Failed => format!("failed: no image{cost}; see results.csv"),
        JobPhase::Cancelled => format!(
            "cancelled: {} of {images} images{cost}; see retry.jsonl",
            status.finished
        ),
    }
}

/// What keeps a job from being closed, and what to do about it.
pub(super) fn blocker(status: &JobStatus) -> String {
    status.blocker.as_ref().map_or_else(
        || "see its job.json".to_owned(),
        |blocker| format!("{}. {}", blocker.what, blocker.what_to_do),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_is_told_of() {
        let job =
            job_of("/darkroom/jobs/catalog-9cf485441ecdeefd/job.json").map(|job| job.to_string());
        assert_eq!(job.as_deref(), Some("catalog-9cf485441ecdeefd"));
        for other in [
            "/darkroom/jobs/catalog-9cf485441ecdeefd/images/job.json",
            "/darkroom/inbox/job.json",
            "/darkroom/jobs/../job.json",
            "/elsewhere/jobs/catalog-9cf485441ecdeefd/job.json",
        ] {
            assert_eq!(job_of(other), None, "{other}");
        }
    }
}
