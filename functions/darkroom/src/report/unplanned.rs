//! The summary of a job that was cancelled before it was planned.

use jiff::Timestamp;

use super::{Links, Summary, Tally, Times};
use crate::{
    manifest::Reading,
    names::JobId,
    plan::{ManifestVersion, PlanSummary},
    status::JobPhase,
};

impl Summary {
    /// Returns the summary of a job without images, shards and cost.
    pub fn unplanned(job: &JobId, manifest: ManifestVersion, cancelled_at: Timestamp) -> Self {
        let tally = Tally::default();
        let plan = PlanSummary::of(&Reading::default(), 0, cancelled_at);
        Self {
            job_id: job.clone(),
            manifest,
            status: JobPhase::Cancelled,
            counts: tally.counts().clone(),
            integrity: tally.integrity().clone(),
            provenance: tally.provenance(),
            time: Times {
                planned: cancelled_at,
                finished: cancelled_at,
            },
            cost: tally.cost(&plan),
            shards: Vec::new(),
            unfetched: Vec::new(),
            unmatched: None,
            errors_top: tally.top_errors(),
            notes: Vec::new(),
            links: Links::of(job),
        }
    }
}
