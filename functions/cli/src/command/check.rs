//! `darkroom check`: checks a manifest and prints what it would cost.

use darkroom::manifest::{Diagnostic, Reading};
use seam::clock::Clock;

use super::{CheckArgs, Exit, catalog, manifest_file::ManifestFile, quote::Quote};

/// The number of problems that are printed on the terminal.
pub(super) const MAX_SHOWN_PROBLEMS: usize = 25;

/// Runs `darkroom check`.
pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let settings = args.settings.settings();
    let folders = catalog::folders(&args.out)?;
    let manifest = ManifestFile::open(&args.manifest, &settings, &folders)?;
    let catalog = catalog::effective(&args.out, &manifest.job)?;
    let checked = manifest.check(&catalog, &args.settings, Clock::system().now())?;
    let quote = Quote::new(&manifest.job, &checked, &catalog);

    // The exit code is the same for people and for programs.
    let exit = if checked.reading.errors > 0 {
        Exit::Rejected
    } else {
        Exit::Complete
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&quote)?);
        return Ok(exit);
    }

    show_quote(&quote, &checked.reading);
    if checked.reading.errors > 0 {
        println!(
            "Rejected: {}. Nothing would be bought.",
            count(checked.reading.errors, "error")
        );
    } else {
        println!("\nThe job would be {}. Nothing was spent.", manifest.job);
    }
    Ok(exit)
}

/// Prints what the job makes and what it costs, unless the manifest has errors; then its problems.
pub(super) fn show_quote(quote: &Quote, reading: &Reading) {
    if reading.errors == 0 {
        let (images, items) = quote.counts();
        println!("{} from {}", count(images, "image"), count(items, "item"));
        for (family, id) in &reading.aliases {
            println!("  {family} is currently {id}");
        }
        println!();
        quote.table().iter().for_each(|line| println!("{line}"));
        println!(
            "\neach = list price per image; totals include input tokens, exclude thinking tokens"
        );
        quote.thinking().iter().for_each(|line| println!("{line}"));
        quote.lanes().iter().for_each(|line| println!("{line}"));
        if let Some(proof) = quote.proof() {
            println!("{proof}");
        }
        if let Some(forecast) = quote.forecast() {
            println!("Longer than a day: {}.", forecast.note);
        }
    }
    show_problems(&reading.problems);
}

/// Prints the first problems, one per line.
fn show_problems(problems: &[Diagnostic]) {
    for Diagnostic {
        line,
        key,
        severity,
        code,
        message,
    } in problems.iter().take(MAX_SHOWN_PROBLEMS)
    {
        let key = key
            .as_ref()
            .map(|key| format!(" [{key}]"))
            .unwrap_or_default();
        println!("{severity}: line {line}{key}: {message} ({code})");
    }
    if problems.len() > MAX_SHOWN_PROBLEMS {
        println!("… and {} more", problems.len() - MAX_SHOWN_PROBLEMS);
    }
}

/// Returns a number with its noun: `1 image`, `2 images`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}
