//! `faults`: tries to break the promise that every image is paid for once, kept, and put in its
//! place.
//!
//! It ends with 0 if it could not, with 1 if it could, and with 2 if it could not even try.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tests::faults::{At, Break, Case, Found, Plan, Wrong, explore};

/// So many failures are told; the others are counted.
const TOLD: usize = 20;

/// Tries to break the exactly-once protocol: every single fault, pairs of faults, and worlds that
/// are drawn.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many worlds to draw.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Play the world of this seed alone, and print its wire log.
    #[arg(long, conflicts_with = "faults")]
    seed: Option<u64>,
    /// Play the small world with these faults alone, such as 37:reply-lost,52:twice, and print its
    /// wire log. `none` plays it without any.
    #[arg(long)]
    faults: Option<String>,
    /// Single faults only at requests whose line in the log has this in it, such as
    /// batchGenerateContent.
    #[arg(long)]
    at: Option<String>,
    /// How many pairs of faults that are not both crashes to play at the most, spread evenly over
    /// all that differ. Pairs of crashes are all played.
    #[arg(long, default_value_t = 1000)]
    sample: usize,
    /// Leave single faults, and so pairs, out.
    #[arg(long)]
    no_singles: bool,
    /// Break a rule of the protocol: the harness must notice.
    #[arg(long = "break", value_enum)]
    broken: Option<Break>,
    /// Worlds played at the same time.
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

/// Whether all went well.
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
        seeds: arguments.seeds,
        singles: !arguments.no_singles,
        at: arguments.at.clone(),
        pairs: true,
        sample: arguments.sample,
        threads: arguments.threads,
        broken: arguments.broken,
    };
    let found = explore(&plan, |part| {
        // Whoever reads only the summary may have closed it.
        let _ = writeln!(io::stderr(), "{part}");
    })?;
    tell(&found, arguments.broken)?;
    Ok(found.failures.is_empty())
}

/// The one case that is asked for.
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
    Ok(Some(Case::Faults(
        faults
            .collect::<Result<_, _>>()
            .map_err(anyhow::Error::msg)?,
    )))
}

fn tell(found: &Found, broken: Option<Break>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for failure in found.failures.iter().take(TOLD) {
        for violation in &failure.violations {
            writeln!(out, "{violation}")?;
        }
        let rule = broken.and_then(|rule| clap::ValueEnum::to_possible_value(&rule));
        let rule = rule
            .map(|rule| format!(" --break {}", rule.get_name()))
            .unwrap_or_default();
        writeln!(out, "  again: faults {}{rule}", failure.case.argument())?;
    }
    if found.failures.len() > TOLD {
        writeln!(out, "and {} schedules more", found.failures.len() - TOLD)?;
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
