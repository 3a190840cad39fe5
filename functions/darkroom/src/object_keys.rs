//! The keys of all objects in the bucket.

use crate::{
    chunks::Chunk,
    key_list::KeyList,
    names::{JobId, ShardId},
};

/// The empty object that is written last when a job ends. If it exists, all other documents of the
/// job exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Every image exists.
    Success,
    /// Some images exist.
    Partial,
    /// No image exists.
    Failed,
    /// A user cancelled the job before every image existed.
    Cancelled,
    /// The manifest was rejected. Nothing was bought.
    Rejected,
    /// The manifest requested an estimate only. Nothing was bought.
    DryRun,
}

impl Marker {
    /// Every marker.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
        Self::Rejected,
        Self::DryRun,
    ];

    /// The markers of jobs that never change again. A rejected job is planned when its manifest is
    /// dropped again.
    pub const LAST: [Self; 5] = [
        Self::Success,
        Self::Partial,
        Self::Failed,
        Self::Cancelled,
        Self::DryRun,
    ];

    /// Returns the object's name below `jobs/<job>/`.
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

/// Returns the key of a document of the job: `jobs/<job>/<name>`.
pub fn document(job: &JobId, name: &str) -> String {
    format!("jobs/{job}/{name}")
}

/// Returns the key of the inputs of the plan ([`crate::plan::PlanLock`]).
pub fn plan_lock(job: &JobId) -> String {
    document(job, "plan.lock")
}

/// Returns the key of the plan, which has one line per expected image.
pub fn plan(job: &JobId) -> String {
    document(job, "plan.jsonl")
}

/// Returns the key of the rows of a table manifest, as the user wrote them
/// ([`crate::plan::TableRow`]).
pub fn table_rows(job: &JobId) -> String {
    document(job, "rows.jsonl")
}

/// Returns the key of the user's own table with the results ([`crate::report::OwnTable`]).
pub fn own_table(job: &JobId) -> String {
    document(job, "table.csv")
}

/// Returns the key of the table that a Shopify store imports ([`crate::report::ShopifyTable`]).
pub fn shopify_table(job: &JobId) -> String {
    document(job, "shopify.csv")
}

/// Returns the key of the job's status.
pub fn status(job: &JobId) -> String {
    document(job, "job.json")
}

/// Returns the key of the job's gallery.
pub fn gallery(job: &JobId) -> String {
    document(job, "index.html")
}

/// Returns the key of the summary for people.
pub fn summary_text(job: &JobId) -> String {
    document(job, "summary.md")
}

/// Returns the key of the document that `control` writes when a user cancels the job.
pub fn cancel(job: &JobId) -> String {
    document(job, "cancel.json")
}

/// Returns the key of the object that a user writes to cancel the job. It may exist before the job.
pub fn cancel_request(job: &JobId) -> String {
    format!("control/{job}/cancel")
}

/// The key of the deployment's ledger.
pub const LEDGER: &str = "stack/ledger.json";

/// The key of the folders of tenants ([`crate::folders::Folders`]), which people write.
pub const FOLDERS: &str = "stack/folders.toml";

/// Returns the key of the claim of a content ([`crate::plan::content_id`]), which names its job.
pub fn content(id: &str) -> String {
    format!("stack/contents/{id}.json")
}

/// The key of the model catalog that an operator uploads to replace the built-in one.
pub const MODELS: &str = "stack/models.toml";

/// Returns the key of the model catalog that the job was planned with.
pub fn job_models(job: &JobId) -> String {
    document(job, "models.toml")
}

/// The folder that lists the open jobs.
pub const OPEN_JOBS: &str = "stack/open/";

/// Returns the key of the empty object that exists while a job is open.
pub fn open_job(job: &JobId) -> String {
    format!("{OPEN_JOBS}{job}")
}

/// The folder that lists the jobs with events that may not have been sent.
pub const PENDING_EVENTS: &str = "stack/events/";

/// Returns the key of the empty object that exists while events of a job may not have been sent.
pub fn pending_events(job: &JobId) -> String {
    format!("{PENDING_EVENTS}{job}")
}

/// Returns the key of the record of a job's events ([`crate::events::Outbox`]).
pub fn outbox(job: &JobId) -> String {
    document(job, "events.json")
}

/// Returns the key of a shard's request file. A later round has no such file: `submit`
/// filters the file of the first round.
pub fn requests(job: &JobId, number: u32) -> String {
    format!("jobs/{job}/shards/{}/request.jsonl", ShardId::first(number))
}

/// Returns the key of a shard's state.
pub fn state(job: &JobId, shard: ShardId) -> String {
    format!("jobs/{job}/shards/{shard}/state.json")
}

/// Returns the key of a chunk of a shard's results.
pub fn chunk(job: &JobId, shard: ShardId, chunk: &Chunk) -> String {
    format!("jobs/{job}/shards/{shard}/results/{}.jsonl", chunk.name)
}

/// Returns the key of a list of request keys that a shard's state refers to.
pub fn keys(job: &JobId, shard: ShardId, keys: &KeyList) -> String {
    format!("jobs/{job}/shards/{shard}/keys/{}.jsonl", keys.sha256)
}

/// Returns the key of an image. `path` comes from [`crate::image_paths::ImagePaths`], and
/// `extension` has no dot.
pub fn image(job: &JobId, path: &str, extension: &str) -> String {
    format!("jobs/{job}/images/{path}.{extension}")
}

/// Returns the folder of a job's images.
pub fn images_folder(job: &JobId) -> String {
    format!("jobs/{job}/images/")
}

/// Returns the key of the thumbnail of an image. `path` is that of the image below `images/`, with
/// its extension, so that two images never share a thumbnail.
pub fn thumbnail(job: &JobId, path: &str) -> String {
    format!("jobs/{job}/thumbs/{path}.jpg")
}

/// Returns the key of the list of a shard's thumbnails.
pub fn thumbnails(job: &JobId, shard: ShardId) -> String {
    format!("jobs/{job}/shards/{shard}/thumbs.json")
}

/// Returns the key of an image that matches no request key. `offset` is the byte of the responses
/// file at which its line begins.
pub fn unmatched_image(job: &JobId, shard: ShardId, offset: u64, extension: &str) -> String {
    format!("jobs/{job}/unmatched/{shard}/{offset:020}.{extension}")
}

/// Returns the folder of a job's images that match no request key.
pub fn unmatched_folder(job: &JobId) -> String {
    format!("jobs/{job}/unmatched/")
}

/// Returns the folder of a shard's images that match no request key.
pub fn shard_unmatched_folder(job: &JobId, shard: ShardId) -> String {
    format!("jobs/{job}/unmatched/{shard}/")
}

/// Returns the key of the copy of a reference image from the web, by the hash of its content.
/// `extension` has no dot.
pub fn reference_copy(job: &JobId, sha256: &str, extension: &str) -> String {
    format!("jobs/{job}/refs/{sha256}.{extension}")
}

/// Returns the folder of the records of reference images that were copied from the web.
pub fn web_references(job: &JobId) -> String {
    document(job, "web/")
}

/// Returns the key of the record of one copied reference image, by the hash of its web address.
pub fn web_reference(job: &JobId, url_sha256: &str) -> String {
    format!("{}{url_sha256}.json", web_references(job))
}

/// Returns the key of the record of a reference image that was uploaded to Gemini for this job, by
/// the hash of its content.
pub fn reference(job: &JobId, sha256: &str) -> String {
    format!("jobs/{job}/refs/{sha256}.json")
}
