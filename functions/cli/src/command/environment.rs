//! What the subcommands set up in the same way: the folder, the log, the Gemini client, the ports.

use std::{
    fs::{self, File},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::Context;
use aws_sim::{access_log::AccessLog, listen::Listener};
use disk::Disk;
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use notify::targets::Targets;
use plan::web::Web;
use runtime::{aws_call::AwsCaller, settings};
use seam::{environment::Variables, proxies::Proxies, transport::Transport};
use tracing_subscriber::{
    filter::{LevelFilter, Targets as LogTargets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::GeminiMode;
use crate::cloud::INTERNAL;

/// How long simulated batches take, in seconds, where waits are skipped: about as long as real
/// ones.
pub(super) const REALISTIC_BATCH_SECONDS: RangeInclusive<u32> = 20 * 60..=90 * 60;

/// How long simulated batches take, in seconds, where a client waits for them in real time.
pub(super) const SHORT_BATCH_SECONDS: RangeInclusive<u32> = 10..=30;

/// Returns the folder below `out` that holds everything except the bucket, and creates it if it is
/// missing.
pub(super) fn internal_folder(out: &Path) -> anyhow::Result<PathBuf> {
    let internal = out.join(INTERNAL);
    fs::create_dir_all(&internal)
        .with_context(|| format!("can't create the folder {}", internal.display()))?;
    Ok(internal)
}

/// Returns a client of the simulated Gemini.
pub(super) fn simulated_gemini(service: Arc<dyn Transport>) -> anyhow::Result<Gemini> {
    let key = Arc::new(KeySource::fixed(ApiKey::new("simulated")?));
    Ok(Gemini::new(gemini::Settings::new(key), service)?)
}

/// Returns a client of the real Gemini.
pub(super) fn live_gemini(variables: &Variables) -> anyhow::Result<Gemini> {
    Ok(Gemini::over_https(runtime::parameter::gemini_settings(
        variables,
    )?)?)
}

/// Returns the client that fetches reference pictures from the web, through the proxies in the
/// environment.
pub(super) fn web(variables: &Variables) -> anyhow::Result<Web> {
    Ok(Web::over_https(Proxies::from_variables(variables)?))
}

/// Returns where events are sent to, by the same variables as those of a deployment.
pub(super) fn event_targets(variables: &Variables) -> anyhow::Result<Targets> {
    let settings = settings::event_targets(variables)?;
    let aws = Arc::new(AwsCaller::from_env());
    let proxies = Proxies::from_variables(variables)?;
    Ok(Targets::over_network(&settings, &aws, proxies))
}

/// Returns the disk for a folder. If money is spent, what is written must survive a power failure.
pub(super) fn disk(mode: GeminiMode) -> Disk {
    match mode {
        GeminiMode::Sim => Disk::fast(),
        GeminiMode::Live => Disk::durable(),
    }
}

/// Returns what wraps the service of S3 and SQS: a log of its requests in the file at `path`, or
/// nothing without a path.
pub(super) fn logged_requests(
    path: Option<&Path>,
) -> anyhow::Result<impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport> + use<>> {
    let open = |path: &Path| {
        let file = File::options().create(true).append(true).open(path);
        file.with_context(|| format!("can't write {}", path.display()))
    };
    let file = path.map(open).transpose()?;
    Ok(move |service: Arc<dyn Transport>| -> Arc<dyn Transport> {
        match file {
            Some(file) => Arc::new(AccessLog::new(service, file)),
            None => service,
        }
    })
}

/// Opens a loopback port. `option` is the command line option that chooses the port, for the error
/// message.
pub(super) async fn bind(port: u16, option: &str) -> anyhow::Result<Listener> {
    let taken = || {
        format!(
            "can't listen on port {port}: choose another port with {option}, or 0 for a free one"
        )
    };
    Listener::bind(port).await.with_context(taken)
}

/// Returns the path of the functions' log.
pub(super) fn log_path(internal: &Path) -> PathBuf {
    internal.join("log.jsonl")
}

/// Writes the log of the functions to a file, because the terminal shows only what a user needs.
pub(super) fn init_log(internal: &Path) -> anyhow::Result<()> {
    let path = log_path(internal);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("can't write {}", path.display()))?;
    // The S3 stand-in logs a missing object and a failed condition as errors, but the functions
    // expect both.
    let levels = LogTargets::new()
        .with_default(LevelFilter::INFO)
        .with_target("s3s", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(Mutex::new(file));
    // This fails if the process already has a subscriber, as in tests that run two commands.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(levels)
        .try_init();
    Ok(())
}
