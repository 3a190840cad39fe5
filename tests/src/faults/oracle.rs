//! The oracle judges the result of a simulation by the records of the simulated Gemini and the
//! contents of the bucket.

mod events;
mod folders;
mod thumbnails;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use anyhow::Context;
use bytes::Bytes;
use darkroom::{
    lane::Lane,
    money::Usd,
    report::{ShardSummary, Summary},
    results::NO_ANSWER,
};
use gemini_sim::{Delivered, LoggedCall, LoggedRequest, Record};
use rust_decimal::Decimal;
use serde_json::Value;

use super::{
    calls::{Calls, MadeCall},
    cloud::FaultCloud,
};
use crate::gallery::GalleryContent;

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
    /// A request was made that differs from those that the user has approved.
    Unapproved,
    /// An image of a complete job has no thumbnail.
    NoThumbnail,
    /// An event of a complete job was not received, or was received with several ids.
    LostEvent,
    /// The ledger counts another amount for a folder than its shards have cost, or money of it stays
    /// reserved.
    Unsettled,
}

/// What the oracle knows in addition to Gemini's records and the bucket.
pub(crate) struct Evidence<'a> {
    /// Whether the user has approved, so that images may have been bought again whose output was
    /// missing.
    pub(crate) approved: bool,
    /// The batches that the functions have cancelled.
    pub(crate) cancelled: &'a BTreeSet<String>,
    /// The synchronous calls.
    pub(crate) calls: &'a Calls,
    /// Whether S3 or SQS failed for a while.
    pub(crate) had_outage: bool,
    /// Whether every image must arrive.
    pub(crate) is_plain: bool,
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
            Wrong::Unapproved => "unapproved",
            Wrong::NoThumbnail => "no thumbnail",
            Wrong::LostEvent => "lost event",
            Wrong::Unsettled => "unsettled",
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

/// Judges a simulation that has ended.
///
/// # Errors
/// Returns an error if the results can't be read.
pub(crate) async fn judge(
    cloud: &FaultCloud,
    evidence: &Evidence<'_>,
) -> anyhow::Result<Vec<Violation>> {
    let Evidence {
        approved,
        cancelled,
        calls,
        ..
    } = *evidence;
    let made = made(cloud)?;
    let log = cloud.gemini.request_log()?;
    calls.check(&log)?;
    let mut found = Vec::new();
    let mut report = |wrong, words| found.push(Violation { wrong, words });
    double_buys(&made, approved, &mut report);
    double_calls(&made, evidence, &mut report);
    window(cloud, evidence, &mut report);
    unapproved(calls, &log, &mut report);
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
            Some(marker) => {
                results(cloud, job, &made, evidence, &mut report)?;
                unmatched(cloud, job, &made, approved, &mut report)?;
                miscount(cloud, job, &made, evidence, &mut report)?;
                unaccounted(cloud, job, evidence, &mut report)?;
                thumbnails::check(cloud, job, &mut report)?;
                events::check(cloud, job, marker, &mut report);
            }
            None => report(
                Wrong::Stuck,
                format!("{job} has no marker at {}", cloud.now()),
            ),
        }
    }
    folders::check(cloud, &jobs, &mut report)?;
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

