//! Whatever Gemini answers, every key ends as exactly one result.

use std::collections::BTreeSet;

use darkroom::job::Settings;
use local::gemini::Behaviour;
use serde_json::Value;
use tests::{Making, World};

use super::stones;

/// A Gemini that goes wrong in every way at once.
fn unreliable() -> Behaviour {
    Behaviour {
        seed: 7,
        refuse_percent: 6,
        internal_error_percent: 12,
        missing_percent: 6,
        repeated_percent: 8,
        thoughts_percent: 20,
        shuffle: true,
        ..Behaviour::default()
    }
}

fn of_status<'a>(results: &'a [Value], status: &str) -> Vec<&'a Value> {
    results.iter().filter(|line| line["status"] == status).collect()
}

fn keys(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn with_rounds_every_key_that_may_succeed_becomes_an_image() {
    let world = World::made_with(Making { behaviour: unreliable(), ..Making::default() }).unwrap();
    world.put("inbox/stones.jsonl", stones(120)).await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    assert_eq!(keys(&results), keys(&world.lines(&format!("{job}plan.jsonl")).await.unwrap()));
    let (images, failed) = (of_status(&results, "succeeded"), of_status(&results, "failed"));
    assert!(failed.is_empty(), "{failed:?}");
    assert!(images.len() > 90 && images.len() < 120, "{} images", images.len());
    assert!(images.iter().any(|line| line["attempts"] == 2), "no round was needed");
    for image in images {
        let key = image["image"]["uri"].as_str().unwrap().trim_start_matches("s3://darkroom/").to_owned();
        assert!(key.ends_with(&format!("images/{}.jpg", image["key"].as_str().unwrap())), "{key}");
        assert!(world.cloud.path_of(&key).is_file());
    }
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    assert!(summary["integrity"]["repeated_keys"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(summary["counts"]["expected"], 120);
}

#[tokio::test]
async fn without_rounds_the_retry_manifest_finishes_the_rest() {
    let settings = Settings { max_rounds: 1, ..Settings::default() };
    let world = World::made_with(Making { behaviour: unreliable(), settings, ..Making::default() }).unwrap();
    world.put("inbox/stones.jsonl", stones(80)).await.unwrap();
    world.run().await.unwrap();
    let first = world.jobs().unwrap()[0].clone();
    assert!(world.read(&format!("{first}_PARTIAL")).await.unwrap().is_some());
    let results = world.lines(&format!("{first}results.jsonl")).await.unwrap();
    let missing: Vec<&str> =
        results.iter().filter(|line| line["status"] != "succeeded").map(|line| line["key"].as_str().unwrap()).collect();
    assert!(!missing.is_empty());

    let retry = world.read(&format!("{first}retry.jsonl")).await.unwrap().unwrap();
    world.put("inbox/retry.jsonl", retry).await.unwrap();
    world.run().await.unwrap();
    let second = world.jobs().unwrap().into_iter().find(|job| job.starts_with("jobs/retry-")).unwrap();
    let retried = world.lines(&format!("{second}plan.jsonl")).await.unwrap();
    assert_eq!(keys(&retried), missing);
}

#[tokio::test]
async fn a_refused_prompt_is_a_result_and_is_not_asked_again() {
    let behaviour = Behaviour { refuse_percent: 100, ..Behaviour::default() };
    let world = World::made_with(Making { behaviour, ..Making::default() }).unwrap();
    world.put("inbox/stones.jsonl", stones(12)).await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert_eq!(world.gemini.batches_created(), 1);
    assert!(world.read(&format!("{job}_FAILED")).await.unwrap().is_some());
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    let statuses: BTreeSet<&str> = results.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, BTreeSet::from(["blocked", "no_image"]));
    assert_eq!(world.lines(&format!("{job}retry.jsonl")).await.unwrap().len(), 12);
}

#[tokio::test]
async fn an_expired_batch_is_asked_again_in_a_round() {
    // Longer than Gemini waits, and than the deadline that is set before that.
    let hours = 60 * 60;
    let behaviour = Behaviour {
        shortest_batch_seconds: 90 * hours,
        longest_batch_seconds: 91 * hours,
        ..Behaviour::default()
    };
    let world = World::made_with(Making { behaviour, ..Making::default() }).unwrap();
    world.put("inbox/stones.jsonl", stones(4)).await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert_eq!(world.wire.count(":cancel"), 3);
    assert_eq!(world.gemini.batches_created(), 3);
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|line| line["attempts"] == 3), "{results:?}");
}

#[tokio::test]
async fn cost_is_what_gemini_billed() {
    let world = World::made_with(Making { behaviour: unreliable(), ..Making::default() }).unwrap();
    world.put_sample("catalog.csv").await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    let (actual, interactive) = (&summary["cost"]["actual_usd"], &summary["cost"]["interactive_usd"]);
    assert_eq!(interactive.as_f64().unwrap(), actual.as_f64().unwrap() * 2.0);
    assert!(actual.as_f64().unwrap() > 0.0);
}
