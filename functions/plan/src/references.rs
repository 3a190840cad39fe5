//! Checks reference pictures before anything is bought: each must exist, be readable, and be a
//! picture.
//!
//! A picture from the web is copied to the job's folder once, during the check. So the bytes that were
//! checked are the bytes that are sent, in every round and whenever the job is planned again.

use std::collections::BTreeMap;

use darkroom::{
    digest::hex,
    manifest::{Copies, Diagnostic, PlannedImage, Severity},
    names::{JobId, ObjectUri},
    object_keys,
    results::image::MediaType,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use runtime::{
    bucket::{BucketError, Conditional},
    document::DocumentError,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{deps::Deps, error::PlanError, time::TimeLimit, web::WebError};

/// How many objects are checked concurrently. Each check is one short request, most of whose time is
/// spent waiting.
const CONCURRENCY: usize = 64;

/// The minimum number of references that must have been checked to conclude that the manifest itself
/// takes too long. If time runs out earlier, something else was slow, and the next invocation may
/// succeed: even if none of 30 web addresses answers, there is enough time for all of them.
const MIN_CHECKED: usize = 30;

/// How many pictures from the web are fetched concurrently, and so are in memory.
const FETCH_CONCURRENCY: usize = 4;

/// How many times a picture is requested if its host does not answer. After that it is an error of the
/// manifest, whose author knows the host. Pictures that were already copied are not fetched again.
const MAX_ATTEMPTS: u32 = 3;

/// How many bytes of an object are read to recognize a picture.
const HEAD_BYTES: u64 = 64;

/// The maximum size of a reference picture. Gemini accepts 2 GB per file, but `submit` holds a few
/// pictures in memory, and a camera's pictures are smaller.
const MAX_BYTES: u64 = 20 << 20;

/// The maximum size of the names of all references that are kept while a manifest is checked. It is
/// enough for about half a million references.
const MAX_NAME_BYTES: usize = 128 << 20;

/// The memory that one name uses in addition to its characters, in bytes.
const NAME_BYTES: usize = 128;

/// Where the manifest first names a reference.
#[derive(Debug)]
struct FirstUse {
    /// The number of the line.
    line: u64,
    /// The item's key.
    key: String,
}

impl FirstUse {
    fn problem(self, (code, message): Fault) -> Diagnostic {
        Diagnostic {
            line: self.line,
            key: Some(self.key),
            severity: Severity::Error,
            code: code.to_owned(),
            message,
        }
    }
}

/// The distinct references of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Used {
    objects: BTreeMap<ObjectUri, FirstUse>,
    web: BTreeMap<Url, FirstUse>,
    name_bytes: usize,
    /// The first use of a reference that exceeded [`MAX_NAME_BYTES`]. No further ones are noted.
    overflow: Option<FirstUse>,
}

impl Used {
    /// Notes the references of an image.
    pub(crate) fn note(&mut self, expected: &PlannedImage) {
        let first = || FirstUse {
            line: expected.line,
            key: expected.item.clone(),
        };
        for object in expected.refs.iter().filter(|_| self.overflow.is_none()) {
            if !self.objects.contains_key(object) {
                self.name_bytes +=
                    object.bucket.len() + object.key.len() + expected.item.len() + NAME_BYTES;
                self.objects.insert(object.clone(), first());
            }
        }
        for url in expected.web.iter().filter(|_| self.overflow.is_none()) {
            if !self.web.contains_key(url) {
                self.name_bytes += url.as_str().len() + expected.item.len() + NAME_BYTES;
                self.web.insert(url.clone(), first());
            }
        }
        if self.name_bytes > MAX_NAME_BYTES && self.overflow.is_none() {
            self.overflow = Some(first());
        }
    }

    fn len(&self) -> usize {
        self.objects.len() + self.web.len()
    }
}

/// The code and the message of a problem.
type Fault = (&'static str, String);

/// The progress of checking references.
struct Progress<'a> {
    problems: Vec<Diagnostic>,
    /// How many references were checked.
    checked: usize,
    /// How many references there are.
    total: usize,
    /// After how many problems checking stops.
    max_problems: usize,
    time: &'a TimeLimit,
}

impl Progress<'_> {
    /// Notes a checked reference and its problem, if it has one. Returns whether to check others.
    fn note(&mut self, problem: Option<Diagnostic>) -> bool {
        self.checked += 1;
        self.problems.extend(problem);
        self.problems.len() < self.max_problems && !self.time.is_up()
    }

    /// Returns the problems. If not all references were checked, one of them gives the reason.
    ///
    /// # Errors
    /// [`PlanError::TimeUp`] if time ran out and the manifest is not the cause.
    fn finish(mut self) -> Result<Vec<Diagnostic>, PlanError> {
        let left = self.total - self.checked;
        if left > 0 && self.time.is_up() {
            if self.checked < MIN_CHECKED {
                return Err(PlanError::TimeUp);
            }
            let what = format!("{} of its {} distinct references", self.checked, self.total);
            self.problems.push(too_slow(&what));
        } else if left > 0 {
            let message = format!(
                "too many errors: {left} of {} distinct references were not checked; correct these errors first",
                self.total
            );
            self.problems
                .push(general("references_not_checked", message));
        }
        Ok(self.problems)
    }
}

