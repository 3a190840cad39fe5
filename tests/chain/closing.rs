//! The report, and doing everything again.

use aws_sim::queue::Outgoing;
use darkroom::chain::{MANIFESTS, POLLS, REPORTS, RESULTS, SHARDS};
use gemini_sim::Scenario;
use serde_json::json;
use tests::{Making, World};

use super::{acknowledged, step, stones};

#[tokio::test]
async fn a_job_with_an_open_shard_is_not_closed() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    assert!(acknowledged(&step!(&world, report, REPORTS)));
    let job = &world.jobs().unwrap()[0];
    let status = world.json(&format!("{job}job.json")).await.unwrap();
    assert_eq!(
        (&status["phase"], &status["shards"][0]["phase"]),
        (&json!("waiting"), &json!("submitted"))
    );
    assert!(
        world
            .objects()
            .unwrap()
            .keys()
            .all(|key| !key.contains("/_"))
    );
}

/// Everything that was ever said about a finished job, said again: its manifest dropped, and a
/// message on every queue for every shard and every round. Twice, as the second time finds what the
/// first may have left.
#[tokio::test]
async fn every_step_on_finished_work_pays_nothing_and_changes_nothing() {
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
        let world = World::made_with(Making {
            scenario,
            ..Making::default()
        })
        .unwrap();
        world.put_sample("catalog.csv").await.unwrap();
        world.run().await.unwrap();
        let job = world.jobs().unwrap()[0]
            .trim_start_matches("jobs/")
            .trim_end_matches('/')
            .to_owned();
        let shards: Vec<String> =
            std::fs::read_dir(world.cloud.path_of(&format!("jobs/{job}/shards")))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
        assert_eq!(
            shards.iter().any(|shard| shard.contains(".r2")),
            has_rounds,
            "{shards:?}"
        );
        let (before, asked) = (world.objects().unwrap(), world.wire.sent().len());

        for _ in 0..2 {
            for (queue, shard) in [SHARDS, POLLS, RESULTS]
                .iter()
                .flat_map(|queue| shards.iter().map(move |shard| (queue, shard)))
            {
                let body = json!({ "v": 1, "job": job, "shard": shard }).to_string();
                world.cloud.queues.send(queue, Outgoing::new(body)).unwrap();
            }
            world
                .cloud
                .queues
                .send(
                    REPORTS,
                    Outgoing::new(json!({ "v": 1, "job": job }).to_string()),
                )
                .unwrap();
            world.run().await.unwrap();
            world.put_sample("catalog.csv").await.unwrap();
            world.run().await.unwrap();
        }

        let after = world.objects().unwrap();
        let changed: Vec<&String> = after
            .keys()
            .filter(|key| before.get(*key) != after.get(*key))
            .collect();
        assert!(
            changed.is_empty() && after.len() == before.len(),
            "{changed:?}"
        );
        assert_eq!(world.wire.sent().len(), asked);
        for queue in [MANIFESTS, SHARDS, POLLS, RESULTS, REPORTS] {
            assert_eq!(super::messages(&world, queue), 0, "{queue}");
        }
    }
}

#[tokio::test]
async fn the_report_is_in_manifest_order_and_comes_to_the_same_sums() {
    let world = World::new().unwrap();
    world.put_sample("catalog.csv").await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    let lines: Vec<u64> = results
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert!(lines.is_sorted() && lines.len() >= 24);
    let table = world
        .read(&format!("{job}results.csv"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(table.lines().count(), results.len() + 1);
    assert_eq!(
        world
            .read(&format!("{job}retry.jsonl"))
            .await
            .unwrap()
            .unwrap(),
        ""
    );

    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    assert_eq!(summary["counts"]["succeeded"], results.len());
    let of_lines: f64 = results
        .iter()
        .map(|line| line["cost_usd"].as_f64().unwrap())
        .sum();
    assert!(
        (of_lines - summary["cost"]["actual_usd"].as_f64().unwrap()).abs() < 1e-4,
        "{of_lines} {summary}"
    );
    let status = world.json(&format!("{job}job.json")).await.unwrap();
    assert_eq!(
        (&status["phase"], &status["finished"]),
        (&json!("succeeded"), &json!(results.len()))
    );
}
