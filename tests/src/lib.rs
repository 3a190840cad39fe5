//! A world for tests: the chain's functions in process, with time that stands until it is jumped,
//! and a wire to Gemini that can be watched and cut.

pub mod faults;
pub mod wire;

use std::{future::pending, path::Path, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use cli::{
    cloud::{Cloud, CloudConfig, INTERNAL},
    host::{self, StopReason, WaitMode},
    time::Time,
};
use darkroom::settings::CollectLimits;
use darkroom::{job::JobSettings, ledger::ProjectLimits, names::FileName};
use disk::Disk;
use futures_util::stream;
use gemini::{
    self, Gemini, UploadRequest,
    key::{ApiKey, KeySource},
};
use gemini_sim::{Gemini as SimulatedGemini, Scenario};
use jiff::Timestamp;
use plan::web::Web;
use runtime::metrics::Metrics;
use seam::rng::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::wire::{Tripwire, Wire};

/// When every world begins.
const START: &str = "2026-11-21T09:00:00Z";

/// Uploads a small file to Gemini.
///
/// # Errors
/// Those of the upload.
pub async fn upload(
    gemini: &Gemini,
    display_name: &str,
    content: &'static [u8],
) -> anyhow::Result<FileName> {
    let request = UploadRequest {
        display_name: display_name.to_owned(),
        mime_type: gemini.input_mime_type().to_owned(),
        size_bytes: content.len() as u64,
        name: None,
    };
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(content))]);
    Ok(gemini.upload(request, body).await?.name)
}

/// One machine's cloud in a folder of its own.
pub struct World {
    folder: TempDir,
    /// The stand-ins and the functions' clients.
    pub cloud: Arc<Cloud>,
    /// The simulated service.
    pub gemini: Arc<SimulatedGemini>,
    /// What goes between the two.
    pub wire: Arc<Wire>,
    /// What goes between the functions and S3 and SQS; what a test does itself goes there too.
    pub aws: Arc<Tripwire>,
    making: Making,
}

/// What a world is made with.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// How the simulated Gemini behaves.
    pub scenario: Scenario,
    /// The settings of every job.
    pub settings: JobSettings,
    /// How fast images are collected.
    pub pace: CollectLimits,
    /// What an operator watches.
    pub metrics: Metrics,
    /// What the Gemini project allows, if it isn't what a new one does.
    pub limits: Option<ProjectLimits>,
    /// What answers for the web, if anything does.
    pub web: Option<Web>,
    /// How far what is written survives.
    pub disk: Disk,
}

