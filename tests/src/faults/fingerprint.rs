//! Fingerprints of the state of a simulation.
//!
//! The state is hashed twice. Two simulations with the same fine hash have the same future; with
//! the same coarse hash, a second fault has the same effect on both. The hash covers the bucket,
//! the queues, the records of Gemini, what is in progress, and the next request. Random names are
//! replaced by their order, and moments by their distance in coarse steps. Members that only inform
//! people, or only distinguish writes, are left out. The memory of an invocation is represented by
//! its pending request alone, so two simulations with the same hash may differ there.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};

use gemini_sim::Record;
use jiff::Timestamp;
use serde_json::Value;

use super::{calls::Calls, cloud::FaultCloud, request::Sent};

/// Members of stored documents that do not affect the future.
const IRRELEVANT: [&str; 9] = [
    "rev",
    "write_id",
    "changed_at",
    "waiting",
    "reason",
    "finished",
    "receive_count",
    "number",
    "id",
];

/// Members that the coarse hash leaves out as well: counts, limits and demands.
const FINE: [&str; 9] = [
    "errors",
    "tries",
    "crashes",
    "deadline",
    "back_at",
    "demand",
    "plan_bytes",
    "sent_at",
    "first_received_at",
];

/// Folders that the coarse hash leaves out. Images and chunks follow from the states, thumbnails from
/// the images, the ledger from a sweep.
const DERIVED: [&str; 4] = ["/images/", "/results/", "/thumbs", "stack/"];

/// The names of the documents whose content is hashed.
const HASHED: [&str; 3] = ["state.json", "thumbs.json", "ledger.json"];

/// The steps in which future moments are measured, in seconds.
const STEPS: [i64; 8] = [0, 60, 300, 600, 900, 1_800, 5_400, 86_400];
const COARSE_STEPS: [i64; 2] = [0, 900];

/// An invocation or request in progress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnderWay {
    /// Its description.
    pub(crate) what: String,
    /// What it waits for.
    pub(crate) waits_for: Vec<String>,
    /// When it continues, as a number of steps.
    pub(crate) due: Option<usize>,
}

/// The hashes of one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) fine: u64,
    pub(crate) coarse: u64,
}

/// Returns how far ahead a moment is, as a number of steps. The past is 0.
pub(crate) fn ahead(now: Timestamp, moment: Timestamp) -> usize {
    steps(&STEPS, now, moment)
}

fn steps(of: &[i64], now: Timestamp, moment: Timestamp) -> usize {
    let seconds = moment.duration_since(now).as_secs();
    of.iter().take_while(|step| seconds > **step).count()
}

/// Returns the hashes of the state in which `next` is decided.
///
/// # Errors
/// Returns an error if the files of the simulation can't be read.
pub(crate) fn fingerprint(
    cloud: &FaultCloud,
    next: &Sent,
    mut under_way: Vec<UnderWay>,
    calls: &Calls,
) -> anyhow::Result<Fingerprint> {
    under_way.sort();
    let fine = hash_state(cloud, next, (&under_way, calls), false)?;
    under_way
        .iter_mut()
        .for_each(|one| one.due = one.due.map(|_| 0));
    Ok(Fingerprint {
        fine,
        coarse: hash_state(cloud, next, (&under_way, calls), true)?,
    })
}

fn hash_state(
    cloud: &FaultCloud,
    next: &Sent,
    (under_way, calls): (&[UnderWay], &Calls),
    coarse: bool,
) -> anyhow::Result<u64> {
    let mut hash = DefaultHasher::new();
    let now = cloud.now();
    let messages = files_below(&cloud.internal("sqs/messages"))?;
    let ids = messages
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let view = View {
        now,
        records: cloud.gemini.records()?,
        messages: ids,
        coarse,
    };
    next.what().hash(&mut hash);
    under_way.hash(&mut hash);
    let received = cloud.receiver.as_ref().map(|receiver| receiver.received());
    received.hash(&mut hash);

    let bucket = cloud.local.path_of("");
    let mut objects = files_below(&bucket)?;
    objects.sort();
    for path in &objects {
        let key = path.strip_prefix(&bucket)?.to_string_lossy();
        if coarse && DERIVED.iter().any(|part| key.contains(part)) {
            continue;
        }
        key.hash(&mut hash);
        if HASHED.iter().any(|name| path.ends_with(name)) {
            view.hash_document(path, &mut hash)?;
        }
    }
    let mut hashes = Vec::new();
    for message in &messages {
        let mut of_one = DefaultHasher::new();
        view.hash_document(message, &mut of_one)?;
        hashes.push(of_one.finish());
    }
    hashes.sort_unstable();
    if coarse {
        // Two messages with the same body have the same effect.
        hashes.dedup();
    }
    hashes.hash(&mut hash);
    for record in &view.records {
        let Record {
            display_name,
            keys,
            ended,
            output,
            ..
        } = record;
        (display_name, keys, ended.is_some(), output.is_some()).hash(&mut hash);
    }
    if !coarse {
        // The results of calls are not part of the states.
        for call in &calls.made {
            (&call.key, call.is_billed(), call.reached, call.stored).hash(&mut hash);
        }
        calls.claimed.hash(&mut hash);
        files_below(&cloud.internal("gemini/files"))?
            .len()
            .hash(&mut hash);
    }
    Ok(hash.finish())
}

struct View {
    now: Timestamp,
    records: Vec<Record>,
    /// The ids of all messages.
    messages: Vec<String>,
    coarse: bool,
}

impl View {
    fn hash_document(&self, path: &Path, hash: &mut impl Hasher) -> anyhow::Result<()> {
        // The path is not hashed: a message has a random one, and that of a state is already
        // hashed.
        self.hash_value(&serde_json::from_slice(&fs::read(path)?)?, hash);
        Ok(())
    }

    fn hash_value(&self, value: &Value, hash: &mut impl Hasher) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if IRRELEVANT.contains(&name.as_str())
                        || self.coarse && FINE.contains(&name.as_str())
                    {
                        continue;
                    }
                    name.hash(hash);
                    self.hash_value(value, hash);
                }
            }
            Value::Array(values) => {
                values.len().hash(hash);
                values.iter().for_each(|value| self.hash_value(value, hash));
            }
            Value::String(text) => {
                if let Some(place) = self.records.iter().position(|record| record.name == *text) {
                    place.hash(hash);
                } else if text.starts_with("files/") {
                    "a file".hash(hash);
                } else if self.messages.contains(text) {
                    "a message".hash(hash);
                } else if let Ok(moment) = text.parse::<Timestamp>() {
                    steps(
                        if self.coarse { &COARSE_STEPS } else { &STEPS },
                        self.now,
                        moment,
                    )
                    .hash(hash);
                } else {
                    text.hash(hash);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string().hash(hash),
        }
    }
}

/// Returns all files below a folder, which may be missing.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = if entry.file_type()?.is_dir() {
                &mut folders
            } else {
                &mut files
            };
            kind.push(entry.path());
        }
    }
    Ok(files)
}
