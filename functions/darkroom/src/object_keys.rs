//! Where a job's documents lie in the bucket.

use crate::{
    chunks::Chunk,
    key_list::KeyList,
    names::{JobId, ShardId},
};

/// What a job leaves behind when it ends, written last: its presence means that all the rest is
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Every image is there.
    Success,
    /// Some images are there.
    Partial,
    /// No image is there.
    Failed,
    /// A person cancelled the job before every image was there.
    Cancelled,
    /// The manifest was refused; nothing was bought.
    Rejected,
    /// The manifest asked for an estimate, and has it; nothing was bought.
    DryRun,
}

impl Marker {
    /// All markers.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
        Self::Rejected,
        Self::DryRun,
    ];

    /// Those after which nothing more happens. A rejected job is planned when it is dropped again.
    pub const LAST: [Self; 5] = [
        Self::Success,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
        Self::DryRun,
    ];

    /// The object's name below `jobs/<job>/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "_SUCCESS",
            Self::Partial => "_PARTIAL",
            Self::Failed => "_FAILED",
            Self::Cancelled => "_CANCELLED",
            Self::Rejected => "_REJECTED",
            Self::DryRun => "_DRY_RUN",
        }
    }
}

/// A document of the whole job: `jobs/<job>/<name>`.
pub fn document(job: &JobId, name: &str) -> String {
    format!("jobs/{job}/{name}")
}

/// What the plan was made from; the first write wins.
pub fn plan_lock(job: &JobId) -> String {
    document(job, "plan.lock")
}

/// One line per expected image.
pub fn plan(job: &JobId) -> String {
    document(job, "plan.jsonl")
}

/// What people watch.
pub fn status(job: &JobId) -> String {
    document(job, "job.json")
}

/// What `control` writes when a person cancels the job.
pub fn cancel(job: &JobId) -> String {
    document(job, "cancel.json")
}

/// What a person puts there to cancel the job; it may be there before the job is.
pub fn cancel_request(job: &JobId) -> String {
    format!("control/{job}/cancel")
}

/// The ledger of the whole deployment.
pub const LEDGER: &str = "stack/ledger.json";

/// Which job a content is, by [`crate::plan::content_id`].
pub fn content(id: &str) -> String {
    format!("stack/contents/{id}.json")
}

/// The models and prices that a person gave the deployment, in place of the built-in ones.
pub const MODELS: &str = "stack/models.toml";

/// The models and prices that the job was planned with.
pub fn job_models(job: &JobId) -> String {
    document(job, "models.toml")
}

/// Where the jobs are listed that are not closed.
pub const OPEN_JOBS: &str = "stack/open/";

/// The empty object that is there while a job isn't closed.
pub fn open_job(job: &JobId) -> String {
    format!("{OPEN_JOBS}{job}")
}

/// The request file of a shard. A round has none: `submit` filters its parent's.
pub fn requests(job: &JobId, number: u32) -> String {
    format!("jobs/{job}/shards/{}/request.jsonl", ShardId::first(number))
}

/// The state of a shard.
pub fn state(job: &JobId, shard: ShardId) -> String {
    format!("jobs/{job}/shards/{shard}/state.json")
}

/// Some of a shard's result lines.
pub fn chunk(job: &JobId, shard: ShardId, chunk: &Chunk) -> String {
    format!("jobs/{job}/shards/{shard}/results/{}.jsonl", chunk.name)
}

/// Request keys that a shard's state refers to.
pub fn keys(job: &JobId, shard: ShardId, keys: &KeyList) -> String {
    format!("jobs/{job}/shards/{shard}/keys/{}.jsonl", keys.sha256)
}

/// An image: `path` as [`crate::image_paths::ImagePaths`] gave it, `extension` without a dot.
pub fn image(job: &JobId, path: &str, extension: &str) -> String {
    format!("jobs/{job}/images/{path}.{extension}")
}

/// An image that belongs to no request key: `offset` is where its line begins in the responses
/// file.
pub fn unmatched_image(job: &JobId, shard: ShardId, offset: u64, extension: &str) -> String {
    format!("jobs/{job}/unmatched/{shard}/{offset:020}.{extension}")
}

/// Where all images lie that belong to no request key.
pub fn unmatched_folder(job: &JobId) -> String {
    format!("jobs/{job}/unmatched/")
}

/// Where those of one shard lie.
pub fn shard_unmatched_folder(job: &JobId, shard: ShardId) -> String {
    format!("jobs/{job}/unmatched/{shard}/")
}

/// The copy of a reference picture from the web, by the hash of its content; `extension` without a
/// dot.
pub fn reference_copy(job: &JobId, sha256: &str, extension: &str) -> String {
    format!("jobs/{job}/refs/{sha256}.{extension}")
}

/// Where the records are of the pictures from the web that were copied for the job.
pub fn web_references(job: &JobId) -> String {
    document(job, "web/")
}

/// The record of where a picture from the web was copied to, by the hash of its address.
pub fn web_reference(job: &JobId, url_sha256: &str) -> String {
    format!("{}{url_sha256}.json", web_references(job))
}

/// The record of a reference picture that was uploaded to Gemini for this job, by the hash of its
/// content.
pub fn reference(job: &JobId, sha256: &str) -> String {
    format!("jobs/{job}/refs/{sha256}.json")
}
