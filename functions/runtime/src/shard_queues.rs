//! The queues whose messages move shards on, for functions that do not move them themselves.

use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::JobId,
    state::{Owner, Shard},
};

use crate::queue::{Queue, QueueError};

/// (shards), (polls), (results) and (reports).
#[derive(Clone, Debug)]
pub struct ShardQueues {
    /// What `submit` handles.
    pub shards: Queue,
    /// What `poll` handles.
    pub polls: Queue,
    /// What `collect` handles.
    pub results: Queue,
    /// What `report` handles.
    pub reports: Queue,
}

impl ShardQueues {
    /// Sends a message about a shard to whoever moves it on; to nobody if it is over.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn shard(&self, shard: &Shard) -> Result<(), QueueError> {
        let message = ShardMessage::new(&shard.job, shard.shard);
        match shard.phase.owner() {
            Owner::Submit => self.shards.send(&message).await,
            Owner::Poll => self.polls.send(&message).await,
            Owner::Collect => self.results.send(&message).await,
            Owner::None => Ok(()),
        }
    }

    /// Has `report` look at a job.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn report(&self, job: &JobId) -> Result<(), QueueError> {
        self.reports.send(&JobMessage::new(job)).await
    }
}
