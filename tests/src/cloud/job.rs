//! The stored documents of one job.

use darkroom::{
    chunks::Chunk,
    names::JobId,
    state::{Phase, Shard},
    status::{JobStatus, ShardPhase},
};
use serde_json::Value;

use super::TestCloud;

/// A job of a [`TestCloud`].
#[derive(Clone)]
pub struct TestJob<'cloud> {
    cloud: &'cloud TestCloud,
    folder: String,
}

impl<'cloud> TestJob<'cloud> {
    pub(super) fn new(cloud: &'cloud TestCloud, folder: String) -> Self {
        Self { cloud, folder }
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        let id = self.folder.trim_start_matches("jobs/");
        JobId::new(id.trim_end_matches('/'))
    }

    /// Returns the job's folder as a key that ends in `/`.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Returns the key of an object in the job's folder.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// Drops a request of the user, `approve` or `cancel`.
    pub async fn request(&self, word: &str) {
        let key = format!("control/{}/{word}", self.id());
        self.cloud.put(&key, "").await;
    }

    /// Whether the job's folder has an object of this name, such as `_SUCCESS`.
    pub fn has(&self, name: &str) -> bool {
        self.cloud.exists(&self.key(name))
    }

    /// Reads an object of the job's folder as text.
    pub async fn text(&self, name: &str) -> String {
        self.cloud.text(&self.key(name)).await
    }

    /// Reads an object of the job's folder as JSON.
    pub async fn json(&self, name: &str) -> Value {
        self.cloud.json(&self.key(name)).await
    }

    /// Reads an object of the job's folder as JSON Lines.
    pub async fn lines(&self, name: &str) -> Vec<Value> {
        self.cloud.lines(&self.key(name)).await
    }

    /// Reads the job's status.
    pub async fn status(&self) -> JobStatus {
        serde_json::from_str(&self.text("job.json").await).unwrap()
    }

    /// Reads the state of a shard, by a name such as `0000` or `0000.r2`.
    pub async fn shard(&self, name: &str) -> Shard {
        let state = self.text(&format!("shards/{name}/state.json")).await;
        serde_json::from_str(&state).unwrap()
    }

    /// Reads the phase of a shard, without its data.
    pub async fn phase(&self, name: &str) -> ShardPhase {
        ShardPhase::from(&self.shard(name).await.phase)
    }

    /// Reads why a shard is held.
    pub async fn hold_reason(&self, name: &str) -> String {
        match self.shard(name).await.phase {
            Phase::Held { reason, .. } => reason,
            other => panic!("{name} is not held: {other:?}"),
        }
    }

    /// Reads the names of the chunks that a shard's results are stored in so far.
    pub async fn chunks(&self, name: &str) -> Vec<Chunk> {
        match self.shard(name).await.phase {
            Phase::Collecting(collecting) => collecting.chunks,
            Phase::Done { chunks, .. } => chunks,
            other => panic!("{name} has no chunks: {other:?}"),
        }
    }
}
