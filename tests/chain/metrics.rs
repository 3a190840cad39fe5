//! The metrics of a job.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use gemini_sim::Scenario;
use runtime::metrics::{Metric, Metrics};
use tests::TestCloud;

use super::stones;

/// The sum of each metric; of an age, the maximum.
pub(crate) type Seen = Arc<Mutex<BTreeMap<Metric, f64>>>;

/// Returns metrics that are collected in memory, and the collection.
pub(crate) fn watching() -> (Metrics, Seen) {
    let seen = Seen::default();
    let sums = Arc::clone(&seen);
    let metrics = Metrics::from_fn(move |values| {
        for (metric, value) in values {
            let mut sums = sums.lock().unwrap();
            let sum = sums.entry(*metric).or_default();
            *sum = if *metric == Metric::BatchAge {
                sum.max(*value)
            } else {
                *sum + value
            };
        }
    });
    (metrics, seen)
}

#[tokio::test]
async fn a_job_is_counted_once_whatever_its_rounds() {
    let (metrics, seen) = watching();
    let scenario = Scenario {
        seed: 3,
        refuse_percent: 10,
        internal_error_percent: 10,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder()
        .scenario(scenario)
        .metrics(metrics)
        .build();
    cloud.put("inbox/stones.jsonl", stones(60)).await;
    cloud.run().await;
    let summary = cloud.job().json("summary.json").await;

    let seen = seen.lock().unwrap().clone();
    let counts = |names: &[&str]| {
        names
            .iter()
            .map(|name| summary["counts"][name].as_f64().unwrap())
            .sum::<f64>()
    };
    assert_eq!(seen[&Metric::JobsClosed], 1.0);
    assert_eq!(seen[&Metric::ImagesSucceeded], counts(&["succeeded"]));
    assert_eq!(
        seen[&Metric::ImagesRefused],
        counts(&["blocked", "no_image"])
    );
    assert_eq!(seen[&Metric::ImagesFailed], counts(&["failed"]));
    assert!(seen[&Metric::ImagesRefused] > 0.0);
    assert!(
        (seen[&Metric::CostUsd] - summary["cost"]["actual_usd"].as_f64().unwrap()).abs() < 1e-6
    );
    assert!(
        (seen[&Metric::SavedUsd] - summary["cost"]["saved_usd"].as_f64().unwrap()).abs() < 1e-6
    );
    let shards = cloud.gemini.batches_created() as f64;
    assert!(shards > 1.0, "no round was needed");
    for phase in [
        Metric::ShardsPlanned,
        Metric::ShardsSubmitted,
        Metric::ShardsReady,
        Metric::ShardsDone,
    ] {
        assert_eq!(seen[&phase], shards, "{phase:?}");
    }
    assert!(seen[&Metric::BatchAge] > 600.0);
    assert!(
        !seen.contains_key(&Metric::ShardsHeld) && !seen.contains_key(&Metric::AmbiguousCreates)
    );
}

#[tokio::test]
async fn an_unanswered_create_call_and_the_adoption_of_its_batch_are_counted() {
    let (metrics, seen) = watching();
    let scenario = Scenario {
        faults: vec!["create-batch:lost-reply:1".parse().unwrap()],
        ..Scenario::default()
    };
    let cloud = TestCloud::builder()
        .scenario(scenario)
        .metrics(metrics)
        .build();
    cloud.put("inbox/stones.jsonl", stones(4)).await;
    cloud.run().await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(
        (seen[&Metric::AmbiguousCreates], seen[&Metric::Adoptions]),
        (1.0, 1.0)
    );
    assert!(!seen.contains_key(&Metric::ShardsHeld) && !seen.contains_key(&Metric::ExtraBatches));
}
