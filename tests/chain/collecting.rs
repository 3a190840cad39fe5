//! An output that is collected in many invocations gives the same results as one that is collected
//! in one.

use darkroom::{
    chain::{FUNCTION_TIMEOUT, POLLS, RESULTS},
    chunks::Chunk,
    settings::CollectLimits,
    status::ShardPhase,
};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use serde_json::Value;
use tests::{BatchResponse, TestCloud, TestCloudBuilder};

use super::stones;

/// Returns a scenario with results of every kind.
fn noisy() -> Scenario {
    Scenario {
        seed: 3,
        refuse_percent: 10,
        internal_error_percent: 10,
        missing_percent: 10,
        repeated_percent: 10,
        shuffle: true,
        ..Scenario::default()
    }
}

/// Opens a cloud in which one batch of 30 images has ended and has not been collected.
async fn ended(limits: CollectLimits) -> TestCloud {
    ended_in(
        TestCloud::builder()
            .scenario(noisy())
            .collect_limits(limits),
        30,
    )
    .await
}

/// Opens a cloud in which one batch of `count` images has ended and has not been collected.
pub(crate) async fn ended_in(builder: TestCloudBuilder, count: usize) -> TestCloud {
    let cloud = builder.build();
    cloud.put("inbox/stones.jsonl", stones(count)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(cloud.submit().await.acknowledged());
    while !cloud.poll().await.acknowledged() {
        cloud.advance_to_next(POLLS);
    }
    cloud
}

/// Returns all result lines of the first round, in whichever chunks they are stored.
pub(crate) async fn result_lines(cloud: &TestCloud) -> Vec<Value> {
    let job = cloud.job();
    let mut lines = Vec::new();
    for chunk in job.chunks("0000").await {
        let written = job
            .lines(&format!("shards/0000/results/{}.jsonl", chunk.name))
            .await;
        assert_eq!(chunk.lines, written.len() as u64);
        lines.extend(written);
    }
    lines
}

/// Returns the offset in the output at which a chunk ends.
fn end_of(chunk: &Chunk) -> u64 {
    chunk.name.parse().unwrap()
}

/// Returns all stored images by key.
pub(crate) fn images(cloud: &TestCloud) -> Vec<(String, Vec<u8>)> {
    cloud
        .objects()
        .into_iter()
        .filter(|(key, _)| key.contains("/images/") || key.contains("/unmatched/"))
        .collect()
}

#[tokio::test]
async fn an_invocation_for_each_line_gives_the_same_images_and_results() {
    let whole = ended(CollectLimits::default()).await;
    assert!(whole.collect().await.acknowledged());
    assert_eq!(whole.job().phase("0000").await, ShardPhase::Done);

    // An invocation whose whole time is reserved for its end stops after its first line.
    let limits = CollectLimits {
        reserve: FUNCTION_TIMEOUT,
        puts: 1,
        ..CollectLimits::default()
    };
    let pieces = ended(limits).await;
    let mut invocations = 1;
    while !pieces.collect().await.acknowledged() {
        assert_eq!(pieces.next_in(RESULTS), SignedDuration::ZERO);
        invocations += 1;
    }
    assert!(invocations > 20, "{invocations} invocations");
    assert_eq!(result_lines(&pieces).await, result_lines(&whole).await);
    assert_eq!(images(&pieces), images(&whole));
}

#[tokio::test]
async fn checkpoints_do_not_change_the_results() {
    let whole = ended(CollectLimits::default()).await;
    assert!(whole.collect().await.acknowledged());
    for checkpoint_results in [1, 7] {
        let often = ended(CollectLimits {
            checkpoint_results,
            ..CollectLimits::default()
        })
        .await;
        assert!(often.collect().await.acknowledged());
        assert!(often.job().chunks("0000").await.len() > 2);
        assert_eq!(result_lines(&often).await, result_lines(&whole).await);
        assert_eq!(images(&often), images(&whole));
    }
}

#[tokio::test]
async fn an_output_is_requested_from_the_checkpoint_on_and_collected_with_and_without_ranges() {
    let whole = ended(CollectLimits::default()).await;
    assert!(whole.collect().await.acknowledged());
    for ranges in [false, true] {
        let limits = CollectLimits {
            reserve: FUNCTION_TIMEOUT,
            puts: 1,
            ..CollectLimits::default()
        };
        let scenario = Scenario { ranges, ..noisy() };
        let pieces = ended_in(
            TestCloud::builder()
                .scenario(scenario)
                .collect_limits(limits),
            30,
        )
        .await;
        while !pieces.collect().await.acknowledged() {}
        assert_eq!(
            result_lines(&pieces).await,
            result_lines(&whole).await,
            "ranges: {ranges}"
        );
        assert_eq!(images(&pieces), images(&whole), "ranges: {ranges}");
        let requested: Vec<Option<String>> = pieces
            .wire
            .sent()
            .iter()
            .filter(|sent| sent.path.ends_with(":download"))
            .map(|sent| Some(sent.headers.get("range")?.to_str().unwrap().to_owned()))
            .collect();
        // Each invocation requests what follows its checkpoint.
        let chunks = pieces.job().chunks("0000").await;
        let follows: Vec<Option<String>> = chunks[..chunks.len() - 1]
            .iter()
            .map(|chunk| Some(format!("bytes={}-", end_of(chunk))))
            .collect();
        assert_eq!(requested.first(), Some(&None));
        assert_eq!(
            requested[1..],
            follows[..requested.len() - 1],
            "ranges: {ranges}"
        );
    }
}
