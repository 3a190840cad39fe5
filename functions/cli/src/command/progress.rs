//! The progress of a job on the terminal while it runs.

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

/// How often the status is read and the bar is drawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(150);

/// A progress bar if standard error is a terminal; otherwise a line whenever the phase changes.
#[derive(Debug)]
pub(super) struct Progress {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Shows the progress of `job` in the bucket below `root` until [`Progress::stop`].
    pub(super) fn start(root: &Path, job: &JobId, time: Time) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let view = View {
            out: root.to_owned(),
            status: root.join(BUCKET).join(object_keys::status(job)),
            images: root.join(BUCKET).join(object_keys::document(job, "images")),
            jumped_at_start: time.jumped(),
            time,
        };
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || view.show(&stop))
        };
        Self { stop, thread }
    }

    /// Shows the last status, removes the bar and stops the thread.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // A panic of the thread affects only the display, so the job's result is still printed.
        let _ = self.thread.join();
    }
}

/// What the thread reads and how it shows it.
struct View {
    /// The folder given by `--out`, for the commands in messages.
    out: PathBuf,
    /// The path of `job.json`.
    status: PathBuf,
    /// The folder of the job's images.
    images: PathBuf,
    /// The simulated time that had been skipped when the command started.
    jumped_at_start: SignedDuration,
    time: Time,
}

impl View {
    fn show(&self, stop: &AtomicBool) {
        let on_terminal = io::stderr().is_terminal();
        let bar = ProgressBar::no_length();
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg:<34} [{bar:30}] {pos}/{len}{prefix}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        let mut shown_phase = None;
        let mut reasons = ShownReasons::default();
        loop {
            // The flag is read before the status, so that the last status is always shown.
            let is_last = stop.load(Ordering::Acquire);
            if let Some(status) = self.read() {
                let stored = count_files(&self.images);
                let (what, position) = describe(&status, stored);

                // Without a terminal, a bar would fill a log file with control characters.
                if shown_phase != Some(status.phase) && !on_terminal && !status.phase.is_terminal()
                {
                    eprintln!("{what}{}", self.simulated_time());
                }
                shown_phase = Some(status.phase);

                // The final status is followed by the job's result, which repeats the reasons.
                if !status.phase.is_terminal() {
                    for reason in reasons.new_in(&status, &self.out) {
                        let line = format!("{reason}{}", self.simulated_time());
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
                bar.set_prefix(self.simulated_time());
            } else {
                // `plan` writes the first status after it has checked the manifest.
                bar.set_message("reading the manifest");
            }
            bar.tick();
            if is_last {
                break;
            }
            thread::sleep(REDRAW_INTERVAL);
        }
        bar.finish_and_clear();
    }

    fn read(&self) -> Option<JobStatus> {
        serde_json::from_slice(&fs::read(&self.status).ok()?).ok()
    }

    /// Returns the simulated time that was skipped since the start, or an empty string if time is
    /// real.
    fn simulated_time(&self) -> String {
        let minutes = (self.time.jumped() - self.jumped_at_start).as_secs() / 60;
        if minutes == 0 {
            String::new()
        } else {
            format!("  ({}h{:02} simulated)", minutes / 60, minutes % 60)
        }
    }
}

/// Returns the text for a job's phase, and how many images the bar shows as made.
fn describe(status: &JobStatus, stored: u64) -> (String, u64) {
    let batches = status
        .shards
        .iter()
        .filter(|shard| shard.batch.is_some())
        .count();
    let planned = status.plan.as_ref().map_or(0, |plan| plan.shards);
    match status.phase {
        JobPhase::Submitting => (format!("submitting batches: {planned}"), 0),
        JobPhase::Waiting => (format!("waiting for batches: {batches}"), status.finished),
        JobPhase::Collecting => (format!("images stored: {stored}"), stored),
        JobPhase::Blocked => {
            let what = status
                .blocker
                .as_ref()
                .map_or("see the job's job.json", |blocker| &blocker.what);
            (format!("blocked: {what}"), stored)
        }
        JobPhase::Rejected
        | JobPhase::Estimated
        | JobPhase::Succeeded
        | JobPhase::Partial
        | JobPhase::Failed
        | JobPhase::Cancelled => ("complete".to_owned(), stored),
    }
}

/// The reasons for waiting that were already shown. Reasons that differ only in their digits count
/// as the same, because they often contain a number that changes, such as a time.
#[derive(Default)]
struct ShownReasons(HashSet<(ShardPhase, String)>);

impl ShownReasons {
    /// Returns one text for each reason that was not shown before. `out` is the folder of the job.
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
                        "batch {shard_id} waits for your decision: {note}\n  \
                         darkroom approve {job} --out {out}\n  darkroom cancel {job} --out {out}",
                        job = status.job,
                        out = out.display()
                    )
                } else {
                    format!("batch {shard_id} is waiting: {note}")
                });
            }
        }
        lines
    }
}

/// Returns the number of files below a folder. A folder that can't be read counts as empty.
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
