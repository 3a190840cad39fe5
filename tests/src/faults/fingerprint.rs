//! What tells two worlds apart, as far as what may come of them.
//!
//! It is hashed twice. The fine hash says that two worlds have the same future; the coarse one,
//! that a second fault does the same to both. What is hashed is what lies in the bucket, in the
//! queues and at Gemini, what is under way, and which request comes next. Names that are drawn are
//! replaced by their order, moments by how far ahead they are, in coarse steps; what is only told
//! to people, or only tells writes apart, is left out. What an invocation has in memory is not seen
//! but by the request at which it waits: two worlds with the same hash may differ there.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};

use gemini_sim::Record;
use jiff::Timestamp;
use serde_json::Value;

use super::{cloud::FaultCloud, request::Sent};

/// Members of stored documents that decide nothing.
const SAID: [&str; 9] = [
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

/// Members that a coarse look leaves out as well: counts, limits, and what a shard asks for.
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

/// Folders that a coarse look leaves out: images and parts follow from the states, the ledger from
/// a sweep.
const DERIVED: [&str; 3] = ["/images/", "/results/", "stack/"];

/// The steps in which the time ahead is seen, in seconds.
const STEPS: [i64; 8] = [0, 60, 300, 600, 900, 1_800, 5_400, 86_400];
const COARSE_STEPS: [i64; 2] = [0, 900];

/// Something that is under way: whose it is, and how far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnderWay {
    /// What works, or arrives late.
    pub(crate) what: String,
    /// What it waits for.
    pub(crate) waits_for: Vec<String>,
    /// When something happens to it.
    pub(crate) due: Option<usize>,
}

/// The hashes of one world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) fine: u64,
    pub(crate) coarse: u64,
}

/// How far ahead a moment is, as a number of steps; the past is 0.
pub(crate) fn ahead(now: Timestamp, moment: Timestamp) -> usize {
    steps(&STEPS, now, moment)
}

fn steps(of: &[i64], now: Timestamp, moment: Timestamp) -> usize {
    let seconds = moment.duration_since(now).as_secs();
    of.iter().take_while(|step| seconds > **step).count()
}

/// The hashes of a world in which `next` is to be decided about.
///
/// # Errors
/// When the world can't be read.
pub(crate) fn fingerprint(
    cloud: &FaultCloud,
    next: &Sent,
    mut under_way: Vec<UnderWay>,
) -> anyhow::Result<Fingerprint> {
    under_way.sort();
    let fine = look(cloud, next, &under_way, false)?;
    under_way
        .iter_mut()
        .for_each(|one| one.due = one.due.map(|_| 0));
    Ok(Fingerprint {
        fine,
        coarse: look(cloud, next, &under_way, true)?,
    })
}

fn look(
    cloud: &FaultCloud,
    next: &Sent,
    under_way: &[UnderWay],
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

    let bucket = cloud.local.path_of("");
    let mut objects = files_below(&bucket)?;
    objects.sort();
    for path in &objects {
        let key = path.strip_prefix(&bucket)?.to_string_lossy();
        if coarse && DERIVED.iter().any(|part| key.contains(part)) {
            continue;
        }
        key.hash(&mut hash);
        if path.ends_with("state.json") || path.ends_with("ledger.json") {
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
        // Two messages of the same words ask for the same.
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
        // Paths of a message's file are drawn; that of a state was hashed before.
        self.hash_value(&serde_json::from_slice(&fs::read(path)?)?, hash);
        Ok(())
    }

    fn hash_value(&self, value: &Value, hash: &mut impl Hasher) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if SAID.contains(&name.as_str()) || self.coarse && FINE.contains(&name.as_str())
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

/// All files below a folder, which may be missing.
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
