//! The estimate for a manifest that the page has made, and its drop into `inbox/`.

use std::io::Read;

use bytes::Bytes;
use darkroom::{
    ignored_files::is_ignored,
    manifest::{OpenedManifest, SourceSet, TEMPLATES},
    names::{JobId, ObjectUri},
};
use http::{Response, StatusCode};
use seam::transport::Body;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::answer::{Refusal, json};
use crate::command::{
    SettingsArgs,
    manifest_file::ManifestCheck,
    quote::Quote,
    stack::{DropOutcome, Stack},
};

/// The longest name of a manifest, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// A manifest that the page sends.
#[derive(Deserialize)]
struct Manifest {
    /// Its name in `inbox/`.
    name: String,
    /// Its content.
    text: String,
}

/// The estimate, as `darkroom check --json` prints it, and its main figures in words.
#[derive(Serialize)]
struct Estimate {
    #[serde(flatten)]
    quote: Quote,
    lines: Vec<String>,
}

/// Returns what a manifest would make and cost, or what is wrong with it.
///
/// # Errors
/// Returns an error if the bucket can't be read.
pub(super) async fn estimate(
    stack: &Stack,
    settings: &SettingsArgs,
    body: &[u8],
) -> anyhow::Result<Response<Body>> {
    let manifest = match parsed(body) {
        Ok(manifest) => manifest,
        Err(refusal) => return Ok(refusal.into()),
    };
    let key = format!("inbox/{}", manifest.name);
    let Checked { quote, .. } = check(stack, settings, key, manifest.text.into()).await?;
    let lines = words(&quote);
    Ok(json(StatusCode::OK, &Estimate { quote, lines }))
}

/// Drops a manifest, unless it has errors.
///
/// # Errors
/// Returns an error if the bucket can't be read or written.
pub(super) async fn drop(
    stack: &Stack,
    settings: &SettingsArgs,
    body: &[u8],
) -> anyhow::Result<Response<Body>> {
    let manifest = match parsed(body) {
        Ok(manifest) => manifest,
        Err(refusal) => return Ok(refusal.into()),
    };
    // A manifest with errors would only become a job that is rejected.
    let (name, text) = (manifest.name, Bytes::from(manifest.text));
    let Checked { quote, picks } =
        check(stack, settings, format!("inbox/{name}"), text.clone()).await?;
    if !quote.is_accepted() {
        let lines = words(&quote);
        let refused = Estimate { quote, lines };
        return Ok(json(StatusCode::UNPROCESSABLE_ENTITY, &refused));
    }
    // The copies of picked images must exist before the manifest that names them.
    for pick in &picks {
        stack.copy_pick(pick).await?;
    }
    let (status, key, is_new) = match stack.drop(&name, &text).await? {
        DropOutcome::Dropped(key) => (StatusCode::ACCEPTED, key, true),
        DropOutcome::DroppedBefore(key) => (StatusCode::OK, key, false),
    };
    // The name may have got a number, and then the job has another name.
    let job = job(stack, settings, key.clone(), text).await?;
    let answer = serde_json::json!({ "key": key, "job": job, "dropped": is_new });
    Ok(json(status, &answer))
}

fn parsed(body: &[u8]) -> Result<Manifest, Refusal> {
    let status = StatusCode::BAD_REQUEST;
    let refuse = |reason| Refusal { status, reason };
    let manifest: Manifest = serde_json::from_slice(body)
        .map_err(|_| refuse("expected a JSON object with the members name and text"))?;
    if is_name(&manifest.name) {
        Ok(manifest)
    } else {
        Err(refuse(
            "invalid name: expected up to 100 letters, digits and characters of -_. that end in \
             .jsonl",
        ))
    }
}

/// Whether a manifest may have this name. It is a single file name on every system.
fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= MAX_NAME_BYTES
        && name.bytes().all(is_letter)
        && name
            .strip_suffix(".jsonl")
            .is_some_and(|stem| !stem.is_empty())
        && !name.contains("..")
        && !is_ignored(name)
}

/// A manifest that was checked.
struct Checked {
    quote: Quote,
    /// The references that are copied from picked images before the manifest is dropped.
    picks: Vec<String>,
}