/// Returns a problem of the whole manifest.
fn general(code: &str, message: String) -> Diagnostic {
    Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Error,
        code: code.to_owned(),
        message,
    }
}

/// Returns the problem that checking took too long. `what` is what was checked by then.
pub(crate) fn too_slow(what: &str) -> Diagnostic {
    let message = format!(
        "checking the manifest took longer than a function may run, and only covered {what}: split the manifest and drop \
         the parts. If references are web addresses, you can also drop it again: pictures that were fetched are kept"
    );
    general("checking_took_too_long", message)
}

/// Checks each object, and copies each picture from the web. Returns a problem for each reference that
/// can't be used, up to `max_problems`, and the copies.
pub(crate) async fn check(
    deps: &Deps,
    job: &JobId,
    used: Used,
    max_problems: usize,
    time: &TimeLimit,
) -> Result<(Vec<Diagnostic>, Copies), PlanError> {
    let mut copies = Copies::new();
    if let Some(first) = used.overflow {
        let count = used.objects.len() + used.web.len();
        let message = format!(
            "the items up to this line refer to {count} distinct pictures, more than one manifest can have: split the \
             manifest"
        );
        return Ok((vec![first.problem(("too_many_pictures", message))], copies));
    }
    let mut progress = Progress {
        problems: Vec::new(),
        checked: 0,
        total: used.len(),
        max_problems,
        time,
    };
    let mut is_checking = !time.is_up();

    // The results come in the order of the references, so that two checks report the same problems.
    let mut found = stream::iter(used.objects)
        .map(|(object, first)| async move {
            Ok::<_, PlanError>(
                check_object(deps, &object)
                    .await?
                    .map(|fault| first.problem(fault)),
            )
        })
        .buffered(CONCURRENCY);
    while is_checking && let Some(problem) = found.next().await {
        is_checking = progress.note(problem?);
    }

    // Fetched pictures are held in memory, so fewer of them are processed at a time.
    let mut copied = stream::iter(used.web)
        .map(|(url, first)| async move { (copy(deps, job, &url).await, url, first) })
        .buffered(FETCH_CONCURRENCY);
    while is_checking && let Some((copied, url, first)) = copied.next().await {
        is_checking = match copied? {
            Ok(object) => {
                copies.insert(url, object);
                progress.note(None)
            }
            Err(fault) => progress.note(Some(first.problem(fault))),
        };
    }
    Ok((progress.finish()?, copies))
}

/// Returns the job's copies of pictures from the web.
pub(crate) async fn copies(deps: &Deps, job: &JobId) -> Result<Copies, PlanError> {
    let records = deps.bucket.keys(&object_keys::web_references(job)).await?;
    let copies = stream::iter(records).map(|record| async move {
        let stored = read_record(deps, &record).await?;
        Ok::<_, PlanError>(
            stored.and_then(|Record { url, object }| Some((url.parse::<Url>().ok()?, object))),
        )
    });
    copies
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(async |copy| Ok(copy))
        .try_collect()
        .await
}

/// The record of a copied picture, `jobs/<job>/web/<sha256 of its address>.json`. The first write
/// wins, so that a job that is planned again, or twice at the same time, sends the same bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    url: String,
    object: ObjectUri,
}

