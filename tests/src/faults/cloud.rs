//! The cloud that the harness breaks: the functions' real clients and the stand-ins, with
//! interceptors between them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use bytes::Bytes;
use cli::{
    cloud::{Cloud, CloudConfig, Deps, INTERNAL},
    time::Time,
};
use darkroom::{
    job::{JobSettings, ShardLimits},
    object_keys,
    settings::{CollectLimits, GenerateLimits, QuietPeriod},
    state::Shard,
    status::{JobStatus, ShardPhase, ShardStatus},
};
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use gemini_sim::{
    BatchOutcome, BatchOutcomeRule, BillByLane, DeletingInput, Gemini as SimulatedGemini, Scenario,
};
use http::Request;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use notify::targets::Targets;
use seam::{
    clock::Clock,
    rng::Rng,
    transport::{Transport, TransportError, full},
};
use serde_json::json;
use tempfile::TempDir;

use super::{
    draw,
    interceptor::{Interceptor, PendingRequests},
    outage::AwsOutage,
    receiver::Receiver,
    request::Service,
    tamper::Break,
    world::{Kind, World},
};
use crate::TINY_SIDE;

/// The time at which every simulation starts.
const START: &str = "2026-11-21T09:00:00Z";

/// A file system in memory, used if it exists: a simulation writes some hundred small files.
const MEMORY: &str = "/dev/shm";

/// The model of all images. It has the cheapest images.
const MODEL: &str = "gemini-3.1-flash-image";

/// The prefix of the display names of another folder's batches.
const STRANGER: &str = "local-0123456789abcdef";

/// An image that manifests may refer to.
const REFERENCE: &str = "refs/large.png";

/// The folder of all manifests, whose money the ledger counts. Its caps stop nothing.
const TENANT: &str = "[[folder]]\npath = \"inbox/**\"\nmonthly_cap_usd = 1000\n";

/// Returns an image that is too large to be sent within a line. Only its header is read.
fn image() -> Vec<u8> {
    let mut image = b"\x89PNG\r\n\x1a\n".to_vec();
    image.resize(17 << 10, 0);
    image
}

/// The settings of a simulation.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// How the simulated Gemini behaves.
    pub(crate) scenario: Scenario,
    /// The maximum number of images per shard.
    pub(crate) shard_requests: u32,
    /// The number of results between two checkpoints of `collect`.
    pub(crate) checkpoint_results: usize,
    /// What each manifest asks for.
    pub(crate) manifests: Vec<Kind>,
    /// The number of calls in flight of one invocation of `generate`.
    pub(crate) in_flight: usize,
    /// Whether the request files change after the proof was made and before it is approved.
    pub(crate) changed: bool,
    /// Whether nothing but the schedule's faults can fail, so that every image must arrive.
    pub(crate) is_plain: bool,
    /// The request of the user, `approve` or `cancel`, and after how many requests it is dropped.
    pub(crate) control: Option<(usize, &'static str)>,
    /// Whether all items refer to one image that is too large to be sent within a line.
    pub(crate) reference: bool,
    /// The outages of S3 and SQS. Those of Gemini are part of the scenario.
    pub(crate) aws_outages: Vec<AwsOutage>,
    /// After how many requests all invocations are killed and the host restarts.
    pub(crate) restarts: Vec<usize>,
    /// Whether a webhook receives the events.
    pub(crate) has_webhook: bool,
    /// The seed of all random numbers.
    pub(crate) seed: u64,
}

/// The functions and services of a simulation, with their pending requests.
pub(crate) struct FaultCloud {
    pub(crate) local: Cloud,
    pub(crate) gemini: Arc<SimulatedGemini>,
    pub(crate) pending: Arc<PendingRequests>,
    /// The receiver of the webhook, if there is one.
    pub(crate) receiver: Option<Arc<Receiver>>,
    pub(crate) folder: TempDir,
    /// The number of dropped manifests.
    pub(crate) dropped: usize,
    /// The prefix of the display names of another folder's batches.
    pub(crate) stranger: String,
}

