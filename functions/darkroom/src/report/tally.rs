//! Counts the result lines while they are written.

use std::collections::BTreeMap;

use super::{
    Cost, Finished, Origin, ShardResults,
    cost::Sums,
    summary::{CodeCount, Counts, Integrity, ProvenanceCounts},
};
use crate::{
    billing::Charge,
    chunks::UnmatchedReason,
    lane::Lane,
    models::Catalog,
    names::JobId,
    object_keys::{self, Marker},
    plan::PlanLine,
    plan::PlanSummary,
    results::{
        Status,
        image::{ratio_matches, size_matches},
    },
    status::{LaneProgress, UnmatchedImages},
};

/// The number of error codes that a summary lists.
const MAX_TOP_ERRORS: usize = 10;

/// The sums over a job's result lines. Their memory doesn't grow with the number of lines.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    integrity: Integrity,
    provenance: ProvenanceCounts,
    money: Sums,
    /// The number of images that are planned in each lane, and of those that exist.
    lanes: BTreeMap<Lane, (u64, u64)>,
    errors: BTreeMap<String, CodeCount>,
    unmatched_images: u64,
    cancel_requested: bool,
}

impl Tally {
    /// Counts one image.
    pub fn add(&mut self, plan: &PlanLine, finished: &Finished) {
        // The status and the money.
        let line = &finished.line;
        self.counts.add(line.status);
        let (images, exist) = self.lanes.entry(finished.lane).or_default();
        *images += 1;
        *exist += u64::from(line.status == Status::Succeeded);
        for (origin, charge) in &finished.charges {
            self.money.of(&plan.model, *origin).charge += *charge;
        }
        if line.status == Status::Succeeded {
            let origin = Origin {
                round: line.shard.map_or(1, |shard| shard.round),
                lane: line.lane.unwrap_or(finished.lane),
            };
            self.money.of(&plan.model, origin).images += 1;
        }
        self.money.unaccounted += finished.unaccounted;
        *self.money.estimates.entry(finished.lane).or_default() += plan.estimate.usd();

        if let Some(image) = &line.image {
            self.provenance.add(image.provenance);
        }

        // The reasons, and deviations from the request.
        if let Some(reason) = &line.error {
            let count = self
                .errors
                .entry(reason.code.clone())
                .or_insert_with(|| CodeCount::new(&reason.code, &line.key));
            count.count += 1;
            self.integrity.missing += u64::from(reason.code == "MISSING");
        }
        if let (Some(image), Some(ratio)) = (&line.image, &plan.aspect_ratio)
            && !ratio_matches(image.width, image.height, ratio)
        {
            self.integrity.wrong_ratio += 1;
        }
        if let (Some(image), Some(size)) = (&line.image, &plan.image_size)
            && !size_matches(image.width, image.height, size)
        {
            self.integrity.wrong_size += 1;
        }
    }

    /// Counts a shard of this model and its unmatched results, after all its images were counted.
    pub fn add_shard(&mut self, model: &str, results: &ShardResults, catalog: &Catalog) {
        self.cancel_requested |= results.cancel_requested();
        self.unmatched_images += results.unmatched_images();
        for (origin, requests) in results.requests().filter(|(_, requests)| *requests > 0) {
            self.money.of(model, origin).requests += u64::from(requests);
        }
        for (origin, usage) in results.unattributed() {
            let charge = catalog
                .priced(model)
                .map(|model| Charge::of(usage, model, origin.lane))
                .unwrap_or_default();
            self.money.of(model, *origin).charge += charge;
            self.money.unmatched += charge.actual;
        }
        for (reason, count) in results.unmatched() {
            *match reason {
                UnmatchedReason::UnknownKey => &mut self.integrity.unknown_keys,
                UnmatchedReason::RepeatedKey => &mut self.integrity.repeated_keys,
                UnmatchedReason::NoKey => &mut self.integrity.unreadable_lines,
                UnmatchedReason::SkippedLine => &mut self.integrity.skipped_lines,
            } += count;
        }
    }

    /// Returns the marker of the job.
    pub fn marker(&self) -> Marker {
        if self.counts.succeeded == self.counts.expected {
            Marker::Success
        } else if self.cancel_requested {
            Marker::Cancelled
        } else if self.counts.succeeded > 0 {
            Marker::Partial
        } else {
            Marker::Failed
        }
    }

    /// Returns the number of images by status.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the images that are planned in each lane, or nothing if there are only batches.
    pub fn lanes(&self) -> Vec<LaneProgress> {
        let lanes = self.lanes.iter();
        LaneProgress::by_lane(lanes.map(|(lane, (images, exist))| (*lane, *images, *exist)))
    }

    /// Returns the number of results that deviate from the requests.
    pub fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    /// Returns the number of images by the marks of their origin.
    pub fn provenance(&self) -> ProvenanceCounts {
        self.provenance
    }

    /// Returns the images of `job` that match no request, if there are any.
    pub fn unmatched(&self, job: &JobId) -> Option<UnmatchedImages> {
        let images = self.unmatched_images;
        (images > 0).then(|| UnmatchedImages {
            images,
            folder: object_keys::unmatched_folder(job),
        })
    }

    /// Returns the cost of the job.
    pub fn cost(&self, plan: &PlanSummary) -> Cost {
        self.money.cost(plan)
    }

    /// Returns the most frequent reasons for missing images, in descending order.
    pub fn top_errors(&self) -> Vec<CodeCount> {
        let mut errors: Vec<CodeCount> = self.errors.values().cloned().collect();
        errors.sort_by(|one, other| {
            other
                .count
                .cmp(&one.count)
                .then_with(|| one.code.cmp(&other.code))
        });
        errors.truncate(MAX_TOP_ERRORS);
        errors
    }
}
