//! `darkroom check`: what a manifest would do and cost.

use darkroom::manifest::{Diagnostic, Reading};
use seam::clock::Clock;

use super::{CheckArgs, Exit, catalog, dropped::Dropped, offer::Offer};

/// How many problems are shown on the terminal.
pub(super) const SHOWN: usize = 25;

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let settings = args.settings.settings();
    let dropped = Dropped::open(&args.manifest, &settings)?;
    let catalog = catalog::of(&args.out, &dropped.job)?;
    let read = dropped.read(&catalog, &args.settings, Clock::system().now())?;
    let offer = Offer::new(&dropped.job, &read, &catalog);
    let exit = if read.reading.errors > 0 {
        Exit::Rejected
    } else {
        Exit::Complete
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&offer)?);
        return Ok(exit);
    }
    show_offer(&offer, &read.reading);
    if read.reading.errors > 0 {
        println!(
            "rejected: {}; nothing would be bought",
            count(read.reading.errors, "error")
        );
    } else {
        println!("\nJob {}. Nothing was spent.", dropped.job);
    }
    Ok(exit)
}

/// What would be made, and what it would cost, if anything; then the problems.
pub(super) fn show_offer(offer: &Offer, reading: &Reading) {
    if reading.errors == 0 {
        let (images, items) = offer.counts();
        println!("{} from {}", count(images, "image"), count(items, "item"));
        for (family, id) in &reading.aliases {
            println!("  {family} is {id} today");
        }
        println!();
        offer.table().iter().for_each(|line| println!("{line}"));
        println!(
            "\neach = list price per image; totals include input tokens, exclude thinking tokens"
        );
        offer.thinking().iter().for_each(|line| println!("{line}"));
        if let Some(forecast) = offer.forecast() {
            println!("This takes days: {}.", forecast.note);
        }
    }
    show_problems(&reading.problems);
}

/// The first problems, one a line.
fn show_problems(problems: &[Diagnostic]) {
    for Diagnostic {
        line,
        key,
        severity,
        code,
        message,
    } in problems.iter().take(SHOWN)
    {
        let key = key
            .as_ref()
            .map(|key| format!(" [{key}]"))
            .unwrap_or_default();
        println!("{severity}: line {line}{key}: {message} ({code})");
    }
    if problems.len() > SHOWN {
        println!("… and {} more", problems.len() - SHOWN);
    }
}

/// `1 image`, `2 images`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}
