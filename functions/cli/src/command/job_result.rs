//! The result of a finished job, as `darkroom run`, `watch` and `status` print it.

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
    check::{MAX_SHOWN_PROBLEMS, count},
    phase_reporter::blocker,
    plain_text::plain,
    stack::Stack,
};

/// Prints where the results of a job are and what it cost. For a rejected manifest, prints its
/// problems, unless they were already `listed`.
pub(super) async fn show(stack: &Stack, job: &JobId, listed: bool) -> anyhow::Result<Exit> {
    let status = stack.status(job).await?;
    let status = status.with_context(|| format!("job {job} has no job.json"))?;
    match status.phase {
        JobPhase::Rejected => show_rejection(stack, job, &status, listed).await,
        JobPhase::Estimated => {
            println!(
                "Dry run complete. Nothing was bought. To make the images, leave out --dry-run, or \
                 mode=dry_run in the metadata or the job document."
            );
            Ok(Exit::Complete)
        }
        JobPhase::Succeeded | JobPhase::Partial | JobPhase::Failed | JobPhase::Cancelled => {
            show_summary(stack, job).await
        }
        JobPhase::Blocked => anyhow::bail!("the job is blocked: {}", blocker(&status)),
        JobPhase::Submitting | JobPhase::Waiting | JobPhase::Collecting => {
            anyhow::bail!("the job is not complete; run the same command again to resume")
        }
    }
}

async fn show_rejection(
    stack: &Stack,
    job: &JobId,
    status: &JobStatus,
    listed: bool,
) -> anyhow::Result<Exit> {
    let key = object_keys::document(job, "validation.csv");
    let table = stack.address_of(&key);
    if !listed {
        let object = stack.read(&key).await?;
        let object = object.with_context(|| format!("can't read {table}"))?;
        String::from_utf8_lossy(&object.bytes)
            .lines()
            .skip(1)
            .take(MAX_SHOWN_PROBLEMS)
            .for_each(|line| println!("  {}", plain(line)));
    }
    println!(
        "Rejected: {}. Nothing was bought.",
        count(status.errors.unwrap_or(0), "error")
    );
    println!("All problems: {table}");
    Ok(Exit::Rejected)
}

async fn show_summary(stack: &Stack, job: &JobId) -> anyhow::Result<Exit> {
    let key = object_keys::document(job, "summary.json");
    let summary: Option<Summary> = stack.document(&key).await?;
    let summary = summary.with_context(|| format!("job {job} has no summary.json"))?;
    let (counts, cost) = (&summary.counts, &summary.cost);

    // What every user looks for first: how many images there are, and where.
    println!(
        "{} of {}",
        counts.succeeded,
        count(counts.expected, "image")
    );
    let row = |label: &str, text: String| println!("  {label:<9}  {}", plain(&text));
    let path = |key: &str| stack.address_of(key);
    row("images", path(&summary.links.images));
    // A job of an earlier version has no gallery.
    if !summary.links.gallery.is_empty() {
        row("gallery", path(&summary.links.gallery));
    }
    row("results", path(&summary.links.table));
    for (label, key) in [
        ("table", &summary.links.own_table),
        ("shopify", &summary.links.shopify),
    ] {
        if let Some(key) = key {
            row(label, path(key));
        }
    }
    for note in &summary.notes {
        row("note", note.clone());
    }

    // Why images are missing, and the manifest that requests them again.
    if counts.succeeded < counts.expected {
        for error in &summary.errors_top {
            row(
                "missing",
                format!(
                    "{} × {} (for example {})",
                    error.count, error.code, error.example_key
                ),
            );
        }
        row("retry", path(&summary.links.retry));
    }

    // Images that exist but are not what was requested.
    for line in shape_mismatches(&summary.integrity) {
        row(
            "check",
            format!(
                "{line}; see the warnings in {}",
                path(&summary.links.results)
            ),
        );
    }
    if let Some(unmatched) = &summary.unmatched {
        row(
            "unmatched",
            format!(
                "{} that match no request: {}",
                count(unmatched.images, "image"),
                path(&unmatched.folder)
            ),
        );
    }

    // What was paid, and what may have been paid in addition.
    row(
        "cost",
        format!("{} (estimated {})", cost.actual_usd, cost.estimated_usd),
    );
    row(
        "",
        format!(
            "{} interactively: {} saved",
            cost.interactive_usd, cost.saved_usd
        ),
    );
    if cost.unaccounted.requests > 0 {
        row(
            "",
            format!(
                "up to {} more: Gemini did not report the cost of {}",
                cost.unaccounted.estimated_usd,
                count(cost.unaccounted.requests, "request")
            ),
        );
    }

    // Outputs that Gemini still holds: retrying without them would pay for their images twice.
    for batch in &summary.unfetched {
        row("fetch", describe_unfetched(batch));
    }
    if !summary.unfetched.is_empty() {
        row(
            "",
            "Fetch this output before you drop retry.jsonl, which buys these images again."
                .to_owned(),
        );
    }
    Ok(if counts.succeeded == counts.expected {
        Exit::Complete
    } else {
        Exit::Incomplete
    })
}

/// Returns where the output of a batch can be fetched by hand. It may have been paid for.
fn describe_unfetched(batch: &UnfetchedBatch) -> String {
    let output = match &batch.output {
        Some(BatchOutput::File(file)) => format!("its output is {file}"),
        Some(BatchOutput::Inline) => "its output is part of the batch".to_owned(),
        None => "its output is unknown".to_owned(),
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

/// Returns a text for each property in which images differ from the request.
fn shape_mismatches(integrity: &Integrity) -> Vec<String> {
    let describe = |images: u64, property: &str| {
        let verb = if images == 1 { "has" } else { "have" };
        (images > 0).then(|| {
            format!(
                "{} {verb} a different {property} than requested",
                count(images, "image")
            )
        })
    };
    [
        describe(integrity.wrong_ratio, "aspect ratio"),
        describe(integrity.wrong_size, "size"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
