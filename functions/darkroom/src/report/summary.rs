//! `summary.json`: a finished job in numbers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Cost;
use crate::{
    names::{BatchName, JobId, RequestKey, ShardId},
    object_keys,
    plan::ManifestVersion,
    results::Status,
    state::{BatchOutput, Phase, Shard},
    status::{JobPhase, UnmatchedImages},
};

/// `summary.json`.
///
/// ```json
/// {"job_id":"catalog-…","status":"partial","counts":{"expected":28,"succeeded":27,…},"integrity":{…},
///  "cost":{"estimated_usd":0.62,"actual_usd":0.61,"interactive_usd":1.22,"saved_usd":0.61,…},…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The job.
    pub job_id: JobId,
    /// The manifest it was made from.
    pub manifest: ManifestVersion,
    /// How it ended.
    pub status: JobPhase,
    /// The images, by what became of them.
    pub counts: Counts,
    /// Results that don't fit what was asked.
    pub integrity: Integrity,
    /// When things happened.
    pub time: Times,
    /// The money.
    pub cost: Cost,
    /// The shards and their rounds.
    pub shards: Vec<ShardSummary>,
    /// Batches whose output was not read to its end, and may still be fetched by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfetched: Vec<UnfetchedBatch>,
    /// Images that belong to no request, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<UnmatchedImages>,
    /// The most frequent reasons for missing images.
    pub errors_top: Vec<CodeCount>,
    /// Where everything is.
    pub links: Links,
}

/// Images by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images of the plan.
    pub expected: u64,
    /// Images that are there.
    pub succeeded: u64,
    /// Failed for a technical reason.
    pub failed: u64,
    /// Withheld by a filter.
    pub blocked: u64,
    /// Answered without an image.
    pub no_image: u64,
    /// Not served before the batch expired.
    pub expired: u64,
    /// Not served before the batch was cancelled.
    pub cancelled: u64,
    /// Never asked for.
    pub skipped: u64,
}

impl Counts {
    pub(super) fn add(&mut self, status: Status) {
        self.expected += 1;
        *match status {
            Status::Succeeded => &mut self.succeeded,
            Status::Failed => &mut self.failed,
            Status::Blocked => &mut self.blocked,
            Status::NoImage => &mut self.no_image,
            Status::Expired => &mut self.expired,
            Status::Cancelled => &mut self.cancelled,
            Status::Skipped => &mut self.skipped,
        } += 1;
    }
}

/// Results that don't fit what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Results whose key was not asked for; their images are in `unmatched/`.
    pub unknown_keys: u64,
    /// Results whose key had its image already; theirs are in `unmatched/`.
    pub repeated_keys: u64,
    /// Lines without a key, or that can't be read.
    pub unreadable_lines: u64,
    /// Lines that nobody looked at, because each reader has died at them.
    pub skipped_lines: u64,
    /// Keys that Gemini never answered.
    pub missing: u64,
    /// Images of another ratio than was asked for.
    pub wrong_ratio: u64,
    /// Images of another size than was asked for, such as 1K instead of 2K.
    pub wrong_size: u64,
}

/// When things happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When it was planned.
    pub planned: Timestamp,
    /// When the last shard ended.
    pub finished: Timestamp,
}

/// How often a reason was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeCount {
    /// The reason's code.
    pub code: String,
    /// How many images miss for it.
    pub count: u64,
    /// The first of them.
    pub example_key: RequestKey,
}

impl CodeCount {
    pub(super) fn new(code: &str, key: &RequestKey) -> Self {
        Self {
            code: code.to_owned(),
            count: 0,
            example_key: key.clone(),
        }
    }
}

/// One shard, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardSummary {
    /// The shard.
    pub shard: ShardId,
    /// Its batch, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_name: Option<BatchName>,
    /// Its requests.
    pub requests: u32,
    /// How its batch ended, in Gemini's word, or `FAILED`.
    pub state: String,
    /// Seconds from its submission to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_s: Option<i64>,
}

/// A batch that may have been paid for, and whose output was not read to its end.
///
/// ```json
/// {"shard":"0003","batch_name":"batches/…","output":"files/…","kept_until":"2027-01-02T09:00:00Z"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfetchedBatch {
    /// The shard.
    pub shard: ShardId,
    /// The batch.
    pub batch_name: BatchName,
    /// Its output: a file, or `inline` where it is in the batch itself. None if Gemini has not
    /// named any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BatchOutput>,
    /// Until when Gemini keeps that, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
}

impl UnfetchedBatch {
    /// That of a shard that has ended, if it left one.
    pub fn of(shard: &Shard) -> Option<Self> {
        let Phase::Failed(failed) = &shard.phase else {
            return None;
        };
        Some(Self {
            shard: shard.shard,
            batch_name: failed.batch.clone().filter(|_| failed.may_be_billed)?,
            output: failed.output.clone(),
            kept_until: failed.kept_until,
        })
    }
}

/// Where everything is, as keys of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// One line per image.
    pub results: String,
    /// The same as a table.
    pub table: String,
    /// A manifest of what is missing.
    pub retry: String,
    /// The images.
    pub images: String,
}

impl Links {
    /// Those of `job`.
    pub fn of(job: &JobId) -> Self {
        Self {
            results: object_keys::document(job, "results.jsonl"),
            table: object_keys::document(job, "results.csv"),
            retry: object_keys::document(job, "retry.jsonl"),
            images: object_keys::document(job, "images/"),
        }
    }
}
