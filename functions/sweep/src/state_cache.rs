//! The shard states that a sweep has read. Each state is read once per sweep.

use std::collections::HashMap;

use darkroom::{
    names::{JobId, ShardId},
    state::Shard,
};

use crate::{deps::Deps, error::SweepError};

/// The states that were read so far.
pub(crate) struct StateCache<'a> {
    deps: &'a Deps,
    states: HashMap<(JobId, ShardId), Option<Shard>>,
}

impl<'a> StateCache<'a> {
    /// Creates an empty cache.
    pub(crate) fn new(deps: &'a Deps) -> Self {
        Self {
            deps,
            states: HashMap::new(),
        }
    }

    /// Returns a shard's state as it was at some time during this sweep, or `None` if there is no
    /// such state.
    ///
    /// # Errors
    /// [`SweepError::State`] if the state can't be read.
    pub(crate) async fn state(
        &mut self,
        job: &JobId,
        shard: ShardId,
    ) -> Result<Option<&Shard>, SweepError> {
        let name = (job.clone(), shard);
        if !self.states.contains_key(&name) {
            let stored = self.deps.states.read(job, shard).await?;
            self.states
                .insert(name.clone(), stored.map(|stored| stored.shard));
        }
        Ok(self.states.get(&name).and_then(Option::as_ref))
    }
}
