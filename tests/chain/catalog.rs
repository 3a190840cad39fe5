//! Models and prices are what the deployment was given, and stay for a job what they were.

use std::collections::BTreeMap;

use darkroom::{
    chain::{MANIFESTS, SHARDS},
    digest::hex,
    models::Catalog,
};
use sha2::{Digest, Sha256};
use tests::World;

use super::{acknowledged, messages, step, stones};

const DEPLOYED: &str = "stack/models.toml";

/// The built-in catalog with every price of the default model's sizes and images doubled.
fn dearer() -> String {
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

/// What one job's three images were estimated at, and did cost.
async fn costs(world: &World) -> (f64, f64) {
    let job = &world.jobs().unwrap()[0];
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    let estimated: f64 = world
        .lines(&format!("{job}plan.jsonl"))
        .await
        .unwrap()
        .iter()
        .map(|line| line["estimate"]["batch_usd"].as_f64().unwrap())
        .sum();
    (estimated, summary["cost"]["actual_usd"].as_f64().unwrap())
}

#[tokio::test]
async fn a_catalog_in_the_bucket_takes_the_place_of_the_built_in_one() {
    let mut seen = BTreeMap::new();
    for (name, catalog) in [("built in", None), ("dearer", Some(dearer()))] {
        let world = World::new().unwrap();
        if let Some(text) = &catalog {
            world.put(DEPLOYED, text.clone()).await.unwrap();
        }
        world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
        world.run().await.unwrap();
        let job = &world.jobs().unwrap()[0];
        let kept = world
            .read(&format!("{job}models.toml"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            kept,
            catalog.unwrap_or_else(|| Catalog::BUILT_IN.to_owned()),
            "{name}"
        );
        let lock = world.json(&format!("{job}plan.lock")).await.unwrap();
        assert_eq!(
            lock["catalog_sha256"],
            hex(&Sha256::digest(&kept)),
            "{name}"
        );
        seen.insert(name, costs(&world).await);
    }
    let (built_in, dearer) = (seen["built in"], seen["dearer"]);
    assert!(
        dearer.0 > 1.9 * built_in.0 && dearer.1 > 1.5 * built_in.1,
        "{seen:?}"
    );
}

#[tokio::test]
async fn prices_that_change_later_change_no_job_that_is_planned() {
    let mut seen = Vec::new();
    for later in [None, Some(dearer())] {
        let world = World::new().unwrap();
        world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
        assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
        if let Some(text) = later {
            world.put(DEPLOYED, text).await.unwrap();
        }
        world.run().await.unwrap();
        seen.push(costs(&world).await);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_job_that_is_planned_again_is_planned_with_its_own_prices() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    let job = world.jobs().unwrap()[0].clone();
    let plan = world.read(&format!("{job}plan.jsonl")).await.unwrap();
    // As if it had been killed before the last write.
    world
        .cloud
        .bucket
        .delete(&format!("{job}job.json"))
        .await
        .unwrap();
    world.put(DEPLOYED, dearer()).await.unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert_eq!(world.read(&format!("{job}plan.jsonl")).await.unwrap(), plan);
}

#[tokio::test]
async fn a_broken_catalog_stops_planning_and_rejects_nothing_until_it_is_mended() {
    for text in [
        "",
        "[[model]]\nid = 1",
        "\u{fffd}",
        &dearer().replacen("nano-banana-2.1", "nano-banana-2", 1),
    ] {
        let world = World::new().unwrap();
        world.put(DEPLOYED, text).await.unwrap();
        world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
        assert!(!acknowledged(&step!(&world, plan, MANIFESTS)), "{text}");
        assert!(!world.cloud.path_of("jobs").exists(), "{text}");
        assert_eq!(
            (messages(&world, MANIFESTS), messages(&world, SHARDS)),
            (1, 0)
        );
        world.put(DEPLOYED, dearer()).await.unwrap();
        world.run().await.unwrap();
        let job = &world.jobs().unwrap()[0];
        assert!(
            world
                .read(&format!("{job}_SUCCESS"))
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn a_broken_catalog_holds_up_no_job_that_is_planned() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    world.put(DEPLOYED, "broken").await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
}
