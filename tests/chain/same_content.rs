//! The same content under two keys: one job is bought, whoever is first and wherever it is killed.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use darkroom::chain::{FUNCTION_TIMEOUT, MANIFESTS};
use jiff::SignedDuration;
use serde_json::Value;
use tests::{World, wire::Trip};

use super::{acknowledged, delivered, plan_dies, step, stones};

const FIRST: &str = "inbox/skus.jsonl";
const MOVED: &str = "inbox/done/skus.jsonl";

/// The jobs that ended so.
fn with_marker(world: &World, marker: &str) -> Vec<String> {
    let mut jobs = world.jobs().unwrap();
    jobs.retain(|job| world.cloud.path_of(&format!("{job}{marker}")).exists());
    jobs
}

/// Moves a manifest within the inbox, as `aws s3 mv` does: it is copied, and then deleted.
async fn move_to(world: &World, from: &str, to: &str) {
    let content = world.read(from).await.unwrap().unwrap();
    world.put(to, content).await.unwrap();
    world.cloud.bucket.delete(from).await.unwrap();
}

async fn drop_as(world: &World, key: &str, metadata: &[(&str, &str)]) {
    let metadata: BTreeMap<String, String> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    world
        .cloud
        .bucket
        .put_described(key, "application/jsonl", stones(3), metadata)
        .await
        .unwrap();
}

/// How many jobs are listed as open.
fn open(world: &World) -> usize {
    fs::read_dir(world.cloud.path_of("stack/open")).map_or(0, Iterator::count)
}

/// The content's claim: there is one content in these worlds.
async fn claim(world: &World) -> Value {
    let contents = fs::read_dir(world.cloud.path_of("stack/contents")).unwrap();
    let names: Vec<_> = contents
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = &names[..] else {
        panic!("{names:?}")
    };
    world.json(&format!("stack/contents/{name}")).await.unwrap()
}

#[tokio::test]
async fn same_bytes_under_another_key_are_refused_and_the_job_is_named() {
    let world = World::new().unwrap();
    drop_as(&world, FIRST, &[]).await;
    world.run().await.unwrap();
    let [first] = &with_marker(&world, "_SUCCESS")[..] else {
        panic!("{:?}", world.jobs())
    };
    move_to(&world, FIRST, MOVED).await;
    world.run().await.unwrap();
    move_to(&world, MOVED, "inbox/older/skus.jsonl").await;
    world.run().await.unwrap();
    // What tools write beside it makes it no other content.
    drop_as(
        &world,
        "inbox/copied.jsonl",
        &[("mtime", "1700000000"), ("mode", "33188")],
    )
    .await;
    world.run().await.unwrap();

    assert_eq!(world.gemini.batches_created(), 1);
    let refused = with_marker(&world, "_REJECTED");
    assert_eq!(
        (refused.len(), with_marker(&world, "_SUCCESS").len()),
        (3, 1)
    );
    let name = first.trim_start_matches("jobs/").trim_end_matches('/');
    for job in &refused {
        let validation = world
            .read(&format!("{job}validation.csv"))
            .await
            .unwrap()
            .unwrap();
        for words in [
            "same_content",
            FIRST,
            name,
            "job.run",
            "nothing was bought again",
        ] {
            assert!(validation.contains(words), "{validation}");
        }
        assert!(
            world
                .read(&format!("{job}plan.lock"))
                .await
                .unwrap()
                .is_none(),
            "nothing of it was planned"
        );
    }
    assert_eq!(
        (claim(&world).await["job"].as_str(), open(&world)),
        (Some(name), 0)
    );
}

#[tokio::test]
async fn an_upload_that_is_renamed_from_a_temporary_name_is_bought_once() {
    let world = World::new().unwrap();
    world
        .put("inbox/skus.jsonl.filepart", stones(3))
        .await
        .unwrap();
    world.run().await.unwrap();
    move_to(&world, "inbox/skus.jsonl.filepart", FIRST).await;
    world.run().await.unwrap();
    assert_eq!(
        (world.gemini.batches_created(), world.jobs().unwrap().len()),
        (1, 1)
    );
    assert_eq!(with_marker(&world, "_SUCCESS").len(), 1);
}

#[tokio::test]
async fn files_of_file_managers_are_left_alone() {
    let world = World::new().unwrap();
    for name in [
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "._skus.csv",
        "~$skus.xlsx",
        ".keep",
        "skus.csv.TMP",
        "acme/.keep",
    ] {
        world
            .put(&format!("inbox/{name}"), "no manifest")
            .await
            .unwrap();
        assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    }
    assert!(!world.cloud.path_of("jobs").exists() && !world.cloud.path_of("stack").exists());
}