/// Looks for synchronous calls for an image that Gemini has already made: in another call, unless
/// its answer was lost, or in a batch.
fn double_calls(made: &[Made], evidence: &Evidence<'_>, report: &mut impl FnMut(Wrong, String)) {
    let calls = &evidence.calls.made;
    let mut wrong = |key: &str, words: String| {
        report(Wrong::DoubleBuy, format!("key {key} was requested {words}"));
    };
    for (place, second) in calls.iter().enumerate() {
        let is_same = |first: &&MadeCall| {
            first.manifest == second.manifest && first.key == second.key && first.is_kept()
        };
        // A late request was made before the call that replaces it.
        if !second.is_billed() || second.invocation.is_none() {
            continue;
        }
        let (key, other) = (&second.key, second.description());
        for first in calls[..place].iter().filter(is_same) {
            let one = first.description();
            wrong(key, format!("in {other} although {one} has its image"));
        }
    }
    for batch in made {
        let job = format!("jobs/{}/", batch.job());
        let of_batch = |call: &&MadeCall| {
            call.is_billed()
                && call.invocation.is_some()
                && call.is_of(&job)
                && batch.record.keys.contains(&call.key)
        };
        for call in calls.iter().filter(of_batch) {
            let (key, one, other) = (&call.key, batch.description(), call.description());
            if call.at < batch.record.created {
                if call.is_kept() {
                    wrong(key, format!("in {one} although {other} has its image"));
                }
            } else if batch.record.ended.is_none_or(|ended| call.at < ended) {
                wrong(key, format!("in {other} while {one} was live"));
            } else if batch.has_made(key) && !evidence.approved {
                wrong(key, format!("in {other} although {one} has its image"));
            }
        }
    }
}

/// Checks that each answer that was lost has a cause, and that a killed invocation has not lost
/// more of them than it may have in flight.
fn window(cloud: &FaultCloud, evidence: &Evidence<'_>, report: &mut impl FnMut(Wrong, String)) {
    let calls = evidence.calls;
    let mut lost: BTreeMap<usize, usize> = BTreeMap::new();
    let in_doubt = |call: &&MadeCall| call.is_billed() && call.reached && !call.stored;
    for call in calls.made.iter().filter(in_doubt) {
        let Some(number) = call.invocation else {
            continue;
        };
        *lost.entry(number).or_default() += 1;
        if !calls.killed.contains(&number) && !evidence.had_outage {
            let (key, one) = (&call.key, call.description());
            let words =
                format!("the answer for {key} was dropped by an invocation that lived: {one}");
            report(Wrong::LostKey, words);
        }
    }
    let most = cloud.local.deps.generate.limits.in_flight;
    for (number, count) in lost.iter().filter(|(_, count)| **count > most) {
        let words =
            format!("invocation #{number} has lost {count} answers, {most} may be in flight");
        report(Wrong::LostKey, words);
    }
}

/// Looks for requests that differ from those that the user has approved.
fn unapproved(calls: &Calls, log: &[LoggedRequest], report: &mut impl FnMut(Wrong, String)) {
    let Some(approved) = &calls.approved else {
        return;
    };
    // Requests of others are inline and have no key.
    let is_ours =
        |entry: &&LoggedRequest| entry.call == LoggedCall::GenerateContent || entry.key.is_some();
    for entry in log.iter().filter(is_ours) {
        if !approved.contains(&entry.request_sha256) {
            let words = format!("a request differs from the approved ones: {entry:?}");
            report(Wrong::Unapproved, words);
        }
    }
}

/// The answers to the synchronous calls of a complete job, by what Gemini charged for them.
struct Answers {
    /// What Gemini charged for all of them.
    charged: u64,
    /// The most that the lost ones cost.
    most_lost: u64,
    /// The least that the lost ones cost.
    least_lost: u64,
    /// The number of lost ones.
    lost: u64,
    /// The number of results with an answer.
    stored: u64,
}

/// Compares the answers of a job with its results in all rounds. An answer is lost if fewer rounds
/// have the usage of an answer than Gemini has charged for.
fn answers(cloud: &FaultCloud, job: &str, calls: &Calls) -> anyhow::Result<Answers> {
    let stored = stored_answers(cloud, job)?;
    let mut charges: BTreeMap<&str, Vec<&MadeCall>> = BTreeMap::new();
    for call in calls.made.iter().filter(|call| call.is_of(job)) {
        if call.is_billed() {
            charges.entry(&call.key).or_default().push(call);
        }
    }
    let mut found = Answers {
        charged: 0,
        most_lost: 0,
        least_lost: 0,
        lost: 0,
        stored: stored.values().sum(),
    };
    for (key, mut of_key) in charges {
        found.charged += of_key.iter().map(|call| call.nanodollars).sum::<u64>();
        let stored = usize::try_from(stored.get(key).copied().unwrap_or(0))?;
        let lost = of_key.len().saturating_sub(stored);
        found.lost += u64::try_from(lost)?;
        of_key.retain(|call| call.is_lost());
        of_key.sort_by_key(|call| call.nanodollars);
        let sum = |calls: &[&MadeCall]| calls.iter().map(|call| call.nanodollars).sum::<u64>();
        let count = lost.min(of_key.len());
        found.least_lost += sum(&of_key[..count]);
        found.most_lost += sum(&of_key[of_key.len() - count..]);
    }
    Ok(found)
}

