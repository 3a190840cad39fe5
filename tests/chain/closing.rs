//! Closing a job, and repeating every step of a closed one.

use aws_sim::queue::Outgoing;
use darkroom::chain::{MANIFESTS, POLLS, REPORTS, RESULTS, SHARDS, THUMBNAILS};
use gemini_sim::Scenario;
use serde_json::json;
use tests::{BatchResponse, TestCloud};

use super::stones;

#[tokio::test]
async fn a_job_with_an_open_shard_is_not_closed() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(cloud.submit().await.acknowledged());
    assert!(cloud.report().await.acknowledged());
    let job = cloud.job();
    let status = job.json("job.json").await;
    assert_eq!(
        (&status["phase"], &status["shards"][0]["phase"]),
        (&json!("waiting"), &json!("submitted"))
    );
    assert!(cloud.objects().keys().all(|key| !key.contains("/_")));
}

/// Every message about a complete job is sent again: its manifest is dropped, and each queue gets a
/// message for each shard and round. All of it happens twice, because the second pass finds what
/// the first may have left.
#[tokio::test]
async fn every_step_of_a_complete_job_costs_nothing_and_changes_nothing() {
    let unreliable = Scenario {
        seed: 7,
        refuse_percent: 10,
        internal_error_percent: 20,
        missing_percent: 10,
        repeated_percent: 10,
        unknown_percent: 10,
        ..Scenario::default()
    };
    for scenario in [Scenario::default(), unreliable] {
        let has_rounds = scenario != Scenario::default();
        let cloud = TestCloud::builder().scenario(scenario).build();
        cloud.put_sample("catalog.csv").await;
        cloud.run().await;
        let job = cloud.job().id();
        let shards: Vec<String> = std::fs::read_dir(cloud.path_of(&format!("jobs/{job}/shards")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(
            shards.iter().any(|shard| shard.contains(".r2")),
            has_rounds,
            "{shards:?}"
        );
        let (before, asked) = (cloud.objects(), cloud.wire.sent().len());

        for _ in 0..2 {
            for (queue, shard) in [SHARDS, POLLS, RESULTS, THUMBNAILS]
                .iter()
                .flat_map(|queue| shards.iter().map(move |shard| (queue, shard)))
            {
                let body = json!({ "v": 1, "job": job, "shard": shard }).to_string();
                cloud.local.queues.send(queue, Outgoing::new(body)).unwrap();
            }
            cloud
                .local
                .queues
                .send(
                    REPORTS,
                    Outgoing::new(json!({ "v": 1, "job": job }).to_string()),
                )
                .unwrap();
            cloud.run().await;
            cloud.put_sample("catalog.csv").await;
            cloud.run().await;
        }

        let after = cloud.objects();
        let changed: Vec<&String> = after
            .keys()
            .filter(|key| before.get(*key) != after.get(*key))
            .collect();
        assert!(
            changed.is_empty() && after.len() == before.len(),
            "{changed:?}"
        );
        assert_eq!(cloud.wire.sent().len(), asked);
        for queue in [MANIFESTS, SHARDS, POLLS, RESULTS, REPORTS, THUMBNAILS] {
            assert_eq!(cloud.messages(queue), 0, "{queue}");
        }
    }
}

#[tokio::test]
async fn the_report_is_in_manifest_order_and_its_sums_match() {
    let cloud = TestCloud::new();
    cloud.put_sample("catalog.csv").await;
    cloud.run().await;
    let job = cloud.job();
    let results = job.lines("results.jsonl").await;
    let lines: Vec<u64> = results
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert!(lines.is_sorted() && lines.len() >= 24);
    let table = job.text("results.csv").await;
    assert_eq!(table.lines().count(), results.len() + 1);
    assert_eq!(job.text("retry.jsonl").await, "");

    let summary = job.json("summary.json").await;
    assert_eq!(summary["counts"]["succeeded"], results.len());
    let sum: f64 = results
        .iter()
        .map(|line| line["cost_usd"].as_f64().unwrap())
        .sum();
    assert!(
        (sum - summary["cost"]["actual_usd"].as_f64().unwrap()).abs() < 1e-4,
        "{sum} {summary}"
    );
    let status = job.json("job.json").await;
    assert_eq!(
        (&status["phase"], &status["finished"]),
        (&json!("succeeded"), &json!(results.len()))
    );
}
