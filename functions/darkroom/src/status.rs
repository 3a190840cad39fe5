//! `job.json`: the status of a job, for its user.

mod blocker;
mod lanes;
mod shards;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    blocker::{Blocker, DocumentVersion},
    lanes::LaneProgress,
    shards::{ShardPhase, ShardStatus},
};
use crate::{
    job::JobFolder,
    money::Usd,
    names::{JobId, ObjectUri},
    plan::PlanSummary,
};

/// The status of a job: `jobs/<job>/job.json`. It is derived from the shard states. `plan` creates
/// it, and only `report` rewrites it.
///
/// ```json
/// {"job":"catalog-…","phase":"waiting","manifest":"s3://…","images":{"expected":28,"finished":0},"shards":[…]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// The manifest of the job.
    pub manifest: ObjectUri,
    /// The folder of the job in `stack/folders.toml`, and who is notified about it, as they were
    /// when the job was planned or rejected. It is absent if the job has no folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<JobFolder>,
    /// The phase.
    pub phase: JobPhase,
    /// The summary of the plan. It is absent if the manifest was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// The number of errors in the manifest, if it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    /// Why the job can't be closed. It is present while the phase is [`JobPhase::Blocked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<Blocker>,
    /// The number of images that Gemini has finished or that were collected so far.
    pub finished: u64,
    /// The progress of each lane, in the order of [`Lane::ALL`](crate::lane::Lane::ALL). It is
    /// empty if there are only batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneProgress>,
    /// The actual cost of a finished job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Usd>,
    /// The images of a finished job that match no request, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<UnmatchedImages>,
    /// The shards and their rounds.
    pub shards: Vec<ShardStatus>,
    /// When the document was written.
    pub updated_at: Timestamp,
}

impl JobStatus {
    /// Creates the status of a job of which only the phase is known.
    pub fn new(job: &JobId, manifest: &ObjectUri, phase: JobPhase, updated_at: Timestamp) -> Self {
        Self {
            job: job.clone(),
            manifest: manifest.clone(),
            folder: None,
            phase,
            plan: None,
            errors: None,
            blocker: None,
            finished: 0,
            lanes: Vec::new(),
            cost_usd: None,
            unmatched: None,
            shards: Vec::new(),
            updated_at,
        }
    }
}

/// Images that were generated and match no request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedImages {
    /// The number of images.
    pub images: u64,
    /// Their folder, as a key of the bucket.
    pub folder: String,
}

/// The phase of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    /// The manifest was rejected: see `validation.csv`. Nothing was bought.
    Rejected,
    /// The manifest requested an estimate only. Nothing was bought.
    Estimated,
    /// The job is planned, and shards are being submitted.
    Submitting,
    /// All batches that are currently needed are submitted.
    Waiting,
    /// Images are being collected.
    Collecting,
    /// The job can't be closed because a document is missing or damaged. `blocker` names it and the
    /// remedy.
    Blocked,
    /// Every image exists.
    Succeeded,
    /// Some images exist: see `retry.jsonl` for the others.
    Partial,
    /// No image exists.
    Failed,
    /// A user cancelled the job before every image existed.
    Cancelled,
}

impl JobPhase {
    /// Whether the job never leaves this phase, unless a rejected manifest is dropped again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Rejected
            | Self::Estimated
            | Self::Succeeded
            | Self::Partial
            | Self::Failed
            | Self::Cancelled => true,
            Self::Submitting | Self::Waiting | Self::Collecting | Self::Blocked => false,
        }
    }
}
