//! The oracle judges the result of a simulation by the records of the simulated Gemini and the
//! contents of the bucket.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use anyhow::Context;
use bytes::Bytes;
use darkroom::{
    money::Usd,
    report::{ShardSummary, Summary},
};
use gemini_sim::{Delivered, Record};
use rust_decimal::Decimal;
use serde_json::Value;

use super::cloud::FaultCloud;

/// The states in which Gemini ends a batch. A shard with another state ended before its output was
/// read to the end.
const ENDED: [&str; 4] = ["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"];

/// The kinds of violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A request key was in two live batches, or was requested again although a batch that had
    /// ended has its image.
    DoubleBuy,
    /// A key of a complete job does not have exactly one result, or its image is not its result.
    LostKey,
    /// An image differs from what Gemini made for its key in the batch that its result names.
    Misfiled,
    /// The job of a manifest has no marker in the end.
    Stuck,
    /// No shard's state names a batch that is live or has output.
    Orphan,
    /// A complete job reports another cost than Gemini charged for what it delivered.
    Miscount,
    /// A batch of another folder was adopted or cancelled.
    Stranger,
}

/// A violation of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub wrong: Wrong,
    /// What happened, with names.
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = match self.wrong {
            Wrong::DoubleBuy => "double buy",
            Wrong::LostKey => "lost key",
            Wrong::Misfiled => "misfiled",
            Wrong::Stuck => "stuck",
            Wrong::Orphan => "orphan",
            Wrong::Miscount => "miscount",
            Wrong::Stranger => "stranger",
        };
        write!(f, "{wrong}: {}", self.words)
    }
}

/// One of our batches, with its output.
struct Made {
    record: Record,
    output: Delivered,
}

impl Made {
    /// Returns the job, from the display name `local-<folder>/<job>/<shard>/<attempt>`.
    fn job(&self) -> &str {
        self.record
            .display_name
            .split('/')
            .nth(1)
            .unwrap_or_default()
    }

    /// Returns the images of the lines with this key.
    fn images(&self, key: &str) -> BTreeSet<&Bytes> {
        self.output.images().remove(key).unwrap_or_default()
    }

    /// Whether the output has an image of the request, in any form, with or without its key.
    fn has_made(&self, key: &str) -> bool {
        self.output
            .lines
            .iter()
            .any(|line| line.key == key && line.image.is_some())
    }

    /// Whether any line of the output names its request.
    fn is_attributable(&self) -> bool {
        let is_of_ours = |key: &String| self.record.keys.contains(key);
        self.output
            .lines
            .iter()
            .any(|line| line.carries_key && is_of_ours(&line.key))
    }

    /// Whether its output may never have been read, because it appeared after the end of the batch
    /// and the user may have approved that the images are made again.
    fn may_be_unread(&self, approved: bool) -> bool {
        approved && self.record.output_from > self.record.ended
    }

    fn description(&self) -> String {
        let Record {
            name,
            display_name,
            created,
            ended,
            ..
        } = &self.record;
        let ended = ended.map_or("still lives".to_owned(), |ended| format!("ended {ended}"));
        format!("{name} ({display_name}, created {created}, {ended})")
    }
}

/// Judges a simulation that has ended. If the user has `approved`, images may have been bought
/// again whose output was missing. `cancelled` are the batches that the functions have cancelled.
///
/// # Errors
/// Returns an error if the results can't be read.
pub(crate) async fn judge(
    cloud: &FaultCloud,
    approved: bool,
    cancelled: &BTreeSet<String>,
) -> anyhow::Result<Vec<Violation>> {
    let made = made(cloud)?;
    let mut found = Vec::new();
    let mut report = |wrong, words| found.push(Violation { wrong, words });
    double_buys(&made, approved, &mut report);
    let jobs = cloud.jobs()?;
    if jobs.len() < cloud.dropped {
        report(
            Wrong::Stuck,
            format!(
                "{} manifests were dropped, and there are {} jobs",
                cloud.dropped,
                jobs.len()
            ),
        );
    }
    for job in &jobs {
        match cloud.marker(job) {
            Some("_REJECTED") => report(
                Wrong::Stuck,
                format!("{job} was rejected, although its manifest is valid"),
            ),
            Some(_) => {
                results(cloud, job, &made, &mut report)?;
                unmatched(cloud, job, &made, approved, &mut report)?;
                miscount(cloud, job, &made, approved, &mut report)?;
            }
            None => report(
                Wrong::Stuck,
                format!("{job} has no marker at {}", cloud.now()),
            ),
        }
    }
    let states = states(cloud, &jobs)?;
    orphans(&states, &made, &mut report);
    strangers(cloud, &states, cancelled, &mut report)?;
    Ok(found)
}

