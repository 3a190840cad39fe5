//! The models and prices that apply in a folder.

use std::{fs, io, path::Path};

use anyhow::Context;
use darkroom::{models::Catalog, names::JobId, object_keys};

use crate::cloud::BUCKET;

/// Returns the catalog that `plan` uses for a job in the folder `out`. Precedence, highest first:
/// the job's own catalog, if the job was already planned; the user's `stack/models.toml`; the
/// built-in catalog.
pub(super) fn effective(out: &Path, job: &JobId) -> anyhow::Result<Catalog> {
    first_of(out, &[&object_keys::job_models(job), object_keys::MODELS])
}

/// Returns the catalog for a request in the folder `out` that belongs to no job.
pub(super) fn of_folder(out: &Path) -> anyhow::Result<Catalog> {
    first_of(out, &[object_keys::MODELS])
}

fn first_of(out: &Path, keys: &[&str]) -> anyhow::Result<Catalog> {
    let bucket = out.join(BUCKET);
    for key in keys {
        let path = bucket.join(key);
        match fs::read_to_string(&path) {
            Ok(text) => {
                return Catalog::parse(&text)
                    .with_context(|| format!("invalid catalog {}", path.display()));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't read {}", path.display()));
            }
        }
    }
    Ok(Catalog::built_in())
}
