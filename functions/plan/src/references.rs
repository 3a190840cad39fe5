//! Reference pictures are looked at before anything is bought: that they are there, can be read, and are pictures.
//!
//! One from the web is copied to the job's folder while that is done, once: what was checked is what is sent, in every
//! round and whenever the job is planned again.

use std::collections::BTreeMap;

use clients::{
    bucket::{BucketError, Conditional},
    web::WebError,
};
use darkroom::{
    keys::hex,
    layout,
    manifest::{Copies, Expected, Problem, Severity},
    names::{JobId, ObjectUri},
    results::image::MediaType,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::handler::{Deps, PlanError, malformed};

/// How many objects are looked at at once.
const AT_ONCE: usize = 16;

/// How many pictures from the web are in memory at once.
const FETCHED_AT_ONCE: usize = 4;

/// How often a picture is asked for whose host does not answer. After that it is a problem of the manifest, not of the
/// function: the person who dropped it knows the host. What was copied by then is not fetched again.
const TRIES: u32 = 3;

/// Enough of an object to tell a picture by.
const HEAD_BYTES: u64 = 64;

/// The largest reference picture. Gemini takes 2 GB a file, but `submit` holds a few pictures at once in a small
/// function, and no camera makes larger ones.
const LARGEST_BYTES: u64 = 20 << 20;

/// Where a manifest first names a reference.
#[derive(Debug)]
struct FirstUse {
    /// The line.
    line: u64,
    /// The item's key.
    key: String,
}

impl FirstUse {
    fn problem(self, (code, message): Fault) -> Problem {
        Problem { line: self.line, key: Some(self.key), severity: Severity::Error, code: code.to_owned(), message }
    }
}

/// The distinct references of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Used {
    objects: BTreeMap<ObjectUri, FirstUse>,
    web: BTreeMap<Url, FirstUse>,
}

impl Used {
    /// Notes the references of an image.
    pub(crate) fn note(&mut self, expected: &Expected) {
        let first = || FirstUse { line: expected.line, key: expected.item.clone() };
        for object in &expected.refs {
            if !self.objects.contains_key(object) {
                self.objects.insert(object.clone(), first());
            }
        }
        for url in &expected.web {
            if !self.web.contains_key(url) {
                self.web.insert(url.clone(), first());
            }
        }
    }
}

/// A problem's code, and what to do.
type Fault = (&'static str, String);

/// Looks at each object, and copies each picture from the web, once. A problem each for those that can't be used, and
/// where the copies are.
pub(crate) async fn check(deps: &Deps, job: &JobId, used: Used) -> Result<(Vec<Problem>, Copies), PlanError> {
    let mut problems: Vec<Problem> = stream::iter(used.objects)
        .map(|(object, first)| async move { Ok(look_at(deps, &object).await?.map(|fault| first.problem(fault))) })
        .buffered(AT_ONCE)
        .try_filter_map(|problem| async move { Ok::<_, PlanError>(problem) })
        .try_collect()
        .await?;
    let mut copies = Copies::new();
    let mut copied = stream::iter(used.web)
        .map(|(url, first)| async move { (copy(deps, job, &url).await, url, first) })
        .buffered(FETCHED_AT_ONCE);
    while let Some((copied, url, first)) = copied.next().await {
        match copied? {
            Ok(object) => drop(copies.insert(url, object)),
            Err(fault) => problems.push(first.problem(fault)),
        }
    }
    Ok((problems, copies))
}

/// Where a picture from the web was copied to, `jobs/<job>/web/<sha256 of its address>.json`. The first write wins, so
/// that a job that is planned again, or twice at once, sends the same bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    url: String,
    object: ObjectUri,
}

/// The copy of what is at `url`, made unless there is one.
async fn copy(deps: &Deps, job: &JobId, url: &Url) -> Result<Result<ObjectUri, Fault>, PlanError> {
    let record = layout::web_reference(job, &hex(&Sha256::digest(url.as_str())));
    if let Some(object) = copied(deps, &record).await? {
        return Ok(Ok(object));
    }
    let bytes = match fetch(deps, url).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(fault(url, &error))),
    };
    let Some(media_type) = MediaType::of(&bytes) else {
        return Ok(Err(("bad_reference", format!("{url} is no PNG, JPEG or WebP picture by its content"))));
    };
    let key = layout::reference_copy(job, &hex(&Sha256::digest(&bytes)), media_type.extension());
    let object = ObjectUri { bucket: deps.bucket.name().to_owned(), key };
    deps.bucket.put(&object.key, media_type.mime(), bytes).await?;
    let bytes =
        serde_json::to_vec(&Record { url: url.to_string(), object: object.clone() }).map_err(malformed(&record))?;
    match deps.bucket.create(&record, "application/json", bytes).await? {
        Conditional::Written(_) => Ok(Ok(object)),
        // Ours, if the answer to it was lost, or another's.
        Conditional::Refused => Ok(Ok(copied(deps, &record).await?.unwrap_or(object))),
    }
}

async fn copied(deps: &Deps, record: &str) -> Result<Option<ObjectUri>, PlanError> {
    let Some(stored) = deps.bucket.read(record).await? else { return Ok(None) };
    let stored: Record = serde_json::from_slice(&stored.bytes).map_err(malformed(record))?;
    Ok(Some(stored.object))
}

async fn fetch(deps: &Deps, url: &Url) -> Result<bytes::Bytes, WebError> {
    let mut tries = 1;
    loop {
        match deps.web.fetch(url, LARGEST_BYTES).await {
            Err(WebError::Unreachable(_)) if tries < TRIES => tries += 1,
            fetched => return fetched,
        }
    }
}

fn fault(url: &Url, error: &WebError) -> Fault {
    let (code, advice) = match error {
        WebError::Refused(_) => ("bad_reference", "put the picture into the bucket and write its key"),
        WebError::Redirected(_) => ("bad_reference", "write the address that it leads to"),
        WebError::Missing(_) => ("missing_reference", "mend the address, then drop the manifest again"),
        WebError::Forbidden(_) => ("forbidden_reference", "put the picture into the bucket and write its key"),
        WebError::TooLarge { .. } => ("large_reference", "make it smaller"),
        WebError::Unreachable(_) => ("unreachable_reference", "drop the manifest again once its host is up"),
    };
    (code, format!("{url} was not fetched: {error}: {advice}"))
}

async fn look_at(deps: &Deps, object: &ObjectUri) -> Result<Option<Fault>, PlanError> {
    let own = object.bucket == deps.bucket.name();
    let bucket = if own { deps.bucket.clone() } else { deps.bucket.other(&object.bucket) };
    let (start, head) = match bucket.peek(&object.key, HEAD_BYTES).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let message = format!("{object} does not exist: upload it first, then drop the manifest again");
            return Ok(Some(("missing_reference", message)));
        }
        Err(BucketError::Permanent { .. }) => {
            let message = format!(
                "{object} can't be read: put the picture into this bucket, or give the deployment access to its bucket"
            );
            return Ok(Some(("forbidden_reference", message)));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(if MediaType::of(&start).is_none() {
        Some(("bad_reference", format!("{object} is no PNG, JPEG or WebP picture by its content")))
    } else if head.size > LARGEST_BYTES {
        let message =
            format!("{object} has {} MiB: {} at the most, make it smaller", head.size >> 20, LARGEST_BYTES >> 20);
        Some(("large_reference", message))
    } else {
        None
    })
}
