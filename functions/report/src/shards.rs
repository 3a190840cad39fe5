//! The states of all shards of a job, each with its rounds.

use darkroom::{
    names::{JobId, ShardId},
    state::{Phase, Shard},
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::handler::{Deps, ReportError};

/// How many states are read at once.
const AT_ONCE: usize = 16;

/// A shard and its rounds, in order.
#[derive(Debug)]
pub(crate) struct Chain(pub(crate) Vec<Shard>);

impl Chain {
    /// Whether nothing more happens to the shard: its last round is terminal, and names no other.
    pub(crate) fn is_over(&self) -> bool {
        self.0.last().is_some_and(Shard::is_terminal)
    }
}

/// Reads all of them, in order of their numbers.
pub(crate) async fn read_all(deps: &Deps, job: &JobId, shards: u32) -> Result<Vec<Chain>, ReportError> {
    stream::iter(0..shards).map(|number| read_chain(deps, job, number)).buffered(AT_ONCE).try_collect().await
}

async fn read_chain(deps: &Deps, job: &JobId, number: u32) -> Result<Chain, ReportError> {
    let mut chain = Vec::new();
    let mut next = Some(ShardId::first(number));
    while let Some(id) = next {
        let Some(stored) = deps.states.read(job, id).await? else { return Err(ReportError::NoState(job.clone(), id)) };
        next = match &stored.shard.phase {
            Phase::Done { next, .. } => *next,
            Phase::Planned { .. }
            | Phase::Uploading { .. }
            | Phase::Creating { .. }
            | Phase::Submitted { .. }
            | Phase::Ready { .. }
            | Phase::Collecting { .. }
            | Phase::Held { .. }
            | Phase::Failed { .. } => None,
        };
        chain.push(stored.shard);
    }
    Ok(Chain(chain))
}
