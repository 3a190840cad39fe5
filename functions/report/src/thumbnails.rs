//! The thumbnails of the images of shards that have ended: they are requested from `thumbs`, and
//! shown by the gallery.

use darkroom::{
    messages::ShardMessage,
    object_keys,
    state::Shard,
    status::{JobStatus, ShardPhase, ShardStatus},
    thumbnails::Thumbnails,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use runtime::shard_store::Rounds;

use crate::{deps::Deps, error::ReportError};

/// The number of messages that are sent at the same time.
const CONCURRENCY: usize = 16;

/// Sends each shard to (thumbnails) that has ended by its entry in `next`, and had not by that in
/// `stored`. Call it before `next` replaces `stored`, so that no shard is left out. A shard is sent
/// again if the write does not take place; `thumbs` ignores it then.
///
/// # Errors
/// [`ReportError::Queue`]; some of the messages may have been sent.
pub(crate) async fn request(
    deps: &Deps,
    stored: &JobStatus,
    next: &JobStatus,
) -> Result<(), ReportError> {
    let is_new = |entry: &&ShardStatus| {
        may_have_images(entry) && !stored.shard(entry.shard).is_some_and(may_have_images)
    };
    stream::iter(next.shards.iter().filter(is_new))
        .map(|entry| {
            let message = ShardMessage::new(&next.job, entry.shard);
            async move { deps.thumbnails.send(&message).await }
        })
        .buffered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// Whether the shard has ended, and may have images. A shard that was canceled before it had a batch
/// has none.
fn may_have_images(entry: &ShardStatus) -> bool {
    matches!(entry.phase, ShardPhase::Done | ShardPhase::Failed)
}

/// Reads the thumbnails of a shard and its rounds so far. A page without some of them is better
/// than no page, so an error is logged only.
pub(crate) async fn of_shard(deps: &Deps, chain: &Rounds) -> Thumbnails {
    let mut all = Thumbnails::default();
    for shard in chain.shards().filter(|shard| shard.phase.has_begun()) {
        all.made.extend(read(deps, shard).await.made);
    }
    all
}

async fn read(deps: &Deps, shard: &Shard) -> Thumbnails {
    let key = object_keys::thumbnails(&shard.job, shard.shard);
    match deps.bucket.read(&key).await {
        Ok(None) => Thumbnails::default(),
        Ok(Some(object)) => serde_json::from_slice(&object.bytes).unwrap_or_else(|error| {
            tracing::warn!(shard = %shard.shard, "thumbnails ignored: {key}: {error}");
            Thumbnails::default()
        }),
        Err(error) => {
            tracing::warn!(shard = %shard.shard, "thumbnails ignored: {error}");
            Thumbnails::default()
        }
    }
}
