//! The `darkroom` command, which runs a manifest on this machine or checks what it would cost.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a command goes to the terminal"
)]

mod catalog;
mod check;
mod control;
mod doctor;
mod environment;
mod gemini;
mod gemini_mode;
mod job_result;
mod job_view;
mod manifest_args;
mod manifest_file;
mod phase_reporter;
mod plain_text;
mod progress;
mod quote;
mod review;
mod run;
mod scenario;
mod serve;
mod shutdown;
mod sidecar;
mod stack;
mod stack_args;
mod status;
mod try_image;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{
    ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PathBufValueParser, TypedValueParser},
    error::ErrorKind,
};
use darkroom::{
    image_url::ImageBaseUrl,
    job::{HttpsReferences, JobSettings},
    lane::Lane,
    ledger::{FolderCaps, ProjectLimits},
    models::{Catalog, Tier},
    money::Usd,
    settings::{DailyCap, MaxLiveBatches, MaxRounds},
};

use self::{
    scenario::ScenarioArgs,
    stack_args::{ReviewArgs, StackArgs, StatusArgs, WatchArgs},
};
use crate::controls::ControlAction;

/// The exit codes of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// All images were made, or the manifest has no errors.
    Complete = 0,
    /// Some or all images are missing; `retry.jsonl` requests them again.
    Incomplete = 1,
    /// The manifest was rejected; `validation.csv` gives the reasons. Nothing was bought.
    Rejected = 2,
    /// Something other than the manifest failed. Running the same command again resumes the job.
    Failed = 3,
    /// The user declined to spend money, or there was no terminal to ask at.
    Declined = 4,
    /// A check of `darkroom doctor` failed, or could not be made.
    CheckFailed = 5,
    /// `darkroom doctor` is waiting for Gemini. Running the same command again continues.
    ComeBack = 6,
    /// The command line is wrong.
    Usage = 64,
    /// A signal stopped the command. Running the same command again resumes the job.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Drop a manifest; come back to finished images, at Gemini Batch price.
#[derive(Debug, Parser)]
#[command(name = "darkroom", version, after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

/// The list of exit codes at the end of `darkroom --help`.
const EXIT_CODES: &str = "\
Exit codes:
    0  all images were made
    1  some or all images are missing; retry.jsonl requests them again
    2  the manifest was rejected; nothing was bought
    3  something else went wrong; run the same command again to resume
    4  you declined to spend money
    5  a check of doctor failed or could not be made
    6  doctor waits for Gemini; run the same command again later
   64  wrong command line
  130  stopped; run the same command again to resume";

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the images of a manifest on this machine, with the simulated or the real Gemini.
    Run(RunArgs),
    /// Check a manifest and print what it would cost. Spends nothing and does not call Gemini.
    Check(CheckArgs),
    /// Keep the chain running on this machine, so that S3 clients can drop manifests.
    Serve(ServeArgs),
    /// Make one image now and print the manifest line that requests it.
    Try(TryArgs),
    /// Print the jobs, or one job in detail.
    Status(StatusArgs),
    /// Show a job until it ends. The job does not have to exist yet.
    Watch(WatchArgs),
    /// Serve a page on this machine that shows jobs and their images, approves and cancels them,
    /// and drops what you promote.
    Review(ReviewArgs),
    /// Let the held shards of a job continue.
    Approve(ControlArgs),
    /// Cancel a job. Results that its batches have already produced are still collected.
    Cancel(ControlArgs),
    /// Find out in your own accounts what can't be proved on one machine.
    Doctor(DoctorArgs),
    /// Serve only the simulated Gemini API on this machine, for any client.
    Gemini(GeminiArgs),
}

/// Which Gemini to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GeminiMode {
    /// The simulated Gemini: free and offline.
    Sim,
    /// Google's Gemini, with the API key in `GEMINI_API_KEY`; costs money and takes hours.
    Live,
}

