//! A reader that is killed at any byte of the output leaves no trace in the results.

mod responses;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use collect::deps::Deps;
use darkroom::{
    chain::RESULTS,
    settings::CollectLimits,
    state::{CRASHES_BEFORE_SKIPPED, Collecting, Phase},
    status::ShardPhase,
};
use fastrand::Rng;
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud, wire::FaultAction};

use self::responses::{PIECE_BYTES, Responses, Served};
use super::{collecting::ended_in, state};

/// The sizes of images. In base64, the largest is two thirds of the distance between two kills, so
/// that no line is hit three times and treated as a line that kills its reader.
const IMAGE_BYTES: std::ops::Range<usize> = 100_000..750_000;

/// The time limit of an invocation. Two hundred of them end before the shard's deadline.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// Returns limits with frequent checkpoints, so that the reader after a killed one soon reads ahead
/// of the bucket again.
fn limits() -> CollectLimits {
    CollectLimits {
        checkpoint_bytes: 2 << 20,
        checkpoint_results: 3,
        put_bytes: 2 << 20,
        ..CollectLimits::default()
    }
}

/// Returns the maximum number of bytes that a reader has read since its last checkpoint: the
/// results between two checkpoints, the images that are being uploaded (in base64, with one line
/// that exceeds the limit alone), the line that is being read, and a piece of the next.
fn max_unread() -> u64 {
    let line = (IMAGE_BYTES.end as u64 + 1_000) * 4 / 3;
    let CollectLimits {
        checkpoint_bytes,
        put_bytes,
        ..
    } = limits();
    checkpoint_bytes + line + put_bytes as u64 * 4 / 3 + line + line + PIECE_BYTES
}

fn keys(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("stone-{number:03}"))
        .collect()
}

/// A shard whose batch has ended with an output that the test provides.
struct Shard {
    cloud: TestCloud,
    output: Arc<Responses>,
    deps: Deps,
}

impl Shard {
    async fn new(output: &Arc<Responses>, count: usize) -> Self {
        let cloud = ended_in(TestCloud::builder().collect_limits(limits()), count).await;
        let key = Arc::new(KeySource::fixed(ApiKey::new("k").unwrap()));
        let gemini = Gemini::new(
            gemini::Settings::new(key),
            Arc::new(Served(Arc::clone(output))),
        )
        .unwrap();
        let deps = Deps {
            gemini,
            ..cloud.local.deps.collect.clone()
        };
        Self {
            cloud,
            output: Arc::clone(output),
            deps,
        }
    }

    /// Continues to read, and kills the reader when it has received all bytes before `kill`. Only
    /// what is stored remains.
    async fn read_until_killed(&self, kill: u64) -> Collecting {
        self.output.stop_at(kill);
        let deadline = self.cloud.now() + TIMEOUT;
        let event = self.cloud.deliver(RESULTS);
        tokio::select! {
            biased;
            response = collect::handler::handle(&self.deps, event, deadline) => panic!("it ended earlier: {response:?}"),
            () = self.output.reached() => {}
        }
        self.output.stop_at(u64::MAX);
        // Another reader may continue once the lease has expired.
        self.cloud.advance_to(deadline);
        self.cloud
            .local
            .queues
            .make_in_flight_visible(RESULTS)
            .unwrap();
        match state(&self.cloud).await.phase {
            Phase::Collecting(collecting) => collecting,
            other => panic!("the shard is not being collected: {other:?}"),
        }
    }

    /// Loses the first chunk although the bucket reports that it is written.
    fn lose_the_first_chunk(&self) {
        let chunks = AtomicU32::new(0);
        self.cloud.aws.decide(move |head| {
            let is_chunk = head.method == "PUT" && head.uri.path().contains("/results/");
            if is_chunk && chunks.fetch_add(1, Ordering::Relaxed) == 0 {
                FaultAction::Lost
            } else {
                FaultAction::Pass
            }
        });
    }

