//! Reference pictures are looked at before anything is bought: that they are there, can be read,
//! and are pictures.
//!
//! One from the web is copied to the job's folder while that is done, once: what was checked is
//! what is sent, in every round and whenever the job is planned again.

use std::collections::BTreeMap;

use darkroom::{
    digest::hex,
    manifest::{Copies, Diagnostic, PlannedImage, Severity},
    names::{JobId, ObjectUri},
    object_keys,
    results::image::MediaType,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use runtime::bucket::{BucketError, Conditional};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    deps::Deps,
    handler::{PlanError, malformed},
    time::TimeLimit,
    web::WebError,
};

/// How many objects are looked at at once. Each is one short request, which for the most part is
/// waited for.
const AT_ONCE: usize = 64;

/// So many references at the least were looked at where it is the manifest that takes long. If time
/// is up before, something else has stood still, and the next invocation may find it gone. Even if
/// none of so many web addresses answers, there is time enough for all of them.
const MANY: usize = 30;

/// How many pictures from the web are in memory at once.
const FETCHED_AT_ONCE: usize = 4;

/// How often a picture is asked for whose host does not answer. After that it is a problem of the
/// manifest, not of the function: the person who dropped it knows the host. What was copied by then
/// is not fetched again.
const TRIES: u32 = 3;

/// Enough of an object to tell a picture by.
const HEAD_BYTES: u64 = 64;

/// The largest reference picture. Gemini takes 2 GB a file, but `submit` holds a few pictures at
/// once in a small function, and no camera makes larger ones.
const LARGEST_BYTES: u64 = 20 << 20;

/// Bytes of the names of all references, at the most, that are kept while a manifest is checked:
/// some half a million.
const MAX_NAME_BYTES: usize = 128 << 20;

/// What one name takes up in memory, in addition to its letters.
const NAME_BYTES: usize = 128;

/// Where a manifest first names a reference.
#[derive(Debug)]
struct FirstUse {
    /// The line.
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
    /// The first use of a reference for which there was no room any more.
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

/// A problem's code, and what to do.
type Fault = (&'static str, String);

/// What was found out about references so far.
struct Looking<'a> {
    problems: Vec<Diagnostic>,
    /// How many were looked at, and how many there are.
    looked_at: usize,
    all: usize,
    most: usize,
    time: &'a TimeLimit,
}

impl Looking<'_> {
    /// Notes one more. Whether to look at others.
    fn note(&mut self, problem: Option<Diagnostic>) -> bool {
        self.looked_at += 1;
        self.problems.extend(problem);
        self.problems.len() < self.most && !self.time.is_up()
    }

    /// The problems, and why not all references were looked at, if that is so.
    ///
    /// # Errors
    /// [`PlanError::TimeUp`] where that is not due to the manifest.
    fn finish(mut self) -> Result<Vec<Diagnostic>, PlanError> {
        let left = self.all - self.looked_at;
        if left > 0 && self.time.is_up() {
            if self.looked_at < MANY {
                return Err(PlanError::TimeUp);
            }
            let what = format!(
                "looking at {} of its {} distinct references",
                self.looked_at, self.all
            );
            self.problems.push(too_slow(&what));
        } else if left > 0 {
            let message = format!(
                "after so many errors {left} of {} distinct references were not looked at; correct these first",
                self.all
            );
            self.problems
                .push(general("references_not_checked", message));
        }
        Ok(self.problems)
    }
}

/// An error of the whole manifest.
fn general(code: &str, message: String) -> Diagnostic {
    Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Error,
        code: code.to_owned(),
        message,
    }
}

/// Says that checking took too long, of which `what` could be done.
pub(crate) fn too_slow(what: &str) -> Diagnostic {
    let message = format!(
        "checking the manifest took as long as a function may run, and got as far as {what}: drop it in several parts; \
         where references are web addresses, dropping it again goes further, as the pictures that were fetched are kept"
    );
    general("checking_took_too_long", message)
}

