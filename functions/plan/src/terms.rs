//! What a job is planned by.

use darkroom::{batch_bounds::BatchBounds, plan::PlanLock};
use jiff::Timestamp;

use crate::deps::Deps;

/// What a plan depends on, apart from the manifest and the settings. The first planning of a job
/// decides it and writes it into `plan.lock`; each later one goes by that, so that it makes the
/// same plan.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// When the job was planned first: names of model families mean the newest live model of that
    /// day.
    pub(crate) planned_at: Timestamp,
    /// What one batch may hold.
    pub(crate) bounds: BatchBounds,
    /// Whether they are in `plan.lock`. Then the manifest was found good, with all the pictures
    /// that it refers to.
    pub(crate) are_locked: bool,
}

impl Terms {
    /// Those of the lock, or those of this moment if there is none yet. `deps` has the job's own
    /// catalog.
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