    /// Reads to the end. Returns whether that succeeded.
    async fn read_to_the_end(&self) -> bool {
        let deadline = self.cloud.now() + TIMEOUT;
        collect::handler::handle(&self.deps, self.cloud.deliver(RESULTS), deadline)
            .await
            .acknowledged()
    }

    /// Returns the result lines of all chunks in order, without those of a missing chunk.
    async fn lines(&self) -> Vec<Value> {
        let job = self.cloud.job();
        let mut lines = Vec::new();
        for chunk in job.chunks("0000").await {
            let name = format!("shards/0000/results/{}.jsonl", chunk.name);
            if job.has(&name) {
                lines.extend(job.lines(&name).await);
            }
        }
        lines
    }

    /// Returns the files of all images, matched and unmatched.
    fn images(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.cloud.path_of(self.cloud.job().folder())];
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

    /// Returns what differs between two collected shards.
    async fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.lines().await != other.lines().await {
            differences.push("the result lines".to_owned());
        }
        let (ours, theirs) = (self.images(), other.images());
        let root = |shard: &Self| shard.cloud.path_of("");
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

/// Returns one offset in each of `count` equal stretches of the file, in order.
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
async fn two_hundred_kills_in_300_mb_do_not_change_the_results_and_little_is_read_twice() {
    let count = 540;
    let output = Responses::make(&keys(count), IMAGE_BYTES, 7);
    assert!(output.length() > 280_000_000, "{} bytes", output.length());
    let undisturbed = Shard::new(&output, count).await;
    assert!(undisturbed.read_to_the_end().await);
    assert_eq!(
        undisturbed.cloud.job().phase("0000").await,
        ShardPhase::Done
    );

    let killed = Shard::new(&output, count).await;
    let mut random = Rng::with_seed(11);
    let (mut offset, mut fast) = (0, 0);
    for kill in kills(&output, 200, &mut random) {
        // Some servers ignore the range and send the whole file again.
        output.honor_range(random.u8(..16) > 0);
        let reached = killed.read_until_killed(kill).await.offset;
        assert!(
            reached >= offset && reached <= kill,
            "from {offset} to {reached}, killed at {kill}"
        );
        assert!(
            kill - reached <= max_unread(),
            "{} bytes to read again, {} allowed",
            kill - reached,
            max_unread()
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
async fn a_chunk_that_the_bucket_lost_is_detected() {
    let count = 60;
    let output = Responses::make(&keys(count), IMAGE_BYTES, 8);
    let undisturbed = Shard::new(&output, count).await;
    assert!(undisturbed.read_to_the_end().await);

    let broken = Shard::new(&output, count).await;
    broken.lose_the_first_chunk();
    assert!(broken.read_to_the_end().await);
    assert_eq!(undisturbed.differences(&broken).await, ["the result lines"]);

    // A reader that is killed later can't continue, and does not request the lost images again.
    let killed = Shard::new(&output, count).await;
    killed.lose_the_first_chunk();
    killed.read_until_killed(output.length() / 2).await;
    assert!(!killed.read_to_the_end().await);
    let reason = state(&killed.cloud).await.waiting.unwrap();
    assert!(reason.contains("is missing"), "{reason}");
}

#[tokio::test]
async fn only_the_line_that_kills_its_reader_is_skipped() {
    let count = 40;
    let output = Responses::make(&keys(count), IMAGE_BYTES, 9);
    let shard = Shard::new(&output, count).await;
    let (start, end) = (output.ends()[19], output.ends()[20]);
    let middle = start + (end - start) / 2;
    // The first reader is ahead of the bucket. The next ones stop closer to the line, and the last
    // three at the line itself. The reader that skips the line does not parse it, so it survives.
    let mut offsets = Vec::new();
    for deaths in 1.. {
        let phase = shard.read_until_killed(middle).await;
        offsets.push(phase.offset);
        if phase.crashes == CRASHES_BEFORE_SKIPPED - 1 {
            break;
        }
        assert!(deaths < 8, "{phase:?}");
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
