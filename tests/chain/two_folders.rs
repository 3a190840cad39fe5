//! Two folders run the same manifest with the same API key for days, and neither touches the
//! batches of the other.

use std::{future::pending, path::Path, sync::Arc};

use cli::{
    cloud::{Cloud, CloudConfig, INTERNAL},
    host::{self, WaitMode},
    time::Time,
};
use darkroom::chain::FUNCTION_TIMEOUT;
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use gemini_sim::{Call, Gemini as SimulatedGemini, Scenario};
use jiff::{SignedDuration, Timestamp};
use seam::rng::Rng;
use tempfile::TempDir;

use super::stones;

/// How long each folder runs before it is the other's turn.
const TURN: SignedDuration = SignedDuration::from_mins(20);

/// Two folders that share the time and a Gemini.
struct Two {
    folders: [TempDir; 2],
    clouds: [Arc<Cloud>; 2],
    gemini: Arc<SimulatedGemini>,
    time: Time,
}

impl Two {
    /// Opens both folders. `seeds` are the seeds of their random numbers, and so of their
    /// identities.
    async fn open(seeds: [u64; 2]) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let time = Time::frozen("2026-11-21T09:00:00Z".parse::<Timestamp>().unwrap());
        let scenario = Scenario {
            shortest_batch_seconds: 20 * 3600,
            longest_batch_seconds: 23 * 3600,
            ..Scenario::default()
        };
        let state = folders[0].path().join(INTERNAL).join("gemini");
        let gemini = Arc::new(SimulatedGemini::open(&state, time.clock(), scenario).unwrap());
        let open = |folder: &Path, rng| {
            let key = Arc::new(KeySource::fixed(ApiKey::new("canary-1234").unwrap()));
            let client = Gemini::new(gemini::Settings::new(key), Arc::clone(&gemini) as _).unwrap();
            let setup = CloudConfig {
                rng: Rng::seeded(rng),
                sweep_every: None,
                ..CloudConfig::default()
            };
            Arc::new(Cloud::open(folder, time.clone(), client, setup).unwrap())
        };
        let clouds = [
            open(folders[0].path(), seeds[0]),
            open(folders[1].path(), seeds[1]),
        ];
        for cloud in &clouds {
            cloud
                .bucket
                .put("inbox/stones.jsonl", "application/jsonl", stones(4))
                .await
                .unwrap();
        }
        Self {
            folders,
            clouds,
            gemini,
            time,
        }
    }

    /// Runs the folders in turn for `hours` hours, each with a sweep.
    async fn run(&self, hours: i64) {
        let end = self.time.now() + SignedDuration::from_hours(hours);
        while self.time.now() < end {
            let turn = self.time.now() + TURN;
            for cloud in &self.clouds {
                let is_over = async || Ok(self.time.now() >= turn);
                host::run(cloud, WaitMode::Jump, pending(), is_over)
                    .await
                    .unwrap();
                let deadline = self.time.now() + FUNCTION_TIMEOUT;
                sweep::handler::handle(&cloud.deps.sweep, deadline)
                    .await
                    .unwrap();
            }
            self.time.jump_to(turn).unwrap();
        }
    }

    /// Counts the folders whose job succeeded.
    fn successes(&self) -> usize {
        let ended_well = |folder: &&TempDir| {
            let mut jobs = std::fs::read_dir(folder.path().join("darkroom/jobs")).unwrap();
            jobs.any(|job| job.unwrap().path().join("_SUCCESS").is_file())
        };
        self.folders.iter().filter(ended_well).count()
    }
}

#[tokio::test]
async fn two_folders_with_one_manifest_leave_each_others_batches_alone() {
    let two = Two::open([1, 2]).await;
    two.run(30).await;
    let requests = two.gemini.requests();
    assert!(
        requests.of(Call::ListBatches) >= 20,
        "no folder swept: {requests:?}"
    );
    assert_eq!(requests.of(Call::CancelBatch), 0);
    assert_eq!(two.gemini.batches_created(), 2);
    assert_eq!(two.successes(), 2);
}

/// The null control: two folders with the same identity treat each other's batches as their own.
#[tokio::test]
async fn two_folders_with_the_same_identity_are_detected() {
    let two = Two::open([1, 1]).await;
    two.run(30).await;
    let (cancelled, created) = (
        two.gemini.requests().of(Call::CancelBatch),
        two.gemini.batches_created(),
    );
    assert!(
        cancelled > 0 || created != 2,
        "{cancelled} cancelled, {created} created"
    );
}
