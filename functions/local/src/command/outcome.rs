//! What a finished job came to, for the person at the terminal.

use std::fs;

use anyhow::Context;
use darkroom::{
    layout,
    names::JobId,
    report::Summary,
    status::{JobPhase, JobStatus},
};

use super::{
    Exit,
    announce::blocker,
    check::{SHOWN, count},
};
use crate::cloud::Cloud;

/// Shows where everything is, and what it cost; of a rejected manifest its problems, unless they are `listed` already.
pub(super) async fn show(cloud: &Cloud, job: &JobId, listed: bool) -> anyhow::Result<Exit> {
    let status: JobStatus = read(cloud, &layout::status(job)).await?.context("the job left no job.json")?;
    match status.phase {
        JobPhase::Rejected => show_rejection(cloud, job, &status, listed),
        JobPhase::Estimated => {
            println!("Estimated, as the manifest asks. Nothing was bought: drop it without mode to have the images.");
            Ok(Exit::Complete)
        }
        JobPhase::Succeeded | JobPhase::Partial | JobPhase::Failed | JobPhase::Cancelled => {
            show_summary(cloud, job).await
        }
        JobPhase::Blocked => anyhow::bail!("the job can't be closed: {}", blocker(&status)),
        JobPhase::Submitting | JobPhase::Waiting | JobPhase::Collecting => {
            anyhow::bail!("the job is not over; run the same command again to go on")
        }
    }
}

fn show_rejection(cloud: &Cloud, job: &JobId, status: &JobStatus, listed: bool) -> anyhow::Result<Exit> {
    let table = cloud.path_of(&layout::document(job, "validation.csv"));
    if !listed {
        let text = fs::read_to_string(&table).with_context(|| format!("can't read {}", table.display()))?;
        text.lines().skip(1).take(SHOWN).for_each(|line| println!("  {line}"));
    }
    println!("Rejected: {}. Nothing was bought.", count(status.errors.unwrap_or(0), "error"));
    println!("All of them: {}", table.display());
    Ok(Exit::Rejected)
}

async fn show_summary(cloud: &Cloud, job: &JobId) -> anyhow::Result<Exit> {
    let summary: Summary =
        read(cloud, &layout::document(job, "summary.json")).await?.context("the job left no summary.json")?;
    let (counts, cost) = (&summary.counts, &summary.cost);
    println!("{} of {}", counts.succeeded, count(counts.expected, "image"));
    println!("  images   {}", cloud.path_of(&summary.links.images).display());
    println!("  results  {}", cloud.path_of(&summary.links.table).display());
    if counts.succeeded < counts.expected {
        for error in &summary.errors_top {
            println!("  missing  {} × {} (such as {})", error.count, error.code, error.example_key);
        }
        println!("  retry    {}", cloud.path_of(&summary.links.retry).display());
    }
    println!("  cost     {} (estimated {})", cost.actual_usd, cost.estimated_usd);
    println!("           {} interactively: {} saved", cost.interactive_usd, cost.saved_usd);
    Ok(if counts.succeeded == counts.expected { Exit::Complete } else { Exit::Missing })
}

async fn read<T: serde::de::DeserializeOwned>(cloud: &Cloud, key: &str) -> anyhow::Result<Option<T>> {
    let Some(object) = cloud.bucket.read(key).await? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&object.bytes).with_context(|| format!("{key} can't be read"))?))
}
