//! What the messages of one event report about a job.

use std::collections::BTreeSet;

use darkroom::names::ShardId;
use runtime::deliveries::Message;

/// The changes of a job that the messages of one event report.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The shards that have changed.
    pub(crate) shards: BTreeSet<ShardId>,
    /// Whether any shard may have changed, so that all states must be read.
    pub(crate) whole_job: bool,
    /// Whether a message was received before, and so has waited long enough.
    pub(crate) waited: bool,
}

impl Changes {
    /// Merges the changes that these messages report.
    pub(crate) fn of(messages: &[(Message, Option<ShardId>)]) -> Self {
        Self {
            shards: messages.iter().filter_map(|(_, shard)| *shard).collect(),
            whole_job: messages.iter().any(|(_, shard)| shard.is_none()),
            waited: messages.iter().any(|(message, _)| message.receives > 1),
        }
    }
}
