//! Events: what happened to a job, for other programs and for people.
//!
//! An event follows from the job's stored documents alone ([`JobDocuments`]), so that it can be
//! built again after a crash, with the same id. [`Outbox`] records which events were sent to which
//! target.

mod due;
mod hold;
mod outbox;
mod text;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::{
    due::{JobDocuments, has_news, marker_of},
    hold::{Hold, HoldCause, HoldReason},
    outbox::{Outbox, SentEvent, TargetName},
    text::Message,
};
use crate::{
    digest::hex,
    job::JobFolder,
    money::Usd,
    names::{JobId, ObjectUri},
    report::{CodeCount, Counts, Links},
};

/// The version of the form of [`Event`]. A change that a receiver could notice, other than a new
/// member, gets a new version.
pub const VERSION: &str = "1";

/// The source of every event in EventBridge.
pub const SOURCE: &str = "darkroom";

/// The number of bytes of the hash in an event's id.
const ID_BYTES: usize = 16;

/// The id of an event: `evt_` and 32 hexadecimal digits. An event that is sent again has the same
/// id, so that a receiver can recognize it. It contains no full stop, which separates the parts of
/// what a webhook signs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// Derives the id of an event of a job. `occurrence` distinguishes events of the same kind.
    fn of(job: &JobId, kind: EventKind, occurrence: u32) -> Self {
        let hash = Sha256::digest(format!(
            "darkroom event v1\0{job}\0{}\0{occurrence}",
            kind.detail_type()
        ));
        Self(format!("evt_{}", hex(&hash[..ID_BYTES])))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventKind {
    /// The manifest was accepted, and the job is planned.
    #[serde(rename = "Job Accepted")]
    Accepted,
    /// The manifest was rejected. Nothing was bought.
    #[serde(rename = "Job Rejected")]
    Rejected,
    /// The job can't continue, or not completely, until a user acts.
    #[serde(rename = "Job Held")]
    Held,
    /// Another quarter of the images is finished.
    #[serde(rename = "Job Progress")]
    Progress,
    /// The job has ended, and every image exists.
    #[serde(rename = "Job Completed")]
    Completed,
    /// The job has ended, and some images exist.
    #[serde(rename = "Job Partial")]
    Partial,
    /// The job has ended, and no image exists.
    #[serde(rename = "Job Failed")]
    Failed,
    /// The job was canceled before every image existed.
    #[serde(rename = "Job Cancelled")]
    Cancelled,
}

impl EventKind {
    /// Every kind, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Rejected,
        Self::Held,
        Self::Progress,
        Self::Completed,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Returns the `detail-type` of the event in EventBridge, which is also its `type`.
    pub fn detail_type(self) -> &'static str {
        match self {
            Self::Accepted => "Job Accepted",
            Self::Rejected => "Job Rejected",
            Self::Held => "Job Held",
            Self::Progress => "Job Progress",
            Self::Completed => "Job Completed",
            Self::Partial => "Job Partial",
            Self::Failed => "Job Failed",
            Self::Cancelled => "Job Cancelled",
        }
    }

    /// Returns the `type` of a webhook: groups of names, separated by full stops, as the
    /// specification of Standard Webhooks recommends.
    pub fn webhook_type(self) -> &'static str {
        match self {
            Self::Accepted => "job.accepted",
            Self::Rejected => "job.rejected",
            Self::Held => "job.held",
            Self::Progress => "job.progress",
            Self::Completed => "job.completed",
            Self::Partial => "job.partial",
            Self::Failed => "job.failed",
            Self::Cancelled => "job.cancelled",
        }
    }
}

