//! `faults`: tries to break the guarantee that every image is paid for once, kept, and stored under
//! its key.
//!
//! It exits with 0 if it found no violation, with 1 if it found one, and with 2 if it could not
//! run.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tests::faults::{At, Break, Case, Found, Plan, World, Wrong, explore};

/// The number of failures to print. The others are counted.
const MAX_PRINTED: usize = 20;

/// Tries to break the exactly-once protocol with every single fault, pairs of faults, and random
/// schedules.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many random schedules to run.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Run only the schedule of this seed, and print its log.
    #[arg(long, conflicts_with = "faults")]
    seed: Option<u64>,
    /// Run only a small scene with these faults, such as 37:reply-lost,52:twice, and print its
    /// log.
    /// `none` runs it without faults.
    #[arg(long)]
    faults: Option<String>,
    /// The small scenes of single faults and pairs; all of them by default. `--faults` needs one, by
    /// default `batch`.
    #[arg(long = "world", value_enum)]
    worlds: Vec<World>,
    /// Restrict single faults to requests whose log line contains this text, such as
    /// batchGenerateContent.
    #[arg(long)]
    at: Option<String>,
    /// The maximum number of pairs of faults that are not both crashes, spread evenly over all that
    /// differ. All pairs of crashes run.
    #[arg(long, default_value_t = 1000)]
    sample: usize,
    /// Skip single faults and pairs.
    #[arg(long)]
    no_singles: bool,
    /// Break a rule of the protocol. The harness must detect it.
    #[arg(long = "break", value_enum)]
    broken: Option<Break>,
    /// How many simulations run at the same time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the harness. Returns whether it found no violation.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if let Some(case) = one(arguments)? {
        let (log, violations) = case.replay(arguments.broken)?;
        let mut out = io::stdout().lock();
        for line in log {
            writeln!(out, "{line}")?;
        }
        for violation in &violations {
            writeln!(out, "{violation}")?;
        }
        return Ok(violations.is_empty());
    }
    let plan = Plan {
        seeds: 0..arguments.seeds,
        singles: if arguments.no_singles {
            Vec::new()
        } else if arguments.worlds.is_empty() {
            World::ALL.to_vec()
        } else {
            arguments.worlds.clone()
        },
        at: arguments.at.clone(),
        pairs: true,
        sample: arguments.sample,
        threads: arguments.threads,
        broken: arguments.broken,
    };
    let found = explore(&plan, |part| {
        // A reader of the summary alone may have closed standard error.
        let _ = writeln!(io::stderr(), "{part}");
    })?;
    print(&found, arguments.broken)?;
    Ok(found.failures.is_empty())
}

/// Returns the single case of the arguments, if there is one.
fn one(arguments: &Arguments) -> anyhow::Result<Option<Case>> {
    if let Some(seed) = arguments.seed {
        return Ok(Some(Case::Seed(seed)));
    }
    let Some(faults) = &arguments.faults else {
        return Ok(None);
    };
    let faults = faults
        .split(',')
        .filter(|text| *text != "none")
        .map(str::parse::<At>);
    let world = arguments.worlds.first().copied().unwrap_or(World::Batch);
    Ok(Some(Case::Faults(
        world,
        faults
            .collect::<Result<_, _>>()
            .map_err(anyhow::Error::msg)?,
    )))
}

/// Prints the failures and the counts.
fn print(found: &Found, broken: Option<Break>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for failure in found.failures.iter().take(MAX_PRINTED) {
        for violation in &failure.violations {
            writeln!(out, "{violation}")?;
        }
        let rule = broken.and_then(|rule| clap::ValueEnum::to_possible_value(&rule));
        let rule = rule
            .map(|rule| format!(" --break {}", rule.get_name()))
            .unwrap_or_default();
        writeln!(out, "  replay: faults {}{rule}", failure.case.argument())?;
    }
    if found.failures.len() > MAX_PRINTED {
        writeln!(
            out,
            "and {} more schedules",
            found.failures.len() - MAX_PRINTED
        )?;
    }
    let Found {
        schedules,
        singles,
        pairs,
        outages,
        ..
    } = found;
    let counts = [
        ("double_buys", Wrong::DoubleBuy),
        ("lost_keys", Wrong::LostKey),
        ("misfiled", Wrong::Misfiled),
        ("stuck", Wrong::Stuck),
        ("orphans", Wrong::Orphan),
        ("miscounts", Wrong::Miscount),
        ("strangers", Wrong::Stranger),
        ("unapproved", Wrong::Unapproved),
        ("no_thumbnails", Wrong::NoThumbnail),
        ("lost_events", Wrong::LostEvent),
        ("unsettled", Wrong::Unsettled),
    ];
    write!(
        out,
        "faults: schedules={schedules} singles={singles} pairs={pairs} worlds_with_an_outage={outages}"
    )?;
    for (name, wrong) in counts {
        write!(out, " {name}={}", found.count(wrong))?;
    }
    writeln!(out)
}
