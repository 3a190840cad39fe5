//! A reader that is killed at any byte of the output: what it had is kept, and nobody can tell from
//! the images.

mod responses;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use collect::deps::Deps;
use darkroom::settings::CollectLimits;
use darkroom::{chain::RESULTS, state::CRASHES_BEFORE_SKIPPED};
use fastrand::Rng;
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{Making, World, wire::Trip};

use self::responses::{PIECE_BYTES, Responses, Served};
use super::{acknowledged, collecting::ended_in, delivered, state};

/// The sizes of images. In base64 the largest has two thirds of what lies between two kills, so
/// that no line meets three, which would be one that kills.
const IMAGE_BYTES: std::ops::Range<usize> = 100_000..750_000;

/// How long an invocation may take, so that two hundred of them end before the shard's deadline.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// Checkpoints come so often that a reader that follows a killed one soon reads fast again.
fn pace() -> CollectLimits {
    CollectLimits {
        checkpoint_bytes: 2 << 20,
        checkpoint_results: 3,
        put_bytes: 2 << 20,
        ..CollectLimits::default()
    }
}

/// What a killed reader has read since its last checkpoint, at the most: the results between two
/// checkpoints, the images on their way to the bucket (in base64, with one line that goes alone),
/// the line that is read, and a piece of the next.
fn bound() -> u64 {
    let line = (IMAGE_BYTES.end as u64 + 1_000) * 4 / 3;
    let CollectLimits {
        checkpoint_bytes,
        put_bytes,
        ..
    } = pace();
    checkpoint_bytes + line + put_bytes as u64 * 4 / 3 + line + line + PIECE_BYTES
}

fn keys(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("stone-{number:03}"))
        .collect()
}

/// A shard whose batch has ended, its output being a file of our own.
struct Shard {
    world: World,
    output: Arc<Responses>,
    deps: Deps,
}

impl Shard {
    async fn new(output: &Arc<Responses>, count: usize) -> Self {
        let world = ended_in(
            Making {
                pace: pace(),
                ..Making::default()
            },
            count,
        )
        .await;
        let key = Arc::new(KeySource::fixed(ApiKey::new("k").unwrap()));
        let gemini = Gemini::new(
            gemini::Settings::new(key),
            Arc::new(Served(Arc::clone(output))),
        )
        .unwrap();
        let deps = Deps {
            gemini,
            ..world.cloud.deps.collect.clone()
        };
        Self {
            world,
            output: Arc::clone(output),
            deps,
        }
    }

    /// Reads on, and kills the reader when it has all bytes before `kill`. Nothing of it is left
    /// but what is stored.
    async fn read_until_killed(&self, kill: u64) -> Value {
        self.output.stop_at(kill);
        let deadline = self.world.cloud.time.now() + TIMEOUT;
        let event = delivered(&self.world, RESULTS);
        tokio::select! {
            biased;
            response = collect::handler::handle(&self.deps, event, deadline) => panic!("it ended before: {response:?}"),
            () = self.output.reached() => {}
        }
        self.output.stop_at(u64::MAX);
        // Another may take over when the lease has ended.
        self.world.cloud.time.jump_to(deadline).unwrap();
        self.world
            .cloud
            .queues
            .make_in_flight_visible(RESULTS)
            .unwrap();
        state(&self.world).await["phase"].clone()
    }

    /// Has the bucket say of the first part that it is written.
    fn lose_the_first_part(&self) {
        let parts = AtomicU32::new(0);
        self.world.aws.decide(move |head| {
            let is_part = head.method == "PUT" && head.uri.path().contains("/results/");
            if is_part && parts.fetch_add(1, Ordering::Relaxed) == 0 {
                Trip::Lost
            } else {
                Trip::Pass
            }
        });
    }

    /// Reads on to the end, if that can be reached.
    async fn read_to_the_end(&self) -> bool {
        let deadline = self.world.cloud.time.now() + TIMEOUT;
        acknowledged(
            &collect::handler::handle(&self.deps, delivered(&self.world, RESULTS), deadline).await,
        )
    }

    /// Every line of its parts, in order; none of a part that is missing.
    async fn lines(&self) -> Vec<Value> {
        let job = self.world.jobs().unwrap()[0].clone();
        let mut lines = Vec::new();
        for part in state(&self.world).await["phase"]["parts"]
            .as_array()
            .unwrap()
        {
            let name = part["name"].as_str().unwrap();
            lines.extend(
                self.world
                    .lines(&format!("{job}shards/0000/results/{name}.jsonl"))
                    .await
                    .unwrap_or_default(),
            );
        }
        lines
    }

    /// The files of its images and unmatched_folder.
    fn images(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.world.cloud.path_of(&self.world.jobs().unwrap()[0])];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "png") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// What differs between what was collected here and there.
    async fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.lines().await != other.lines().await {
            differences.push("the result lines".to_owned());
        }
        let (ours, theirs) = (self.images(), other.images());
        let root = |shard: &Self| shard.world.cloud.path_of("");
        let names = |shard: &Self, paths: &[PathBuf]| -> Vec<PathBuf> {
            paths
                .iter()
                .map(|path| path.strip_prefix(root(shard)).unwrap().to_owned())
                .collect()
        };
        if names(self, &ours) != names(other, &theirs) {
            differences.push("the names of the images".to_owned());
        }
        let same = |(one, two): (&PathBuf, &PathBuf)| {
            std::fs::read(one).unwrap() == std::fs::read(two).unwrap()
        };
        if !ours.iter().zip(&theirs).all(same) {
            differences.push("the images".to_owned());
        }
        differences
    }
}

