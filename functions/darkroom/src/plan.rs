//! The plan of a job: what it was made from, one line per expected image, and how images are dealt
//! into shards.

mod custom_names;
mod forecast;
mod job_id;
mod shards;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    batch_bounds::BatchBounds,
    cost::{Estimate, Thinking},
    digest::hex,
    job::JobSettings,
    manifest::Reading,
    models::{Catalog, ThinkingLevel},
    names::{JobId, ObjectUri, RequestKey, ShardId},
};

pub use self::{
    custom_names::{CustomNames, CustomNamesCollector},
    forecast::{Forecast, Limit},
    job_id::{content_id, job_id},
    shards::{Placement, PlannedShard, RequestSize, Sharder},
};

/// `plan.lock`: what the plan was made from. The first write wins, and planning again reads it, so
/// that the same drop gives the same plan on another day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanLock {
    /// The form's version, 1.
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// The manifest.
    pub manifest: ManifestVersion,
    /// The settings in force.
    pub settings: JobSettings,
    /// What the project let one batch be at most then.
    pub bounds: BatchBounds,
    /// The keys of the stored templates that count, by the names the manifest uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
    /// SHA-256 of the model catalog, in hexadecimal.
    pub catalog_sha256: String,
    /// When the plan was made: names of model families mean the newest live model of that day.
    pub planned_at: Timestamp,
    /// The names that every result of the job has in addition to ours. A job that was planned
    /// before there was such a list has none.
    #[serde(
        default,
        rename = "own_names",
        skip_serializing_if = "CustomNames::is_empty"
    )]
    pub custom_names: CustomNames,
}

/// `stack/contents/<content id>.json`: the job that this content is, whatever other keys it is
/// dropped under. Whoever finds it can make the job planned: all but its status was written before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContentClaim {
    /// The form's version, 1.
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// Its manifest.
    pub manifest: ObjectUri,
    /// What its status says of the plan.
    pub plan: PlanSummary,
}

impl PlanLock {
    /// The value of `catalog_sha256` for a catalog.
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
    /// Where it was dropped.
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
    /// What the caller calls that key, where it isn't `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The item's variables, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    /// Which of the item's images, from 1.
    pub variant: u32,
    /// The manifest's line.
    pub line: u64,
    /// The shard that holds the request.
    pub shard: ShardId,
    /// The model, a full id.
    pub model: String,
    /// The aspect ratio asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aspect_ratio: Option<String>,
    /// The image size asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<String>,
    /// How much the model is to think, where the manifest says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingLevel>,
    /// The image's path below `images/`, without extension.
    pub path: String,
    /// The prompt, where the item has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The reference pictures, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ObjectUri>,
    /// What it is expected to cost.
    pub estimate: Estimate,
    /// The manifest item that asks for this image alone. None where it is too large to be repeated
    /// here: the request file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Value>,
}

/// What `plan` found out about the whole job, kept in `job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Images expected.
    pub images: u64,
    /// Shards of the first round.
    pub shards: u32,
    /// What it is expected to cost.
    pub estimate: Estimate,
    /// What the models' thoughts may cost on top.
    pub thinking: Thinking,
    /// Images by model, in order of the models' names.
    pub models: Vec<ModelShare>,
    /// Warnings in `validation.csv`.
    pub warnings: u64,
    /// How long it takes, where that is longer than a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// When the plan was made.
    pub planned_at: Timestamp,
}

impl PlanSummary {
    /// What reading a manifest found, planned into so many shards.
    pub fn of(reading: &Reading, shards: u32, planned_at: Timestamp) -> Self {
        let mut models: Vec<ModelShare> = Vec::new();
        for (model, _, share) in reading.breakdown.shares() {
            match models.last_mut().filter(|last| last.model == model) {
                Some(last) => {
                    last.images += share.images;
                    last.estimate = last.estimate + share.estimate;
                    last.thinking = last.thinking + share.thinking;
                }
                None => models.push(ModelShare {
                    model: model.to_owned(),
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
    /// Images asked of it.
    pub images: u64,
    /// What they are expected to cost.
    pub estimate: Estimate,
    /// What the model's thoughts may cost on top.
    pub thinking: Thinking,
}
