//! A line on the terminal whenever a job changes phase, for a host that runs many jobs.

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

use super::{check::count, plain_text::plain};
use crate::cloud::BUCKET;

/// Observes every write of a `job.json` and passes the job to a [`PhaseReporter`].
pub(super) struct StatusWrites(UnboundedSender<JobId>);

/// Prints the phases of the jobs whose `job.json` was written.
pub(super) struct PhaseReporter {
    bucket: PathBuf,
    written: UnboundedReceiver<JobId>,
}

impl StatusWrites {
    /// Creates the observer and the reporter for the bucket below `out`.
    pub(super) fn new(out: &Path) -> (Self, PhaseReporter) {
        let (sender, written) = mpsc::unbounded_channel();
        (
            Self(sender),
            PhaseReporter {
                bucket: out.join(BUCKET),
                written,
            },
        )
    }

    /// Wraps the transport that answers S3 requests.
    pub(super) fn around(self, wire: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(StatusWriteTransport {
            wire,
            written: self.0,
        })
    }
}

struct StatusWriteTransport {
    wire: Arc<dyn Transport>,
    written: UnboundedSender<JobId>,
}

impl Transport for StatusWriteTransport {
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
                // The receiver is gone once the command stops, and then no line is needed.
                let _ = self.written.send(job);
            }
            Ok(answer)
        })
    }
}

/// Returns the job whose `job.json` is at the path of a request.
fn job_of(path: &str) -> Option<JobId> {
    let key = path
        .strip_prefix('/')?
        .strip_prefix(BUCKET)?
        .strip_prefix('/')?;
    let job = key.strip_prefix("jobs/")?.strip_suffix("/job.json")?;
    (!job.contains(['/', '.'])).then(|| JobId::new(job))
}

impl PhaseReporter {
    /// Prints a line for every phase that a job enters, until the last [`StatusWrites`] is dropped.
    pub(super) async fn run(mut self) {
        let mut reported: HashMap<JobId, JobPhase> = HashMap::new();
        while let Some(job) = self.written.recv().await {
            // The file may already have been replaced by a later version, which is then reported
            // instead. If it can't be read now, the next write is reported.
            let path = self.bucket.join(object_keys::status(&job));
            let Some(status) = fs::read(path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<JobStatus>(&bytes).ok())
            else {
                continue;
            };
            if reported.get(&job) != Some(&status.phase) {
                println!("{job}  {}", plain(&describe(&status)));
            }
            // A job in a final phase is forgotten, so that the map does not grow forever.
            if status.phase.is_terminal() {
                reported.remove(&job)
            } else {
                reported.insert(job, status.phase)
            };
        }
    }
}

/// Returns the text for a job's phase.
pub(super) fn describe(status: &JobStatus) -> String {
    let images = status.plan.as_ref().map_or(0, |plan| plan.images);
    let cost = status
        .cost_usd
        .map_or_else(String::new, |cost| format!(", {cost}"));
    match status.phase {
        JobPhase::Rejected => {
            format!(
                "rejected: {}; see validation.csv. Nothing was bought.",
                count(status.errors.unwrap_or(0), "error")
            )
        }
        JobPhase::Estimated => format!(
            "dry run complete: {}. Nothing was bought.",
            count(images, "image")
        ),
        JobPhase::Submitting => format!("planned: {}", count(images, "image")),
        JobPhase::Waiting => "waiting for Gemini".to_owned(),
        JobPhase::Collecting => "collecting images".to_owned(),
        JobPhase::Blocked => format!("blocked: {}", blocker(status)),
        JobPhase::Succeeded => format!("complete: {}{cost}", count(images, "image")),
        JobPhase::Partial => format!(
            "incomplete: {} of {images} images{cost}; see retry.jsonl",
            status.finished
        ),
        JobPhase::Failed => format!("failed: no images{cost}; see results.csv"),
        JobPhase::Cancelled => format!(
            "canceled: {} of {images} images{cost}; see retry.jsonl",
            status.finished
        ),
    }
}

/// Returns what prevents a job from being closed, and what to do about it.
pub(super) fn blocker(status: &JobStatus) -> String {
    status.blocker.as_ref().map_or_else(
        || "see the job's job.json".to_owned(),
        |blocker| format!("{}. {}", blocker.what, blocker.what_to_do),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writes_of_a_job_status_are_reported() {
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
