//! The terms by which a job is planned.

use darkroom::{batch_bounds::BatchBounds, plan::PlanLock};
use jiff::Timestamp;

use crate::deps::Deps;

/// The inputs of a plan other than the manifest and the settings. The first planning of a job fixes
/// them in `plan.lock`, and each later planning uses those, so that it produces the same plan.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// When the job was first planned: the name of a model family means the newest live model of that
    /// day.
    pub(crate) planned_at: Timestamp,
    /// The bounds of one batch.
    pub(crate) bounds: BatchBounds,
    /// Whether the terms come from `plan.lock`. Then the manifest and all its reference pictures were
    /// accepted before.
    pub(crate) are_locked: bool,
}

impl Terms {
    /// Returns the terms of the lock, or the current terms if there is no lock yet. `deps` has the
    /// job's own catalog.
    pub(crate) fn of(lock: Option<PlanLock>, deps: &Deps) -> Self {
        match lock {
            Some(lock) => Self {
                planned_at: lock.planned_at,
                bounds: lock.bounds,
                are_locked: true,
            },
            None => Self {
                planned_at: deps.clock.now(),
                bounds: BatchBounds::of(&deps.project, &deps.catalog, deps.tier),
                are_locked: false,
            },
        }
    }
}