/// Looks at each object, and copies each picture from the web, once. A problem each for those that
/// can't be used, `most` of them, and where the copies are.
pub(crate) async fn check(
    deps: &Deps,
    job: &JobId,
    used: Used,
    most: usize,
    time: &TimeLimit,
) -> Result<(Vec<Diagnostic>, Copies), PlanError> {
    let mut copies = Copies::new();
    if let Some(first) = used.overflow {
        let count = used.objects.len() + used.web.len();
        let message = format!(
            "up to here the items refer to {count} distinct pictures, more than can be checked at once: drop several \
             manifests"
        );
        return Ok((vec![first.problem(("too_many_pictures", message))], copies));
    }
    let mut looking = Looking {
        problems: Vec::new(),
        looked_at: 0,
        all: used.len(),
        most,
        time,
    };
    let mut goes_on = !time.is_up();
    let mut found = stream::iter(used.objects)
        .map(|(object, first)| async move {
            Ok::<_, PlanError>(
                look_at(deps, &object)
                    .await?
                    .map(|fault| first.problem(fault)),
            )
        })
        .buffered(AT_ONCE);
    while goes_on && let Some(problem) = found.next().await {
        goes_on = looking.note(problem?);
    }
    let mut copied = stream::iter(used.web)
        .map(|(url, first)| async move { (copy(deps, job, &url).await, url, first) })
        .buffered(FETCHED_AT_ONCE);
    while goes_on && let Some((copied, url, first)) = copied.next().await {
        goes_on = match copied? {
            Ok(object) => {
                copies.insert(url, object);
                looking.note(None)
            }
            Err(fault) => looking.note(Some(first.problem(fault))),
        };
    }
    Ok((looking.finish()?, copies))
}

/// The copies that a job has of pictures from the web.
pub(crate) async fn copies(deps: &Deps, job: &JobId) -> Result<Copies, PlanError> {
    let records = deps.bucket.keys(&object_keys::web_references(job)).await?;
    let copies = stream::iter(records).map(|record| async move {
        let stored = read_record(deps, &record).await?;
        Ok::<_, PlanError>(
            stored.and_then(|Record { url, object }| Some((url.parse::<Url>().ok()?, object))),
        )
    });
    copies
        .buffer_unordered(AT_ONCE)
        .try_filter_map(async |copy| Ok(copy))
        .try_collect()
        .await
}

/// Where a picture from the web was copied to, `jobs/<job>/web/<sha256 of its address>.json`. The
/// first write wins, so that a job that is planned again, or twice at once, sends the same bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    url: String,
    object: ObjectUri,
}

/// The copy of what is at `url`, made unless there is one.
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
            format!("{url} is no PNG, JPEG or WebP picture by its content"),
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
    .map_err(malformed(&record))?;
    match deps
        .bucket
        .create(&record, "application/json", bytes)
        .await?
    {
        Conditional::Written(_) => Ok(Ok(object)),
        // Ours, if the answer to it was lost, or another's.
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
    serde_json::from_slice(&stored.bytes)
        .map(Some)
        .map_err(malformed(record))
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
        WebError::Refused(_) => (
            "bad_reference",
            "put the picture into the bucket and write its key",
        ),
        WebError::Redirected(_) => ("bad_reference", "write the address that it leads to"),
        WebError::Missing(_) => (
            "missing_reference",
            "mend the address, then drop the manifest again",
        ),
        WebError::Forbidden(_) => (
            "forbidden_reference",
            "put the picture into the bucket and write its key",
        ),
        WebError::TooLarge { .. } => ("large_reference", "make it smaller"),
        WebError::Unreachable(_) => (
            "unreachable_reference",
            "drop the manifest again once its host is up",
        ),
    };
    (code, format!("{url} was not fetched: {error}: {advice}"))
}

async fn look_at(deps: &Deps, object: &ObjectUri) -> Result<Option<Fault>, PlanError> {
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
                "{object} can't be read: put the picture into this bucket, or give the deployment access to its bucket"
            );
            return Ok(Some(("forbidden_reference", message)));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(if MediaType::of(&start).is_none() {
        Some((
            "bad_reference",
            format!("{object} is no PNG, JPEG or WebP picture by its content"),
        ))
    } else if size > LARGEST_BYTES {
        let message = format!(
            "{object} has {} MiB: {} at the most, make it smaller",
            size >> 20,
            LARGEST_BYTES >> 20
        );
        Some(("large_reference", message))
    } else {
        None
    })
}
