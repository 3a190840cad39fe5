//! The terms by which a job is planned.

use darkroom::{
    batch_bounds::BatchBounds, folders::Folder, job::JobFolder, models::AllowedModels,
    plan::PlanLock,
};
use jiff::Timestamp;

use crate::{deps::Deps, drop::Dropped};

/// The inputs of a plan other than the manifest and the settings. The first planning of a job fixes
/// them in `plan.lock`, and each later planning uses those, so that it produces the same plan.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// When the job was first planned: the name of a model family means the newest live model of that
    /// day.
    pub(crate) planned_at: Timestamp,
    /// The bounds of one batch.
    pub(crate) bounds: BatchBounds,
    /// The folder of the job, if it has one.
    pub(crate) folder: Option<JobFolder>,
    /// The models that the manifest may name, if the folder lists them. A manifest that was accepted
    /// before is not asked again.
    pub(crate) allowed_models: Option<AllowedModels>,
    /// Whether the terms come from `plan.lock`. Then the manifest and all its reference pictures were
    /// accepted before.
    pub(crate) are_locked: bool,
}

impl Terms {
    /// Returns the terms of the lock, or the current terms if there is no lock yet. `deps` has the
    /// job's own catalog.
    pub(crate) fn of(lock: Option<PlanLock>, deps: &Deps, dropped: &Dropped) -> Self {
        if let Some(lock) = lock {
            return Self {
                planned_at: lock.planned_at,
                bounds: lock.bounds,
                folder: lock.folder,
                allowed_models: None,
                are_locked: true,
            };
        }
        let bounds = BatchBounds::of(&deps.project, &deps.catalog, deps.tier);
        let folder = dropped.folder.as_ref();
        Self {
            planned_at: deps.clock.now(),
            bounds: match folder {
                Some(folder) => bounds.in_folder(&folder.path, folder.caps),
                None => bounds,
            },
            folder: folder.map(Folder::of_job),
            allowed_models: folder.and_then(|folder| folder.models.clone()),
            are_locked: false,
        }
    }
}