impl Scene {
    /// Returns the scene of the exhaustive part: one job of three images in one shard. The output
    /// of its first batch is truncated after the first image, so that a round follows. Lists lag by
    /// up to ten minutes.
    pub(crate) fn small() -> Self {
        let truncated = [(2, BatchOutcome::Truncated)];
        let scenario = Scenario {
            seed: 1,
            shuffle: true,
            list_lag_seconds: 600,
            batch_outcomes: outcomes(&truncated),
            ..lasting(100, 100)
        };
        Self {
            scenario,
            shard_requests: 10,
            checkpoint_results: 2,
            manifests: vec![Kind::Batch(3)],
            in_flight: 2,
            changed: false,
            is_plain: false,
            control: None,
            reference: false,
            aws_outages: Vec::new(),
            restarts: Vec::new(),
            has_webhook: false,
            seed: 1,
        }
    }

    /// Returns the scene of a world with single images: one job in which only the schedule's faults fail.
    pub(crate) fn of(world: World) -> Self {
        let (kind, scenario) = match world {
            World::Batch => return Self::small(),
            World::Lanes => (Kind::Lanes(3), lasting(100, 100)),
            World::Proof => (Kind::Proof(4, true), lasting(100, 100)),
            World::Changed => (Kind::Proof(3, true), lasting(100, 100)),
            // The batch would end after the job's time.
            World::Rescue => (Kind::Rescue(2), lasting(90_000, 90_000)),
            World::Events => (Kind::Batch(1), lasting(100, 100)),
        };
        Self {
            scenario: Scenario {
                seed: 1,
                log_batch_lines: true,
                ..scenario
            },
            manifests: vec![kind],
            changed: world == World::Changed,
            is_plain: world != World::Changed,
            has_webhook: world == World::Events,
            ..Self::small()
        }
    }

    /// Returns a random scene: one to three jobs of several shards, with results and batch outcomes
    /// of all kinds.
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let all = [
            BatchOutcome::StuckPending,
            BatchOutcome::StuckRunning,
            BatchOutcome::Expired,
            BatchOutcome::Failed,
            BatchOutcome::FailedSilently,
            BatchOutcome::Cancelled,
            BatchOutcome::Truncated,
        ];
        // The first batch belongs to another client, and so do two batches after each of ours.
        let drawn: Vec<(u64, BatchOutcome)> = (0..rng.usize(0..3))
            .map(|_| (rng.u64(2..18), all[rng.usize(..all.len())]))
            .collect();
        let shortest = rng.u32(60..1_800);
        let lasting = lasting(shortest, shortest + rng.u32(0..3_600));
        let control = rng
            .choice([None, None, None, Some("cancel"), Some("approve")])
            .flatten();
        let gemini_outages = (0..rng.usize(0..=2))
            .map(|_| draw::gemini_outage(&mut rng))
            .collect::<Vec<_>>();
        let least = usize::from(gemini_outages.is_empty());
        let aws_outages = (0..rng.usize(least..=1))
            .map(|_| draw::aws_outage(&mut rng))
            .collect();
        let scenario = Scenario {
            seed,
            outages: gemini_outages,
            shapes: draw::shapes(&mut rng),
            refuse_percent: rng.choice([0, 10]).unwrap_or(0),
            internal_error_percent: rng.choice([0, 10, 30]).unwrap_or(0),
            missing_percent: rng.choice([0, 10]).unwrap_or(0),
            repeated_percent: rng.choice([0, 10]).unwrap_or(0),
            unknown_percent: rng.choice([0, 10]).unwrap_or(0),
            shuffle: true,
            list_lag_seconds: rng.choice([0, 60, 600]).unwrap_or(0),
            ranges: rng.bool(),
            deleting_input: rng
                .choice([DeletingInput::Harmless, DeletingInput::Fails])
                .unwrap_or_default(),
            batch_outcomes: outcomes(&drawn),
            ..draw::outputs(&mut rng, lasting)
        };
        // A manifest has at most three images beyond a full shard. The thread that reads the
        // manifest can buffer that many while `plan` waits for the scheduler. With more, the thread
        // would block, and tokio's paused time does not advance while such a thread runs.
        let shard_requests = rng.u32(1..=4);
        let max_images = shard_requests as usize + 3;
        let checkpoint_results = rng.usize(1..4);
        let counts: Vec<usize> = (0..rng.usize(1..=3))
            .map(|_| rng.usize(1..=max_images))
            .collect();
        // Even seeds have batches alone. These draws have their own generator, so that they do not
        // change the others.
        let mut lanes = fastrand::Rng::with_seed(seed ^ 0x1a9e5);
        let manifests: Vec<Kind> = counts
            .into_iter()
            .map(|count| {
                if seed.is_multiple_of(2) {
                    Kind::Batch(count)
                } else {
                    Kind::drawn(count, &mut lanes)
                }
            })
            .collect();
        let scenario = draw::lanes(&mut lanes, &manifests, scenario);
        Self {
            scenario,
            shard_requests,
            checkpoint_results,
            manifests,
            in_flight: lanes.usize(1..=4),
            changed: false,
            is_plain: false,
            control: control.map(|word| (rng.usize(10..400), word)),
            reference: rng.bool(),
            aws_outages,
            restarts: (0..rng.usize(0..=3)).map(|_| rng.usize(10..600)).collect(),
            has_webhook: false,
            seed,
        }
    }
}

