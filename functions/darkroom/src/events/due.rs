//! Which events follow from the stored documents of a job.

use jiff::Timestamp;

use super::{Ending, EndingCost, Event, EventId, Hold, News, Outbox, VERSION, quarters};
use crate::{
    object_keys::{self, Marker},
    plan::PlanSummary,
    report::Summary,
    status::{JobPhase, JobStatus},
};

/// The number of quarters of which the last one is the end of the job.
const ALL_QUARTERS: u8 = 4;

/// The stored documents of a job from which its events follow.
#[derive(Clone, Debug)]
pub struct JobDocuments {
    /// `job.json`.
    pub status: JobStatus,
    /// Whether the marker of the status's phase exists; see [`marker_of`].
    pub has_marker: bool,
    /// `summary.json`, if the job has ended with one and has its marker.
    pub summary: Option<Summary>,
}

/// Returns the marker of a job that has ended in this phase. It is written after the other
/// documents, so an event about the end may be sent only if it exists.
pub fn marker_of(phase: JobPhase) -> Option<Marker> {
    match phase {
        JobPhase::Rejected => Some(Marker::Rejected),
        JobPhase::Estimated => Some(Marker::DryRun),
        JobPhase::Succeeded => Some(Marker::Success),
        JobPhase::Partial => Some(Marker::Partial),
        JobPhase::Failed => Some(Marker::Failed),
        JobPhase::Cancelled => Some(Marker::Cancelled),
        JobPhase::Submitting | JobPhase::Waiting | JobPhase::Collecting | JobPhase::Blocked => None,
    }
}

/// Whether an open job has news between two versions of its status: it begins or ceases to wait for
/// a user, or another quarter of its images is finished.
pub fn has_news(before: &JobStatus, after: &JobStatus) -> bool {
    let hold = |status: &JobStatus| Hold::of(status).map(|hold| hold.cause);
    let quarters = |status: &JobStatus| {
        let images = status.plan.as_ref().map_or(0, |plan| plan.images);
        quarters(status.finished, images)
    };
    hold(before) != hold(after) || quarters(before) < quarters(after)
}

impl JobDocuments {
    /// Whether no event will follow after those that are due now, unless a rejected manifest is
    /// dropped again.
    pub fn is_final(&self) -> bool {
        self.has_marker && self.status.phase.is_terminal()
    }

    /// Returns all events that follow from the documents, in the order in which they happened.
    /// `outbox` must have followed the status. An event about a state that has passed, such as
    /// progress of a job that has ended, is not among them.
    pub fn events(&self, stack: &str, outbox: &Outbox) -> Vec<Event> {
        let status = &self.status;
        let mut events = Vec::new();
        let mut add = |occurrence: u32, time: Timestamp, news: News| {
            events.push(Event {
                version: VERSION.to_owned(),
                id: EventId::of(&status.job, news.kind(), occurrence),
                time,
                stack: stack.to_owned(),
                job: status.job.clone(),
                manifest: status.manifest.clone(),
                bucket: status.manifest.bucket.clone(),
                folder: object_keys::document(&status.job, ""),
                tenant: status.folder.clone(),
                news,
            });
        };

        // The answer to the manifest. A dry run has neither.
        if let Some(plan) = &status.plan
            && status.phase != JobPhase::Estimated
        {
            add(0, plan.planned_at, accepted(plan));
        }
        if status.phase == JobPhase::Rejected && self.has_marker {
            let news = News::Rejected {
                errors: status.errors.unwrap_or_default(),
                validation: object_keys::document(&status.job, "validation.csv"),
            };
            add(0, status.updated_at, news);
        }

        // While the job is open.
        if !status.phase.is_terminal() {
            if let Some(plan) = &status.plan
                && (1..ALL_QUARTERS).contains(&outbox.quarters)
            {
                let news = News::Progress {
                    percent: outbox.quarters * 25,
                    finished: status.finished,
                    images: plan.images,
                };
                add(u32::from(outbox.quarters), status.updated_at, news);
            }
            if let Some(hold) = Hold::of(status) {
                add(outbox.holds, status.updated_at, News::Held(hold));
            }
        }

        // The end.
        if let Some(summary) = &self.summary
            && let Some(news) = ended(summary)
        {
            add(0, summary.time.finished, news);
        }
        events
    }
}

fn accepted(plan: &PlanSummary) -> News {
    News::Accepted {
        images: plan.images,
        shards: plan.shards,
        estimated_usd: plan.estimate.usd(),
        warnings: plan.warnings,
    }
}

fn ended(summary: &Summary) -> Option<News> {
    let ending = || Ending {
        outcome: summary.outcome(),
        counts: summary.counts.clone(),
        cost: EndingCost {
            estimated_usd: summary.cost.estimated_usd,
            actual_usd: summary.cost.actual_usd,
            interactive_usd: summary.cost.interactive_usd,
            saved_usd: summary.cost.saved_usd,
        },
        errors_top: summary.errors_top.clone(),
        links: summary.links.clone(),
    };
    match summary.status {
        JobPhase::Succeeded => Some(News::Completed(ending())),
        JobPhase::Partial => Some(News::Partial(ending())),
        JobPhase::Failed => Some(News::Failed(ending())),
        JobPhase::Cancelled => Some(News::Cancelled(ending())),
        JobPhase::Rejected
        | JobPhase::Estimated
        | JobPhase::Submitting
        | JobPhase::Waiting
        | JobPhase::Collecting
        | JobPhase::Blocked => None,
    }
}