/// Returns the copy of the picture at `url`, and makes it if there is none.
async fn copy(deps: &Deps, job: &JobId, url: &Url) -> Result<Result<ObjectUri, Fault>, PlanError> {
    let record = object_keys::web_reference(job, &hex(&Sha256::digest(url.as_str())));
    if let Some(object) = copied(deps, &record).await? {
        return Ok(Ok(object));
    }
    let bytes = match fetch(deps, url).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(fault(url, &error))),
    };
    let Some(media_type) = MediaType::of(&bytes) else {
        return Ok(Err((
            "bad_reference",
            format!("{url} is not a PNG, JPEG or WebP picture: use another picture"),
        )));
    };
    let key =
        object_keys::reference_copy(job, &hex(&Sha256::digest(&bytes)), media_type.extension());
    let object = ObjectUri {
        bucket: deps.bucket.name().to_owned(),
        key,
    };
    deps.bucket
        .put(&object.key, media_type.mime(), bytes)
        .await?;
    let bytes = serde_json::to_vec(&Record {
        url: url.to_string(),
        object: object.clone(),
    })
    .map_err(DocumentError::at(&record))?;
    match deps
        .bucket
        .create(&record, "application/json", bytes)
        .await?
    {
        Conditional::Written(_) => Ok(Ok(object)),
        // Another invocation wrote the record, or this one did and the response was lost.
        Conditional::Refused => Ok(Ok(copied(deps, &record).await?.unwrap_or(object))),
    }
}

async fn copied(deps: &Deps, record: &str) -> Result<Option<ObjectUri>, PlanError> {
    Ok(read_record(deps, record).await?.map(|record| record.object))
}

async fn read_record(deps: &Deps, record: &str) -> Result<Option<Record>, PlanError> {
    let Some(stored) = deps.bucket.read(record).await? else {
        return Ok(None);
    };
    Ok(serde_json::from_slice(&stored.bytes).map_err(DocumentError::at(record))?)
}

/// Fetches a picture. An unreachable host is tried several times.
async fn fetch(deps: &Deps, url: &Url) -> Result<bytes::Bytes, WebError> {
    let mut attempts = 1;
    loop {
        match deps.web.fetch(url, MAX_BYTES).await {
            Err(WebError::Unreachable(_)) if attempts < MAX_ATTEMPTS => attempts += 1,
            fetched => return fetched,
        }
    }
}

/// Returns the problem of a picture that can't be fetched.
fn fault(url: &Url, error: &WebError) -> Fault {
    let (code, advice) = match error {
        WebError::Refused(_) => (
            "bad_reference",
            "upload the picture to the bucket and use its key",
        ),
        WebError::Redirected(_) => ("bad_reference", "use the address that it redirects to"),
        WebError::Missing(_) => (
            "missing_reference",
            "correct the address, then drop the manifest again",
        ),
        WebError::Forbidden(_) => (
            "forbidden_reference",
            "upload the picture to the bucket and use its key",
        ),
        WebError::TooLarge { .. } => ("large_reference", "make it smaller"),
        WebError::Unreachable(_) => (
            "unreachable_reference",
            "drop the manifest again when its host is available",
        ),
    };
    (code, format!("{url} was not fetched: {error}: {advice}"))
}

/// Checks an object. Returns what is wrong with it, if anything is.
async fn check_object(deps: &Deps, object: &ObjectUri) -> Result<Option<Fault>, PlanError> {
    let own = object.bucket == deps.bucket.name();
    let bucket = if own {
        deps.bucket.clone()
    } else {
        deps.bucket.other(&object.bucket)
    };
    let (start, size) = match bucket.peek(&object.key, HEAD_BYTES).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let message =
                format!("{object} does not exist: upload it first, then drop the manifest again");
            return Ok(Some(("missing_reference", message)));
        }
        Err(BucketError::Permanent { .. }) => {
            let message = format!(
                "{object} can't be read: upload the picture to this bucket, or give the deployment access to its bucket"
            );
            return Ok(Some(("forbidden_reference", message)));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(if MediaType::of(&start).is_none() {
        Some((
            "bad_reference",
            format!("{object} is not a PNG, JPEG or WebP picture: use another picture"),
        ))
    } else if size > MAX_BYTES {
        let message = format!(
            "{object} has {} MiB, but at most {} are allowed: make it smaller",
            size >> 20,
            MAX_BYTES >> 20
        );
        Some(("large_reference", message))
    } else {
        None
    })
}
