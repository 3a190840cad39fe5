//! Reference pictures: tiny ones go into the request lines; others are uploaded to Gemini once per
//! content and job, and shared by all requests of the job.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use darkroom::{
    keys::hex,
    names::{JobId, ObjectUri},
    requests::{PlacedReference, UploadedReference},
    results::image::MediaType,
    state::BATCH_DEADLINE,
};
use futures_util::{StreamExt, stream};
use gemini::{FileState, UploadRequest};
use jiff::Timestamp;
use runtime::{
    bucket::Bucket,
    upload_store::{Claim, ReferenceFile},
};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::{deps::Deps, input::InputError};

/// How many references are in memory at once.
const AT_ONCE: usize = 4;

/// The largest picture that is sent within a request line. An upload is three calls; so few bytes
/// cost less.
const INLINE_BYTES: usize = 16 << 10;

/// By how much pictures within lines may make an input file longer, in bytes of base64, each use
/// counted. It also bounds the memory that they take. With the 1.9 GB that a request file may have,
/// this stays below Gemini's 2 GB for a file (<https://ai.google.dev/gemini-api/docs/files>, read
/// 2026-11). What is over is uploaded.
const INLINE_TOTAL_BYTES: u64 = 32 << 20;

/// What became of one reference for now.
enum Placing {
    Placed(PlacedReference),
    /// Somebody else is uploading the same bytes.
    Taken(Timestamp),
}

/// Brings each object to where Gemini finds it; `uses` says how often each is referred to.
///
/// # Errors
/// [`InputError`]; [`InputError::Taken`] where another shard is still uploading some of them. What
/// is ours is done by then.
pub(crate) async fn place(
    deps: &Deps,
    job: &JobId,
    uses: BTreeMap<ObjectUri, u64>,
) -> Result<HashMap<ObjectUri, PlacedReference>, InputError> {
    let inline_left = AtomicU64::new(INLINE_TOTAL_BYTES);
    let mut placed = HashMap::new();
    let mut left = uses;
    let mut until = Timestamp::MIN;
    // Twice, as what was taken at first may have been another object of ours with the same bytes.
    for _ in 0..2 {
        let failed = AtomicBool::new(false);
        let mut placings = stream::iter(std::mem::take(&mut left))
            .map(|(object, uses)| {
                let (failed, inline_left) = (&failed, &inline_left);
                async move {
                    // What was begun is ended, so that no claim is left behind; nothing more is
                    // begun.
                    if failed.load(Ordering::Relaxed) {
                        return (object, uses, None);
                    }
                    let placing = place_one(deps, job, &object, uses, inline_left).await;
                    failed.fetch_or(placing.is_err(), Ordering::Relaxed);
                    (object, uses, Some(placing))
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut problem = None;
        while let Some((object, uses, placing)) = placings.next().await {
            match placing {
                Some(Ok(Placing::Placed(reference))) => drop(placed.insert(object, reference)),
                Some(Ok(Placing::Taken(other))) => {
                    until = until.max(other);
                    left.insert(object, uses);
                }
                Some(Err(error)) => drop(problem.get_or_insert(error)),
                None => {}
            }
        }
        drop(placings);
        match problem {
            Some(error) => return Err(error),
            None if left.is_empty() => return Ok(placed),
            None => {}
        }
    }
    Err(InputError::Taken { until })
}

async fn place_one(
    deps: &Deps,
    job: &JobId,
    object: &ObjectUri,
    uses: u64,
    inline_left: &AtomicU64,
) -> Result<Placing, InputError> {
    let Some(content) = bucket_of(deps, object).read(&object.key).await? else {
        return Err(InputError::Unusable(format!(
            "the reference {object} is gone"
        )));
    };
    let Some(media_type) = MediaType::of(&content.bytes) else {
        return Err(InputError::Unusable(format!(
            "the reference {object} is no PNG, JPEG or WebP picture"
        )));
    };
    if content.bytes.len() <= INLINE_BYTES {
        let inline = PlacedReference::inline(media_type.mime(), &content.bytes);
        let take = |left: u64| left.checked_sub(inline.inline_bytes().saturating_mul(uses));
        if inline_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            return Ok(Placing::Placed(inline));
        }
    }
    let sha256 = hex(&Sha256::digest(&content.bytes));
    let claimed = match deps
        .references
        .claim(job, &sha256, deps.clock.now(), BATCH_DEADLINE)
        .await?
    {
        Claim::Uploaded(uploaded) => {
            return Ok(Placing::Placed(PlacedReference::Uploaded(uploaded)));
        }
        Claim::Taken { until } => return Ok(Placing::Taken(until)),
        Claim::Ours(claimed) => claimed,
    };
    match upload(deps, object, media_type, content.bytes).await {
        Ok(file) => {
            let uploaded = UploadedReference {
                uri: file.uri.clone(),
                mime_type: file.mime_type.clone(),
            };
            deps.references.uploaded(claimed, file).await?;
            Ok(Placing::Placed(PlacedReference::Uploaded(uploaded)))
        }
        Err(error) => {
            if let Err(problem) = deps.references.release(claimed).await {
                warn!("the claim of a reference stays until its lease ends: {problem}");
            }
            Err(error)
        }
    }
}

async fn upload(
    deps: &Deps,
    object: &ObjectUri,
    media_type: MediaType,
    bytes: Bytes,
) -> Result<ReferenceFile, InputError> {
    let request = UploadRequest {
        display_name: object.key.rsplit('/').next().unwrap_or_default().to_owned(),
        mime_type: media_type.mime().to_owned(),
        size_bytes: bytes.len() as u64,
        name: None,
    };
    let file = deps
        .gemini
        .upload(request, stream::iter([Ok::<_, std::io::Error>(bytes)]))
        .await?;
    match file.state {
        FileState::Active => {}
        FileState::Processing | FileState::Unknown(_) => {
            return Err(InputError::Transient(format!(
                "Gemini is still processing the reference {object}"
            )));
        }
        FileState::Failed => {
            return Err(InputError::Unusable(format!(
                "Gemini can't process the reference {object}"
            )));
        }
    }
    // A file whose end isn't known is not used again.
    let expires_at = file.expires_at.unwrap_or_else(|| deps.clock.now());
    Ok(ReferenceFile {
        file: file.name,
        uri: file.uri,
        mime_type: media_type.mime().to_owned(),
        expires_at,
    })
}

fn bucket_of(deps: &Deps, object: &ObjectUri) -> Bucket {
    if object.bucket == deps.bucket.name() {
        deps.bucket.clone()
    } else {
        deps.bucket.other(&object.bucket)
    }
}
