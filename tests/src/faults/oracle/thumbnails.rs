//! Judges the thumbnails of a complete job.

use std::fs;

use darkroom::{
    chunks::{Chunk, ChunkLine},
    state::{Failed, Phase, Shard},
    thumbnails::Thumbnails,
};

use super::Wrong;
use crate::faults::cloud::FaultCloud;

/// Looks for images in the chunks of a job's shards that have no thumbnail. All of them can be
/// decoded, so none may fail.
pub(super) fn check(
    cloud: &FaultCloud,
    job: &str,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    // A job that was canceled before it was planned has none.
    let shards = cloud.local.path_of(&format!("{job}shards"));
    if !shards.is_dir() {
        return Ok(());
    }
    for shard in fs::read_dir(shards)? {
        let folder = shard?.path();
        // A round that its parent does not name may have keys and no state.
        let Ok(state) = fs::read(folder.join("state.json")) else {
            continue;
        };
        let shard: Shard = serde_json::from_slice(&state)?;
        let (Phase::Done { chunks, .. } | Phase::Failed(Failed { chunks, .. })) = &shard.phase
        else {
            continue;
        };
        let list = match fs::read(folder.join("thumbs.json")) {
            Ok(list) => serde_json::from_slice(&list)?,
            Err(_) => Thumbnails::default(),
        };
        if !list.is_complete(chunks) {
            let words = format!("the list of {} in {job} is incomplete", shard.shard);
            report(Wrong::NoThumbnail, words);
        }
        for Chunk { name, .. } in chunks {
            let chunk = fs::read_to_string(folder.join(format!("results/{name}.jsonl")))?;
            for line in chunk.lines() {
                if let ChunkLine::Result(result) = serde_json::from_str(line)?
                    && let Some(image) = result.image
                    && let Some(path) = image.uri.key.strip_prefix(&format!("{job}images/"))
                    && !exists(cloud, job, &list, path)
                {
                    let failed = list.failed.get(path);
                    let words = format!("{path} of {job}, whose reason is {failed:?}");
                    report(Wrong::NoThumbnail, words);
                }
            }
        }
    }
    Ok(())
}

/// Whether the thumbnail of an image is listed and stored.
fn exists(cloud: &FaultCloud, job: &str, list: &Thumbnails, path: &str) -> bool {
    let stored = fs::metadata(cloud.local.path_of(&format!("{job}thumbs/{path}.jpg")));
    let listed = list.made.get(path).map(|thumbnail| thumbnail.bytes);
    listed.is_some() && stored.ok().map(|stored| stored.len()) == listed
}
