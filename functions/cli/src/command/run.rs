//! `darkroom run`: runs the whole chain on this machine for one manifest.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use aws_sim::listen::wait_until_stopped;
use darkroom::{
    chain::{CHAIN, REPORTS},
    manifest::{Sidecar, StoredTemplate},
    names::JobId,
    object_keys::{self, Marker},
    status::JobStatus,
};
use gemini::{ApiError, Gemini};
use gemini_sim::{Gemini as SimulatedGemini, Scenario};
use runtime::shard_store::Rounds;
use seam::environment::Variables;

use super::{
    Exit, GeminiMode, RunArgs, catalog,
    check::show_quote,
    environment,
    gemini_mode::{self, Choice},
    job_result,
    manifest_file::{CheckedManifest, ManifestFile},
    progress::Progress,
    quote::Quote,
    shutdown,
    stack::Stack,
};
use crate::{
    cloud::{BUCKET, Cloud, CloudConfig, INTERNAL},
    host::{self, StopReason, WaitMode},
    time::Time,
};

/// Runs `darkroom run`.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_manifest(args))
}

async fn run_manifest(args: &RunArgs) -> anyhow::Result<Exit> {
    // The manifest is checked before anything else, because the question whether to spend money
    // needs its price.
    let folders = catalog::folders(&args.out)?;
    let manifest = ManifestFile::open(&args.manifest, &args.settings.settings(), &folders)?;
    let internal = environment::internal_folder(&args.out)?;
    let simulated = Time::simulated(&internal)?;
    let catalog = catalog::effective(&args.out, &manifest.job)?;
    let checked = manifest.check(&catalog, &args.settings, simulated.now())?;
    let quote = Quote::new(&manifest.job, &checked, &catalog);

    // A finished job and a dry run spend nothing, so they need no consent.
    let variables = Variables::from_env();
    let local = LocalJob {
        out: &args.out,
        job: &manifest.job,
    };
    let finished = local.is_finished();
    let choice = if checked.is_dry_run {
        gemini_mode::choose_for_dry_run(args, &internal)
    } else {
        gemini_mode::choose(args, &internal, finished, &variables, &quote.price())
    };
    let mode = match choice? {
        Choice::Use(mode) => mode,
        Choice::Exit(exit) => return Ok(exit),
    };
    environment::init_log(&internal)?;

    // With the real Gemini, a wrong key is reported before anything is uploaded with it.
    let shutdown = shutdown::requested()?;
    let (gemini, time, wait_mode) = match mode {
        GeminiMode::Sim => {
            println!("Simulated Gemini: no API key, no cost; hours of waiting are skipped.");
            // With the log, a user can see that a batch has the request that was tried before.
            let scenario = Scenario {
                log_batch_lines: true,
                ..args.scenario.scenario(environment::REALISTIC_BATCH_SECONDS)
            };
            let service =
                SimulatedGemini::open(&internal.join("gemini"), simulated.clock(), scenario)?;
            let gemini = environment::simulated_gemini(Arc::new(service))?;
            (gemini, simulated, WaitMode::Jump)
        }
        GeminiMode::Live => {
            println!(
                "Real Gemini API: this takes hours. You can stop at any time; run the same command \
                 to resume."
            );
            let gemini = environment::live_gemini(&variables)?;
            if !finished && !checked.is_dry_run {
                check_access(&gemini).await?;
            }
            (gemini, Time::system(), WaitMode::Sleep)
        }
    };
    let config = CloudConfig {
        settings: args.settings.settings(),
        limits: args.settings.limits(),
        image_base_url: args.settings.image_base_url.clone(),
        tier: args.settings.tier,
        disk: environment::disk(mode),
        web: environment::web(&variables)?,
        event_targets: environment::event_targets(&variables)?,
        ..CloudConfig::default()
    };
    let logged = environment::logged_requests(args.aws.aws_log.as_deref())?;
    let cloud = Arc::new(Cloud::open_with(&args.out, time, gemini, config, logged)?);
    let stack = Stack::folder(&args.out);
    if finished {
        println!("Job {} is already complete.", manifest.job);
        return job_result::show(&stack, &manifest.job, false).await;
    }

    // If the job exists, it may have stopped at a moment at which no message refers to it.
    show_quote(&quote, &checked.reading);
    let is_resumed = local.status().is_some();
    upload(&cloud, &manifest, &checked).await?;

    let progress = Progress::start(&args.out, &manifest.job, cloud.time.clone());
    let result = run_host(
        &cloud,
        wait_mode,
        wait_until_stopped(&mut shutdown.clone()),
        local,
        is_resumed,
    )
    .await;
    progress.stop();
    match result? {
        Ending::KeyRejected(reason) => {
            anyhow::bail!(
                "{}. Nothing was bought. To resume, run the same command with another API key",
                reason.trim_end_matches('.')
            )
        }
        Ending::Host(StopReason::ConditionMet) if local.waits_for_approval(&cloud).await? => {
            let (job, out) = (&manifest.job, args.out.display());
            println!(
                "Stopped: the job waits for the approval of its proof. Look at \
                 {out}/{BUCKET}/jobs/{job}/images/, then run one of these, and the same command again:\n  \
                 darkroom approve {job} --out {out}\n  darkroom cancel {job} --out {out}"
            );
            Ok(Exit::Incomplete)
        }
        Ending::Host(StopReason::ConditionMet) => {
            job_result::show(&stack, &manifest.job, checked.reading.errors > 0).await
        }
        // No message is left. That is right for a blocked job only.
        Ending::Host(StopReason::Idle) => {
            match local.status().filter(|status| status.blocker.is_some()) {
                Some(_) => job_result::show(&stack, &manifest.job, false).await,
                None => anyhow::bail!(
                    "the job stopped before it was complete: {}",
                    dead_letters(&cloud, &args.out)?
                ),
            }
        }
        Ending::Host(StopReason::Interrupted) => {
            println!("Stopped. Run the same command to resume.");
            Ok(Exit::Interrupted)
        }
    }
}