/// One offset in each of `count` stretches of the file, in order.
fn kills(output: &Responses, count: u64, random: &mut Rng) -> Vec<u64> {
    let stretch = output.length() / count;
    assert!(
        stretch > (IMAGE_BYTES.end as u64 + 1_000) * 4 / 3,
        "three kills may meet one line"
    );
    (0..count)
        .map(|number| number * stretch + random.u64(1..stretch))
        .collect()
}

#[tokio::test]
async fn killed_at_two_hundred_bytes_of_300_mb_it_resumes_to_the_same_and_reads_little_again() {
    let count = 540;
    let output = Responses::make(&keys(count), IMAGE_BYTES, 7);
    assert!(output.length() > 280_000_000, "{} bytes", output.length());
    let undisturbed = Shard::new(&output, count).await;
    assert!(undisturbed.read_to_the_end().await);
    assert_eq!(state(&undisturbed.world).await["phase"]["name"], "done");

    let killed = Shard::new(&output, count).await;
    let mut random = Rng::with_seed(11);
    let (mut offset, mut fast) = (0, 0);
    for kill in kills(&output, 200, &mut random) {
        // Some servers send the whole file again.
        output.honor_range(random.u8(..16) > 0);
        let phase = killed.read_until_killed(kill).await;
        let reached = phase["offset"].as_u64().unwrap();
        assert!(
            reached >= offset && reached <= kill,
            "from {offset} to {reached}, killed at {kill}"
        );
        assert!(
            kill - reached <= bound(),
            "{} bytes to read again, {} allowed",
            kill - reached,
            bound()
        );
        assert!(
            reached == 0 || output.ends().contains(&reached),
            "{reached} is not the end of a line"
        );
        let line = output
            .ends()
            .iter()
            .rfind(|end| **end <= kill)
            .copied()
            .unwrap_or(0);
        fast += u32::from(reached < line);
        offset = reached;
    }
    assert!(
        fast > 20,
        "{fast} readers were killed while they read ahead of the bucket"
    );
    assert!(killed.read_to_the_end().await);
    assert_eq!(undisturbed.differences(&killed).await, Vec::<String>::new());
    assert!(
        killed
            .lines()
            .await
            .iter()
            .all(|line| line["unmatched"] != "skipped_line")
    );
}

#[tokio::test]
async fn a_bucket_that_loses_a_part_is_noticed() {
    let count = 60;
    let output = Responses::make(&keys(count), IMAGE_BYTES, 8);
    let undisturbed = Shard::new(&output, count).await;
    assert!(undisturbed.read_to_the_end().await);

    let broken = Shard::new(&output, count).await;
    broken.lose_the_first_part();
    assert!(broken.read_to_the_end().await);
    assert_eq!(undisturbed.differences(&broken).await, ["the result lines"]);

    // Killed after that, it can't go on, and doesn't ask for what it has lost sight of.
    let killed = Shard::new(&output, count).await;
    killed.lose_the_first_part();
    killed.read_until_killed(output.length() / 2).await;
    assert!(!killed.read_to_the_end().await);
    let note = state(&killed.world).await["waiting"].clone();
    assert!(note.as_str().unwrap().contains("is missing"), "{note}");
}

#[tokio::test]
async fn a_line_that_kills_while_it_is_read_is_skipped_and_no_other() {
    let count = 40;
    let output = Responses::make(&keys(count), IMAGE_BYTES, 9);
    let shard = Shard::new(&output, count).await;
    let (start, end) = (output.ends()[19], output.ends()[20]);
    let middle = start + (end - start) / 2;
    // At first one that reads fast, and then those that come nearer to the line, and at last three
    // at the line itself. Whoever skips it doesn't look at it, and lives.
    let mut offsets = Vec::new();
    for deaths in 1.. {
        let phase = shard.read_until_killed(middle).await;
        offsets.push(phase["offset"].as_u64().unwrap());
        if phase["crashes"] == CRASHES_BEFORE_SKIPPED - 1 {
            break;
        }
        assert!(deaths < 8, "{phase}");
    }
    assert!(
        offsets[0] < start && offsets.is_sorted() && offsets.ends_with(&[start; 3]),
        "{offsets:?}, not {start}"
    );
    assert!(shard.read_to_the_end().await);
    let lines = shard.lines().await;
    let skipped: Vec<&Value> = lines
        .iter()
        .filter(|line| line["unmatched"] == "skipped_line")
        .collect();
    assert_eq!(
        skipped,
        [&json!({ "kind": "unmatched", "unmatched": "skipped_line", "offset": start })]
    );
    let missing = lines
        .iter()
        .filter(|line| line["error"]["code"] == "UNREAD_LINE")
        .count();
    assert_eq!(missing, 1, "{lines:?}");
}
