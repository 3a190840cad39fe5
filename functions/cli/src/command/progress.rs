//! What the terminal shows while a job runs.

use std::{
    collections::HashSet,
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use darkroom::{
    names::JobId,
    object_keys,
    status::{JobPhase, JobStatus, ShardPhase},
};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;

use crate::{cloud::BUCKET, time::Time};

/// How often the bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(150);

/// A bar on a terminal; elsewhere a line whenever the phase changes.
#[derive(Debug)]
pub(super) struct Progress {
    ended: Arc<AtomicBool>,
    drawing: JoinHandle<()>,
}

impl Progress {
    /// Shows the progress of `job` in the bucket below `root` until [`Progress::end`].
    pub(super) fn start(root: &Path, job: &JobId, time: Time) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            out: root.to_owned(),
            status: root.join(BUCKET).join(object_keys::status(job)),
            images: root.join(BUCKET).join(object_keys::document(job, "images")),
            before: time.jumped(),
            time,
        };
        let stop = Arc::clone(&ended);
        let drawing = thread::spawn(move || watch.show(&stop));
        Self { ended, drawing }
    }

    /// Stops drawing.
    pub(super) fn end(self) {
        self.ended.store(true, Ordering::Release);
        // A drawing that failed has nothing more to say.
        let _ = self.drawing.join();
    }
}

struct Watch {
    out: PathBuf,
    status: PathBuf,
    images: PathBuf,
    before: SignedDuration,
    time: Time,
}

impl Watch {
    fn show(&self, ended: &AtomicBool) {
        let on_terminal = io::stderr().is_terminal();
        let bar = ProgressBar::no_length();
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg:<34} [{bar:30}] {pos}/{len}{prefix}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        let mut said = None;
        let mut reasons = Reasons::default();
        loop {
            let last = ended.load(Ordering::Acquire);
            if let Some(status) = self.read() {
                let landed = count_files(&self.images);
                let (what, position) = words(&status, landed);
                if said != Some(status.phase) && !on_terminal && !status.phase.is_terminal() {
                    eprintln!("{what}{}", self.passed());
                }
                said = Some(status.phase);
                if !status.phase.is_terminal() {
                    for reason in reasons.new_in(&status, &self.out) {
                        let line = format!("{reason}{}", self.passed());
                        if on_terminal {
                            bar.println(line)
                        } else {
                            eprintln!("{line}")
                        }
                    }
                }
                bar.set_length(status.plan.as_ref().map_or(0, |plan| plan.images));
                bar.set_position(position);
                bar.set_message(what);
                bar.set_prefix(self.passed());
            } else {
                bar.set_message("reading the manifest");
            }
            bar.tick();
            if last {
                break;
            }
            thread::sleep(REDRAW);
        }
        bar.finish_and_clear();
    }

    fn read(&self) -> Option<JobStatus> {
        serde_json::from_slice(&fs::read(&self.status).ok()?).ok()
    }

    /// The simulated time that has passed, where time is simulated.
    fn passed(&self) -> String {
        let minutes = (self.time.jumped() - self.before).as_secs() / 60;
        if minutes == 0 {
            String::new()
        } else {
            format!("  ({}h{:02} simulated)", minutes / 60, minutes % 60)
        }
    }
}

/// What is going on, and how many images to show as done.
fn words(status: &JobStatus, landed: u64) -> (String, u64) {
    let batches = status
        .shards
        .iter()
        .filter(|shard| shard.batch.is_some())
        .count();
    let planned = status.plan.as_ref().map_or(0, |plan| plan.shards);
    match status.phase {
        JobPhase::Submitting => (format!("planned; batches to submit: {planned}"), 0),
        JobPhase::Waiting => (
            format!("submitted; waiting for batches: {batches}"),
            status.finished,
        ),
        JobPhase::Collecting => (format!("{landed} images landed"), landed),
        JobPhase::Blocked => {
            let what = status
                .blocker
                .as_ref()
                .map_or("see its job.json", |blocker| &blocker.what);
            (format!("can't be closed: {what}"), landed)
        }
        JobPhase::Rejected
        | JobPhase::Estimated
        | JobPhase::Succeeded
        | JobPhase::Partial
        | JobPhase::Failed
        | JobPhase::Cancelled => ("done".to_owned(), landed),
    }
}

/// The reasons for waiting that were shown. One that differs from another in numbers alone is not
/// shown again.
#[derive(Default)]
struct Reasons(HashSet<(ShardPhase, String)>);

impl Reasons {
    /// The reasons of shards that were not shown before, a line each. `out` is the folder of the
    /// job.
    fn new_in(&mut self, status: &JobStatus, out: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for shard in status
            .shards
            .iter()
            .filter(|shard| !shard.phase.is_terminal())
        {
            let Some(note) = &shard.note else { continue };
            let kind: String = note.chars().filter(|char| !char.is_ascii_digit()).collect();
            if self.0.insert((shard.phase, kind)) {
                let shard_id = shard.shard;
                lines.push(if shard.phase == ShardPhase::Held {
                    format!(
                        "batch {shard_id} waits for you: {note}\n  darkroom approve {job} --out {out}\n  darkroom cancel {job} \
                         --out {out}",
                        job = status.job,
                        out = out.display()
                    )
                } else {
                    format!("batch {shard_id} waits: {note}")
                });
            }
        }
        lines
    }
}

fn count_files(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            Ok(_) => 1,
            Err(_) => 0,
        })
        .sum()
}