/// Checks a manifest as `darkroom check` does, as if it had this key and its picked images were
/// copied.
async fn check(
    stack: &Stack,
    settings: &SettingsArgs,
    key: String,
    bytes: Bytes,
) -> anyhow::Result<Checked> {
    let (settings, catalog) = (settings.clone(), stack.catalog().await?);
    let folder = stack.folders().await?.of(&key).cloned();
    with_sources(stack, bytes, move |sources| {
        let bucket = sources.stack.bucket_name();
        let uri = ObjectUri {
            bucket: bucket.to_owned(),
            key,
        };
        let defaults = folder.as_ref().and_then(|folder| folder.defaults.clone());
        let opened = OpenedManifest::open(sources, &uri, Default::default(), defaults)?;
        let job = opened.job_id(&uri, &settings.settings());
        let check = ManifestCheck {
            bucket,
            header: &opened.header,
            sidecar: &opened.sidecar,
            folder: folder.as_ref(),
            catalog: &catalog,
            args: &settings,
            now: sources.stack.now(),
        };
        let mut picks = Vec::new();
        let checked = check.run(sources, |key| {
            if sources.handle.block_on(sources.stack.etag(key))?.is_some() {
                return Ok(None);
            }
            if sources.handle.block_on(sources.stack.is_pick(key))? {
                picks.push(key.to_owned());
                return Ok(None);
            }
            Ok(Some(format!("there is no object {key} in the bucket")))
        })?;
        let quote = Quote::new(&job, &checked, &catalog);
        Ok(Checked { quote, picks })
    })
    .await
}

/// Returns the job that a manifest becomes under a key.
async fn job(
    stack: &Stack,
    settings: &SettingsArgs,
    key: String,
    bytes: Bytes,
) -> anyhow::Result<JobId> {
    let settings = settings.settings();
    let folders = stack.folders().await?;
    let defaults = folders.of(&key).and_then(|folder| folder.defaults.clone());
    with_sources(stack, bytes, move |sources| {
        let bucket = sources.stack.bucket_name().to_owned();
        let uri = ObjectUri { bucket, key };
        let opened = OpenedManifest::open(sources, &uri, Default::default(), defaults)?;
        Ok(opened.job_id(&uri, &settings))
    })
    .await
}

/// Reads a manifest on a separate thread, because its reader waits for each source.
async fn with_sources<T: Send + 'static>(
    stack: &Stack,
    bytes: Bytes,
    read: impl FnOnce(&StackSources) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let sources = StackSources {
        stack: stack.clone(),
        handle: Handle::current(),
        bytes,
    };
    spawn_blocking(move || read(&sources)).await?
}

/// A manifest in memory, with the stored templates and job documents of a bucket.
struct StackSources {
    stack: Stack,
    handle: Handle,
    bytes: Bytes,
}

impl SourceSet for StackSources {
    type Error = anyhow::Error;

    fn manifest(&self) -> anyhow::Result<impl Read> {
        Ok(&*self.bytes)
    }

    fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
        let object = self.handle.block_on(self.stack.read(key))?;
        Ok(object.map(|object| String::from_utf8_lossy(&object.bytes).into_owned()))
    }

    fn template_keys(&self) -> anyhow::Result<Vec<String>> {
        self.handle.block_on(self.stack.keys(TEMPLATES))
    }
}

/// Returns what a user must know before the manifest is dropped.
fn words(quote: &Quote) -> Vec<String> {
    if !quote.is_accepted() {
        return Vec::new();
    }
    let (images, items) = quote.counts();
    let images = crate::command::check::count(images, "image");
    let items = crate::command::check::count(items, "item");
    let mut lines = vec![format!("{images} from {items}: {}", quote.price())];
    lines.extend(quote.proof());
    lines.extend(quote.forecast().map(|forecast| forecast.note.clone()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_safe_file_name() {
        for name in ["picks.jsonl", "catalog-9cf4.picks_2.jsonl"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            ".jsonl",
            ".hidden.jsonl",
            "../picks.jsonl",
            "a/b.jsonl",
            "a\\b.jsonl",
            "a..b.jsonl",
            "picks.csv",
            "picks.job.json",
            "picks.jsonl.part",
            "a b.jsonl",
            "a\n.jsonl",
            "é.jsonl",
            &format!("{}.jsonl", "x".repeat(100)),
        ] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
