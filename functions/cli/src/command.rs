//! The `darkroom` command: run a manifest on this machine, or check what it would do and cost.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to people on the terminal"
)]

mod announce;
mod catalog;
mod check;
mod dropped;
mod gemini;
mod gemini_mode;
mod manifest;
mod offer;
mod outcome;
mod progress;
mod run;
mod scenario;
mod serve;
mod setting;
mod sidecar;
mod signal;
mod word;

use std::{path::PathBuf, process::ExitCode};

use clap::{
    Args, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PathBufValueParser, TypedValueParser},
    error::ErrorKind,
};
use darkroom::{
    cost::Usd,
    job::{HttpsReferences, Settings},
    ledger::ProjectLimits,
    models::{Catalog, Tier},
};

use self::scenario::BehaviorArgs;
use crate::words::Word;

/// How the command ends, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// Every image is there; or the manifest is good.
    Complete = 0,
    /// Some images are missing: `retry.jsonl` asks for them again.
    Missing = 1,
    /// The manifest was rejected: `validation.csv` says why. Nothing was bought.
    Rejected = 2,
    /// Something beside the manifest went wrong; the same command goes on from there.
    Broken = 3,
    /// The question whether to spend was not answered with yes.
    Declined = 4,
    /// The command line is wrong.
    Usage = 64,
    /// It was stopped by Ctrl-C; the same command resumes it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Drop a manifest, come back to finished images, at Gemini Batch price.
#[derive(Debug, Parser)]
#[command(name = "darkroom", version, after_help = EXITS)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

const EXITS: &str = "Exit codes: 0 all images are there, 1 some are missing, 2 the manifest was rejected, \
                     3 something else went wrong (run the same command again to resume), 4 you declined to spend, \
                     64 wrong command line, 130 stopped by Ctrl-C";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the images of a manifest on this machine, with a simulated Gemini or the real one.
    Run(RunArgs),
    /// Say what a manifest would do and cost. Spends nothing, and asks Gemini nothing.
    Check(CheckArgs),
    /// Keep the chain running on loopback: drop manifests with any S3 client, as in the cloud.
    Serve(ServeArgs),
    /// Let the held batches of a job continue.
    Approve(WordArgs),
    /// End a job with what it has. What its batches have made is still collected.
    Cancel(WordArgs),
    /// Keep the simulated Gemini running alone on loopback, for any client.
    Gemini(GeminiArgs),
}

/// GeminiMode Gemini answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GeminiMode {
    /// A simulated one: free, offline, and hours pass in a moment.
    Sim,
    /// Google's, with the key in `GEMINI_API_KEY`; it costs money and takes hours.
    Live,
}

/// A manifest, as a person would upload it.
#[derive(Debug, Args)]
struct ManifestArgs {
    /// The manifest: CSV, JSON Lines or JSON, also gzipped.
    #[arg(value_parser = PathBufValueParser::new().try_map(manifest::path))]
    manifest: PathBuf,
    /// What counts for all of its items, as `aws s3 cp --metadata` takes it:
    /// template=white-bg,budget-usd=150.
    #[arg(long, value_name = "NAME=VALUE,…", value_parser = manifest::metadata)]
    metadata: Vec<Vec<(String, String)>>,
    /// End with the estimate and buy nothing, as the metadata mode=dry_run says.
    #[arg(long)]
    dry_run: bool,
    /// What the job may cost in dollars, as the metadata budget-usd says.
    #[arg(long, value_name = "USD", value_parser = manifest::dollars)]
    budget_usd: Option<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The folder that holds the local bucket and all state.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// GeminiMode Gemini answers. Default: sim, unless GEMINI_API_KEY is set and you say yes to the real
    /// one.
    #[arg(long, value_enum)]
    gemini: Option<GeminiMode>,
    /// Don't ask before spending.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    scenario: BehaviorArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The folder whose stack/models.toml has the models and prices, if there is one; it need not
    /// exist.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// Print one JSON document, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
struct WordArgs {
    /// The job, as `run` and `serve` name it. Any unambiguous beginning will do.
    job: String,
    /// The folder that holds the local bucket and all state.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The folder that holds the local bucket and all state.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// The port of S3 and SQS on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 4580)]
    port: u16,
    /// The port of the simulated Gemini on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 4581)]
    gemini_port: u16,
    /// The access key id that S3 and SQS clients must have. Default: DARKROOM_ACCESS_KEY, else one
    /// of the folder's own.
    #[arg(long, value_name = "ID", requires = "secret_key")]
    access_key: Option<String>,
    /// Its secret, which other users of this machine can see here. Default: DARKROOM_SECRET_KEY,
    /// else the folder's own.
    #[arg(long, value_name = "SECRET", requires = "access_key")]
    secret_key: Option<String>,
    /// GeminiMode Gemini answers. Default: sim.
    #[arg(long, value_enum)]
    gemini: Option<GeminiMode>,
    /// With the real one: don't ask before spending.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    scenario: BehaviorArgs,
}

#[derive(Debug, Args)]
struct GeminiArgs {
    /// The folder that holds files and batches.
    #[arg(long, value_name = "DIR", default_value = "darkroom-gemini")]
    state: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 4581)]
    port: u16,
    /// Accept no API key but that in GEMINI_API_KEY. Without it, any will do.
    #[arg(long)]
    require_key: bool,
    #[command(flatten)]
    scenario: BehaviorArgs,
}

