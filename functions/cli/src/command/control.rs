//! `darkroom approve` and `darkroom cancel`: record the user's decision about a job where the host
//! of its folder, or the functions of a deployment, find it.

use std::path::Path;

use anyhow::Context;
use darkroom::{
    names::JobId,
    object_keys,
    status::{JobStatus, ShardPhase},
};
use runtime::{aws::Aws, bucket::Bucket};

use super::{ControlArgs, Exit, environment};
use crate::{
    cloud::BUCKET,
    controls::{self, ControlAction},
    listing::paths_in,
};

/// Runs `darkroom approve` or `darkroom cancel`.
pub(super) fn request(args: &ControlArgs, action: ControlAction) -> anyhow::Result<Exit> {
    if let Some(bucket) = &args.stack.bucket {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(request_in(bucket, &args.job, action));
    }
    let job = find(&args.stack.out, &args.job)?;
    controls::request(
        &environment::internal_folder(&args.stack.out)?,
        &job,
        action,
    )?;
    println!("Requested: {} job {job}.", action.name());
    println!(
        "This takes effect within seconds if `darkroom run` or `darkroom serve` is using {}, and \
         otherwise when one of them next starts.",
        args.stack.out.display()
    );
    Ok(Exit::Complete)
}

/// Writes the request to the bucket of a deployment, with the AWS credentials of the environment.
async fn request_in(name: &str, job: &str, action: ControlAction) -> anyhow::Result<Exit> {
    // A request for a job that does not exist would silently have no effect.
    let bucket = Bucket::new(Aws::from_env().await.s3, name);
    let job = JobId::new(job);
    let read = || format!("can't read the status of job {job} in the bucket {name}");
    let Some(object) = bucket
        .read(&object_keys::status(&job))
        .await
        .with_context(read)?
    else {
        anyhow::bail!(
            "there is no job {job} in the bucket {name}: write its whole name, which is that of \
             its folder below jobs/"
        );
    };
    let status: JobStatus = serde_json::from_slice(&object.bytes).with_context(read)?;
    if status.phase.is_terminal() {
        anyhow::bail!("job {job} has already ended");
    }

    controls::write(&bucket, job.as_str(), action).await?;
    println!("Requested: {} job {job}.", action.name());
    let is_held = |phase| phase == ShardPhase::Held;
    println!(
        "{}",
        match action {
            ControlAction::Approve if !status.shards.iter().any(|shard| is_held(shard.phase)) =>
                "According to its status, no shard of the job is held. If that is true, the \
                 approval has no effect.",
            ControlAction::Approve =>
                "S3 notifies the function control, which lets the held shards continue within \
                 about a minute.",
            ControlAction::Cancel =>
                "S3 notifies the function control, which cancels the batches of the job within \
                 about a minute. Results that they have already produced are still collected, and \
                 then the job ends.",
        }
    );
    println!(
        "To follow it: aws s3 cp s3://{name}/{} -",
        object_keys::status(&job)
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
    let paths = paths_in(&folder)?;
    let names = paths.iter().filter_map(|path| path.file_name());
    let mut jobs: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    jobs.sort();
    Ok(jobs)
}
