//! What a person can do to a job with nothing but S3: cancel it, in any phase.

use jiff::SignedDuration;
use local::{
    chain::{CONTROLS, MANIFESTS, POLLS, RESULTS, SHARDS},
    gemini::Behaviour,
};
use serde_json::Value;
use tests::{Making, World, wire::Fault};

use super::{acknowledged, next_in, planned, state, step, stones};

const CREATE: &str = ":batchGenerateContent";

fn job(world: &World) -> String {
    world.jobs().unwrap()[0].clone()
}

async fn cancel(world: &World) {
    let name = job(world).trim_start_matches("jobs/").to_owned();
    world.put(&format!("control/{name}cancel"), "").await.unwrap();
}

/// The markers that a job ends with.
fn markers(world: &World) -> Vec<String> {
    let folder = world.cloud.path_of(&job(world));
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('_')).collect()
}

async fn statuses(world: &World) -> Vec<String> {
    let results = world.lines(&format!("{}results.jsonl", job(world))).await.unwrap();
    results.iter().map(|line| line["status"].as_str().unwrap().to_owned()).collect()
}

fn jump(world: &World, wait: SignedDuration) {
    world.cloud.time.jump_to(world.cloud.time.now() + wait).unwrap();
}

#[tokio::test]
async fn a_job_cancelled_before_anything_was_asked_for_costs_nothing() {
    let world = planned().await;
    cancel(&world).await;
    assert!(acknowledged(&step!(&world, control, CONTROLS)));
    world.run().await.unwrap();
    assert_eq!((markers(&world), world.wire.count(CREATE)), (vec!["_CANCELLED".to_owned()], 0));
    assert_eq!(statuses(&world).await, ["skipped"; 3]);
    let retry = world.lines(&format!("{}retry.jsonl", job(&world))).await.unwrap();
    assert_eq!(retry.len(), 3);
    let summary = world.json(&format!("{}summary.json", job(&world))).await.unwrap();
    assert_eq!((&summary["status"], &summary["cost"]["actual_usd"]), (&"cancelled".into(), &0.into()));
}

#[tokio::test]
async fn what_was_made_before_the_cancel_is_collected() {
    let behaviour = Behaviour { seed: 5, internal_error_percent: 20, ..Behaviour::default() };
    let world = World::made_with(Making { behaviour, ..Making::default() }).unwrap();
    world.put("inbox/stones.jsonl", stones(40)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    while state(&world).await["phase"]["finished"].as_u64().unwrap() < 10 {
        assert!(!acknowledged(&step!(&world, poll, POLLS)));
        jump(&world, next_in(&world, POLLS));
    }
    cancel(&world).await;
    // The cancel doesn't wait for the message that waits.
    assert!(acknowledged(&step!(&world, control, CONTROLS)));
    jump(&world, SignedDuration::ZERO);
    world.run().await.unwrap();

    assert_eq!((markers(&world), world.wire.count(":cancel")), (vec!["_CANCELLED".to_owned()], 1));
    let statuses = statuses(&world).await;
    let succeeded = statuses.iter().filter(|status| *status == "succeeded").count();
    assert!((8..40).contains(&succeeded), "{statuses:?}");
    // Nothing is asked for again.
    assert_eq!(world.gemini.batches_created(), 1);
    let images = std::fs::read_dir(world.cloud.path_of(&format!("{}images", job(&world)))).unwrap().count();
    assert_eq!(images, succeeded);
    let billed = world.gemini.billed().unwrap() as f64 / 1e9;
    let summary = world.json(&format!("{}summary.json", job(&world))).await.unwrap();
    let cost = summary["cost"]["actual_usd"].as_f64().unwrap();
    assert!((billed - cost).abs() < 1e-6, "billed {billed}, reported {cost}");
}

#[tokio::test]
async fn a_batch_that_is_being_looked_for_is_found_before_it_is_cancelled() {
    let world = planned().await;
    let mut is_lost = false;
    world.wire.decide(move |sent| {
        let lose = sent.path.ends_with(CREATE) && !is_lost;
        is_lost |= lose;
        lose.then_some(Fault::AnswerLost)
    });
    assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    cancel(&world).await;
    world.run().await.unwrap();
    assert_eq!(world.gemini.batches_created(), 1);
    let markers = markers(&world);
    // Half an hour later the batch may have ended by itself.
    assert!(markers == ["_CANCELLED"] || markers == ["_SUCCESS"], "{markers:?}");
    assert_eq!(state(&world).await["phase"]["name"], "done");
}

#[tokio::test]
async fn a_cancel_while_images_are_collected_plans_no_round() {
    let behaviour = Behaviour { seed: 5, internal_error_percent: 30, ..Behaviour::default() };
    let world = World::made_with(Making { behaviour, ..Making::default() }).unwrap();
    world.put("inbox/stones.jsonl", stones(20)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    while !acknowledged(&step!(&world, poll, POLLS)) {
        jump(&world, next_in(&world, POLLS));
    }
    cancel(&world).await;
    assert!(acknowledged(&step!(&world, control, CONTROLS)));
    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    world.run().await.unwrap();
    assert_eq!((markers(&world), world.gemini.batches_created()), (vec!["_CANCELLED".to_owned()], 1));
    assert_eq!(state(&world).await["phase"]["next"], Value::Null);
}

#[tokio::test]
async fn a_job_that_is_over_stays_as_it_is() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    world.run().await.unwrap();
    let before = world.objects().unwrap();
    cancel(&world).await;
    world.put("control/no-such-job/cancel", "").await.unwrap();
    world.put("control/nonsense", "").await.unwrap();
    world.run().await.unwrap();
    let mut after = world.objects().unwrap();
    after.retain(|key, _| !key.contains("control/"));
    assert_eq!(after, before);
}
