//! A manifest that is overwritten between the lock and the plan: nothing of the old version stays
//! open, and nothing is bought twice.

use std::fs;

use darkroom::chain::{FUNCTION_TIMEOUT, MANIFESTS};
use jiff::SignedDuration;
use serde_json::json;
use tests::{World, wire::Trip};

use super::{acknowledged, plan_dies, step, stones};

const KEY: &str = "inbox/stones.jsonl";

/// Has `plan` die after it has locked the plan of three stones.
async fn locked() -> World {
    let world = World::new().unwrap();
    world.put(KEY, stones(3)).await.unwrap();
    world.aws.decide(|head| {
        let is_lock = head.method == "PUT" && head.uri.path().ends_with("/plan.jsonl");
        if is_lock { Trip::Die } else { Trip::Pass }
    });
    plan_dies(&world).await;
    world
}

async fn sweep(world: &World) {
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    sweep::handler::handle(&world.cloud.deps.sweep, deadline)
        .await
        .unwrap();
}

fn open_jobs(world: &World) -> usize {
    fs::read_dir(world.cloud.path_of("stack/open")).map_or(0, Iterator::count)
}

/// Whether the job was rejected because its manifest was overwritten, in a way that a person
/// understands.
async fn is_ended(world: &World, job: &str) -> bool {
    let Some(validation) = world.read(&format!("{job}validation.csv")).await.unwrap() else {
        return false;
    };
    let status = world.read(&format!("{job}job.json")).await.unwrap();
    let marker = world.read(&format!("{job}_REJECTED")).await.unwrap();
    let is_ended = validation.contains("1,,error,overwritten,")
        && validation.contains("drop it again under the same key");
    assert_eq!(is_ended, marker.is_some());
    assert!(!is_ended || status.unwrap().contains("\"rejected\""));
    is_ended
}

#[tokio::test]
async fn what_a_killed_planning_left_of_an_overwritten_manifest_is_ended_by_the_sweep() {
    let world = locked().await;
    let old = world.jobs().unwrap()[0].clone();
    world.put(KEY, stones(2)).await.unwrap();
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_mins(30))
        .unwrap();
    sweep(&world).await;
    assert!(
        !is_ended(&world, &old).await,
        "the invocation may still be at it"
    );
    // The newer version is planned and made.
    world.run().await.unwrap();
    assert_eq!(
        (world.jobs().unwrap().len(), world.gemini.batches_created()),
        (2, 1)
    );
    assert_eq!(open_jobs(&world), 1);
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_hours(1))
        .unwrap();
    for _ in 0..2 {
        sweep(&world).await;
        assert!(is_ended(&world, &old).await);
        assert_eq!(open_jobs(&world), 0);
    }

    // Dropped again, the old version is the same job, and is bought once.
    for _ in 0..2 {
        world.put(KEY, stones(3)).await.unwrap();
        world.run().await.unwrap();
    }
    assert!(
        world
            .read(&format!("{old}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        world
            .read(&format!("{old}_REJECTED"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        (
            world.jobs().unwrap().len(),
            world.gemini.batches_created(),
            open_jobs(&world)
        ),
        (2, 2, 0)
    );
}

#[tokio::test]
async fn a_manifest_that_is_still_there_is_left_to_its_message() {
    let world = locked().await;
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_hours(1))
        .unwrap();
    sweep(&world).await;
    let job = world.jobs().unwrap()[0].clone();
    assert!(!is_ended(&world, &job).await);
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_manifest_that_is_deleted_is_ended_too() {
    let world = locked().await;
    let job = world.jobs().unwrap()[0].clone();
    world.cloud.bucket.delete(KEY).await.unwrap();
    world.run().await.unwrap();
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_hours(2))
        .unwrap();
    sweep(&world).await;
    assert!(is_ended(&world, &job).await);
    assert_eq!((open_jobs(&world), world.gemini.batches_created()), (0, 0));
}

#[tokio::test]
async fn a_planning_that_comes_upon_another_version_ends_the_old_one_itself() {
    let world = World::new().unwrap();
    world.put(KEY, stones(3)).await.unwrap();
    // As the lock is written, a person overwrites the manifest.
    let (manifest, newer) = (world.cloud.path_of(KEY), world.cloud.path_of("newer"));
    let content = json!({"key": "pebble", "prompt": "a pebble"}).to_string();
    world.aws.decide(move |head| {
        if head.method == "PUT" && head.uri.path().ends_with("/plan.lock") {
            fs::write(&newer, &content).unwrap();
            fs::rename(&newer, &manifest).unwrap();
        }
        Trip::Pass
    });
    assert!(
        !acknowledged(&step!(&world, plan, MANIFESTS)),
        "it comes back for the new version"
    );
    world.aws.decide(|_| Trip::Pass);
    let old = world.jobs().unwrap()[0].clone();
    assert!(is_ended(&world, &old).await);
    assert_eq!(open_jobs(&world), 0);
    world.run().await.unwrap();
    let jobs = world.jobs().unwrap();
    let new = jobs.iter().find(|job| **job != old).unwrap();
    assert!(
        world
            .read(&format!("{new}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        (
            jobs.len(),
            world.gemini.batches_created(),
            open_jobs(&world)
        ),
        (2, 1, 0)
    );
}

#[tokio::test]
async fn an_invocation_that_plans_the_old_version_to_the_end_takes_the_rejection_back() {
    let world = locked().await;
    let old = world.jobs().unwrap()[0].clone();
    // A second invocation of the same message still has the manifest open, as S3 goes on sending
    // what it began with: here it is there until all is read, and the rejection comes just before
    // the status is written.
    let deps = world.cloud.deps.plan.clone();
    let name = darkroom::names::JobId::new(old.trim_start_matches("jobs/").trim_end_matches('/'));
    let uri = darkroom::names::ObjectUri {
        bucket: "darkroom".to_owned(),
        key: KEY.to_owned(),
    };
    let now = world.cloud.time.now();
    assert!(
        runtime::rejection::reject_overwritten(&deps.bucket, &name, &uri, now)
            .await
            .unwrap()
    );
    assert_eq!(open_jobs(&world), 0);
    world
        .cloud
        .time
        .jump_to(now + FUNCTION_TIMEOUT * 6)
        .unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(
        world
            .read(&format!("{old}_REJECTED"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(open_jobs(&world), 1, "the sweep looks after it again");
    // A rejection that comes later leaves it alone.
    assert!(
        !runtime::rejection::reject_overwritten(&deps.bucket, &name, &uri, now)
            .await
            .unwrap()
    );
    assert_eq!(open_jobs(&world), 1);
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("{old}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!((world.gemini.batches_created(), open_jobs(&world)), (1, 0));
}
