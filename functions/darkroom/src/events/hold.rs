//! What a job waits for that only a user can do.

use serde::{Deserialize, Serialize};

use crate::status::JobStatus;

/// The maximum number of reasons in an event. `job.json` has all of them.
const MAX_REASONS: usize = 5;

/// A job that can't continue, or not completely, until a user acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// What it waits for.
    pub cause: HoldCause,
    /// The number of images that wait.
    pub images: u64,
    /// Why they wait and how to continue, at most five reasons. They may contain texts of Gemini.
    pub reasons: Vec<HoldReason>,
}

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldCause {
    /// The decision to approve or to cancel: a proof is made, or continuing could cost twice.
    Decision,
    /// The repair of a document that is missing or damaged.
    Document,
}

/// Why some of a job's images wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldReason {
    /// The number of images.
    pub images: u64,
    /// The reason, and how to continue.
    pub reason: String,
}

impl Hold {
    /// Returns what a job waits for by its status, if a user must act.
    pub fn of(status: &JobStatus) -> Option<Self> {
        if status.phase.is_terminal() {
            return None;
        }
        if let Some(blocker) = &status.blocker {
            let images = status.plan.as_ref().map_or(0, |plan| plan.images);
            let reason = format!("{}. {}", blocker.what, blocker.what_to_do);
            return Some(Self {
                cause: HoldCause::Document,
                images,
                reasons: vec![HoldReason { images, reason }],
            });
        }
        let mut reasons: Vec<HoldReason> = Vec::new();
        for entry in status.undecided() {
            let images = u64::from(entry.requests);
            let reason = entry.note.clone().unwrap_or_default();
            match reasons.iter_mut().find(|known| known.reason == reason) {
                Some(known) => known.images += images,
                None => reasons.push(HoldReason { images, reason }),
            }
        }
        let images = reasons.iter().map(|reason| reason.images).sum();
        reasons.truncate(MAX_REASONS);
        (images > 0).then_some(Self {
            cause: HoldCause::Decision,
            images,
            reasons,
        })
    }

    /// Whether `control` may be about to release what a job waits for: the proof has ended, and the
    /// other images follow it as soon as `control` has seen that all of it has succeeded.
    pub fn may_be_released(status: &JobStatus) -> bool {
        Self::of(status).is_some() && status.undecided().any(|entry| entry.follows_proof)
    }
}