/// Returns the number of rounds in a synchronous lane whose result of a key has the tokens of an
/// answer, by key.
fn stored_answers(cloud: &FaultCloud, job: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut answers = BTreeMap::new();
    let shards = cloud.local.path_of(&format!("{job}shards"));
    if !shards.is_dir() {
        return Ok(answers);
    }
    for shard in fs::read_dir(shards)? {
        let results = shard?.path().join("results");
        if !results.is_dir() {
            continue;
        }
        // The last chunk has the lines of all others.
        let rest = results.join("rest.jsonl");
        let chunks = if rest.is_file() {
            vec![rest]
        } else {
            let chunks = fs::read_dir(&results)?;
            chunks
                .map(|chunk| Ok(chunk?.path()))
                .collect::<anyhow::Result<_>>()?
        };
        let mut keys = BTreeSet::new();
        for chunk in chunks {
            for line in lines(&chunk)? {
                let is_answer = line["usage"].is_object() && line["batch_name"].is_null();
                if line["kind"] == "result" && is_answer {
                    keys.insert(line["key"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        for key in keys {
            *answers.entry(key).or_default() += 1;
        }
    }
    Ok(answers)
}

/// Compares the requests without account in the summary of a complete job with the lost answers. A
/// claim without a stored result counts too, whether or not its call was made.
fn unaccounted(
    cloud: &FaultCloud,
    job: &str,
    evidence: &Evidence<'_>,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let calls = evidence.calls;
    let answers = answers(cloud, job, calls)?;
    let summary = summary(cloud, job)?;
    let counted = summary.cost.unaccounted.requests;
    if counted < answers.lost {
        let lost = answers.lost;
        let words =
            format!("{job} counts {counted} requests without account, {lost} answers are lost");
        report(Wrong::Miscount, words);
    }
    let claimed = calls
        .claimed
        .iter()
        .filter(|(path, _)| path.starts_with(job));
    let open = (claimed.count() as u64).saturating_sub(answers.stored);
    // Requests of batches can be without account for other reasons.
    let has_batch = summary.shards.iter().any(|shard| shard.lane == Lane::Batch);
    if evidence.is_plain && !has_batch && counted > open {
        let words = format!(
            "{job} counts {counted} requests without account, {open} claims have no answer"
        );
        report(Wrong::Miscount, words);
    }
    Ok(())
}

/// Compares the results of a complete job with its plan, the batches and the calls.
fn results(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    evidence: &Evidence<'_>,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let calls: Vec<&MadeCall> = evidence
        .calls
        .made
        .iter()
        .filter(|call| call.is_of(job))
        .collect();
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
        let maker = made
            .iter()
            .filter(|made| !made.may_be_unread(evidence.approved))
            .find(|made| !made.images(&key).is_empty())
            .map(|made| made.description());
        let caller = calls
            .iter()
            .find(|call| call.key == key && call.is_kept())
            .map(|call| call.description());
        let maker = maker.or(caller);
        if result["status"] == "succeeded" {
            if let Some(problem) = not_its_image(cloud, (&made, &calls), &key, result)? {
                report(Wrong::Misfiled, format!("key {key} of {job}: {problem}"));
            }
        } else if let Some(maker) = maker {
            let (status, error) = (&result["status"], &result["error"]);
            report(
                Wrong::LostKey,
                format!(
                    "key {key} of {job} has an image in {}, and its result is {status} {error}",
                    maker
                ),
            );
        } else if evidence.is_plain && result["error"]["code"] != NO_ANSWER {
            // Lost answers use up the rounds. Nothing else may fail.
            let words = format!("key {key} of {job} has no image: {result}");
            report(Wrong::LostKey, words);
        }
        planned.insert(key);
    }
    for key in results.keys().filter(|key| !planned.contains(*key)) {
        report(
            Wrong::LostKey,
            format!("{job} has a result for {key}, which is not in its plan"),
        );
    }
    gallery(cloud, job, report)
}

/// Compares the page of a complete job with its results. A page that was written while the job was
/// open must not replace it.
fn gallery(
    cloud: &FaultCloud,
    job: &str,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let results = lines(&cloud.local.path_of(&format!("{job}results.jsonl")))?;
    let expected = results.iter().map(|line| (&line["key"], &line["status"]));
    let page = fs::read_to_string(cloud.local.path_of(&format!("{job}index.html")));
    let page = page.ok().and_then(|page| GalleryContent::parse(&page));
    let is_complete = page.as_ref().is_some_and(|page| {
        let rows = page.rows.iter().map(|row| (&row[0], &row[4]));
        page.head["closed"] == true && expected.eq(rows)
    });
    if !is_complete {
        let words = format!("the page of {job} does not show its results");
        report(Wrong::LostKey, words);
    }
    Ok(())
}

/// Returns what is wrong with the image that a result names, if anything.
fn not_its_image(
    cloud: &FaultCloud,
    (made, calls): (&[&Made], &[&MadeCall]),
    key: &str,
    result: &Value,
) -> anyhow::Result<Option<String>> {
    let batch = result["batch_name"].as_str().unwrap_or("a call");
    let images: BTreeSet<&Bytes> = if result["batch_name"].is_null() {
        let of_key = calls.iter().filter(|call| call.key == key);
        of_key.flat_map(|call| &call.images).collect()
    } else {
        made.iter()
            .find(|made| made.record.name == batch)
            .map(|made| made.images(key))
            .unwrap_or_default()
    };
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

/// Whether the output of a shard's batch was read to the end. A shard without a batch has none.
fn is_complete(shard: &ShardSummary) -> bool {
    shard.lane != Lane::Batch || was_read(shard)
}

/// Whether the output of a shard's batch was read to the end.
fn was_read(shard: &ShardSummary) -> bool {
    shard.batch_name.is_some() && ENDED.contains(&shard.state.as_str())
}

/// Compares the cost that a complete job reports with the bill of the batches that its shards name,
/// and of the calls whose answers are not lost, if all outputs were read to the end. A batch need not be counted if its output appeared after
/// the images were requested again, or if no line names its request.
fn miscount(
    cloud: &FaultCloud,
    job: &str,
    made: &[Made],
    evidence: &Evidence<'_>,
    report: &mut impl FnMut(Wrong, String),
) -> anyhow::Result<()> {
    let approved = evidence.approved;
    let summary = summary(cloud, job)?;
    if summary.integrity.skipped_lines > 0 || !summary.shards.iter().all(is_complete) {
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
    let answers = answers(cloud, job, evidence.calls)?;
    let of_batches: u64 = made.iter().filter(own).map(bill).sum();
    let charged = sum(of_batches + answers.charged - answers.least_lost);
    let range = sum(answers.most_lost - answers.least_lost);
    let uncounted = sum(made
        .iter()
        .filter(own)
        .filter(may_go_uncounted)
        .map(bill)
        .sum());
    // Stored amounts are rounded.
    let stored = |usd: Usd| anyhow::Ok(serde_json::from_value::<Usd>(serde_json::to_value(usd)?)?);
    let (least, most, reported) = (
        stored(charged - uncounted - range)?,
        stored(charged)?,
        summary.cost.actual_usd,
    );
    if reported < least || reported > most {
        report(
            Wrong::Miscount,
            format!(
                "{job} reports a cost of {reported}, but Gemini charged {charged} for what was not lost"
            ),
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
