//! The queues of the functions that move shards on, for functions that do not do so themselves.

use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::JobId,
    state::{Owner, Shard},
};

use crate::queue::{Queue, QueueError};

/// (shards), (polls), (results), (generations) and (reports).
#[derive(Clone, Debug)]
pub struct ShardQueues {
    /// The queue that triggers `submit`.
    pub shards: Queue,
    /// The queue that triggers `poll`.
    pub polls: Queue,
    /// The queue that triggers `collect`.
    pub results: Queue,
    /// The queue that triggers `generate`.
    pub generations: Queue,
    /// The queue that triggers `report`.
    pub reports: Queue,
}

impl ShardQueues {
    /// Sends a message about a shard to the function that owns it. A terminal shard has no owner,
    /// and nothing is sent.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn notify_owner(&self, shard: &Shard) -> Result<(), QueueError> {
        let message = ShardMessage::new(&shard.job, shard.shard);
        match shard.phase.owner() {
            Owner::Submit => self.shards.send(&message).await,
            Owner::Poll => self.polls.send(&message).await,
            Owner::Collect => self.results.send(&message).await,
            Owner::Generate => self.generations.send(&message).await,
            Owner::None => Ok(()),
        }
    }

    /// Sends a message about a job to `report`.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn notify_report(&self, job: &JobId) -> Result<(), QueueError> {
        self.reports.send(&JobMessage::new(job)).await
    }
}
