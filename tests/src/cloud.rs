//! The whole chain in process: the functions, the stand-ins for S3 and SQS, and the simulated
//! Gemini, with a clock that advances only when a test advances it.
//!
//! A method that can't do its work panics, because the test has failed then.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

mod builder;
mod function;
mod job;

use std::{collections::BTreeMap, fs, future::pending, path::Path, path::PathBuf, sync::Arc};

use cli::{
    cloud::Cloud,
    host::{self, StopReason, WaitMode},
};
use gemini_sim::{Gemini, Scenario};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

pub use self::{builder::TestCloudBuilder, function::BatchResponse, job::TestJob};
use crate::wire::{FaultInjector, Wire};

/// The chain on one machine, in a temporary folder.
pub struct TestCloud {
    folder: TempDir,
    /// The stand-ins and the functions' clients.
    pub local: Arc<Cloud>,
    /// The simulated service.
    pub gemini: Arc<Gemini>,
    /// The connection from the functions to Gemini.
    pub wire: Arc<Wire>,
    /// The connection to S3 and SQS. The functions use it, and so does the test.
    pub aws: Arc<FaultInjector>,
    builder: TestCloudBuilder,
}

impl TestCloud {
    /// Opens a cloud with the default settings and a Gemini without faults.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder with the default settings and a Gemini without faults.
    pub fn builder() -> TestCloudBuilder {
        TestCloudBuilder::default()
    }

    /// Opens the same folder again, at the same time, with a Gemini that behaves by `scenario`.
    pub fn with_scenario(self, scenario: Scenario) -> Self {
        let Self {
            folder,
            local,
            builder,
            ..
        } = self;
        let time = local.time.clone();
        // Two clouds must not be open in one folder.
        drop(local);
        builder.scenario(scenario).open(folder, time)
    }

    /// Uploads an object, as a user would.
    pub async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        put(&self.local, key, content).await;
    }

    /// Uploads a sample manifest and all reference images of the samples.
    pub async fn put_sample(&self, name: &str) {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/manifests");
        for entry in fs::read_dir(samples.join("refs")).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            self.put(&format!("refs/{file}"), fs::read(&path).unwrap())
                .await;
        }
        self.put(
            &format!("inbox/{name}"),
            fs::read(samples.join(name)).unwrap(),
        )
        .await;
    }

    /// Runs the chain, skipping waits, until no queue has a message.
    pub async fn run(&self) -> StopReason {
        host::run(&self.local, WaitMode::Jump, pending(), async || Ok(false))
            .await
            .unwrap()
    }

    /// Returns the current moment.
    pub fn now(&self) -> Timestamp {
        self.local.time.now()
    }

    /// Advances the time.
    pub fn advance(&self, wait: SignedDuration) {
        self.advance_to(self.now() + wait);
    }

    /// Advances the time to a moment, unless that has passed.
    pub fn advance_to(&self, moment: Timestamp) {
        self.local.time.jump_to(moment).unwrap();
    }

    /// Advances the time until the queue's next message can be received.
    pub fn advance_to_next(&self, queue: &str) {
        self.advance(self.next_in(queue));
    }

    /// Returns how long it takes until the queue's next message can be received.
    pub fn next_in(&self, queue: &str) -> SignedDuration {
        let due = self.local.queues.next_due(queue).unwrap();
        due.unwrap_or_else(|| panic!("{queue} has no message"))
            .duration_since(self.now())
    }

    /// Counts the messages of a queue, whether or not they can be received now.
    pub fn messages(&self, queue: &str) -> usize {
        let depth = self.local.queues.depth(queue).unwrap();
        depth.visible + depth.in_flight + depth.delayed
    }

    /// Returns the folders of all jobs, as keys that end in `/`, sorted.
    pub fn jobs(&self) -> Vec<String> {
        let folder = self.path_of("jobs");
        if !folder.is_dir() {
            return Vec::new();
        }
        let mut jobs: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| format!("jobs/{}/", entry.unwrap().file_name().to_string_lossy()))
            .collect();
        jobs.sort();
        jobs
    }

    /// Returns the first job in the order of ids. Most tests have one.
    pub fn job(&self) -> TestJob<'_> {
        let folder = self.jobs().into_iter().next();
        TestJob::new(self, folder.unwrap_or_else(|| panic!("there is no job")))
    }

    /// Returns the job, and checks that there is exactly one.
    pub fn only_job(&self) -> TestJob<'_> {
        let [folder] = &self.jobs()[..] else {
            panic!("there is not exactly one job: {:?}", self.jobs())
        };
        TestJob::new(self, folder.clone())
    }

    /// Returns the job whose manifest has this name, without extensions.
    pub fn job_named(&self, name: &str) -> TestJob<'_> {
        let (prefix, jobs) = (format!("jobs/{name}-"), self.jobs());
        let folder = jobs.iter().find(|job| job.starts_with(&prefix));
        let folder = folder.unwrap_or_else(|| panic!("{name} is not among {jobs:?}"));
        TestJob::new(self, folder.clone())
    }

    /// Returns the file in which the stand-in for S3 stores the object with this key.
    pub fn path_of(&self, key: &str) -> PathBuf {
        self.local.path_of(key)
    }

    /// Whether there is an object with this key, or a folder of objects.
    pub fn exists(&self, key: &str) -> bool {
        self.path_of(key).exists()
    }

    /// Reads an object as text. Returns `None` if there is no such object.
    pub async fn read(&self, key: &str) -> Option<String> {
        let object = self.local.bucket.read(key).await.unwrap();
        object.map(|object| String::from_utf8_lossy(&object.bytes).into_owned())
    }

    /// Reads an object as text.
    pub async fn text(&self, key: &str) -> String {
        let text = self.read(key).await;
        text.unwrap_or_else(|| panic!("there is no {key}"))
    }

    /// Reads an object as JSON.
    pub async fn json(&self, key: &str) -> Value {
        serde_json::from_str(&self.text(key).await).unwrap()
    }

    /// Reads an object as JSON Lines.
    pub async fn lines(&self, key: &str) -> Vec<Value> {
        self.text(key)
            .await
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns all files of the bucket by key, to compare them with a later state.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path_of("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(self.folder.path()).unwrap();
                    found.insert(key.to_string_lossy().into_owned(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }
}

/// Uploads an object, as a user would.
pub(crate) async fn put(cloud: &Cloud, key: &str, content: impl Into<Vec<u8>>) {
    let put = cloud
        .bucket
        .put(key, "application/octet-stream", content.into());
    put.await.unwrap();
}

impl Default for TestCloud {
    fn default() -> Self {
        Self::new()
    }
}