#[tokio::test]
async fn another_run_is_bought_again() {
    let world = World::new().unwrap();
    drop_as(&world, FIRST, &[]).await;
    drop_as(&world, MOVED, &[("run", "2")]).await;
    world.run().await.unwrap();
    assert_eq!(
        (
            world.gemini.batches_created(),
            with_marker(&world, "_SUCCESS").len()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn an_estimate_and_a_rejected_manifest_claim_nothing() {
    let world = World::new().unwrap();
    drop_as(&world, FIRST, &[("mode", "dry_run")]).await;
    drop_as(&world, MOVED, &[("mode", "dry_run")]).await;
    world
        .put("inbox/bad.jsonl", "{\"promt\":\"x\"}")
        .await
        .unwrap();
    world.run().await.unwrap();
    assert!(!world.cloud.path_of("stack/contents").exists());
    assert_eq!(with_marker(&world, "_DRY_RUN").len(), 2);
}

#[tokio::test]
async fn of_two_at_the_same_moment_exactly_one_is_bought() {
    let world = World::new().unwrap();
    drop_as(&world, FIRST, &[]).await;
    drop_as(&world, MOVED, &[]).await;
    let (one, two) = (delivered(&world, MANIFESTS), delivered(&world, MANIFESTS));
    let (deps, deadline) = (
        &world.cloud.deps.plan,
        world.cloud.time.now() + FUNCTION_TIMEOUT,
    );
    let (one, two) = tokio::join!(
        plan::handler::handle(deps, one, deadline),
        plan::handler::handle(deps, two, deadline)
    );
    assert!(acknowledged(&one) && acknowledged(&two));
    world.run().await.unwrap();
    assert_eq!(world.gemini.batches_created(), 1);
    let (refused, bought) = (
        with_marker(&world, "_REJECTED"),
        with_marker(&world, "_SUCCESS"),
    );
    assert!(
        refused.len() == 1 && bought.len() == 1 && refused != bought,
        "{refused:?} {bought:?}"
    );
    assert_eq!(open(&world), 0);
}

#[tokio::test]
async fn a_deleted_job_gives_its_content_free() {
    let world = World::new().unwrap();
    drop_as(&world, FIRST, &[]).await;
    world.run().await.unwrap();
    let first = world.jobs().unwrap().remove(0);
    fs::remove_dir_all(world.cloud.path_of(&first)).unwrap();
    move_to(&world, FIRST, MOVED).await;
    world.run().await.unwrap();
    let [second] = &with_marker(&world, "_SUCCESS")[..] else {
        panic!("{:?}", world.jobs())
    };
    assert_eq!(world.gemini.batches_created(), 2);
    assert_eq!(
        format!("jobs/{}/", claim(&world).await["job"].as_str().unwrap()),
        *second
    );
}

/// Has `plan` die before its write with this number, of those that planning one manifest needs. All
/// of them, without one.
async fn dies_before_write(world: &World, number: Option<usize>) -> usize {
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    world.aws.decide(move |head| {
        let is_write = matches!(head.method.as_str(), "PUT" | "POST" | "DELETE");
        let dies = is_write && Some(counted.fetch_add(1, Ordering::Relaxed)) == number;
        if dies { Trip::Die } else { Trip::Pass }
    });
    match number {
        Some(_) => plan_dies(world).await,
        None => assert!(acknowledged(&step!(world, plan, MANIFESTS))),
    }
    world.aws.decide(|_| Trip::Pass);
    writes.load(Ordering::Relaxed)
}

#[tokio::test]
async fn wherever_a_planning_is_killed_one_of_two_keys_is_bought() {
    let world = World::new().unwrap();
    drop_as(&world, FIRST, &[]).await;
    let writes = dies_before_write(&world, None).await;
    assert!(
        writes >= 9,
        "models, lock, mark, problems, plan, requests, state, claim, status, message: {writes}"
    );
    for (number, is_moved) in (0..writes).flat_map(|number| [(number, true), (number, false)]) {
        let world = World::new().unwrap();
        drop_as(&world, FIRST, &[]).await;
        dies_before_write(&world, Some(number)).await;
        if is_moved {
            move_to(&world, FIRST, MOVED).await;
        } else {
            drop_as(&world, MOVED, &[]).await;
        }
        world.run().await.unwrap();
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + SignedDuration::from_hours(2))
            .unwrap();
        let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
        sweep::handler::handle(&world.cloud.deps.sweep, deadline)
            .await
            .unwrap();
        world.run().await.unwrap();

        let case = format!("killed before write {number}, moved: {is_moved}");
        assert_eq!(
            (
                world.gemini.batches_created(),
                with_marker(&world, "_SUCCESS").len()
            ),
            (1, 1),
            "{case}"
        );
        assert_eq!(open(&world), 0, "{case}");
    }
}
