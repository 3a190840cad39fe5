//! The models, prices and tenants' folders that apply in a folder on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use darkroom::{folders::Folders, models::Catalog, names::JobId, object_keys};

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

/// Returns the user's `stack/folders.toml` in the folder `out`, by which `plan` finds the folder of
/// a manifest.
pub(super) fn folders(out: &Path) -> anyhow::Result<Folders> {
    let Some((path, text)) = first_text(out, &[object_keys::FOLDERS])? else {
        return Ok(Folders::default());
    };
    Folders::parse(&text).with_context(|| format!("invalid folders {}", path.display()))
}

fn first_of(out: &Path, keys: &[&str]) -> anyhow::Result<Catalog> {
    let Some((path, text)) = first_text(out, keys)? else {
        return Ok(Catalog::built_in());
    };
    Catalog::parse(&text).with_context(|| format!("invalid catalog {}", path.display()))
}

/// Returns the first of these objects that exists, with the path of its file.
fn first_text(out: &Path, keys: &[&str]) -> anyhow::Result<Option<(PathBuf, String)>> {
    let bucket = out.join(BUCKET);
    for key in keys {
        let path = bucket.join(key);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some((path, text))),
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
    Ok(None)
}
