//! `job.json`: what people watch.

mod blocker;
mod shards;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    blocker::{Blocker, DocumentVersion},
    shards::{ShardPhase, ShardStatus},
};
use crate::{
    money::Usd,
    names::{JobId, ObjectUri},
    plan::PlanSummary,
};

/// `jobs/<job>/job.json`. Derived from the shard states: `plan` creates it, `report` alone rewrites
/// it.
///
/// ```json
/// {"job":"catalog-…","phase":"waiting","manifest":"s3://…","images":{"expected":28,"finished":0},"shards":[…]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// The manifest it was made from.
    pub manifest: ObjectUri,
    /// Where it stands.
    pub phase: JobPhase,
    /// What was planned; nothing if it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// Problems found in the manifest, when it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    /// Why the job can't be closed, while its phase is [`JobPhase::Blocked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<Blocker>,
    /// Images that Gemini has finished or that were collected, so far.
    pub finished: u64,
    /// What the job cost, when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Usd>,
    /// Images that belong to no request, when it is over and there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<UnmatchedImages>,
    /// The shards and their rounds.
    pub shards: Vec<ShardStatus>,
    /// When this was written.
    pub updated_at: Timestamp,
}

impl JobStatus {
    /// That of a job of which nothing but its phase is known.
    pub fn new(job: &JobId, manifest: &ObjectUri, phase: JobPhase, updated_at: Timestamp) -> Self {
        Self {
            job: job.clone(),
            manifest: manifest.clone(),
            phase,
            plan: None,
            errors: None,
            blocker: None,
            finished: 0,
            cost_usd: None,
            unmatched: None,
            shards: Vec::new(),
            updated_at,
        }
    }
}

/// Images that were made and belong to no request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedImages {
    /// How many.
    pub images: u64,
    /// The folder that they are in, a key of the bucket.
    pub folder: String,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    /// The manifest was refused: see `validation.csv`. Nothing was bought.
    Rejected,
    /// The manifest asked for an estimate only, which is here. Nothing was bought.
    Estimated,
    /// Planned; shards are being submitted.
    Submitting,
    /// All batches that are needed now are submitted and waited for.
    Waiting,
    /// Images are being collected.
    Collecting,
    /// The job can't be closed because a document is missing or damaged. `blocker` names it and
    /// says what to do.
    Blocked,
    /// Every image is there.
    Succeeded,
    /// Some images are there: see `retry.jsonl` for the others.
    Partial,
    /// No image is there.
    Failed,
    /// A person cancelled it before every image was there.
    Cancelled,
}

impl JobPhase {
    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
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
