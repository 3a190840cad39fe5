//! Collecting in pieces gives what collecting at once gives.

use darkroom::chain::{FUNCTION_TIMEOUT, MANIFESTS, POLLS, RESULTS, SHARDS};
use darkroom::settings::CollectLimits;
use gemini_sim::Scenario;
use jiff::SignedDuration;
use serde_json::Value;
use tests::{Making, World};

use super::{acknowledged, next_in, state, step, stones};

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

/// A world whose one batch has ended, and waits to be collected.
async fn ended(pace: CollectLimits) -> World {
    ended_in(
        Making {
            scenario: noisy(),
            pace,
            ..Making::default()
        },
        30,
    )
    .await
}

/// A world made to order, whose one batch of so many stones has ended, and waits to be collected.
pub(crate) async fn ended_in(making: Making, count: usize) -> World {
    let world = World::made_with(making).unwrap();
    world
        .put("inbox/stones.jsonl", stones(count))
        .await
        .unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    loop {
        let response = step!(&world, poll, POLLS);
        if acknowledged(&response) {
            return world;
        }
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + next_in(&world, POLLS))
            .unwrap();
    }
}

/// All result lines of the first round, without what depends on how often was written.
pub(crate) async fn parts(world: &World) -> Vec<Value> {
    let job = world.jobs().unwrap()[0].clone();
    let mut lines = Vec::new();
    for part in state(world).await["phase"]["chunks"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        let written = world
            .lines(&format!("{job}shards/0000/results/{name}.jsonl"))
            .await
            .unwrap();
        assert_eq!(part["lines"], written.len());
        lines.extend(written);
    }
    lines
}

/// Up to which byte of the output a part goes.
fn end_of(part: &Value) -> u64 {
    part["name"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn images(world: &World) -> Vec<(String, Vec<u8>)> {
    world
        .objects()
        .unwrap()
        .into_iter()
        .filter(|(key, _)| key.contains("/images/") || key.contains("/unmatched/"))
        .collect()
}

#[tokio::test]
async fn stopped_after_every_line_it_resumes_to_the_same_images_and_results() {
    let whole = ended(CollectLimits::default()).await;
    assert!(acknowledged(&step!(&whole, collect, RESULTS)));
    assert_eq!(state(&whole).await["phase"]["name"], "done");

    // With all of its time in reserve, an invocation stops after its first line.
    let pace = CollectLimits {
        reserve: FUNCTION_TIMEOUT,
        puts: 1,
        ..CollectLimits::default()
    };
    let pieces = ended(pace).await;
    let mut invocations = 1;
    while !acknowledged(&step!(&pieces, collect, RESULTS)) {
        assert_eq!(next_in(&pieces, RESULTS), SignedDuration::ZERO);
        invocations += 1;
    }
    assert!(invocations > 20, "{invocations} invocations");
    assert_eq!(parts(&pieces).await, parts(&whole).await);
    assert_eq!(images(&pieces), images(&whole));
}

#[tokio::test]
async fn checkpoints_change_nothing_of_the_result() {
    let whole = ended(CollectLimits::default()).await;
    assert!(acknowledged(&step!(&whole, collect, RESULTS)));
    for checkpoint_results in [1, 7] {
        let often = ended(CollectLimits {
            checkpoint_results,
            ..CollectLimits::default()
        })
        .await;
        assert!(acknowledged(&step!(&often, collect, RESULTS)));
        assert!(
            state(&often).await["phase"]["chunks"]
                .as_array()
                .unwrap()
                .len()
                > 2
        );
        assert_eq!(parts(&often).await, parts(&whole).await);
        assert_eq!(images(&often), images(&whole));
    }
}

#[tokio::test]
async fn with_and_without_range_the_same_is_collected_and_what_follows_the_checkpoint_is_asked_for()
{
    let whole = ended(CollectLimits::default()).await;
    assert!(acknowledged(&step!(&whole, collect, RESULTS)));
    for ranges in [false, true] {
        let pace = CollectLimits {
            reserve: FUNCTION_TIMEOUT,
            puts: 1,
            ..CollectLimits::default()
        };
        let scenario = Scenario { ranges, ..noisy() };
        let pieces = ended_in(
            Making {
                scenario,
                pace,
                ..Making::default()
            },
            30,
        )
        .await;
        while !acknowledged(&step!(&pieces, collect, RESULTS)) {}
        assert_eq!(
            parts(&pieces).await,
            parts(&whole).await,
            "ranges: {ranges}"
        );
        assert_eq!(images(&pieces), images(&whole), "ranges: {ranges}");
        let asked: Vec<Option<String>> = pieces
            .wire
            .sent()
            .iter()
            .filter(|sent| sent.path.ends_with(":download"))
            .map(|sent| Some(sent.headers.get("range")?.to_str().unwrap().to_owned()))
            .collect();
        // Each invocation asks for what follows its checkpoint, and nothing before it.
        let parts = state(&pieces).await["phase"]["chunks"]
            .as_array()
            .unwrap()
            .clone();
        let follows: Vec<Option<String>> = parts
            .iter()
            .rev()
            .skip(1)
            .rev()
            .map(|part| Some(format!("bytes={}-", end_of(part))))
            .collect();
        assert_eq!(asked.first(), Some(&None));
        assert_eq!(asked[1..], follows[..asked.len() - 1], "ranges: {ranges}");
    }
}
