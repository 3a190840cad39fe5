//! The judge: what became of a world, from what Gemini itself knows that it made and what lies in
//! the bucket.

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

/// The states in which Gemini ends a batch. A shard in another one ended without reading its output
/// to the end.
const ENDED: [&str; 4] = ["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"];

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A request key was in two batches that lived at the same time, or was asked for again
    /// although a batch that had ended has its image.
    DoubleBuy,
    /// A key of a closed job has not exactly one result, or an image was made for it and isn't its
    /// result.
    LostKey,
    /// An image isn't, byte for byte, what Gemini made for its key in the batch that its result
    /// names.
    Misfiled,
    /// A manifest whose job has no marker after twenty days, or when nothing is left that could
    /// give it one.
    Stuck,
    /// A batch that lives, or has output, and that no shard's state names.
    Orphan,
    /// A closed job says that it cost something else than what Gemini charged for all that it
    /// delivered.
    Miscount,
    /// A batch of another folder was taken for one of ours: adopted, or cancelled.
    Stranger,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub wrong: Wrong,
    /// In plain words, with names.
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

/// One of our batches, and what its output holds.
struct Made {
    record: Record,
    output: Delivered,
}

impl Made {
    /// `local-<folder>/<job>/<shard>/<attempt>`: the job.
    fn job(&self) -> &str {
        self.record
            .display_name
            .split('/')
            .nth(1)
            .unwrap_or_default()
    }

    /// The images that belong to the requests whose lines name them.
    fn images(&self, key: &str) -> BTreeSet<&Bytes> {
        self.output.images().remove(key).unwrap_or_default()
    }

    /// Whether an image was made for the request and is in the output, in whatever form and with or
    /// without its key.
    fn has_made(&self, key: &str) -> bool {
        self.output
            .lines
            .iter()
            .any(|line| line.key == key && line.image.is_some())
    }

    /// Whether any line of the output says which request it is of.
    fn is_attributable(&self) -> bool {
        let is_of_ours = |key: &String| self.record.keys.contains(key);
        self.output
            .lines
            .iter()
            .any(|line| line.carries_key && is_of_ours(&line.key))
    }

    /// Whether its output may never have been read: it came after the batch's end, and a person who
    /// has `approved` may have had the images made again before.
    fn may_be_unread(&self, approved: bool) -> bool {
        approved && self.record.output_from > self.record.ended
    }

    fn told(&self) -> String {
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

/// Judges a world that has come to its end. Where a person has `approved`, images may have been
/// bought again that could not be found. `cancelled` are the batches that the functions have asked
/// to be cancelled.
///
/// # Errors
/// When something in it can't be read at all.
pub(crate) async fn judge(
    cloud: &FaultCloud,
    approved: bool,
    cancelled: &BTreeSet<String>,
) -> anyhow::Result<Vec<Violation>> {
    let made = made(cloud)?;
    let mut found = Vec::new();
    let mut tell = |wrong, words| found.push(Violation { wrong, words });
    double_buys(&made, approved, &mut tell);
    let jobs = cloud.jobs()?;
    if jobs.len() < cloud.dropped {
        tell(
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
            Some("_REJECTED") => tell(
                Wrong::Stuck,
                format!("{job} was rejected, and its manifest is good"),
            ),
            Some(_) => {
                results(cloud, job, &made, &mut tell)?;
                unmatched(cloud, job, &made, approved, &mut tell)?;
                miscount(cloud, job, &made, approved, &mut tell)?;
            }
            None => tell(
                Wrong::Stuck,
                format!("{job} has no marker at {}", cloud.now()),
            ),
        }
    }
    let states = states(cloud, &jobs)?;
    orphans(&states, &made, &mut tell);
    strangers(cloud, &states, cancelled, &mut tell)?;
    Ok(found)
}

/// Our batches, in the order of their creation. Another folder's are told apart by their inline
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

fn double_buys(made: &[Made], approved: bool, tell: &mut impl FnMut(Wrong, String)) {
    for (place, second) in made.iter().enumerate() {
        for first in made[..place]
            .iter()
            .filter(|first| first.job() == second.job())
        {
            let both: BTreeSet<&String> = first.record.keys.iter().collect();
            for key in second.record.keys.iter().filter(|key| both.contains(key)) {
                let (one, other) = (first.told(), second.told());
                if first
                    .record
                    .ended
                    .is_none_or(|ended| second.record.created < ended)
                {
                    tell(
                        Wrong::DoubleBuy,
                        format!("key {key} was in two live batches: {one} and {other}"),
                    );
                } else if first.has_made(key) && !approved {
                    tell(
                        Wrong::DoubleBuy,
                        format!("key {key} was asked for in {other} although {one} has its image"),
                    );
                }
            }
        }
    }
}

/// Holds a closed job's results against its plan and against what was made.
fn results(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    tell: &mut impl FnMut(Wrong, String),
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
            tell(
                Wrong::LostKey,
                format!("key {key} of {job} has {} results", of_key.len()),
            );
            continue;
        };
        let maker = made.iter().find(|made| !made.images(&key).is_empty());
        if result["status"] == "succeeded" {
            if let Some(problem) = not_its_image(cloud, &made, &key, result)? {
                tell(Wrong::Misfiled, format!("key {key} of {job}: {problem}"));
            }
        } else if let Some(maker) = maker {
            let (status, error) = (&result["status"], &result["error"]);
            tell(
                Wrong::LostKey,
                format!(
                    "key {key} of {job} has an image in {}, and its result is {status} {error}",
                    maker.told()
                ),
            );
        }
        planned.insert(key);
    }
    for key in results.keys().filter(|key| !planned.contains(*key)) {
        tell(
            Wrong::LostKey,
            format!("{job} has a result for {key}, which nobody planned"),
        );
    }
    Ok(())
}

