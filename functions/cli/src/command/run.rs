//! `darkroom run`: the whole chain on this machine, for one manifest.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use aws_sim::listen::is_stopped;
use darkroom::{
    chain::CHAIN,
    layout::{self, Marker},
    manifest::{Sidecar, StoredTemplate},
    status::JobStatus,
};
use gemini::{ApiError, Gemini};
use gemini_sim::Gemini as SimulatedGemini;
use seam::environment::Variables;

use super::{
    Exit, GeminiMode, RunArgs, catalog,
    check::show_offer,
    dropped::{Dropped, Order},
    gemini_mode::{self, Choice},
    offer::Offer,
    outcome,
    progress::Progress,
    setting, signal,
};
use crate::{
    cloud::{BUCKET, Cloud, CloudConfig, INTERNAL},
    host::{self, Stopped, Waiting},
    time::Time,
};

pub(super) fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_manifest(args))
}

async fn run_manifest(args: &RunArgs) -> anyhow::Result<Exit> {
    let settings = args.settings.settings();
    let dropped = Dropped::open(&args.manifest, &settings)?;
    let internal = setting::folder(&args.out)?;
    let simulated = Time::simulated(&internal)?;
    let catalog = catalog::of(&args.out, &dropped.job)?;
    let read = dropped.read(&catalog, &args.settings, simulated.now())?;

    let variables = Variables::from_env();
    let finished = is_finished(&args.out, &dropped);
    let offer = Offer::new(&dropped.job, &read, &catalog);
    let choice = if read.is_dry_run {
        gemini_mode::choose_for_estimate(args, &internal)
    } else {
        gemini_mode::choose(args, &internal, finished, &variables, &offer.price())
    };
    let which = match choice? {
        Choice::Use(which) => which,
        Choice::End(exit) => return Ok(exit),
    };
    setting::log_to(&internal)?;

    let stop = signal::stopped()?;
    let (gemini, time, waiting) = match which {
        GeminiMode::Sim => {
            println!("Simulated Gemini: no key, no cost, hours pass in a moment.");
            let scenario = args.scenario.scenario(setting::HOURS);
            let service =
                SimulatedGemini::open(&internal.join("gemini"), simulated.clock(), scenario)?;
            (
                setting::simulated(Arc::new(service))?,
                simulated,
                Waiting::Jump,
            )
        }
        GeminiMode::Live => {
            println!(
                "The real Gemini API: this takes hours. Stop it whenever you like; the same command resumes it."
            );
            let gemini = setting::live(&variables)?;
            if !finished && !read.is_dry_run {
                check_access(&gemini).await?;
            }
            (gemini, Time::system(), Waiting::Sleep)
        }
    };
    let (limits, tier) = (args.settings.limits(), args.settings.tier);
    let setup = CloudConfig {
        settings,
        limits,
        tier,
        disk: setting::disk(which),
        ..CloudConfig::default()
    };
    let cloud = Arc::new(Cloud::open(&args.out, time, gemini, setup)?);
    if finished {
        println!("Job {} is already complete.", dropped.job);
        return outcome::show(&cloud, &dropped.job, false).await;
    }
    show_offer(&offer, &read.reading);
    let mut is_looked_at = status(&args.out, &dropped).is_none();
    put(&cloud, &dropped, &read).await?;

    let progress = Progress::start(&args.out, &dropped.job, cloud.time.clone());
    let mut refusal = None;
    let stopped = host::run(&cloud, waiting, is_stopped(&mut stop.clone()), async || {
        refusal = refused_key(&args.out, &dropped);
        if refusal.is_some() || is_over(&args.out, &dropped) {
            return Ok(true);
        }
        if !is_looked_at {
            // All shards may have been over before, and then nothing else has the job looked at for
            // an hour.
            is_looked_at = true;
            cloud.deps.sweep.wake.report(&dropped.job).await?;
            return Ok(false);
        }
        is_blocked(&cloud, &args.out, &dropped).await
    })
    .await;
    progress.end();
    match (stopped?, refusal) {
        (Stopped::Reached, Some(refusal)) => {
            let refusal = refusal.trim_end_matches('.');
            anyhow::bail!(
                "{refusal}. Nothing was bought. Run the same command again with another key to resume"
            )
        }
        (Stopped::Reached, None) => {
            outcome::show(&cloud, &dropped.job, read.reading.errors > 0).await
        }
        (Stopped::Idle, _) => {
            match status(&args.out, &dropped).filter(|status| status.blocker.is_some()) {
                Some(_) => outcome::show(&cloud, &dropped.job, false).await,
                None => anyhow::bail!(
                    "the job stopped half-way: {}",
                    dead_letters(&cloud, &args.out)?
                ),
            }
        }
        (Stopped::Asked, _) => {
            println!("Stopped. Run the same command to resume.");
            Ok(Exit::Interrupted)
        }
    }
}