/// An event about a job. Its JSON form is the `detail` of an EventBridge event and the `data` of a
/// webhook; `events/schema/event.schema.json` describes it.
///
/// ```json
/// {"version":"1","id":"evt_…","time":"2026-11-21T10:30:00Z","stack":"darkroom-…","job":"catalog-…",
///  "manifest":"s3://studio/inbox/catalog.csv","bucket":"studio","folder":"jobs/catalog-…/",
///  "type":"Job Accepted","images":28,"shards":1,"estimated_usd":0.94,"warnings":0}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// [`VERSION`].
    pub version: String,
    /// The id, by which receivers recognize an event that is sent again.
    pub id: EventId,
    /// When it happened, by the stored documents.
    pub time: Timestamp,
    /// The deployment: the first part of the display names of its batches.
    pub stack: String,
    /// The job.
    pub job: JobId,
    /// The manifest of the job.
    pub manifest: ObjectUri,
    /// The bucket of all keys in the event.
    pub bucket: String,
    /// The key of the job's folder, with the slash.
    pub folder: String,
    /// The folder of `stack/folders.toml` that the manifest was in, if it was in one, and labels of
    /// who is notified about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<JobFolder>,
    /// What happened.
    #[serde(flatten)]
    pub news: News,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum News {
    /// See [`EventKind::Accepted`].
    #[serde(rename = "Job Accepted")]
    Accepted {
        /// The number of expected images.
        images: u64,
        /// The number of shards of the first round.
        shards: u32,
        /// The estimated cost, without thinking tokens and retries.
        estimated_usd: Usd,
        /// The number of warnings in `validation.csv`.
        warnings: u64,
    },
    /// See [`EventKind::Rejected`].
    #[serde(rename = "Job Rejected")]
    Rejected {
        /// The number of errors in the manifest.
        errors: u64,
        /// The key of the table of errors.
        validation: String,
    },
    /// See [`EventKind::Held`].
    #[serde(rename = "Job Held")]
    Held(Hold),
    /// See [`EventKind::Progress`].
    #[serde(rename = "Job Progress")]
    Progress {
        /// The quarters that are finished, in percent: 25, 50 or 75.
        percent: u8,
        /// The number of finished images.
        finished: u64,
        /// The number of expected images.
        images: u64,
    },
    /// See [`EventKind::Completed`].
    #[serde(rename = "Job Completed")]
    Completed(Ending),
    /// See [`EventKind::Partial`].
    #[serde(rename = "Job Partial")]
    Partial(Ending),
    /// See [`EventKind::Failed`].
    #[serde(rename = "Job Failed")]
    Failed(Ending),
    /// See [`EventKind::Cancelled`].
    #[serde(rename = "Job Cancelled")]
    Cancelled(Ending),
}

impl News {
    /// Returns the kind of the event.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Accepted { .. } => EventKind::Accepted,
            Self::Rejected { .. } => EventKind::Rejected,
            Self::Held(_) => EventKind::Held,
            Self::Progress { .. } => EventKind::Progress,
            Self::Completed(_) => EventKind::Completed,
            Self::Partial(_) => EventKind::Partial,
            Self::Failed(_) => EventKind::Failed,
            Self::Cancelled(_) => EventKind::Cancelled,
        }
    }
}

/// The end of a job, as `summary.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ending {
    /// The outcome in one or two sentences, with the cost.
    pub outcome: String,
    /// The number of images by status.
    pub counts: Counts,
    /// The cost.
    pub cost: EndingCost,
    /// The most frequent reasons for missing images.
    pub errors_top: Vec<CodeCount>,
    /// The keys of the job's documents.
    pub links: Links,
}

/// The cost of a job that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndingCost {
    /// The estimate.
    pub estimated_usd: Usd,
    /// The actual cost.
    pub actual_usd: Usd,
    /// The cost of the same tokens in the interactive lane.
    pub interactive_usd: Usd,
    /// The saving: the interactive cost minus the actual cost.
    pub saved_usd: Usd,
}

/// Returns a job's share of finished images in whole quarters, 0 to 4.
fn quarters(finished: u64, images: u64) -> u8 {
    let quarters = finished.saturating_mul(4).checked_div(images).unwrap_or(0);
    u8::try_from(quarters.min(4)).unwrap_or(4)
}

#[cfg(test)]
mod tests;
