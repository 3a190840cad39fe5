//! `darkroom watch`: shows one job until it ends.

use std::{
    collections::HashSet,
    io::{self, IsTerminal},
    time::Duration,
};

use aws_sim::listen::wait_until_stopped;
use darkroom::{names::JobId, status::JobPhase};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    Exit, WatchArgs, job_result,
    job_view::{JobView, age},
    plain_text::plain,
    shutdown,
    stack::{Found, Stack, ambiguous},
    status::decision_commands,
};

/// How often the status in a folder is read.
const FOLDER_INTERVAL: Duration = Duration::from_millis(200);

/// How often the status in a bucket is read. An hour costs less than a tenth of a cent.
const BUCKET_INTERVAL: Duration = Duration::from_secs(2);

/// How many reads in a row may fail. The network may be gone for a moment during a job of hours.
const MAX_FAILURES: u32 = 60;

/// The number of characters of the bar.
const BAR: u64 = 30;

/// Runs `darkroom watch`.
pub(super) fn watch(args: &WatchArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(watch_job(args))
}

async fn watch_job(args: &WatchArgs) -> anyhow::Result<Exit> {
    let stack = Stack::open(&args.stack).await;
    let mut shutdown = shutdown::requested()?;
    let interval = match stack {
        Stack::Folder(_) => FOLDER_INTERVAL,
        Stack::Bucket(_) => BUCKET_INTERVAL,
    };
    let mut display = Display::new();
    let watching = async {
        let job = appearance(&stack, &args.job, interval, &mut display).await?;
        end(&stack, &job, interval, &mut display).await?;
        anyhow::Ok(job)
    };
    let ended = tokio::select! {
        ended = watching => Some(ended?),
        () = wait_until_stopped(&mut shutdown) => None,
    };
    display.close();
    match ended {
        Some(job) => job_result::show(&stack, &job, false).await,
        None => {
            println!("Stopped watching. The job is not affected.");
            Ok(Exit::Interrupted)
        }
    }
}

/// Waits until there is a job whose name begins with `prefix`.
async fn appearance(
    stack: &Stack,
    prefix: &str,
    interval: Duration,
    display: &mut Display,
) -> anyhow::Result<JobId> {
    loop {
        match stack.find(prefix).await? {
            Found::One(job) => return Ok(job),
            Found::Several(jobs) => anyhow::bail!("{}", ambiguous(prefix, &jobs)),
            Found::None => display.say_once(&format!(
                "waiting for a job in {stack} whose name begins with {}",
                plain(prefix)
            )),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Shows the job until it has ended.
async fn end(
    stack: &Stack,
    job: &JobId,
    interval: Duration,
    display: &mut Display,
) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        let read = stack.status(job).await;
        failures = if read.is_ok() { 0 } else { failures + 1 };
        match read {
            Err(error) if failures > MAX_FAILURES => return Err(error),
            Err(error) => {
                display.say_once(&format!(
                    "{job}  can't be read now: {}",
                    plain(&format!("{error:#}"))
                ));
            }
            Ok(Some(status)) => {
                let view = JobView::new(&status);
                display.show(stack, &view);
                if view.ended {
                    return Ok(());
                }
            }
            // `plan` writes the first status after it has checked the manifest.
            Ok(None) => display.say_once(&format!("{job}  reading the manifest")),
        }
        tokio::time::sleep(interval).await;
    }
}

/// One block that is drawn again, if standard output is a terminal; otherwise a line for each
/// change.
struct Display {
    /// The block. None without a terminal, where it would fill a log file with control characters.
    block: Option<ProgressBar>,
    /// The phase and the tenth of the images that were last reported as a line.
    reported: Option<(JobPhase, u64)>,
    /// The lines that were printed and are not repeated.
    printed: HashSet<String>,
}

impl Display {
    fn new() -> Self {
        let block = io::stdout().is_terminal().then(|| {
            let block = ProgressBar::no_length();
            block.set_draw_target(ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                block.set_style(style);
            }
            block.enable_steady_tick(Duration::from_millis(150));
            block
        });
        Self {
            block,
            reported: None,
            printed: HashSet::new(),
        }
    }

    /// Prints a line, or shows it in place of the block, unless it was printed before.
    fn say_once(&mut self, line: &str) {
        match &self.block {
            Some(block) => block.set_message(line.to_owned()),
            None => self.print_once(line.to_owned()),
        }
    }

    fn show(&mut self, stack: &Stack, view: &JobView) {
        if let Some(block) = &self.block {
            block.set_message(block_text(stack, view));
            return;
        }

        // Ten lines for the images of a phase are enough for a log file.
        let tenth = (view.finished * 10)
            .checked_div(view.images)
            .unwrap_or_default();
        let is_new_phase = self.reported.is_none_or(|(phase, _)| phase != view.phase);
        if is_new_phase {
            println!("{}  {}", view.job, view.words);
        } else if self.reported.is_some_and(|(_, reported)| reported < tenth) {
            println!("{}  {} of {} images", view.job, view.finished, view.images);
        }
        self.reported = Some((view.phase, tenth));
        for wait in &view.waits {
            // Reasons often contain a number that changes, such as a time.
            let kind: String = wait.chars().filter(|char| !char.is_ascii_digit()).collect();
            if self.printed.insert(kind) {
                println!("  waits: {wait}");
            }
        }
        if let Some(decision) = &view.decision {
            for command in decision_commands(stack, view, decision.images) {
                self.print_once(command);
            }
        }
    }

    fn print_once(&mut self, line: String) {
        if !self.printed.contains(&line) {
            println!("{line}");
            self.printed.insert(line);
        }
    }

    fn close(&self) {
        if let Some(block) = &self.block {
            block.finish_and_clear();
        }
    }
}

/// Returns the lines of the block: the phase, a bar, the lanes, and why the job waits.
fn block_text(stack: &Stack, view: &JobView) -> String {
    let filled = (view.finished * BAR)
        .checked_div(view.images)
        .unwrap_or_default();
    let filled = usize::try_from(filled.min(BAR)).unwrap_or_default();
    let rest = usize::try_from(BAR).unwrap_or_default() - filled;
    let since = age(stack.now().duration_since(view.began_at()));
    let mut lines = vec![
        format!("{}  {}", view.job, view.words),
        format!(
            "  [{}{}] {} of {} images   {}   {since}",
            "=".repeat(filled),
            " ".repeat(rest),
            view.finished,
            view.images,
            view.price()
        ),
    ];
    for lane in &view.lanes {
        lines.push(format!(
            "  {}: {} of {}",
            lane.lane, lane.finished, lane.images
        ));
    }
    if !view.waits_for.is_empty() {
        lines.push(format!("  waits for {}", view.waits_for));
    }
    lines.extend(view.waits.iter().map(|wait| format!("  {wait}")));
    if let Some(decision) = &view.decision {
        lines.extend(decision_commands(stack, view, decision.images));
    }
    lines.join("\n")
}
