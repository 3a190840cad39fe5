//! Whether every reference picture is there and is a picture, before anything is bought.

use std::collections::BTreeMap;

use clients::bucket::BucketError;
use darkroom::{
    manifest::{Problem, Severity},
    names::ObjectUri,
    results::image::MediaType,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::handler::{Deps, PlanError};

/// How many objects are looked at at once.
const AT_ONCE: usize = 16;

/// Enough of an object to tell a picture by.
const HEAD_BYTES: u64 = 64;

/// The largest reference picture. Gemini takes 2 GB a file, but `submit` holds a few pictures at once in a small
/// function, and no camera makes larger ones.
const LARGEST_BYTES: u64 = 20 << 20;

/// Where a manifest first names an object.
#[derive(Debug)]
pub(crate) struct FirstUse {
    /// The line.
    pub(crate) line: u64,
    /// The item's key.
    pub(crate) key: String,
}

/// Looks at each object once; a problem each for those that can't be used.
pub(crate) async fn check(deps: &Deps, used: BTreeMap<ObjectUri, FirstUse>) -> Result<Vec<Problem>, PlanError> {
    stream::iter(used)
        .map(|(object, first)| async move {
            let problem = look_at(deps, &object).await?;
            Ok(problem.map(|(code, message)| Problem {
                line: first.line,
                key: Some(first.key),
                severity: Severity::Error,
                code: code.to_owned(),
                message,
            }))
        })
        .buffered(AT_ONCE)
        .try_filter_map(|problem| async move { Ok(problem) })
        .try_collect()
        .await
}

async fn look_at(deps: &Deps, object: &ObjectUri) -> Result<Option<(&'static str, String)>, PlanError> {
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
