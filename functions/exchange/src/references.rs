//! Reference pictures. Tiny ones become part of the request lines. Others are uploaded to Gemini
//! once per content and job, and all requests of the job share them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use darkroom::{
    digest::hex,
    names::{JobId, ObjectUri},
    requests::{PlacedReference, UploadedReference},
    results::image::MediaType,
    state::BATCH_DEADLINE,
};
use futures_util::{StreamExt, stream};
use gemini::{FileState, Gemini, UploadRequest};
use jiff::Timestamp;
use runtime::{
    bucket::Bucket,
    upload_store::{Claim, ReferenceFile, UploadStore},
};
use seam::clock::Clock;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::error::InputError;

/// How many references are in memory at once.
const CONCURRENCY: usize = 4;

/// The size of the largest picture that is sent within a request line. An upload takes three calls,
/// which cost more than so few bytes.
const INLINE_BYTES: usize = 16 << 10;

/// The maximum that pictures within lines add to an input file, in bytes of base64, counting each
/// use. It also bounds the memory that they take. With the 1.9 GB that a request file may have, the
/// sum stays below Gemini's 2 GB for a file (<https://ai.google.dev/gemini-api/docs/files>, read
/// 2026-11). Pictures that exceed it are uploaded.
const INLINE_TOTAL_BYTES: u64 = 32 << 20;

/// Where reference pictures are, and where they are placed.
#[derive(Clone, Copy, Debug)]
pub struct ReferencePlaces<'a> {
    /// The pictures of a manifest that names only a key.
    pub bucket: &'a Bucket,
    /// The records of uploaded pictures.
    pub uploads: &'a UploadStore,
    /// The Gemini API.
    pub gemini: &'a Gemini,
    /// The time.
    pub clock: &'a Clock,
}

/// The result of placing one reference.
enum Placing {
    Placed(PlacedReference),
    /// Another shard is uploading the same bytes; its claim expires at this time.
    Taken(Timestamp),
}

/// Places each object where Gemini can read it; `uses` has the number of uses of each.
///
/// # Errors
/// [`InputError`]; [`InputError::Taken`] if another shard is still uploading some of them. All
/// others are placed by then.
pub async fn place(
    places: ReferencePlaces<'_>,
    job: &JobId,
    uses: BTreeMap<ObjectUri, u64>,
) -> Result<HashMap<ObjectUri, PlacedReference>, InputError> {
    let inline_left = AtomicU64::new(INLINE_TOTAL_BYTES);
    let mut placed = HashMap::new();
    let mut left = uses;
    let mut until = Timestamp::MIN;
    // Two passes: what was taken in the first may be another object of this shard with the same
    // bytes, whose upload has ended by the second.
    for _ in 0..2 {
        let failed = AtomicBool::new(false);
        let mut placings = stream::iter(std::mem::take(&mut left))
            .map(|(object, uses)| {
                let (failed, inline_left) = (&failed, &inline_left);
                async move {
                    // After a failure nothing new is begun, but uploads in flight are completed, so
                    // that no claim is left behind.
                    if failed.load(Ordering::Relaxed) {
                        return (object, uses, None);
                    }
                    let placing = place_one(places, job, &object, uses, inline_left).await;
                    failed.fetch_or(placing.is_err(), Ordering::Relaxed);
                    (object, uses, Some(placing))
                }
            })
            .buffer_unordered(CONCURRENCY);

        // The first error counts, once all uploads in flight have ended.
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

/// Places one reference: within the line, by an earlier upload of the same bytes, or by uploading
/// it.
async fn place_one(
    places: ReferencePlaces<'_>,
    job: &JobId,
    object: &ObjectUri,
    uses: u64,
    inline_left: &AtomicU64,
) -> Result<Placing, InputError> {
    let Some(content) = bucket_of(places, object).read(&object.key).await? else {
        return Err(InputError::Unusable(format!(
            "the reference {object} does not exist any more"
        )));
    };
    let media_type = media_type_of(object, &content.bytes)?;

    // The budget for pictures within lines is shared by all concurrent placings.
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

    // A claim keeps two shards from uploading the same bytes at the same time.
    let sha256 = hex(&Sha256::digest(&content.bytes));
    let claimed = match places
        .uploads
        .claim(job, &sha256, places.clock.now(), BATCH_DEADLINE)
        .await?
    {
        Claim::Uploaded(uploaded) => {
            return Ok(Placing::Placed(PlacedReference::Uploaded(uploaded)));
        }
        Claim::Taken { until } => return Ok(Placing::Taken(until)),
        Claim::Ours(claimed) => claimed,
    };
    match upload(
        places.gemini,
        places.clock,
        object,
        media_type,
        content.bytes,
    )
    .await
    {
        Ok(file) => {
            let uploaded = UploadedReference {
                uri: file.uri.clone(),
                mime_type: file.mime_type.clone(),
            };
            places.uploads.uploaded(claimed, file).await?;
            Ok(Placing::Placed(PlacedReference::Uploaded(uploaded)))
        }
        Err(error) => {
            if let Err(problem) = places.uploads.release(claimed).await {
                warn!("the claim to a reference was not released: {problem}");
            }
            Err(error)
        }
    }
}

/// Places a picture of a request that belongs to no job by the same rule: within the request if it
/// is small, or by uploading it. Returns also when Google deletes the uploaded file.
///
/// # Errors
/// [`InputError`] if it is not a picture, or can't be uploaded.
pub async fn place_alone(
    gemini: &Gemini,
    clock: &Clock,
    object: &ObjectUri,
    content: Bytes,
) -> Result<(PlacedReference, Option<Timestamp>), InputError> {
    let media_type = media_type_of(object, &content)?;
    if content.len() <= INLINE_BYTES {
        return Ok((PlacedReference::inline(media_type.mime(), &content), None));
    }
    let file = upload(gemini, clock, object, media_type, content).await?;
    let uploaded = UploadedReference {
        uri: file.uri,
        mime_type: file.mime_type,
    };
    Ok((PlacedReference::Uploaded(uploaded), Some(file.expires_at)))
}

fn media_type_of(object: &ObjectUri, content: &[u8]) -> Result<MediaType, InputError> {
    MediaType::of(content).ok_or_else(|| {
        InputError::Unusable(format!(
            "the reference {object} is not a PNG, JPEG or WebP picture"
        ))
    })
}

async fn upload(
    gemini: &Gemini,
    clock: &Clock,
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
    let file = gemini
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
    // A file whose expiry is not known is not used again.
    let expires_at = file.expires_at.unwrap_or_else(|| clock.now());
    Ok(ReferenceFile {
        file: file.name,
        uri: file.uri,
        mime_type: media_type.mime().to_owned(),
        expires_at,
    })
}

fn bucket_of(places: ReferencePlaces<'_>, object: &ObjectUri) -> Bucket {
    if object.bucket == places.bucket.name() {
        places.bucket.clone()
    } else {
        places.bucket.other(&object.bucket)
    }
}
