//! What a finished job came to, for the person at the terminal.

use std::fs;

use anyhow::Context;
use darkroom::{
    names::JobId,
    object_keys,
    report::{Integrity, Summary, UnfetchedBatch},
    state::BatchOutput,
    status::{JobPhase, JobStatus},
};

use super::{
    Exit,
    announce::blocker,
    check::{SHOWN, count},
};
use crate::cloud::Cloud;

/// Shows where everything is, and what it cost; of a rejected manifest its problems, unless they
/// are `listed` already.
pub(super) async fn show(cloud: &Cloud, job: &JobId, listed: bool) -> anyhow::Result<Exit> {
    let status: JobStatus = read(cloud, &object_keys::status(job))
        .await?
        .context("the job left no job.json")?;
    match status.phase {
        JobPhase::Rejected => show_rejection(cloud, job, &status, listed),
        JobPhase::Estimated => {
            println!(
                "Estimated, as you asked. Nothing was bought: leave out --dry-run, or the mode, to have the images."
            );
            Ok(Exit::Complete)
        }
        JobPhase::Succeeded | JobPhase::Partial | JobPhase::Failed | JobPhase::Cancelled => {
            show_summary(cloud, job).await
        }
        JobPhase::Blocked => anyhow::bail!("the job can't be closed: {}", blocker(&status)),
        JobPhase::Submitting | JobPhase::Waiting | JobPhase::Collecting => {
            anyhow::bail!("the job is not over; run the same command again to resume")
        }
    }
}

fn show_rejection(
    cloud: &Cloud,
    job: &JobId,
    status: &JobStatus,
    listed: bool,
) -> anyhow::Result<Exit> {
    let table = cloud.path_of(&object_keys::document(job, "validation.csv"));
    if !listed {
        let text = fs::read_to_string(&table)
            .with_context(|| format!("can't read {}", table.display()))?;
        text.lines()
            .skip(1)
            .take(SHOWN)
            .for_each(|line| println!("  {line}"));
    }
    println!(
        "Rejected: {}. Nothing was bought.",
        count(status.errors.unwrap_or(0), "error")
    );
    println!("All of them: {}", table.display());
    Ok(Exit::Rejected)
}

async fn show_summary(cloud: &Cloud, job: &JobId) -> anyhow::Result<Exit> {
    let summary: Summary = read(cloud, &object_keys::document(job, "summary.json"))
        .await?
        .context("the job left no summary.json")?;
    let (counts, cost) = (&summary.counts, &summary.cost);
    println!(
        "{} of {}",
        counts.succeeded,
        count(counts.expected, "image")
    );
    println!(
        "  images   {}",
        cloud.path_of(&summary.links.images).display()
    );
    println!(
        "  results  {}",
        cloud.path_of(&summary.links.table).display()
    );
    if counts.succeeded < counts.expected {
        for error in &summary.errors_top {
            println!(
                "  missing  {} × {} (such as {})",
                error.count, error.code, error.example_key
            );
        }
        println!(
            "  retry    {}",
            cloud.path_of(&summary.links.retry).display()
        );
    }
    for line in misfits(&summary.integrity) {
        println!(
            "  check    {line}: see the warnings in {}",
            cloud.path_of(&summary.links.results).display()
        );
    }
    if let Some(unmatched) = &summary.unmatched {
        let folder = cloud.path_of(&unmatched.folder);
        println!(
            "  unmatched    {} of no request: {}",
            count(unmatched.images, "image"),
            folder.display()
        );
    }
    println!(
        "  cost     {} (estimated {})",
        cost.actual_usd, cost.estimated_usd
    );
    println!(
        "           {} interactively: {} saved",
        cost.interactive_usd, cost.saved_usd
    );
    if cost.unaccounted.requests > 0 {
        let (requests, usd) = (
            count(cost.unaccounted.requests, "request"),
            cost.unaccounted.estimated_usd,
        );
        println!(
            "           up to {usd} more: Gemini does not tell what it charged for {requests}"
        );
    }
    for batch in &summary.unfetched {
        println!("  fetch    {}", whereabouts(batch));
    }
    if !summary.unfetched.is_empty() {
        println!("           Look there before you drop retry.jsonl: it buys these images again.");
    }
    Ok(if counts.succeeded == counts.expected {
        Exit::Complete
    } else {
        Exit::Missing
    })
}

/// Where images can be fetched by hand that may have been paid for.
fn whereabouts(batch: &UnfetchedBatch) -> String {
    let output = match &batch.output {
        Some(BatchOutput::File(file)) => format!("its output is {file}"),
        Some(BatchOutput::Inline) => "its output is in the batch itself".to_owned(),
        None => "its output is not known".to_owned(),
    };
    let until = batch
        .kept_until
        .map(|until| format!(", kept until {}", until.strftime("%Y-%m-%d")));
    format!(
        "{} (shard {}): {output}{}",
        batch.batch_name,
        batch.shard,
        until.unwrap_or_default()
    )
}

/// GeminiMode images are not as they were asked for.
fn misfits(integrity: &Integrity) -> Vec<String> {
    let of = |images: u64, what: &str| {
        let verb = if images == 1 { "has" } else { "have" };
        (images > 0).then(|| {
            format!(
                "{} {verb} another {what} than was asked for",
                count(images, "image")
            )
        })
    };
    [
        of(integrity.wrong_ratio, "aspect ratio"),
        of(integrity.wrong_size, "size"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn read<T: serde::de::DeserializeOwned>(
    cloud: &Cloud,
    key: &str,
) -> anyhow::Result<Option<T>> {
    let Some(object) = cloud.bucket.read(key).await? else {
        return Ok(None);
    };
    Ok(Some(
        serde_json::from_slice(&object.bytes).with_context(|| format!("{key} can't be read"))?,
    ))
}
