//! `darkroom approve` and `darkroom cancel`: a person's word about a job, for the host of its
//! folder.

use std::{fs, io, path::Path};

use anyhow::Context;
use darkroom::{names::JobId, object_keys};

use super::{Exit, WordArgs, setting};
use crate::{
    cloud::BUCKET,
    words::{self, Word},
};

pub(super) fn say(args: &WordArgs, word: Word) -> anyhow::Result<Exit> {
    let job = find(&args.out, &args.job)?;
    words::leave(&setting::folder(&args.out)?, &job, word)?;
    println!("{job}: {} was noted.", word.name());
    println!(
        "It takes effect within seconds where `darkroom run` or `serve` uses {}, else when it next does.",
        args.out.display()
    );
    Ok(Exit::Complete)
}

/// The open job whose name begins so.
fn find(out: &Path, beginning: &str) -> anyhow::Result<JobId> {
    let open = open_jobs(out)?;
    let matching: Vec<&String> = open
        .iter()
        .filter(|job| job.starts_with(beginning))
        .collect();
    match matching[..] {
        [job] => Ok(JobId::new(job)),
        [] if open.is_empty() => anyhow::bail!("no job is open in {}", out.display()),
        [] => anyhow::bail!(
            "no open job of {} begins with {beginning:?}; open are {}",
            out.display(),
            open.join(", ")
        ),
        _ => {
            let jobs: Vec<&str> = matching.into_iter().map(String::as_str).collect();
            anyhow::bail!("{beginning:?} could be any of {}", jobs.join(", "))
        }
    }
}

/// The jobs of a folder that are not closed, in order.
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
