//! Makes the thumbnails of a shard, image by image.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    names::JobId,
    object_keys,
    results::Limits,
    thumbnails::Thumbnail,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use runtime::chunks::read_chunk;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::warn;

use crate::{
    deps::Deps,
    encode::Encoded,
    error::{Flaw, ThumbsError},
    list::List,
    thumbnail,
};

/// The number of images that are read, made or written at the same time.
const CONCURRENCY: usize = 4;

/// The number of images that are decoded at the same time, while others are read or written. The
/// largest one needs a gigabyte, and the function has one core.
const DECODERS: usize = 1;

/// The number of images after which the list is stored. A crash repeats at most these.
const CHECKPOINT_IMAGES: usize = 250;

/// How far an invocation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Every image was tried.
    Complete,
    /// The rest is left to the next invocation.
    OutOfTime,
}

/// Makes the thumbnails that the list lacks, and stores the list. No image is started after
/// `stop_at`.
///
/// # Errors
/// [`ThumbsError`]. The images before the error are in the stored list.
pub(crate) async fn make_missing(
    deps: &Deps,
    list: &mut List,
    chunks: &[Chunk],
    stop_at: Timestamp,
) -> Result<Progress, ThumbsError> {
    let made = make_chunks(deps, list, chunks, stop_at).await;
    // Whatever has ended the work, nothing of it is repeated.
    if list.unsaved > 0 || made.is_ok() {
        list.save(&deps.bucket).await?;
    }
    made
}

async fn make_chunks(
    deps: &Deps,
    list: &mut List,
    chunks: &[Chunk],
    stop_at: Timestamp,
) -> Result<Progress, ThumbsError> {
    for chunk in chunks {
        if list.thumbnails.chunks.contains(&chunk.name) {
            continue;
        }
        let (job, decoders) = (list.job.clone(), Semaphore::new(DECODERS));
        let mut results = stream::iter(missing(deps, list, chunk).await?)
            .map(async |path| {
                if deps.clock.now() >= stop_at {
                    return Ok::<_, ThumbsError>(None);
                }
                Ok(Some((make(deps, &decoders, &job, &path).await?, path)))
            })
            .buffered(CONCURRENCY);
        while let Some(result) = results.next().await {
            match result? {
                Some((made, path)) => list.add(path, made),
                None => return Ok(Progress::OutOfTime),
            }
            if list.unsaved >= CHECKPOINT_IMAGES {
                list.save(&deps.bucket).await?;
            }
        }
        list.thumbnails.chunks.insert(chunk.name.clone());
    }
    Ok(Progress::Complete)
}

/// Returns the images of a chunk that are not in the list, by their paths below `images/`.
async fn missing(deps: &Deps, list: &List, chunk: &Chunk) -> Result<Vec<String>, ThumbsError> {
    let folder = object_keys::images_folder(&list.job);
    let mut paths = Vec::new();
    read_chunk(&deps.bucket, &list.job, list.shard, chunk, |line| {
        if let ChunkLine::Result(result) = line
            && let Some(image) = result.image
            && let Some(path) = image.uri.key.strip_prefix(&folder)
            && !list.thumbnails.has(path)
        {
            paths.push(path.to_owned());
        }
    })
    .await?;
    Ok(paths)
}

/// Makes and stores the thumbnail of one image, or returns why it has none.
///
/// # Errors
/// [`ThumbsError::Bucket`] if the image can't be read or the thumbnail can't be written now.
async fn make(
    deps: &Deps,
    decoders: &Semaphore,
    job: &JobId,
    path: &str,
) -> Result<Result<Thumbnail, Flaw>, ThumbsError> {
    // An object that was replaced by hand may have any size. It is read up to the limit of images.
    let most = Limits::default().image_bytes as u64;
    let key = format!("{}{path}", object_keys::images_folder(job));
    let Some((image, whole)) = deps.bucket.peek(&key, most).await? else {
        return Ok(Err(Flaw::Missing));
    };
    if whole > most {
        return Ok(Err(Flaw::TooLarge(whole)));
    }

    // A separate thread decodes, so that the connections of other images are served meanwhile. A
    // panic of a decoder is a flaw of the image. The semaphore is never closed.
    let permit = decoders.acquire().await;
    let made = spawn_blocking(move || thumbnail::of(&image)).await;
    drop(permit);
    match made.unwrap_or(Err(Flaw::Crashed)) {
        Ok(Encoded { thumbnail, jpeg }) => {
            let key = object_keys::thumbnail(job, path);
            deps.bucket.put(&key, "image/jpeg", jpeg).await?;
            Ok(Ok(thumbnail))
        }
        Err(flaw) => {
            warn!("an image has no thumbnail: {flaw}");
            Ok(Err(flaw))
        }
    }
}