/// Asks whether the API key may make batches, before anything is uploaded with it.
async fn check_access(gemini: &Gemini) -> anyhow::Result<()> {
    match gemini.check_access().await {
        Ok(()) => Ok(()),
        Err(
            refusal @ (ApiError::Unauthorized { .. }
            | ApiError::Invalid { .. }
            | ApiError::NotFound { .. }),
        ) => {
            anyhow::bail!(
                "{}. Nothing was bought",
                refusal.to_string().trim_end_matches('.')
            )
        }
        // It may answer later, and the job waits for that.
        Err(problem) => {
            println!(
                "Gemini does not answer now: {problem}. The job begins all the same, and waits for it."
            );
            Ok(())
        }
    }
}

/// Why Gemini refuses the API key or its project, if it does and has made no batch of this job yet.
fn refused_key(out: &Path, dropped: &Dropped) -> Option<String> {
    let status = status(out, dropped)?;
    if status.shards.iter().any(|shard| shard.batch.is_some()) {
        return None;
    }
    status
        .shards
        .into_iter()
        .find(|shard| shard.refused_key)?
        .note
}

/// Whether nothing but a document that is still missing or damaged keeps the job from being closed.
async fn is_blocked(cloud: &Cloud, out: &Path, dropped: &Dropped) -> anyhow::Result<bool> {
    let Some(status) = status(out, dropped).filter(JobStatus::shards_are_over) else {
        return Ok(false);
    };
    let Some(blocker) = status.blocker else {
        return Ok(false);
    };
    Ok(cloud.bucket.are_unchanged(&blocker.documents).await?)
}

fn status(out: &Path, dropped: &Dropped) -> Option<JobStatus> {
    serde_json::from_slice(&fs::read(out.join(BUCKET).join(layout::status(&dropped.job))).ok()?)
        .ok()
}

/// Whether the job was carried through, with or without all its images.
fn is_finished(out: &Path, dropped: &Dropped) -> bool {
    Marker::LAST
        .into_iter()
        .any(|marker| has(out, dropped, marker))
}

/// Whether there is nothing to wait for: it was carried through, or rejected.
fn is_over(out: &Path, dropped: &Dropped) -> bool {
    is_finished(out, dropped) || has(out, dropped, Marker::Rejected)
}

fn has(out: &Path, dropped: &Dropped, marker: Marker) -> bool {
    out.join(BUCKET)
        .join(layout::document(&dropped.job, marker.name()))
        .exists()
}

/// Puts the pictures beside the manifest into the bucket, then the manifest into its inbox.
async fn put(cloud: &Cloud, dropped: &Dropped, read: &Order) -> anyhow::Result<()> {
    for key in &read.references {
        let path = dropped.beside(key);
        let bytes = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let there = cloud.bucket.read(key).await?;
        if there.is_none_or(|object| object.bytes != bytes) {
            cloud
                .bucket
                .put(key, "application/octet-stream", bytes)
                .await?;
        }
    }
    let sidecar = &dropped.sidecar;
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
                &Sidecar::job_key(&dropped.key),
                "application/json",
                job.clone(),
            )
            .await?;
    }
    let (bytes, metadata) = (dropped.bytes()?, sidecar.metadata.clone());
    cloud
        .bucket
        .put_described(&dropped.key, "application/octet-stream", bytes, metadata)
        .await?;
    Ok(())
}

/// Where the messages are that no function could handle.
fn dead_letters(cloud: &Cloud, out: &Path) -> anyhow::Result<String> {
    let mut found = Vec::new();
    for source in &CHAIN {
        let depth = cloud.queues.depth(&source.dead_letters())?;
        if depth.visible > 0 {
            found.push(format!("{} in {}", depth.visible, source.dead_letters()));
        }
    }
    let log = setting::log(&out.join(INTERNAL));
    Ok(if found.is_empty() {
        format!(
            "a message was lost; run the same command again (log: {})",
            log.display()
        )
    } else {
        format!(
            "messages that failed again and again: {} (log: {})",
            found.join(", "),
            log.display()
        )
    })
}
