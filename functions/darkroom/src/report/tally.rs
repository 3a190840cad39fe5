//! Counting while the result lines go by.

use std::collections::BTreeMap;

use super::{
    Finished, ShardResults,
    summary::{CodeCount, Cost, Counts, Integrity, ModelCost},
};
use crate::{
    cost::Usd,
    layout::Marker,
    parts::AsideReason,
    plan::PlanLine,
    plan::PlanSummary,
    results::{
        Status,
        image::{ratio_matches, size_matches},
    },
};

/// How many kinds of errors a summary names.
const TOP_ERRORS: usize = 10;

/// The sums over a job's result lines, in memory that doesn't grow with them.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    integrity: Integrity,
    actual: Usd,
    interactive: Usd,
    models: BTreeMap<String, ModelCost>,
    errors: BTreeMap<String, CodeCount>,
    stopped: bool,
}

impl Tally {
    /// Counts one image.
    pub fn add(&mut self, plan: &PlanLine, finished: &Finished) {
        let line = &finished.line;
        let cost = line.cost_usd.unwrap_or(Usd::ZERO);
        self.counts.add(line.status);
        self.actual += cost;
        self.interactive += finished.interactive;
        let model = self.models.entry(plan.model.clone()).or_insert_with(|| ModelCost::new(&plan.model));
        model.images += u64::from(line.status == Status::Succeeded);
        model.actual_usd += cost;
        if let Some(reason) = &line.error {
            let count =
                self.errors.entry(reason.code.clone()).or_insert_with(|| CodeCount::new(&reason.code, &line.key));
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

    /// Counts what a shard set aside, once all its images are counted.
    pub fn add_shard(&mut self, results: &ShardResults) {
        self.stopped |= results.is_stopped();
        for (reason, count) in results.asides() {
            *match reason {
                AsideReason::UnknownKey => &mut self.integrity.unknown_keys,
                AsideReason::RepeatedKey => &mut self.integrity.repeated_keys,
                AsideReason::NoKey => &mut self.integrity.unreadable_lines,
                AsideReason::SkippedLine => &mut self.integrity.skipped_lines,
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

    /// The money.
    pub fn cost(&self, plan: &PlanSummary) -> Cost {
        Cost {
            estimated_usd: plan.estimate.batch_usd,
            actual_usd: self.actual,
            interactive_usd: self.interactive,
            saved_usd: self.interactive - self.actual,
            by_model: self.models.values().cloned().collect(),
        }
    }

    /// The most frequent reasons for missing images, most frequent first.
    pub fn top_errors(&self) -> Vec<CodeCount> {
        let mut errors: Vec<CodeCount> = self.errors.values().cloned().collect();
        errors.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.code.cmp(&other.code)));
        errors.truncate(TOP_ERRORS);
        errors
    }
}
