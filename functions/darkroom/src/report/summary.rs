//! `summary.json`: the counts and the cost of a finished job.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Cost;
use crate::{
    lane::Lane,
    names::{BatchName, JobId, RequestKey, ShardId},
    object_keys,
    plan::ManifestVersion,
    results::{Status, image::Provenance},
    state::{BatchOutput, Phase, Shard},
    status::{JobPhase, UnmatchedImages},
};

/// The summary of a finished job, `summary.json`.
///
/// ```json
/// {"job_id":"catalog-…","status":"partial","counts":{"expected":28,"succeeded":27,…},"integrity":{…},
///  "cost":{"estimated_usd":0.62,"actual_usd":0.61,"interactive_usd":1.22,"saved_usd":0.61,…},…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The job.
    pub job_id: JobId,
    /// The manifest of the job.
    pub manifest: ManifestVersion,
    /// The final phase.
    pub status: JobPhase,
    /// The number of images by status.
    pub counts: Counts,
    /// The number of results that deviate from the requests.
    pub integrity: Integrity,
    /// The number of images by the marks of their origin. Summaries of earlier versions lack it.
    #[serde(default)]
    pub provenance: ProvenanceCounts,
    /// The start and the end of the job.
    pub time: Times,
    /// The cost.
    pub cost: Cost,
    /// The shards and their rounds.
    pub shards: Vec<ShardSummary>,
    /// Batches whose output was not read completely, and may still be fetched by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfetched: Vec<UnfetchedBatch>,
    /// Images that match no request, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<UnmatchedImages>,
    /// The most frequent reasons for missing images.
    pub errors_top: Vec<CodeCount>,
    /// What the user should know about the documents, such as one that was not written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The keys of the other documents.
    pub links: Links,
}

/// The number of images by status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images of the plan.
    pub expected: u64,
    /// Images that exist.
    pub succeeded: u64,
    /// Images that failed for a technical reason.
    pub failed: u64,
    /// Images that a filter withheld.
    pub blocked: u64,
    /// Images for which the answer contained none.
    pub no_image: u64,
    /// Images that were not generated before the batch expired.
    pub expired: u64,
    /// Images that were not generated before the batch was cancelled.
    pub cancelled: u64,
    /// Images that were never requested.
    pub skipped: u64,
}

impl Counts {
    /// Counts an image with this status.
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

/// The number of results that deviate from the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Results with an unknown key. Their images are in `unmatched/`.
    pub unknown_keys: u64,
    /// Results whose key already had an image. Their images are in `unmatched/`.
    pub repeated_keys: u64,
    /// Lines that have no key or can't be read.
    pub unreadable_lines: u64,
    /// Lines that were skipped, because every invocation that tried to read them crashed.
    pub skipped_lines: u64,
    /// Keys that Gemini never answered.
    pub missing: u64,
    /// Images with a different ratio than requested.
    pub wrong_ratio: u64,
    /// Images with a different size than requested, such as 1K instead of 2K.
    pub wrong_size: u64,
}

/// The number of images by their marks of generated images:
/// `{"iptc":27,"c2pa":0,"none":0}`. An image with both marks counts for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenanceCounts {
    /// Images with the IPTC digital source type `trainedAlgorithmicMedia`.
    pub iptc: u64,
    /// Images with C2PA content credentials.
    pub c2pa: u64,
    /// Images with neither.
    pub none: u64,
}

impl ProvenanceCounts {
    /// Counts an image. An image of an earlier version, whose marks are unknown, is not counted.
    pub(super) fn add(&mut self, marks: Option<Provenance>) {
        let Some(Provenance { iptc, c2pa }) = marks else {
            return;
        };
        self.iptc += u64::from(iptc);
        self.c2pa += u64::from(c2pa);
        self.none += u64::from(!iptc && !c2pa);
    }
}

/// The start and the end of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When the job was planned.
    pub planned: Timestamp,
    /// When the last shard ended.
    pub finished: Timestamp,
}

/// The frequency of a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeCount {
    /// The reason's code.
    pub code: String,
    /// The number of images that are missing for this reason.
    pub count: u64,
    /// The key of the first of them.
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

/// The summary of one shard or round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardSummary {
    /// The shard.
    pub shard: ShardId,
    /// The lane in which its requests were made. It is omitted for a batch.
    #[serde(default, skip_serializing_if = "Lane::is_batch")]
    pub lane: Lane,
    /// Its batch, if it had one. Synchronous requests have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_name: Option<BatchName>,
    /// The number of its requests.
    pub requests: u32,
    /// The final state of its batch as Gemini names it, or `FAILED`.
    pub state: String,
    /// The seconds from its submission to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_s: Option<i64>,
}

/// A batch that may have been charged for, and whose output was not read completely.
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
    /// Its output: a file, or `inline` if it is in the batch itself. None if Gemini has named no
    /// output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BatchOutput>,
    /// The time until which Gemini keeps the output, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
}

impl UnfetchedBatch {
    /// Returns the batch that a shard has left unread, if any.
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

/// The keys of a job's documents in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The results, with one line per image.
    pub results: String,
    /// The results as a table.
    pub table: String,
    /// A manifest of the missing images.
    pub retry: String,
    /// The folder of the images.
    pub images: String,
    /// The page with all images.
    #[serde(default)]
    pub gallery: String,
    /// The summary for people.
    #[serde(default)]
    pub summary: String,
    /// The user's own table with the results, if the manifest is a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_table: Option<String>,
    /// The table that a Shopify store imports, if the manifest is an export of one and the
    /// deployment has a base address of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopify: Option<String>,
}

impl Links {
    /// Returns the keys of the documents of `job`.
    pub fn of(job: &JobId) -> Self {
        Self {
            results: object_keys::document(job, "results.jsonl"),
            table: object_keys::document(job, "results.csv"),
            retry: object_keys::document(job, "retry.jsonl"),
            images: object_keys::images_folder(job),
            gallery: object_keys::gallery(job),
            summary: object_keys::summary_text(job),
            own_table: None,
            shopify: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_counts_for_each_of_its_marks_or_for_none() {
        let mut counts = ProvenanceCounts::default();
        for (iptc, c2pa) in [(true, true), (true, false), (false, false)] {
            counts.add(Some(Provenance { iptc, c2pa }));
        }
        // The marks of an image of an earlier version are unknown.
        counts.add(None);
        assert_eq!(
            serde_json::to_string(&counts).unwrap(),
            r#"{"iptc":2,"c2pa":1,"none":1}"#
        );
    }
}