/// What is wrong with the image that a result names, if anything is.
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
    Ok((!is_its_own).then(|| format!("what lies at {path} isn't what {batch} made for it")))
}

/// Looks for the images that belong to no request, in the outputs of a closed job that were read to
/// their end.
fn unmatched(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    approved: bool,
    tell: &mut impl FnMut(Wrong, String),
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
                tell(Wrong::LostKey, format!("{words} in {}", made.told()));
            }
        }
    }
    Ok(())
}

/// The contents of all files below a folder, if there is one.
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

fn summary(cloud: &FaultCloud, job: &str) -> anyhow::Result<Summary> {
    let path = cloud.local.path_of(&format!("{job}summary.json"));
    Ok(serde_json::from_slice(
        &fs::read(&path).with_context(|| path.display().to_string())?,
    )?)
}

/// Whether the output of a shard's batch was read to its end.
fn was_read(shard: &ShardSummary) -> bool {
    shard.batch_name.is_some() && ENDED.contains(&shard.state.as_str())
}

/// Holds what a closed job says that it cost against the bill of the batches that its shards name,
/// where each shard's output was read to its end. Of a batch whose output came when the images were
/// asked for again, or of which no line says what request it is of, nothing need be counted.
fn miscount(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    approved: bool,
    tell: &mut impl FnMut(Wrong, String),
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
    // As a document holds it.
    let stored = |usd: Usd| anyhow::Ok(serde_json::from_value::<Usd>(serde_json::to_value(usd)?)?);
    let (least, most, told) = (
        stored(charged - uncounted)?,
        stored(charged)?,
        summary.cost.actual_usd,
    );
    if told < least || told > most {
        tell(
            Wrong::Miscount,
            format!("{job} says that it cost {told}, and Gemini charged {charged}"),
        );
    }
    Ok(())
}

fn names(shard: &ShardSummary, record: &Record) -> bool {
    shard
        .batch_name
        .as_ref()
        .is_some_and(|name| name.as_str() == record.name)
}

/// All shard states of these jobs, as text.
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

fn orphans(states: &str, made: &[Made], tell: &mut impl FnMut(Wrong, String)) {
    for made in made {
        let counts = made.record.ended.is_none() || made.record.output_from.is_some();
        if counts && !states.contains(&format!("\"{}\"", made.record.name)) {
            tell(Wrong::Orphan, format!("no shard names {}", made.told()));
        }
    }
}

/// Looks for batches of another folder that ours has meddled with.
fn strangers(
    cloud: &FaultCloud,
    states: &str,
    cancelled: &BTreeSet<String>,
    tell: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let theirs = format!("{}/", cloud.stranger);
    let is_theirs =
        |record: &Record| record.display_name.starts_with(&theirs) && record.keys.is_empty();
    for record in cloud.gemini.records()?.into_iter().filter(is_theirs) {
        let Record {
            name, display_name, ..
        } = record;
        if cancelled.contains(&name) {
            tell(
                Wrong::Stranger,
                format!("{name} ({display_name}) of another folder was cancelled"),
            );
        }
        if states.contains(&format!("\"{name}\"")) {
            tell(
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