impl Scene {
    /// Whether a manifest asks for a proof.
    pub(crate) fn has_proof(&self) -> bool {
        self.manifests
            .iter()
            .any(|kind| matches!(kind, Kind::Proof(..)))
    }

    /// Whether Gemini, S3 or SQS fails for a while.
    pub(crate) fn has_outage(&self) -> bool {
        !self.scenario.outages.is_empty() || !self.aws_outages.is_empty()
    }
}

/// Returns a scenario with small images, and batches of this duration in seconds.
fn lasting(shortest: u32, longest: u32) -> Scenario {
    Scenario {
        shortest_batch_seconds: shortest,
        longest_batch_seconds: longest,
        image_side: Some(TINY_SIDE),
        ..Scenario::default()
    }
}

fn outcomes(of: &[(u64, BatchOutcome)]) -> Vec<BatchOutcomeRule> {
    let rule = |(ordinal, outcome): &(u64, BatchOutcome)| {
        Some(BatchOutcomeRule {
            which: ordinal.to_string().parse().ok()?,
            outcome: *outcome,
        })
    };
    of.iter().filter_map(rule).collect()
}

impl FaultCloud {
    /// Opens the cloud in a new folder and drops the manifests.
    ///
    /// # Errors
    /// Returns an error if the folder can't be created.
    pub(crate) async fn open(scene: &Scene, broken: Option<Break>) -> anyhow::Result<Self> {
        let memory = Path::new(MEMORY);
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let time = Time::frozen(START.parse::<Timestamp>()?);
        let pending = Arc::new(PendingRequests::default());
        let state = folder.path().join(INTERNAL).join("gemini");
        let gemini = Arc::new(SimulatedGemini::open(
            &state,
            time.clock(),
            scene.scenario.clone(),
        )?);
        let key = Arc::new(KeySource::fixed(ApiKey::new("canary-1234")?));
        let client = Gemini::new(
            gemini::Settings::new(key),
            Interceptor::outside(Service::Gemini, &pending, Arc::clone(&gemini) as _),
        )?;
        let settings = JobSettings {
            default_model: MODEL.to_owned(),
            allow_retired_models: true,
            shard: ShardLimits {
                requests: scene.shard_requests,
                ..ShardLimits::default()
            },
            ..JobSettings::default()
        };
        let pace = CollectLimits {
            checkpoint_results: scene.checkpoint_results,
            ..CollectLimits::default()
        };
        let receiver = scene.has_webhook.then(Arc::<Receiver>::default);
        let event_targets = match &receiver {
            Some(receiver) => receiver.targets(&pending, time.clock())?,
            None => Targets::default(),
        };
        let setup = CloudConfig {
            settings,
            pace,
            generate_limits: GenerateLimits {
                in_flight: scene.in_flight,
                ..GenerateLimits::default()
            },
            event_targets,
            rng: Rng::seeded(scene.seed),
            ..CloudConfig::default()
        };
        let local = Cloud::open_with(folder.path(), time, client, setup, |service| {
            Interceptor::aws(&pending, service)
        })?;
        let stranger = match broken {
            // Both folders have the same identity.
            Some(Break::Stranger) => local.deps.submit.stack.clone(),
            Some(_) | None => STRANGER.to_owned(),
        };
        let cloud = Self {
            local,
            gemini,
            pending,
            receiver,
            folder,
            dropped: scene.manifests.len(),
            stranger,
        };
        cloud.another_client_creates_a_batch().await?;
        cloud
            .local
            .bucket
            .put(REFERENCE, "image/png", image())
            .await?;
        cloud
            .local
            .bucket
            .put(object_keys::FOLDERS, "application/toml", TENANT)
            .await?;
        let refs = if scene.reference {
            vec![REFERENCE]
        } else {
            Vec::new()
        };
        for (job, kind) in scene.manifests.iter().enumerate() {
            let manifest = kind.manifest(job, &refs);
            cloud
                .local
                .bucket
                .put(
                    &format!("inbox/stones-{job}.jsonl"),
                    "application/jsonl",
                    manifest,
                )
                .await?;
        }
        Ok(cloud)
    }

