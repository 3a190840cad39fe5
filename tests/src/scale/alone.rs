//! One function with a large job: `plan` with a table, and `report` with a job whose shards have all
//! ended. Each is measured in a separate process, whose peak memory is that of the function and the
//! stand-ins.

use std::{
    env, fmt, fs,
    io::{self, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use darkroom::chain::{FUNCTION_TIMEOUT, Function};
use serde::{Deserialize, Serialize};

use super::{
    simulation::Simulation,
    tables::{Table, short, whole},
    template::Template,
};

/// The function, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Alone {
    /// `plan` with a table.
    Plan,
    /// `report` with a job whose shards have all ended.
    Close,
}

impl Alone {
    fn function(self) -> Function {
        match self {
            Self::Plan => Function::Plan,
            Self::Close => Function::Report,
        }
    }
}

impl fmt::Display for Alone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plan => "plan",
            Self::Close => "report, closing",
        })
    }
}

/// What a function used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Used {
    /// The invocations of the function.
    invocations: u64,
    /// Their CPU seconds on this machine.
    cpu_s: f64,
    /// The longest of them in seconds, as it would take on Lambda.
    longest_s: f64,
    /// The peak memory of the process, in MiB.
    peak_mib: f64,
}

/// Runs a function with a job of this size, and prints what it used as JSON.
///
/// # Errors
/// If the function fails, or the system does not show the peak memory of a process.
pub fn print_usage(function: Alone, images: u64) -> anyhow::Result<()> {
    let simulation = Simulation {
        images,
        ..Simulation::default()
    };
    let usage = match function {
        Alone::Plan => simulation.plan()?,
        Alone::Close => simulation.close()?,
    };
    let used = Used {
        invocations: usage.invocations,
        cpu_s: usage.computing.as_secs_f64(),
        longest_s: usage.longest.as_secs_f64(),
        peak_mib: peak_mib()?,
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&used)?)?;
    Ok(())
}

/// Returns the peak memory of this process.
fn peak_mib() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("/proc/self/status has no peak memory")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Runs this program again, to measure a function.
fn measure(function: Alone, images: u64) -> anyhow::Result<Used> {
    let option = function.to_possible_value();
    let option = option.context("the function has no option")?;
    let output = Command::new(env::current_exe()?)
        .args(["--alone", option.get_name()])
        .args(["--images", &images.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "{function} of {images} images: {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures each function with jobs of these sizes. Returns the table, and what the functions should
/// not take.
///
/// # Errors
/// As [`print_usage`], and if `progress` fails.
pub fn compare(
    sizes: &[u64],
    template: &Template,
    progress: impl Fn(Alone, u64) -> io::Result<()>,
) -> anyhow::Result<(Table, Vec<String>)> {
    let mut table = Table::new([
        "function, images",
        "invocations",
        "CPU s here",
        "µs per image",
        "longest on Lambda, s",
        "peak MiB",
    ]);
    let mut failures = Vec::new();
    for function in [Alone::Plan, Alone::Close] {
        let memory = f64::from(template.function(function.function().name())?.memory_mb);
        for images in sizes.iter().copied() {
            let used = measure(function, images)?;
            progress(function, images)?;
            let job = format!("{function}, {}", whole(images as f64));
            table.row([
                job.clone(),
                used.invocations.to_string(),
                short(used.cpu_s),
                short(used.cpu_s * 1e6 / images as f64),
                short(used.longest_s),
                short(used.peak_mib),
            ]);
            let limits = [
                ("seconds", used.longest_s, FUNCTION_TIMEOUT.as_secs_f64()),
                ("MiB", used.peak_mib, memory),
            ];
            for (unit, found, limit) in limits {
                if found >= limit {
                    failures.push(format!("{job}: {found:.0} {unit}, of {limit:.0} at most"));
                }
            }
        }
    }
    Ok((table, failures))
}
