//! `darkroom status`: prints the jobs of a bucket, or one job in detail.

use darkroom::{names::JobId, object_keys};
use serde_json::{Value, json};

use super::{
    Exit, StatusArgs,
    check::count,
    job_result,
    job_view::{JobView, age},
    plain_text::{plain, plain_json},
    stack::{Stack, statuses},
};

/// Runs `darkroom status`.
pub(super) fn status(args: &StatusArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stack = Stack::open(&args.stack).await;
        match &args.job {
            Some(prefix) => {
                let job = stack.find_one(prefix).await?;
                show_job(&stack, &job, args.json).await
            }
            None => show_jobs(&stack, args.json).await,
        }
    })
}

async fn show_jobs(stack: &Stack, as_json: bool) -> anyhow::Result<Exit> {
    let mut statuses = statuses(stack, &stack.jobs().await?).await?;
    statuses.sort_by_cached_key(|status| std::cmp::Reverse(JobView::new(status).began_at()));
    if as_json {
        println!("{}", plain_json(&serde_json::to_string_pretty(&statuses)?));
        return Ok(Exit::Complete);
    }

    let views: Vec<JobView> = statuses.iter().map(JobView::new).collect();
    if views.is_empty() {
        println!("There are no jobs in {stack}.");
        return Ok(Exit::Complete);
    }
    let heads = ["job", "phase", "images", "cost", "age", "waits for"];
    let mut cells = vec![heads.map(str::to_owned)];
    let now = stack.now();
    cells.extend(views.iter().map(|view| {
        [
            view.job.to_string(),
            phase_name(view),
            format!("{}/{}", view.finished, view.images),
            view.price(),
            age(now.duration_since(view.began_at())),
            view.waits_for.clone(),
        ]
    }));
    aligned(&cells).iter().for_each(|line| println!("{line}"));
    Ok(Exit::Complete)
}

async fn show_job(stack: &Stack, job: &JobId, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        let document = stack.document::<Value>(&object_keys::status(job)).await?;
        let summary = object_keys::document(job, "summary.json");
        let summary = stack.document::<Value>(&summary).await?;
        let documents = json!({"job": document, "summary": summary});
        println!("{}", plain_json(&serde_json::to_string_pretty(&documents)?));
        return Ok(Exit::Complete);
    }

    let Some(status) = stack.status(job).await? else {
        println!("{job}: being planned. It has no job.json yet.");
        return Ok(Exit::Complete);
    };
    let view = JobView::new(&status);
    println!("{job}  {}", view.words);
    details(stack, &view)
        .iter()
        .for_each(|line| println!("{line}"));
    if view.ended {
        job_result::show(stack, job, false).await?;
    }
    Ok(Exit::Complete)
}

/// Returns the lines about a job that follow its phase. The result of a job that has ended is
/// described elsewhere.
pub(super) fn details(stack: &Stack, view: &JobView) -> Vec<String> {
    let row = |label: &str, text: &str| format!("  {label:<9}  {text}");
    let mut lines = vec![row("manifest", &view.manifest)];
    if let Some(planned_at) = view.planned_at {
        let age = age(stack.now().duration_since(planned_at));
        lines.push(row("planned", &format!("{planned_at:.0} ({age})")));
    }
    if view.ended {
        return lines;
    }

    // How far it is, what it will cost, and why it is not further.
    let images = format!("{} of {} finished", view.finished, view.images);
    lines.push(row("images", &images));
    for lane in &view.lanes {
        let text = format!("{}: {} of {}", lane.lane, lane.finished, lane.images);
        lines.push(row("", &text));
    }
    if let Some(estimate) = view.estimate_usd {
        lines.push(row("estimate", &estimate.to_string()));
    }
    if !view.waits_for.is_empty() {
        lines.push(row("waits for", &view.waits_for));
    }
    lines.extend(view.waits.iter().map(|wait| row("", wait)));

    // What the user can do, as commands that can be copied.
    if let Some(decision) = &view.decision {
        if decision.is_proof {
            let images = object_keys::images_folder(&view.job);
            lines.push(row("proof", &stack.address_of(&images)));
        }
        lines.extend(decision_commands(stack, view, decision.images));
    }
    let page = object_keys::gallery(&view.job);
    lines.push(row("page", &stack.address_of(&page)));
    lines
}

/// Returns the commands with which a user decides about images that are held.
pub(super) fn decision_commands(stack: &Stack, view: &JobView, images: u64) -> [String; 2] {
    let (job, options) = (&view.job, plain(&stack.options()).into_owned());
    [
        format!(
            "  {:<9}  darkroom approve {job} {options}    makes {}",
            "decide",
            count(images, "image")
        ),
        format!(
            "  {:<9}  darkroom cancel {job} {options}    ends the job",
            ""
        ),
    ]
}

/// Returns the phase as `job.json` names it.
fn phase_name(view: &JobView) -> String {
    match serde_json::to_value(view.phase) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Aligns the cells in columns: text to the left, numbers to the right.
fn aligned(cells: &[[String; 6]]) -> Vec<String> {
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let line = |row: &[String; 6]| {
        let columns = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            match column {
                2..=4 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            }
        });
        let columns: Vec<String> = columns.collect();
        columns.join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}