/// A manifest and what a user would upload it with.
#[derive(Debug, Args)]
struct ManifestArgs {
    /// The manifest: CSV, JSON Lines or JSON, optionally gzipped.
    #[arg(value_parser = PathBufValueParser::new().try_map(manifest_args::path))]
    manifest: PathBuf,
    /// Metadata for the manifest, in the syntax of `aws s3 cp --metadata`:
    /// template=white-bg,budget-usd=150.
    #[arg(long, value_name = "NAME=VALUE,…", value_parser = manifest_args::metadata)]
    metadata: Vec<Vec<(String, String)>>,
    /// Stop after the estimate and buy nothing; same as the metadata mode=dry_run.
    #[arg(long)]
    dry_run: bool,
    /// The most that the job may cost, in US dollars; same as the metadata budget-usd.
    #[arg(long, value_name = "USD", value_parser = manifest_args::dollars)]
    budget_usd: Option<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The folder that holds the local bucket and all state.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// Which Gemini to use. Default: sim, unless GEMINI_API_KEY is set and you choose the real
    /// Gemini at the prompt.
    #[arg(long, value_enum)]
    gemini: Option<GeminiMode>,
    /// Do not ask before spending money.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    aws: AwsArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

/// What the stand-ins for S3 and SQS do in addition.
#[derive(Debug, Args)]
struct AwsArgs {
    /// Append a line of JSON to this file for each S3 and SQS request: its service, method and path.
    #[arg(long, value_name = "FILE")]
    aws_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The folder whose darkroom/stack/models.toml holds models and prices, and whose
    /// darkroom/stack/folders.toml holds the folders of tenants, if these files exist. The folder
    /// itself does not have to exist.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// Print one JSON document, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["prompt", "again", "keep"]).required(true))]
struct TryArgs {
    /// What the image should show.
    prompt: Option<String>,
    /// Edit the last image: say what to change. The whole conversation so far is sent.
    #[arg(long, value_name = "CHANGE", conflicts_with_all = ["model", "ratio", "size", "thinking"])]
    again: Option<String>,
    /// Append the request of the last image to a manifest under this key. Calls no Gemini.
    #[arg(
        long,
        value_name = "KEY",
        requires = "into",
        conflicts_with_all = ["reference", "model", "ratio", "size", "thinking", "lane", "gemini", "yes"]
    )]
    keep: Option<String>,
    /// The manifest in JSON Lines that --keep appends to. It is created if it does not exist.
    #[arg(
        long,
        value_name = "FILE",
        requires = "keep",
        value_parser = PathBufValueParser::new().try_map(manifest_args::path)
    )]
    into: Option<PathBuf>,
    /// A reference picture, as PNG, JPEG or WebP. May be repeated; the order counts.
    #[arg(long = "ref", id = "reference", value_name = "FILE")]
    references: Vec<PathBuf>,
    /// The model: a family such as nano-banana-2, or a full ID. Default: that of a manifest.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The aspect ratio, such as 16:9.
    #[arg(long, value_name = "RATIO")]
    ratio: Option<String>,
    /// The image size, such as 2K.
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// The thinking level: minimal, low, medium or high.
    #[arg(long, value_name = "LEVEL")]
    thinking: Option<String>,
    /// How the image is requested: interactive at full price within seconds, or flex at half price
    /// within minutes, if Gemini has capacity. Default: interactive.
    #[arg(long, value_name = "LANE", value_enum)]
    lane: Option<TryLane>,
    /// The folder that holds the local bucket and all state. The image goes to `try` in it.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// Which Gemini to use. Default: sim, unless GEMINI_API_KEY is set and you choose the real
    /// Gemini at the prompt.
    #[arg(long, value_enum)]
    gemini: Option<GeminiMode>,
    /// Do not ask before spending money.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").args(["live", "stack"]).required(true))]
struct DoctorArgs {
    /// Examine the real Gemini with the API key in GEMINI_API_KEY: five requests in two batches,
    /// and one flex call. Asks first, and takes hours; running it again continues.
    #[arg(long)]
    live: bool,
    /// Examine the deployed stack of this name with your AWS credentials, and run a job in it that
    /// buys nothing. Changes nothing else.
    #[arg(long, value_name = "NAME", value_parser = stack_args::stack_name)]
    stack: Option<String>,
    /// The bucket of the stack. Default: the one that its functions use.
    #[arg(long, value_name = "NAME", conflicts_with = "live")]
    bucket: Option<String>,
    /// Do not run a job in the stack.
    #[arg(long, conflicts_with = "live")]
    no_canary: bool,
    /// The folder of the examination and its report.
    #[arg(long, value_name = "DIR", default_value = "darkroom-doctor")]
    out: PathBuf,
    /// Do not ask before spending money.
    #[arg(long, conflicts_with = "stack")]
    yes: bool,
    /// Stay until the examination is complete, instead of ending with exit code 6.
    #[arg(long, conflicts_with = "stack")]
    wait: bool,
}

/// The lanes in which one image is made now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TryLane {
    /// At full price, within seconds.
    #[default]
    Interactive,
    /// At half price, within minutes, if Gemini has capacity.
    Flex,
}

impl From<TryLane> for Lane {
    fn from(lane: TryLane) -> Self {
        match lane {
            TryLane::Interactive => Self::Interactive,
            TryLane::Flex => Self::Flex,
        }
    }
}