/// What a deployment sets for all its jobs.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// The model of items that name none.
    #[arg(long, value_name = "MODEL")]
    default_model: Option<String>,
    /// How often an image is asked for in all, when it fails for a reason that may pass.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    max_rounds: Option<u8>,
    /// Allow models past their shutdown date.
    #[arg(long)]
    allow_retired_models: bool,
    /// Allow full ids of models that the catalog doesn't know, at the dearest one's price.
    #[arg(long)]
    allow_unknown_models: bool,
    /// Fetch references that are https addresses, from public hosts.
    #[arg(long)]
    allow_https_references: bool,
    /// The paid tier of the key's project, 1 to 3: it limits the input tokens that wait in batches.
    #[arg(long, value_name = "N", default_value = "1")]
    tier: Tier,
    /// Batches that may be live at once.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    max_live_batches: u32,
    /// Dollars that may be spent or reserved on one day (UTC); what is over waits. Default none.
    #[arg(long, value_name = "USD")]
    daily_cap_usd: Option<Usd>,
}

impl SettingsArgs {
    /// What the project allows. It changes no job's identity.
    fn limits(&self) -> ProjectLimits {
        ProjectLimits {
            live_batches: self.max_live_batches,
            enqueued_tokens: Catalog::built_in().enqueued_tokens(self.tier),
            daily_usd: self.daily_cap_usd,
        }
    }

    fn settings(&self) -> Settings {
        let defaults = Settings::default();
        Settings {
            default_model: self.default_model.clone().unwrap_or(defaults.default_model),
            max_rounds: self.max_rounds.unwrap_or(defaults.max_rounds),
            allow_retired_models: self.allow_retired_models,
            allow_unknown_models: self.allow_unknown_models,
            https_references: if self.allow_https_references {
                HttpsReferences::Allow
            } else {
                defaults.https_references
            },
            shard: defaults.shard,
        }
    }
}

/// The command line, of which all parts agree.
fn parse() -> Result<Command, clap::Error> {
    let command = Command::try_parse()?;
    if let Verb::Run(RunArgs { manifest, .. }) | Verb::Check(CheckArgs { manifest, .. }) =
        &command.verb
    {
        manifest
            .metadata()
            .map_err(|message| Command::command().error(ErrorKind::ArgumentConflict, message))?;
    }
    Ok(command)
}

/// Runs the command with this process's arguments.
pub fn main() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(error) => {
            // Asking for help is no mistake.
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            let _ = error.print();
            return if asked {
                ExitCode::SUCCESS
            } else {
                Exit::Usage.into()
            };
        }
    };
    let done = match &command.verb {
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => check::check(args),
        Verb::Serve(args) => serve::serve(args),
        Verb::Approve(args) => word::say(args, Word::Approve),
        Verb::Cancel(args) => word::say(args, Word::Cancel),
        Verb::Gemini(args) => gemini::gemini(args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("darkroom: {error:#}");
            Exit::Broken.into()
        }
    }
}
