//! The parts of the benchmark of `tests/bench/run`: datasets, and the services on loopback behind
//! TLS.
//!
//! The collector is the `collect` binary as it is deployed to Lambda. It receives its event from a
//! stand-in for Lambda's runtime API.

mod aws_chunked;
mod dataset;
mod downloads;
mod generate;
mod identity;
mod listen;
mod runtime_api;
mod serve;
mod shard;
mod sink;

use std::path::PathBuf;

use bench::responses::Form;
use clap::{Parser, Subcommand};

/// The parts of the benchmark, for `tests/bench/run`.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Generates a responses file and the list of its images, unless they exist.
    Generate {
        /// The folder of the datasets.
        #[arg(long)]
        folder: PathBuf,
        /// The name of the dataset.
        #[arg(long)]
        dataset: String,
        /// The form of the images.
        #[arg(long)]
        form: Form,
        /// The approximate size of the responses file, in bytes.
        #[arg(long)]
        bytes: u64,
    },
    /// Serves Gemini, S3, SQS and Lambda's runtime API on loopback until its input ends.
    Serve {
        /// The folder of the datasets.
        #[arg(long)]
        folder: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().part {
        Part::Generate {
            folder,
            dataset,
            form,
            bytes,
        } => generate::generate(&dataset::Dataset::new(folder, dataset), form, bytes),
        Part::Serve { folder } => serve::serve(&folder),
    }
}