#[derive(Debug, Args)]
struct ControlArgs {
    /// The name of the job, as printed by `run` and `serve`, or any unambiguous beginning of it.
    /// With --bucket, the whole name.
    job: String,
    #[command(flatten)]
    stack: StackArgs,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The folder that holds the local bucket and all state.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    out: PathBuf,
    /// The port of S3 and SQS on 127.0.0.1. 0 chooses a free port.
    #[arg(long, value_name = "PORT", default_value_t = 4580)]
    port: u16,
    /// The port of the simulated Gemini on 127.0.0.1. 0 chooses a free port.
    #[arg(long, value_name = "PORT", default_value_t = 4581)]
    gemini_port: u16,
    /// The access key ID for S3 and SQS clients. Default: DARKROOM_ACCESS_KEY, otherwise a random
    /// one that is stored in the folder.
    #[arg(long, value_name = "ID", requires = "secret_key")]
    access_key: Option<String>,
    /// The secret of the access key. Other users of this machine can see it on the command line.
    /// Default: DARKROOM_SECRET_KEY, otherwise a random one that is stored in the folder.
    #[arg(long, value_name = "SECRET", requires = "access_key")]
    secret_key: Option<String>,
    /// Which Gemini to use. Default: sim.
    #[arg(long, value_enum)]
    gemini: Option<GeminiMode>,
    /// Do not ask before spending money. Only needed with --gemini live.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    aws: AwsArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

#[derive(Debug, Args)]
struct GeminiArgs {
    /// The folder that holds files and batches.
    #[arg(long, value_name = "DIR", default_value = "darkroom-gemini")]
    state: PathBuf,
    /// The port on 127.0.0.1. 0 chooses a free port.
    #[arg(long, value_name = "PORT", default_value_t = 4581)]
    port: u16,
    /// Accept only the API key in GEMINI_API_KEY. Without this option, every key is accepted.
    #[arg(long)]
    require_key: bool,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

/// The settings that a deployment makes for all of its jobs.
#[derive(Clone, Debug, Args)]
struct SettingsArgs {
    /// The model for items that do not name one.
    #[arg(long, value_name = "MODEL")]
    default_model: Option<String>,
    /// How many times an image is requested in total if it fails for a transient reason.
    #[arg(long, value_name = "N")]
    max_rounds: Option<MaxRounds>,
    /// Allow models after their shutdown date.
    #[arg(long)]
    allow_retired_models: bool,
    /// Allow full IDs of models that are not in the catalog. The estimate uses the price of the
    /// most expensive model.
    #[arg(long)]
    allow_unknown_models: bool,
    /// Fetch reference pictures that are https URLs of public hosts.
    #[arg(long)]
    allow_https_references: bool,
    /// The paid tier of the API key's project, from 1 to 3. It limits the input tokens in pending
    /// and running batches.
    #[arg(long, value_name = "N", default_value = "1")]
    tier: Tier,
    /// The number of batches that may be pending or running at the same time.
    #[arg(long, value_name = "N", default_value_t)]
    max_live_batches: MaxLiveBatches,
    /// The US dollars that may be spent or reserved on one day (UTC). Batches above this cap wait
    /// for the next day. Default: no cap.
    #[arg(long, value_name = "USD")]
    daily_cap_usd: Option<DailyCap>,
    /// The https address below which the objects of the bucket are published, such as
    /// `https://cdn.example.com`. It fills image_url in table.csv, and makes shopify.csv possible.
    #[arg(long, value_name = "URL")]
    image_base_url: Option<ImageBaseUrl>,
}

impl SettingsArgs {
    /// Returns the limits of the Gemini project. They are not part of a job's identity.
    fn limits(&self) -> ProjectLimits {
        ProjectLimits {
            live_batches: self.max_live_batches,
            enqueued_tokens: Catalog::built_in().enqueued_tokens(self.tier),
            daily_usd: self.daily_cap_usd.map(Usd::from),
            folders: FolderCaps::default(),
        }
    }

    /// Returns the settings of jobs. They are part of a job's identity.
    fn settings(&self) -> JobSettings {
        let defaults = JobSettings::default();
        JobSettings {
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

/// Parses the command line, including the check that clap cannot express: options and metadata
/// must not contradict each other.
fn parse() -> Result<Command, clap::Error> {
    let command = Command::try_parse()?;
    if let Action::Run(RunArgs { manifest, .. }) | Action::Check(CheckArgs { manifest, .. }) =
        &command.action
    {
        manifest
            .metadata()
            .map_err(|message| Command::command().error(ErrorKind::ArgumentConflict, message))?;
    }
    Ok(command)
}

/// Runs the command with the arguments of this process and returns its exit code.
pub fn main() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(error) => {
            // clap reports a request for help as an error, but it is not a usage mistake.
            let is_help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // Printing fails only if the terminal is gone, and then nothing more can be shown.
            let _ = error.print();
            return if is_help {
                ExitCode::SUCCESS
            } else {
                Exit::Usage.into()
            };
        }
    };

    // Everything that no subcommand handles itself ends here: one line with all causes.
    let result = match &command.action {
        Action::Run(args) => run::run(args),
        Action::Check(args) => check::check(args),
        Action::Serve(args) => serve::serve(args),
        Action::Try(args) => try_image::try_image(args),
        Action::Status(args) => status::status(args),
        Action::Watch(args) => watch::watch(args),
        Action::Review(args) => review::review(args),
        Action::Approve(args) => control::request(args, ControlAction::Approve),
        Action::Cancel(args) => control::request(args, ControlAction::Cancel),
        Action::Doctor(args) => doctor::doctor(args),
        Action::Gemini(args) => gemini::gemini(args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("darkroom: {error:#}");
            Exit::Failed.into()
        }
    }
}
