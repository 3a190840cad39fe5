//! What the commands set up alike: the folder, the log, the Gemini client, the ports.

use std::{
    fs::{self, File},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::Context;
use aws_sim::listen::Listener;
use disk::Disk;
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use plan::web::Web;
use seam::{environment::Variables, proxies::Proxies, transport::Transport};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::GeminiMode;
use crate::cloud::INTERNAL;

/// The folder below `out` that people need not look into, made where it is missing.
pub(super) fn folder(out: &Path) -> anyhow::Result<PathBuf> {
    let internal = out.join(INTERNAL);
    fs::create_dir_all(&internal)
        .with_context(|| format!("can't make the folder {}", internal.display()))?;
    Ok(internal)
}

/// A client of the simulated Gemini.
pub(super) fn simulated(service: Arc<dyn Transport>) -> anyhow::Result<Gemini> {
    let key = Arc::new(KeySource::fixed(ApiKey::new("simulated")?));
    Ok(Gemini::new(gemini::Settings::new(key), service)?)
}

/// How long simulated batches take where time is jumped: about as long as real ones.
pub(super) const HOURS: RangeInclusive<u32> = 20 * 60..=90 * 60;

/// How long they take where time is real, as nobody would wait for an hour.
pub(super) const SECONDS: RangeInclusive<u32> = 10..=30;

/// A client of the real Gemini.
pub(super) fn live(variables: &Variables) -> anyhow::Result<Gemini> {
    Ok(Gemini::over_https(runtime::parameter::gemini_settings(
        variables,
    )?)?)
}

/// Fetches reference pictures from the web, through the proxies in the environment.
pub(super) fn web(variables: &Variables) -> anyhow::Result<Web> {
    Ok(Web::over_https(Proxies::from_variables(variables)?))
}

/// How far what is written survives: where money is spent, the end of the power.
pub(super) fn disk(which: GeminiMode) -> Disk {
    match which {
        GeminiMode::Sim => Disk::fast(),
        GeminiMode::Live => Disk::durable(),
    }
}

/// A loopback port, which the option named so chose.
pub(super) async fn bind(port: u16, option: &str) -> anyhow::Result<Listener> {
    let taken =
        || format!("can't listen on port {port}: choose another with {option}, 0 for any free one");
    Listener::bind(port).await.with_context(taken)
}

/// Where the functions' log is.
pub(super) fn log(internal: &Path) -> PathBuf {
    internal.join("log.jsonl")
}

/// What the functions say goes into a file: the terminal is for people.
pub(super) fn log_to(internal: &Path) -> anyhow::Result<()> {
    let path = log(internal);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("can't write {}", path.display()))?;
    // An object that isn't there, or a condition that doesn't hold, is an error to the stand-in for
    // S3 alone.
    let levels = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("s3s", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(Mutex::new(file));
    // Set already where two runs share a process, as in tests.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(levels)
        .try_init();
    Ok(())
}
