//! The settings of a [`TestCloud`].

use std::sync::Arc;

use cli::{
    cloud::{Cloud, CloudConfig, INTERNAL},
    time::Time,
};
use darkroom::{
    image_url::ImageBaseUrl,
    job::JobSettings,
    ledger::ProjectLimits,
    settings::{CollectLimits, GenerateLimits},
};
use disk::Disk;
use gemini::{
    Gemini,
    key::{ApiKey, KeySource},
};
use gemini_sim::{Gemini as SimulatedGemini, Scenario};
use jiff::Timestamp;
use notify::targets::Targets;
use plan::web::Web;
use runtime::metrics::Metrics;
use seam::rng::Rng;
use tempfile::TempDir;

use super::TestCloud;
use crate::wire::{FaultInjector, Wire};

/// The time at which every test cloud starts.
const START: &str = "2026-11-21T09:00:00Z";

/// Builds a [`TestCloud`].
#[derive(Clone, Debug, Default)]
pub struct TestCloudBuilder {
    scenario: Scenario,
    settings: JobSettings,
    collect_limits: CollectLimits,
    generate_limits: GenerateLimits,
    metrics: Metrics,
    limits: Option<ProjectLimits>,
    web: Option<Web>,
    image_base_url: Option<ImageBaseUrl>,
    event_targets: Targets,
    disk: Disk,
}

impl TestCloudBuilder {
    /// Sets how the simulated Gemini behaves.
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// Sets the settings of every job.
    pub fn settings(mut self, settings: JobSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets how many images a shard has at most.
    pub fn shard_requests(mut self, requests: u32) -> Self {
        self.settings.shard.requests = requests;
        self
    }

    /// Sets the limits of `generate`.
    pub fn generate_limits(mut self, limits: GenerateLimits) -> Self {
        self.generate_limits = limits;
        self
    }

    /// Sets the limits of `collect`.
    pub fn collect_limits(mut self, limits: CollectLimits) -> Self {
        self.collect_limits = limits;
        self
    }

    /// Sets where the functions report their metrics.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets the limits of the Gemini project. The default is those of a new project.
    pub fn limits(mut self, limits: ProjectLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets what answers requests for references on the web.
    pub fn web(mut self, web: Web) -> Self {
        self.web = Some(web);
        self
    }

    /// Sets where the objects of the bucket are served on the web.
    pub fn image_base_url(mut self, url: &str) -> Self {
        self.image_base_url = Some(url.parse().unwrap());
        self
    }

    /// Sets where events are sent to.
    pub fn event_targets(mut self, targets: Targets) -> Self {
        self.event_targets = targets;
        self
    }

    /// Sets whether files survive a power failure.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disk = disk;
        self
    }

    /// Opens the cloud in a new temporary folder.
    pub fn build(self) -> TestCloud {
        let start = START.parse::<Timestamp>().unwrap();
        self.open(tempfile::tempdir().unwrap(), Time::frozen(start))
    }

    /// Opens the cloud in `folder`.
    pub(super) fn open(self, folder: TempDir, time: Time) -> TestCloud {
        // The simulated Gemini, and the client that the functions use.
        let state = folder.path().join(INTERNAL).join("gemini");
        let gemini =
            Arc::new(SimulatedGemini::open(&state, time.clock(), self.scenario.clone()).unwrap());
        let wire = Arc::new(Wire::new(Arc::clone(&gemini)));
        let key = Arc::new(KeySource::fixed(ApiKey::new("canary-1234").unwrap()));
        let client = Gemini::new(gemini::Settings::new(key), Arc::clone(&wire) as _).unwrap();

        // Tests count requests, so a sweep runs only when a test asks for one.
        let default = CloudConfig::default();
        let config = CloudConfig {
            settings: self.settings.clone(),
            pace: self.collect_limits,
            generate_limits: self.generate_limits,
            rng: Rng::seeded(1),
            metrics: self.metrics.clone(),
            limits: self.limits.clone().unwrap_or(default.limits),
            web: self.web.clone().unwrap_or(default.web),
            image_base_url: self.image_base_url.clone(),
            event_targets: self.event_targets.clone(),
            sweep_every: None,
            disk: self.disk.clone(),
            ..CloudConfig::default()
        };

        // The cloud creates its S3 and SQS, so their connection is intercepted while it opens.
        let mut aws = None;
        let local = Cloud::open_with(folder.path(), time, client, config, |service| {
            let injector = Arc::new(FaultInjector::new(service));
            aws = Some(Arc::clone(&injector));
            injector
        })
        .unwrap();
        TestCloud {
            folder,
            local: Arc::new(local),
            gemini,
            wire,
            aws: aws.unwrap(),
            builder: self,
        }
    }
}
