//! Counting while the result lines go by.

use std::collections::BTreeMap;

use super::{
    Cost, Finished, ShardResults,
    money::Sums,
    summary::{CodeCount, Counts, Integrity},
};
use crate::{
    billing::Charge,
    chunks::UnmatchedReason,
    models::Catalog,
    names::JobId,
    object_keys::{self, Marker},
    plan::PlanLine,
    plan::PlanSummary,
    results::{
        Status,
        image::{ratio_matches, size_matches},
    },
    status::UnmatchedImages,
};

/// How many kinds of errors a summary names.
const TOP_ERRORS: usize = 10;

/// The sums over a job's result lines, in memory that doesn't grow with them.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    integrity: Integrity,
    money: Sums,
    errors: BTreeMap<String, CodeCount>,
    aside_images: u64,
    stopped: bool,
}

impl Tally {
    /// Counts one image.
    pub fn add(&mut self, plan: &PlanLine, finished: &Finished) {
        let line = &finished.line;
        self.counts.add(line.status);
        for (round, charge) in &finished.charges {
            self.money.of(&plan.model, *round).charge += *charge;
        }
        if line.status == Status::Succeeded {
            let round = line.shard.map_or(1, |shard| shard.round);
            self.money.of(&plan.model, round).images += 1;
        }
        self.money.unaccounted.requests += finished.unknown;
        self.money.unaccounted.estimated_usd += plan.estimate.batch_usd * finished.unknown;
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

    /// Counts a shard, whose model is `model`, and what it set aside, once all its images are
    /// counted.
    pub fn add_shard(&mut self, model: &str, results: &ShardResults, catalog: &Catalog) {
        self.stopped |= results.is_stopped();
        self.aside_images += results.aside_images();
        for (round, requests) in results.requests().filter(|(_, requests)| *requests > 0) {
            self.money.of(model, round).requests += u64::from(requests);
        }
        for (round, usage) in results.strays() {
            let charge = catalog
                .priced(model)
                .map(|model| Charge::of(usage, model))
                .unwrap_or_default();
            self.money.of(model, *round).charge += charge;
            self.money.unmatched += charge.batch;
        }
        for (reason, count) in results.unmatched_folder() {
            *match reason {
                UnmatchedReason::UnknownKey => &mut self.integrity.unknown_keys,
                UnmatchedReason::RepeatedKey => &mut self.integrity.repeated_keys,
                UnmatchedReason::NoKey => &mut self.integrity.unreadable_lines,
                UnmatchedReason::SkippedLine => &mut self.integrity.skipped_lines,
            } += count;
        }
    }

    /// How the job ended.
    pub fn marker(&self) -> Marker {
        if self.counts.succeeded == self.counts.expected {
            Marker::Success
        } else if self.stopped {
            Marker::Cancelled
        } else if self.counts.succeeded > 0 {
            Marker::Partial
        } else {
            Marker::Failed
        }
    }

    /// The images.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Results that don't fit what was asked.
    pub fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    /// The images of `job` that belong to no request, if there are any.
    pub fn unmatched(&self, job: &JobId) -> Option<UnmatchedImages> {
        let images = self.aside_images;
        (images > 0).then(|| UnmatchedImages {
            images,
            folder: object_keys::unmatched_folder(job),
        })
    }

    /// The money.
    pub fn cost(&self, plan: &PlanSummary) -> Cost {
        self.money.cost(plan)
    }

    /// The most frequent reasons for missing images, most frequent first.
    pub fn top_errors(&self) -> Vec<CodeCount> {
        let mut errors: Vec<CodeCount> = self.errors.values().cloned().collect();
        errors.sort_by(|one, other| {
            other
                .count
                .cmp(&one.count)
                .then_with(|| one.code.cmp(&other.code))
        });
        errors.truncate(TOP_ERRORS);
        errors
    }
}
