//! The models and prices that count in a folder.

use std::{fs, io, path::Path};

use anyhow::Context;
use darkroom::{models::Catalog, names::JobId, object_keys};

use crate::cloud::BUCKET;

/// The catalog that `plan` will use for a job in the folder `out`: the job's own if it was
/// planned already, else the one that a person put there as `stack/models.toml`, else the built-in
/// one.
pub(super) fn of(out: &Path, job: &JobId) -> anyhow::Result<Catalog> {
    let bucket = out.join(BUCKET);
    for key in [&object_keys::job_models(job), object_keys::MODELS] {
        let path = bucket.join(key);
        match fs::read_to_string(&path) {
            Ok(text) => {
                return Catalog::parse(&text)
                    .with_context(|| format!("{} can't be used", path.display()));
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
