//! `darkroom approve` and `darkroom cancel`: leave a request about a job for the host of its
//! folder.

use std::{fs, io, path::Path};

use anyhow::Context;
use darkroom::{names::JobId, object_keys};

use super::{ControlArgs, Exit, environment};
use crate::{
    cloud::BUCKET,
    controls::{self, ControlAction},
};

/// Runs `darkroom approve` or `darkroom cancel`.
pub(super) fn request(args: &ControlArgs, action: ControlAction) -> anyhow::Result<Exit> {
    let job = find(&args.out, &args.job)?;
    controls::request(&environment::internal_folder(&args.out)?, &job, action)?;
    println!("Requested: {} job {job}.", action.name());
    println!(
        "This takes effect within seconds if `darkroom run` or `darkroom serve` is using {}, and \
         otherwise when one of them next starts.",
        args.out.display()
    );
    Ok(Exit::Complete)
}

/// Returns the open job whose name starts with `prefix`.
fn find(out: &Path, prefix: &str) -> anyhow::Result<JobId> {
    let open = open_jobs(out)?;
    let matching: Vec<&String> = open.iter().filter(|job| job.starts_with(prefix)).collect();
    match matching[..] {
        [job] => Ok(JobId::new(job)),
        [] if open.is_empty() => anyhow::bail!("there is no open job in {}", out.display()),
        [] => anyhow::bail!(
            "no open job in {} starts with {prefix:?}: the open jobs are {}",
            out.display(),
            open.join(", ")
        ),
        _ => {
            let jobs: Vec<&str> = matching.into_iter().map(String::as_str).collect();
            anyhow::bail!(
                "ambiguous job {prefix:?}: it could be any of {}",
                jobs.join(", ")
            )
        }
    }
}

/// Returns the names of the jobs in a folder that are not closed, sorted.
fn open_jobs(out: &Path) -> anyhow::Result<Vec<String>> {
    let folder = out.join(BUCKET).join(object_keys::OPEN_JOBS);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("can't list {}", folder.display()));
        }
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut jobs = names
        .collect::<io::Result<Vec<String>>>()
        .with_context(|| format!("can't list {}", folder.display()))?;
    jobs.sort();
    Ok(jobs)
}
