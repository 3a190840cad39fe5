//! The plan of a job: its inputs, one line per expected image, and the assignment of images to
//! shards.

mod custom_names;
mod forecast;
mod job_id;
mod shards;
mod table_row;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    batch_bounds::BatchBounds,
    cost::{Estimate, Thinking},
    digest::hex,
    job::{JobFolder, JobSettings},
    lane::Lane,
    manifest::{LaneChoice, Reading},
    models::{Catalog, ThinkingLevel},
    names::{JobId, ObjectUri, RequestKey, ShardId},
};

pub use self::{
    custom_names::{CustomNames, CustomNamesCollector},
    forecast::{Forecast, Limit},
    job_id::{content_id, job_id},
    shards::{Placement, PlannedShard, RequestSize, ShardGroup, Sharder},
    table_row::TableRow,
};

/// `plan.lock`: the inputs of the plan. The first write wins. Planning again reads it, so that the
/// same drop gives the same plan on a later day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanLock {
    /// The version of the format, 1.
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// The manifest.
    pub manifest: ManifestVersion,
    /// The settings at the time of planning.
    pub settings: JobSettings,
    /// The project's bounds of one batch at the time of planning.
    pub bounds: BatchBounds,
    /// The folder of the job, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<JobFolder>,
    /// The object keys of the stored templates, by the names that the manifest uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
    /// SHA-256 of the model catalog, in hexadecimal.
    pub catalog_sha256: String,
    /// When the plan was made. A model family resolves to its newest live model on that day.
    pub planned_at: Timestamp,
    /// The manifest's own names, which every result of the job repeats.
    #[serde(
        default,
        rename = "own_names",
        skip_serializing_if = "CustomNames::is_empty"
    )]
    pub custom_names: CustomNames,
    /// Whether the manifest is a table, whose rows are stored with the plan ([`TableRow`]). Plans of
    /// earlier versions have no rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_rows: bool,
}

/// `stack/contents/<content id>.json`: the job of a content, whatever other keys the content is
/// dropped under.
///
/// It is written after all documents of the plan except the job's status. So any invocation that
/// finds it can write the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContentClaim {
    /// The version of the format, 1.
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// Its manifest.
    pub manifest: ObjectUri,
    /// Its folder, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<JobFolder>,
    /// The summary of the plan for the job's status.
    pub plan: PlanSummary,
}

impl PlanLock {
    /// Returns the value of `catalog_sha256` for a catalog.
    pub fn hash_of(catalog: &Catalog) -> String {
        hex(&Sha256::digest(catalog.text()))
    }

    /// Whether the job was planned with these models and prices.
    pub fn was_planned_with(&self, catalog: &Catalog) -> bool {
        self.catalog_sha256 == Self::hash_of(catalog)
    }
}

/// One version of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestVersion {
    /// The address at which it was dropped.
    pub uri: ObjectUri,
    /// Its ETag, with quotes.
    pub etag: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// One line of `plan.jsonl`: one expected image, in manifest order.
///
/// ```json
/// {"key":"SKU-1.v01","item":"SKU-1","variant":1,"line":2,"shard":"0000","model":"gemini-nano-banana-2.1","path":"SKU-1.v01",…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanLine {
    /// The request key, unique in the job.
    pub key: RequestKey,
    /// The manifest item's own key.
    pub item: String,
    /// The manifest's name for that key, if it isn't `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The item's variables, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    /// The number of the image among the item's images, from 1.
    pub variant: u32,
    /// The line of the manifest.
    pub line: u64,
    /// The shard that holds the request.
    pub shard: ShardId,
    /// The model, a full id.
    pub model: String,
    /// The requested aspect ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aspect_ratio: Option<String>,
    /// The requested image size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<String>,
    /// The thinking level, if the manifest specifies one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingLevel>,
    /// The image's path below `images/`, without an extension.
    pub path: String,
    /// The prompt, if the item has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The reference images, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ObjectUri>,
    /// How the image is requested.
    #[serde(default, skip_serializing_if = "Lane::is_batch")]
    pub lane: Lane,
    /// Whether the image is in the proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proof: bool,
    /// The estimated cost.
    pub estimate: Estimate,
    /// The manifest item that requests this image alone. None if it is too large for the plan; the
    /// request file then has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Value>,
}

/// The summary of a plan, which `job.json` keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The number of expected images.
    pub images: u64,
    /// The number of shards of the first round.
    pub shards: u32,
    /// The estimated cost.
    pub estimate: Estimate,
    /// The additional cost of thinking tokens.
    pub thinking: Thinking,
    /// The images of each model, in the order of the models' names.
    pub models: Vec<ModelShare>,
    /// The lanes that were chosen for images with the lane `auto`, in the order of the models'
    /// names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneChoice>,
    /// The number of warnings in `validation.csv`.
    pub warnings: u64,
    /// The expected duration, if it exceeds a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// When the plan was made.
    pub planned_at: Timestamp,
}

impl PlanSummary {
    /// Summarizes a manifest that was read and assigned to this number of shards.
    pub fn of(reading: &Reading, shards: u32, planned_at: Timestamp) -> Self {
        let mut models: Vec<ModelShare> = Vec::new();
        for (key, share) in reading.breakdown.shares() {
            match models.last_mut().filter(|last| last.model == key.model) {
                Some(last) => {
                    last.images += share.images;
                    last.estimate = last.estimate + share.estimate;
                    last.thinking = last.thinking + share.thinking;
                }
                None => models.push(ModelShare {
                    model: key.model.clone(),
                    images: share.images,
                    estimate: share.estimate,
                    thinking: share.thinking,
                }),
            }
        }
        Self {
            images: reading.images,
            shards,
            estimate: reading.estimate,
            thinking: reading.breakdown.thinking(),
            models,
            lanes: reading.lanes.choices().to_vec(),
            warnings: reading.warnings,
            forecast: None,
            planned_at,
        }
    }
}

/// The images of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelShare {
    /// The model, a full id.
    pub model: String,
    /// The number of images.
    pub images: u64,
    /// Their estimated cost.
    pub estimate: Estimate,
    /// The additional cost of thinking tokens.
    pub thinking: Thinking,
}