/// How the host's run for one job ended.
enum Ending {
    /// Gemini rejects the API key or its project, for this reason, and no batch exists yet.
    KeyRejected(String),
    /// The host stopped.
    Host(StopReason),
}

/// Runs the chain until the job is finished, rejected or blocked, Gemini rejects the API key, or
/// `stop` completes.
async fn run_host(
    cloud: &Arc<Cloud>,
    wait_mode: WaitMode,
    stop: impl Future<Output = ()>,
    local: LocalJob<'_>,
    is_resumed: bool,
) -> anyhow::Result<Ending> {
    let mut rejection = None;
    let mut report_requested = !is_resumed;
    let stopped = host::run(cloud, wait_mode, stop, async || {
        rejection = local.rejected_key();
        if rejection.is_some() || local.is_finished_or_rejected() {
            return Ok(true);
        }
        // All shards of a resumed job may already have ended. Then nothing but the hourly sweep
        // would make `report` close the job.
        if !report_requested {
            report_requested = true;
            cloud.deps.sweep.queues.notify_report(local.job).await?;
            return Ok(false);
        }
        // In simulated time, the seven days that a user has for the approval would pass at once. The
        // user decides by `job.json` and the page, so `report` must have updated both.
        let is_reported = || anyhow::Ok(cloud.queues.next_due(REPORTS)?.is_none());
        if wait_mode == WaitMode::Jump && is_reported()? && local.waits_for_approval(cloud).await? {
            return Ok(true);
        }
        local.is_blocked(cloud).await
    })
    .await?;
    Ok(match (stopped, rejection) {
        (StopReason::ConditionMet, Some(reason)) => Ending::KeyRejected(reason),
        (reason, _) => Ending::Host(reason),
    })
}

/// Checks that the API key may create batches.
async fn check_access(gemini: &Gemini) -> anyhow::Result<()> {
    match gemini.check_access().await {
        Ok(()) => Ok(()),
        Err(
            rejection @ (ApiError::Unauthorized { .. }
            | ApiError::Invalid { .. }
            | ApiError::NotFound { .. }),
        ) => {
            anyhow::bail!(
                "{}. Nothing was bought",
                rejection.to_string().trim_end_matches('.')
            )
        }
        // Any other failure may be transient, and the job retries those.
        Err(error) => {
            println!(
                "Gemini is not available: {error}. The job starts anyway and retries until Gemini \
                 answers."
            );
            Ok(())
        }
    }
}

/// A job in the bucket of a folder. Its documents are read as files, because some of the questions
/// are asked before the cloud is opened.
#[derive(Clone, Copy)]
struct LocalJob<'a> {
    /// The folder given by `--out`.
    out: &'a Path,
    job: &'a JobId,
}

