//! Shard states, each read once a sweep.

use std::collections::HashMap;

use darkroom::{
    names::{JobId, ShardId},
    state::Shard,
};

use crate::{deps::Deps, handler::SweepError};

/// The states read so far.
pub(crate) struct Known<'a> {
    deps: &'a Deps,
    states: HashMap<(JobId, ShardId), Option<Shard>>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(deps: &'a Deps) -> Self {
        Self {
            deps,
            states: HashMap::new(),
        }
    }

    /// A shard's state, not older than this sweep; none if there is none.
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
