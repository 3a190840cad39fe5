//! What stands beside a manifest in the bucket: its metadata, its job document, and the stored
//! templates that it uses.

use std::collections::{BTreeMap, BTreeSet};

use darkroom::{
    manifest::{self, Beside, StoredTemplate, TEMPLATES},
    plan::ManifestVersion,
};

use crate::{deps::Deps, drop::reader, handler::PlanError};

/// The largest job document or template, in bytes.
const LARGEST_BYTES: u64 = 1 << 20;

/// Reads what stands beside this version of a manifest.
pub(crate) async fn read(
    deps: &Deps,
    version: &ManifestVersion,
    metadata: BTreeMap<String, String>,
) -> Result<Beside, PlanError> {
    let key = &version.uri.key;
    let job = text(deps, &Beside::job_key(key)).await?;
    let mut beside = Beside {
        metadata,
        job,
        templates: BTreeMap::new(),
    };
    let stored = Beside::template_names(key, &deps.bucket.keys(TEMPLATES).await?);
    if stored.is_empty() {
        return Ok(beside);
    }
    // Only those that are used are part of the job: another one may change without making it
    // another job.
    let unread = |(name, key): (&String, &String)| {
        (
            name.clone(),
            StoredTemplate {
                key: key.clone(),
                text: None,
            },
        )
    };
    beside.templates = stored.iter().map(unread).collect();
    let used = used_templates(deps, version, &beside).await?;
    beside.templates.retain(|name, _| used.contains(name));
    for template in beside.templates.values_mut() {
        template.text = Some(text(deps, &template.key).await?.unwrap_or_default());
    }
    Ok(beside)
}

/// The stored templates that the manifest names anywhere.
async fn used_templates(
    deps: &Deps,
    version: &ManifestVersion,
    beside: &Beside,
) -> Result<BTreeSet<String>, PlanError> {
    let (for_header, for_items) = (reader(deps, version).await?, reader(deps, version).await?);
    let (bucket, beside) = (deps.bucket.name().to_owned(), beside.clone());
    let used = move || manifest::used_templates(for_header, for_items, &bucket, &beside);
    Ok(tokio::task::spawn_blocking(used).await??)
}

/// A small object as text. What isn't UTF-8 or too large is read as what it is: no JSON, and so a
/// problem that is named.
async fn text(deps: &Deps, key: &str) -> Result<Option<String>, PlanError> {
    let Some((start, _)) = deps.bucket.peek(key, LARGEST_BYTES).await? else {
        return Ok(None);
    };
    Ok(Some(String::from_utf8_lossy(&start).into_owned()))
}
