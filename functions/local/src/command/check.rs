//! `darkroom check`: what a manifest would do and cost.

use clients::clock::Clock;
use darkroom::{
    cost,
    manifest::{Problem, Reading},
    models::Catalogue,
};

use super::{
    CheckArgs, Exit,
    dropped::{Dropped, Kind, Order},
};

/// How many problems are shown on the terminal.
pub(super) const SHOWN: usize = 25;

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let settings = args.settings.settings();
    let catalogue = Catalogue::built_in();
    let dropped = Dropped::open(&args.manifest.manifest, &args.manifest.metadata, &settings)?;
    let read = dropped.read(&catalogue, &settings, Clock::system().now())?;
    show_problems(&read.reading.problems);
    if read.reading.errors > 0 {
        println!("rejected: {}; nothing would be bought", count(read.reading.errors, "error"));
        return Ok(Exit::Rejected);
    }
    show_plan(&read, &catalogue);
    println!("\nJob {}. Nothing was spent.", dropped.job);
    Ok(Exit::Complete)
}

/// The first problems, one a line.
pub(super) fn show_problems(problems: &[Problem]) {
    for Problem { line, key, severity, code, message } in problems.iter().take(SHOWN) {
        let key = key.as_ref().map(|key| format!(" [{key}]")).unwrap_or_default();
        println!("{severity}: line {line}{key}: {message} ({code})");
    }
    if problems.len() > SHOWN {
        println!("… and {} more", problems.len() - SHOWN);
    }
}

/// What would be made, and what it would cost.
pub(super) fn show_plan(read: &Order, catalogue: &Catalogue) {
    let Reading { images, items, estimate, aliases, warnings, .. } = &read.reading;
    println!("{} from {}", count(*images, "image"), count(*items, "item"));
    for (family, id) in aliases {
        println!("  {family} is {id} today");
    }
    println!("\n  {:<28} {:>5} {:>7} {:>11} {:>11}", "model", "size", "images", "batch each", "sync each");
    for Kind { model, size, images } in &read.kinds {
        let Some(model) = catalogue.model(model) else { continue };
        let each = cost::estimate(model, size.as_deref(), 0);
        let size = size.as_ref().unwrap_or(&model.default_size);
        let (batch, sync) = (each.batch_usd.to_string(), each.interactive_usd.to_string());
        println!("  {:<28} {size:>5} {images:>7} {batch:>11} {sync:>11}", model.id);
    }
    let saved = estimate.interactive_usd - estimate.batch_usd;
    println!("\nEstimate with input tokens: {} in batches.", estimate.batch_usd);
    println!("The same interactively: {}, so batches save {saved}.", estimate.interactive_usd);
    if *warnings > 0 {
        println!("{}; see above.", count(*warnings, "warning"));
    }
}

/// `1 image`, `2 images`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