    /// Returns the current moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.local.time.now()
    }

    /// Returns the dependencies of an invocation whose clock is wrong by `skew`.
    pub(crate) fn deps(&self, skew: SignedDuration, broken: Option<Break>) -> Deps {
        let mut deps = self.local.deps.clone();
        if broken == Some(Break::QuietPeriod) {
            deps.submit.quiet = QuietPeriod::zero_for_null_control();
        }
        let time = self.local.time.clone();
        let clock = Clock::from_fn(move || time.now() + skew);
        let clocks = [
            &mut deps.plan.clock,
            &mut deps.submit.clock,
            &mut deps.poll.clock,
            &mut deps.collect.clock,
            &mut deps.generate.clock,
            &mut deps.report.clock,
            &mut deps.thumbs.clock,
            &mut deps.control.clock,
            &mut deps.notify.clock,
            &mut deps.sweep.clock,
        ];
        clocks.into_iter().for_each(|of| of.clone_from(&clock));
        deps
    }

    /// Returns what Gemini has charged so far.
    ///
    /// # Errors
    /// Returns an error if its files can't be read.
    pub(crate) fn billed(&self) -> Result<BillByLane, TransportError> {
        self.gemini
            .billed_by_lane()
            .map_err(|error| TransportError::Interrupted(error.into()))
    }

    /// Drops a request of the user for the first job. Returns whether there is a job yet.
    ///
    /// # Errors
    /// Returns an error if the request can't be written.
    pub(crate) async fn control(&self, word: &str) -> anyhow::Result<bool> {
        let Some(job) = self.jobs()?.into_iter().next() else {
            return Ok(false);
        };
        let key = format!("control/{}{word}", job.trim_start_matches("jobs/"));
        self.local.bucket.put(&key, "text/plain", "").await?;
        Ok(true)
    }

    /// Returns the jobs that wait for the approval of a proof: at least one shard is held for it, and
    /// all others are held or have ended, as the status of the job shows it.
    ///
    /// # Errors
    /// Returns an error if the folder can't be read.
    pub(crate) fn held_jobs(&self) -> anyhow::Result<Vec<String>> {
        let is_held = |job: &String| {
            let path = self.local.path_of(&format!("{job}job.json"));
            let status = std::fs::read(path).ok()?;
            let status: JobStatus = serde_json::from_slice(&status).ok()?;
            let is_over = |phase: ShardPhase| phase == ShardPhase::Held || phase.is_terminal();
            let shards = &status.shards;
            let is_complete = shards.len() >= status.plan.as_ref()?.shards as usize
                && shards.iter().all(|shard| is_over(shard.phase))
                && shards.iter().any(|shard| shard.proof);
            // A user does not mistake another hold for a proof, so the state decides.
            let awaits_proof = |entry: &ShardStatus| {
                let key = format!("{job}shards/{}/state.json", entry.shard);
                let state = std::fs::read(self.local.path_of(&key)).ok()?;
                let shard: Shard = serde_json::from_slice(&state).ok()?;
                Some(shard.awaits_proof())
            };
            let is_held = shards.iter().any(|entry| awaits_proof(entry) == Some(true));
            Some(is_complete && is_held)
        };
        let mut jobs = self.jobs()?;
        jobs.retain(|job| is_held(job) == Some(true));
        Ok(jobs)
    }

    /// Drops the approval of a job.
    ///
    /// # Errors
    /// Returns an error if it can't be written.
    pub(crate) async fn approve(&self, job: &str) -> anyhow::Result<()> {
        let key = format!("control/{}approve", job.trim_start_matches("jobs/"));
        self.local.bucket.put(&key, "text/plain", "").await?;
        Ok(())
    }

    /// Returns the request files of a job: their keys in the bucket and their contents.
    ///
    /// # Errors
    /// Returns an error if the folder can't be read.
    pub(crate) fn request_files(&self, job: &str) -> anyhow::Result<Vec<(String, String)>> {
        let mut files = Vec::new();
        for shard in std::fs::read_dir(self.local.path_of(&format!("{job}shards")))? {
            let name = shard?.file_name();
            let key = format!("{job}shards/{}/request.jsonl", name.to_string_lossy());
            if let Ok(text) = std::fs::read_to_string(self.local.path_of(&key)) {
                files.push((key, text));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Replaces a request file.
    ///
    /// # Errors
    /// Returns an error if it can't be written.
    pub(crate) async fn change(&self, key: &str, text: String) -> anyhow::Result<()> {
        let bucket = &self.local.bucket;
        bucket.put(key, "application/jsonl", text).await?;
        Ok(())
    }

    /// Creates a batch of another client of the project, which pushes ours off the first page of a
    /// list.
    ///
    /// # Errors
    /// Returns an error if Gemini refuses.
    pub(crate) async fn another_client_creates_a_batch(&self) -> anyhow::Result<()> {
        self.create_as("another client's").await
    }

    /// Creates a batch of another folder with the same API key, for the same job as our batch
    /// `display_name`.
    ///
    /// # Errors
    /// Returns an error if Gemini refuses.
    pub(crate) async fn another_folder_creates_a_batch(
        &self,
        display_name: &str,
    ) -> anyhow::Result<()> {
        let job = display_name.split_once('/').map_or("", |(_, job)| job);
        self.create_as(&format!("{}/{job}", self.stranger)).await
    }

    async fn create_as(&self, display_name: &str) -> anyhow::Result<()> {
        let request = json!({"contents": [{"parts": [{"text": "a tree"}]}]});
        let batch = json!({"batch": {
            "displayName": display_name,
            "inputConfig": {"requests": {"requests": [{"request": request}]}},
        }});
        let path = format!("/v1beta/models/{MODEL}:batchGenerateContent");
        // During an outage, the batch is not created.
        let _ = self.request("POST", &path, batch.to_string()).await;
        Ok(())
    }

    /// Sends a request to Gemini that is not intercepted.
    ///
    /// # Errors
    /// Returns an error if Gemini refuses.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        body: String,
    ) -> anyhow::Result<Bytes> {
        let uri = format!("https://gemini.internal{path}");
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-goog-api-key", "canary-1234");
        let answer = self.gemini.send(request.body(full(body))?).await?;
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?
            .to_bytes();
        anyhow::ensure!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// Returns the path of an internal file of the stand-ins.
    pub(crate) fn internal(&self, path: &str) -> PathBuf {
        self.folder.path().join(INTERNAL).join(path)
    }

    /// Returns the folders of all jobs, as keys that end in `/`, sorted.
    ///
    /// # Errors
    /// Returns an error if the folder can't be read.
    pub(crate) fn jobs(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.local.path_of("jobs");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let names = std::fs::read_dir(folder)?
            .map(|entry| Ok(format!("jobs/{}/", entry?.file_name().to_string_lossy())));
        let mut jobs = names
            .collect::<anyhow::Result<Vec<String>>>()
            .context("the jobs")?;
        jobs.sort();
        Ok(jobs)
    }

    /// Returns the marker of a complete job.
    pub(crate) fn marker(&self, job: &str) -> Option<&'static str> {
        let there = |marker: &&str| self.local.path_of(&format!("{job}{marker}")).is_file();
        ["_SUCCESS", "_PARTIAL", "_FAILED", "_CANCELLED", "_REJECTED"]
            .into_iter()
            .find(|marker| there(marker))
    }

    /// Whether every dropped manifest has become a complete job.
    ///
    /// # Errors
    /// Returns an error if the folder can't be read.
    pub(crate) fn is_complete(&self) -> anyhow::Result<bool> {
        let jobs = self.jobs()?;
        Ok(jobs.len() == self.dropped && jobs.iter().all(|job| self.marker(job).is_some()))
    }
}