/// Returns our batches in the order of their creation. Those of another folder have inline
/// requests.
fn made(cloud: &FaultCloud) -> anyhow::Result<Vec<Made>> {
    let ours = format!("{}/", cloud.local.deps.submit.stack);
    let is_ours =
        |record: &Record| record.display_name.starts_with(&ours) && !record.keys.is_empty();
    let with_output = |record: Record| {
        Ok(Made {
            output: cloud.gemini.delivered(&record.name)?,
            record,
        })
    };
    cloud
        .gemini
        .records()?
        .into_iter()
        .filter(is_ours)
        .map(with_output)
        .collect()
}

/// Looks for keys in two live batches, and for keys that were requested again after their image was
/// made.
fn double_buys(made: &[Made], approved: bool, report: &mut impl FnMut(Wrong, String)) {
    for (place, second) in made.iter().enumerate() {
        for first in made[..place]
            .iter()
            .filter(|first| first.job() == second.job())
        {
            let both: BTreeSet<&String> = first.record.keys.iter().collect();
            for key in second.record.keys.iter().filter(|key| both.contains(key)) {
                let (one, other) = (first.description(), second.description());
                if first
                    .record
                    .ended
                    .is_none_or(|ended| second.record.created < ended)
                {
                    report(
                        Wrong::DoubleBuy,
                        format!("key {key} was in two live batches: {one} and {other}"),
                    );
                } else if first.has_made(key) && !approved {
                    report(
                        Wrong::DoubleBuy,
                        format!("key {key} was requested in {other} although {one} has its image"),
                    );
                }
            }
        }
    }
}

/// Compares the results of a complete job with its plan and with the batches.
fn results(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let made: Vec<&Made> = made
        .iter()
        .filter(|made| job == format!("jobs/{}/", made.job()))
        .collect();
    let mut results: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines(&cloud.local.path_of(&format!("{job}results.jsonl")))? {
        results
            .entry(line["key"].as_str().unwrap_or_default().to_owned())
            .or_default()
            .push(line);
    }
    let mut planned = BTreeSet::new();
    for line in lines(&cloud.local.path_of(&format!("{job}plan.jsonl")))? {
        let key = line["key"].as_str().unwrap_or_default().to_owned();
        let of_key = results.get(&key).map_or(&[][..], Vec::as_slice);
        let [result] = of_key else {
            report(
                Wrong::LostKey,
                format!("key {key} of {job} has {} results", of_key.len()),
            );
            continue;
        };
        let maker = made.iter().find(|made| !made.images(&key).is_empty());
        if result["status"] == "succeeded" {
            if let Some(problem) = not_its_image(cloud, &made, &key, result)? {
                report(Wrong::Misfiled, format!("key {key} of {job}: {problem}"));
            }
        } else if let Some(maker) = maker {
            let (status, error) = (&result["status"], &result["error"]);
            report(
                Wrong::LostKey,
                format!(
                    "key {key} of {job} has an image in {}, and its result is {status} {error}",
                    maker.description()
                ),
            );
        }
        planned.insert(key);
    }
    for key in results.keys().filter(|key| !planned.contains(*key)) {
        report(
            Wrong::LostKey,
            format!("{job} has a result for {key}, which is not in its plan"),
        );
    }
    Ok(())
}

/// Returns what is wrong with the image that a result names, if anything.
fn not_its_image(
    cloud: &FaultCloud,
    made: &[&Made],
    key: &str,
    result: &Value,
) -> anyhow::Result<Option<String>> {
    let batch = result["batch_name"].as_str().unwrap_or_default();
    let images = made
        .iter()
        .find(|made| made.record.name == batch)
        .map(|made| made.images(key))
        .unwrap_or_default();
    if images.is_empty() {
        return Ok(Some(format!("{batch} made no image for it")));
    }
    let uri = result["image"]["uri"].as_str().unwrap_or_default();
    let Some((_, path)) = uri
        .strip_prefix("s3://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Ok(Some(format!("its result names no image: {uri:?}")));
    };
    let stored = fs::read(cloud.local.path_of(path)).map(Bytes::from);
    let is_its_own = stored.is_ok_and(|stored| images.contains(&stored));
    Ok((!is_its_own).then(|| format!("the object {path} is not what {batch} made for it")))
}

/// Looks for unmatched images in the outputs of a complete job that were read to the end, and
/// checks that they are kept.
fn unmatched(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    approved: bool,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let summary = summary(cloud, job)?;
    let was_read = |made: &&Made| {
        let is_named = summary
            .shards
            .iter()
            .any(|shard| names(shard, &made.record) && was_read(shard));
        is_named && !made.may_be_unread(approved)
    };
    if summary.integrity.skipped_lines > 0 {
        return Ok(());
    }
    let kept = files(&cloud.local.path_of(&format!("{job}unmatched")))?;
    for made in made.iter().filter(was_read) {
        for line in made.output.unmatched() {
            let image = line.image.as_ref().map(|image| &image.bytes);
            if image.is_some_and(|image| !kept.contains(image)) {
                let words = format!(
                    "an image of {job} that belongs to no request is not kept: a line for {}",
                    line.key
                );
                report(Wrong::LostKey, format!("{words} in {}", made.description()));
            }
        }
    }
    Ok(())
}

