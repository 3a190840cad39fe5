//! What `tests/bench/run` measures the collector with: result files, the services on loopback
//! behind TLS, and the floor.
//!
//! The collector itself is not here: it is the `collect` binary as it goes to Lambda, with an event
//! from a stand-in of Lambda's runtime API.

mod aws_chunked;
mod dataset;
mod downloads;
mod floor;
mod generate;
mod identity;
mod listen;
mod runtime_api;
mod serve;
mod shard;
mod sink;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The parts of the benchmark, for `tests/bench/run`.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Makes a result file and the list of its images, unless they are there.
    Generate {
        /// Where datasets are kept.
        #[arg(long)]
        folder: PathBuf,
        /// Its name.
        #[arg(long)]
        dataset: String,
        /// About how many bytes the result file has.
        #[arg(long)]
        bytes: u64,
    },
    /// Serves Gemini, S3, SQS and Lambda's runtime API on loopback until its input ends.
    Serve {
        /// Where datasets are kept.
        #[arg(long)]
        folder: PathBuf,
    },
    /// Does the least that any collector must do.
    Floor(floor::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().part {
        Part::Generate {
            folder,
            dataset,
            bytes,
        } => generate::generate(&dataset::Dataset::new(folder, dataset), bytes),
        Part::Serve { folder } => serve::serve(&folder),
        Part::Floor(arguments) => floor::run(&arguments),
    }
}