impl World {
    /// A world in which everything goes well.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn new() -> anyhow::Result<Self> {
        Self::made_with(Making::default())
    }

    /// A world made to order.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn made_with(making: Making) -> anyhow::Result<Self> {
        let start = Time::frozen(START.parse::<Timestamp>()?);
        Self::open(tempfile::tempdir()?, start, making)
    }

    /// The same world, in which Gemini behaves otherwise from now on.
    ///
    /// # Errors
    /// When its folder can't be opened.
    pub fn with_behavior(self, scenario: Scenario) -> anyhow::Result<Self> {
        let Self {
            folder,
            cloud,
            making,
            ..
        } = self;
        let time = cloud.time.clone();
        drop(cloud);
        Self::open(folder, time, Making { scenario, ..making })
    }

    fn open(folder: TempDir, time: Time, making: Making) -> anyhow::Result<Self> {
        let state = folder.path().join(INTERNAL).join("gemini");
        let gemini = Arc::new(SimulatedGemini::open(
            &state,
            time.clock(),
            making.scenario.clone(),
        )?);
        let wire = Arc::new(Wire::new(Arc::clone(&gemini)));
        let key = Arc::new(KeySource::fixed(ApiKey::new("canary-1234")?));
        let client = Gemini::new(gemini::Settings::new(key), Arc::clone(&wire) as _)?;
        let (settings, pace) = (making.settings.clone(), making.pace);
        let metrics = making.metrics.clone();
        let setup = CloudConfig {
            settings,
            pace,
            rng: Rng::seeded(1),
            metrics,
            ..CloudConfig::default()
        };
        let web = making.web.clone().unwrap_or_else(|| setup.web.clone());
        let limits = making
            .limits
            .clone()
            .unwrap_or_else(|| setup.limits.clone());
        // Tests that want a sweep ask for it: others count every call.
        let setup = CloudConfig {
            limits,
            web,
            sweep_every: None,
            disk: making.disk.clone(),
            ..setup
        };
        let mut aws = None;
        let cloud = Cloud::open_with(folder.path(), time, client, setup, |service| {
            let tripwire = Arc::new(Tripwire::new(service));
            aws = Some(Arc::clone(&tripwire));
            tripwire
        })?;
        let aws = aws.context("the cloud has no wire")?;
        Ok(Self {
            folder,
            cloud: Arc::new(cloud),
            gemini,
            wire,
            aws,
            making,
        })
    }

    /// Uploads an object, as a person would.
    ///
    /// # Errors
    /// Those of the bucket.
    pub async fn put(&self, key: &str, content: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        self.cloud
            .bucket
            .put(key, "application/octet-stream", content.into())
            .await?;
        Ok(())
    }

    /// Uploads a sample manifest and the pictures beside it.
    ///
    /// # Errors
    /// When the sample can't be read, and those of the bucket.
    pub async fn put_sample(&self, name: &str) -> anyhow::Result<()> {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/manifests");
        for entry in std::fs::read_dir(samples.join("refs"))? {
            let path = entry?.path();
            let file = path
                .file_name()
                .and_then(|name| name.to_str())
                .context("a file name")?;
            self.put(&format!("refs/{file}"), std::fs::read(&path)?)
                .await?;
        }
        self.put(&format!("inbox/{name}"), std::fs::read(samples.join(name))?)
            .await
    }

    /// Runs the chain, jumping over waits, until no queue has a message.
    ///
    /// # Errors
    /// Those of the host.
    pub async fn run(&self) -> anyhow::Result<StopReason> {
        host::run(&self.cloud, WaitMode::Jump, pending(), async || Ok(false)).await
    }

    /// The folders of all jobs, as keys ending in `/`, in order.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn jobs(&self) -> anyhow::Result<Vec<String>> {
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(self.cloud.path_of("jobs"))? {
            jobs.push(format!("jobs/{}/", entry?.file_name().to_string_lossy()));
        }
        jobs.sort();
        Ok(jobs)
    }

    /// An object's content; none if there is no such object.
    ///
    /// # Errors
    /// Those of the bucket.
    pub async fn read(&self, key: &str) -> anyhow::Result<Option<String>> {
        let object = self.cloud.bucket.read(key).await?;
        Ok(object.map(|object| String::from_utf8_lossy(&object.bytes).into_owned()))
    }

    /// The lines of a JSON Lines object.
    ///
    /// # Errors
    /// When there is no such object, or it isn't JSON Lines.
    pub async fn lines(&self, key: &str) -> anyhow::Result<Vec<Value>> {
        let text = self
            .read(key)
            .await?
            .with_context(|| format!("there is no {key}"))?;
        Ok(text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?)
    }

    /// A JSON object of the bucket.
    ///
    /// # Errors
    /// When there is none, or it isn't JSON.
    pub async fn json(&self, key: &str) -> anyhow::Result<Value> {
        let text = self
            .read(key)
            .await?
            .with_context(|| format!("there is no {key}"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// All files of the bucket with their contents, to see whether anything changes.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn objects(&self) -> anyhow::Result<std::collections::BTreeMap<String, Vec<u8>>> {
        let mut found = std::collections::BTreeMap::new();
        let mut folders = vec![self.cloud.path_of("")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path
                        .strip_prefix(self.folder.path())?
                        .to_string_lossy()
                        .into_owned();
                    found.insert(key, std::fs::read(&path)?);
                }
            }
        }
        Ok(found)
    }
}