impl LocalJob<'_> {
    /// Returns the content of `job.json`. None if it does not exist or can't be read.
    fn status(self) -> Option<JobStatus> {
        let path = self.out.join(BUCKET).join(object_keys::status(self.job));
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn has(self, marker: Marker) -> bool {
        self.out
            .join(BUCKET)
            .join(object_keys::document(self.job, marker.name()))
            .exists()
    }

    /// Whether the job is closed, with or without all of its images.
    fn is_finished(self) -> bool {
        Marker::LAST.into_iter().any(|marker| self.has(marker))
    }

    fn is_finished_or_rejected(self) -> bool {
        self.is_finished() || self.has(Marker::Rejected)
    }

    /// Returns why Gemini rejects the API key or its project. None if it does not, or if the job
    /// already has a batch.
    fn rejected_key(self) -> Option<String> {
        let status = self.status()?;
        if status.shards.iter().any(|shard| shard.batch.is_some()) {
            return None;
        }
        status
            .shards
            .into_iter()
            .find(|shard| shard.refused_key)?
            .note
    }

    /// Whether all that is left of the job are images that wait for the approval of its proof. The
    /// states decide, because `job.json` may be older.
    async fn waits_for_approval(self, cloud: &Cloud) -> anyhow::Result<bool> {
        let Some(status) = self.status() else {
            return Ok(false);
        };
        let has_proof = status.shards.iter().any(|shard| shard.proof);
        let Some(plan) = status.plan.filter(|_| has_proof && !self.is_finished()) else {
            return Ok(false);
        };
        let states = &cloud.deps.control.states;
        let shards = states.read_all(self.job, plan.shards).await?;
        let is_held = |rounds: &Rounds| {
            let last = rounds.shards().next_back();
            last.is_some_and(|shard| shard.awaits_proof() && !shard.follows_proof)
        };
        Ok(shards.iter().any(is_held)
            && shards
                .iter()
                .all(|rounds| rounds.are_over() || is_held(rounds)))
    }

    /// Whether the only reason that the job is not closed is a document that is still missing or
    /// damaged.
    async fn is_blocked(self, cloud: &Cloud) -> anyhow::Result<bool> {
        let Some(status) = self.status().filter(JobStatus::all_shards_ended) else {
            return Ok(false);
        };
        let Some(blocker) = status.blocker else {
            return Ok(false);
        };
        Ok(cloud.bucket.are_unchanged(&blocker.documents).await?)
    }
}

/// Uploads the reference pictures, the templates and the job document, and then the manifest, whose
/// upload starts the job.
async fn upload(
    cloud: &Cloud,
    manifest: &ManifestFile,
    checked: &CheckedManifest,
) -> anyhow::Result<()> {
    // A picture that is already stored is not written again, because a running job may use it.
    for key in &checked.references {
        let path = manifest.local_path(key);
        let bytes = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let stored = cloud.bucket.read(key).await?;
        if stored.is_none_or(|object| object.bytes != bytes) {
            cloud
                .bucket
                .put(key, "application/octet-stream", bytes)
                .await?;
        }
    }

    let sidecar = &manifest.sidecar;
    for StoredTemplate { key, text } in sidecar.templates.values() {
        cloud
            .bucket
            .put(
                key,
                "application/octet-stream",
                text.clone().unwrap_or_default(),
            )
            .await?;
    }
    if let Some(job) = &sidecar.job {
        cloud
            .bucket
            .put(
                &Sidecar::job_key(&manifest.key),
                "application/json",
                job.clone(),
            )
            .await?;
    }

    // The manifest goes last: `plan` looks for everything else as soon as it is there.
    let (bytes, metadata) = (manifest.bytes()?, sidecar.metadata.clone());
    cloud
        .bucket
        .put_described(&manifest.key, "application/octet-stream", bytes, metadata)
        .await?;
    Ok(())
}

/// Describes the messages that no function could handle, and where to read more.
fn dead_letters(cloud: &Cloud, out: &Path) -> anyhow::Result<String> {
    let mut found = Vec::new();
    for source in &CHAIN {
        let depth = cloud.queues.depth(&source.dead_letters())?;
        if depth.visible > 0 {
            found.push(format!("{} in {}", depth.visible, source.dead_letters()));
        }
    }
    let log = environment::log_path(&out.join(INTERNAL));
    Ok(if found.is_empty() {
        format!(
            "a message was lost; run the same command again (log: {})",
            log.display()
        )
    } else {
        format!(
            "messages failed repeatedly: {} (log: {})",
            found.join(", "),
            log.display()
        )
    })
}
