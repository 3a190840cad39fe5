//! Models and prices come from the deployment, and a job keeps those that it was planned with.

use std::collections::BTreeMap;

use darkroom::{
    chain::{MANIFESTS, SHARDS},
    digest::hex,
    models::Catalog,
};
use sha2::{Digest, Sha256};
use tests::{BatchResponse, TestCloud};

use super::stones;

const DEPLOYED: &str = "stack/models.toml";

/// Returns the built-in catalog with doubled prices of the default model's images.
fn expensive() -> String {
    let text = Catalog::BUILT_IN
        .replacen(
            "standard = 0.0336, batch = 0.0168",
            "standard = 0.0672, batch = 0.0336",
            1,
        )
        .replacen("image = 30.00", "image = 60.00", 1)
        .replacen("image = 15.00", "image = 30.00", 1);
    Catalog::parse(&text).unwrap();
    text
}

/// Returns the estimated and the actual cost of the job.
async fn costs(cloud: &TestCloud) -> (f64, f64) {
    let job = cloud.job();
    let summary = job.json("summary.json").await;
    let estimated: f64 = job
        .lines("plan.jsonl")
        .await
        .iter()
        .map(|line| line["estimate"]["batch_usd"].as_f64().unwrap())
        .sum();
    (estimated, summary["cost"]["actual_usd"].as_f64().unwrap())
}

#[tokio::test]
async fn a_catalog_in_the_bucket_replaces_the_built_in_one() {
    let mut seen = BTreeMap::new();
    for (name, catalog) in [("built in", None), ("expensive", Some(expensive()))] {
        let cloud = TestCloud::new();
        if let Some(text) = &catalog {
            cloud.put(DEPLOYED, text.clone()).await;
        }
        cloud.put("inbox/stones.jsonl", stones(3)).await;
        cloud.run().await;
        let job = cloud.job();
        let kept = job.text("models.toml").await;
        assert_eq!(
            kept,
            catalog.unwrap_or_else(|| Catalog::BUILT_IN.to_owned()),
            "{name}"
        );
        let lock = job.json("plan.lock").await;
        assert_eq!(
            lock["catalog_sha256"],
            hex(&Sha256::digest(&kept)),
            "{name}"
        );
        seen.insert(name, costs(&cloud).await);
    }
    let (built_in, expensive) = (seen["built in"], seen["expensive"]);
    assert!(
        expensive.0 > 1.9 * built_in.0 && expensive.1 > 1.5 * built_in.1,
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_later_change_of_prices_does_not_change_a_planned_job() {
    let mut seen = Vec::new();
    for later in [None, Some(expensive())] {
        let cloud = TestCloud::new();
        cloud.put("inbox/stones.jsonl", stones(3)).await;
        assert!(cloud.plan().await.acknowledged());
        if let Some(text) = later {
            cloud.put(DEPLOYED, text).await;
        }
        cloud.run().await;
        seen.push(costs(&cloud).await);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_job_that_is_planned_again_keeps_its_prices() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    assert!(cloud.plan().await.acknowledged());
    let job = cloud.jobs()[0].clone();
    let plan = cloud.read(&format!("{job}plan.jsonl")).await;
    // The first planning was killed before its last write.
    cloud
        .local
        .bucket
        .delete(&format!("{job}job.json"))
        .await
        .unwrap();
    cloud.put(DEPLOYED, expensive()).await;
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    assert!(cloud.plan().await.acknowledged());
    assert_eq!(cloud.read(&format!("{job}plan.jsonl")).await, plan);
}

#[tokio::test]
async fn a_broken_catalog_stops_planning_until_it_is_fixed_and_rejects_nothing() {
    for text in [
        "",
        "[[model]]\nid = 1",
        "\u{fffd}",
        &expensive().replacen("nano-banana-2.1", "nano-banana-2", 1),
    ] {
        let cloud = TestCloud::new();
        cloud.put(DEPLOYED, text).await;
        cloud.put("inbox/stones.jsonl", stones(3)).await;
        assert!(!cloud.plan().await.acknowledged(), "{text}");
        assert!(!cloud.exists("jobs"), "{text}");
        assert_eq!((cloud.messages(MANIFESTS), cloud.messages(SHARDS)), (1, 0));
        cloud.put(DEPLOYED, expensive()).await;
        cloud.run().await;
        assert!(cloud.job().has("_SUCCESS"));
    }
}

#[tokio::test]
async fn a_broken_catalog_does_not_delay_a_planned_job() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    assert!(cloud.plan().await.acknowledged());
    cloud.put(DEPLOYED, "broken").await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
}