/// Reads all files below a folder, which may be missing.
fn files(folder: &Path) -> anyhow::Result<BTreeSet<Bytes>> {
    let mut found = BTreeSet::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                found.extend(files(&path)?);
            } else {
                found.insert(fs::read(path)?.into());
            }
        }
    }
    Ok(found)
}

/// Reads the summary of a job.
fn summary(cloud: &FaultCloud, job: &str) -> anyhow::Result<Summary> {
    let path = cloud.local.path_of(&format!("{job}summary.json"));
    Ok(serde_json::from_slice(
        &fs::read(&path).with_context(|| path.display().to_string())?,
    )?)
}

/// Whether the output of a shard's batch was read to the end.
fn was_read(shard: &ShardSummary) -> bool {
    shard.batch_name.is_some() && ENDED.contains(&shard.state.as_str())
}

/// Compares the cost that a complete job reports with the bill of the batches that its shards name,
/// if all outputs were read to the end. A batch need not be counted if its output appeared after
/// the images were requested again, or if no line names its request.
fn miscount(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    approved: bool,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let summary = summary(cloud, job)?;
    if summary.integrity.skipped_lines > 0 || !summary.shards.iter().all(was_read) {
        return Ok(());
    }
    let own = |made: &&Made| {
        summary
            .shards
            .iter()
            .any(|shard| names(shard, &made.record))
    };
    let bill =
        |made: &Made| made.record.bill.nanodollars - made.record.bill.undelivered_nanodollars;
    let may_go_uncounted = |made: &&Made| made.may_be_unread(approved) || !made.is_attributable();
    let sum = |bills: u64| Usd::new(Decimal::from(bills) * Decimal::new(1, 9));
    let charged = sum(made.iter().filter(own).map(bill).sum());
    let uncounted = sum(made
        .iter()
        .filter(own)
        .filter(may_go_uncounted)
        .map(bill)
        .sum());
    // Stored amounts are rounded.
    let stored = |usd: Usd| anyhow::Ok(serde_json::from_value::<Usd>(serde_json::to_value(usd)?)?);
    let (least, most, reported) = (
        stored(charged - uncounted)?,
        stored(charged)?,
        summary.cost.actual_usd,
    );
    if reported < least || reported > most {
        report(
            Wrong::Miscount,
            format!("{job} reports a cost of {reported}, but Gemini charged {charged}"),
        );
    }
    Ok(())
}

/// Whether a shard names a batch.
fn names(shard: &ShardSummary, record: &Record) -> bool {
    shard
        .batch_name
        .as_ref()
        .is_some_and(|name| name.as_str() == record.name)
}

/// Returns all shard states of these jobs as text.
fn states(cloud: &FaultCloud, jobs: &[String]) -> anyhow::Result<String> {
    let mut states = String::new();
    for job in jobs {
        let shards = cloud.local.path_of(&format!("{job}shards"));
        if shards.is_dir() {
            for shard in fs::read_dir(shards)? {
                states += &fs::read_to_string(shard?.path().join("state.json")).unwrap_or_default();
            }
        }
    }
    Ok(states)
}

/// Looks for batches that no shard names.
fn orphans(states: &str, made: &[Made], report: &mut impl FnMut(Wrong, String)) {
    for made in made {
        let counts = made.record.ended.is_none() || made.record.output_from.is_some();
        if counts && !states.contains(&format!("\"{}\"", made.record.name)) {
            report(
                Wrong::Orphan,
                format!("no shard names {}", made.description()),
            );
        }
    }
}

/// Looks for batches of another folder that ours has adopted or cancelled.
fn strangers(
    cloud: &FaultCloud,
    states: &str,
    cancelled: &BTreeSet<String>,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let theirs = format!("{}/", cloud.stranger);
    let is_theirs =
        |record: &Record| record.display_name.starts_with(&theirs) && record.keys.is_empty();
    for record in cloud.gemini.records()?.into_iter().filter(is_theirs) {
        let Record {
            name, display_name, ..
        } = record;
        if cancelled.contains(&name) {
            report(
                Wrong::Stranger,
                format!("{name} ({display_name}) of another folder was cancelled"),
            );
        }
        if states.contains(&format!("\"{name}\"")) {
            report(
                Wrong::Stranger,
                format!("{name} ({display_name}) of another folder was adopted"),
            );
        }
    }
    Ok(())
}

fn lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}
