//! The same content under two keys is bought once, whichever is first and wherever it is killed.

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
use tests::{BatchResponse, TestCloud, wire::FaultAction};

use super::{plan_dies, stones};

const FIRST: &str = "inbox/skus.jsonl";
const MOVED: &str = "inbox/done/skus.jsonl";

/// Returns the jobs with this marker.
fn with_marker(cloud: &TestCloud, marker: &str) -> Vec<String> {
    let mut jobs = cloud.jobs();
    jobs.retain(|job| cloud.exists(&format!("{job}{marker}")));
    jobs
}

/// Moves a manifest within the inbox as `aws s3 mv` does: by a copy and a deletion.
async fn move_to(cloud: &TestCloud, from: &str, to: &str) {
    let content = cloud.text(from).await;
    cloud.put(to, content).await;
    cloud.local.bucket.delete(from).await.unwrap();
}

/// Drops the manifest under a key, with object metadata.
async fn drop_as(cloud: &TestCloud, key: &str, metadata: &[(&str, &str)]) {
    let metadata: BTreeMap<String, String> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    cloud
        .local
        .bucket
        .put_described(key, "application/jsonl", stones(3), metadata)
        .await
        .unwrap();
}

/// Counts the jobs that are listed as open.
fn open(cloud: &TestCloud) -> usize {
    fs::read_dir(cloud.path_of("stack/open")).map_or(0, Iterator::count)
}

/// Reads the claim of the content. These tests have one content.
async fn claim(cloud: &TestCloud) -> Value {
    let contents = fs::read_dir(cloud.path_of("stack/contents")).unwrap();
    let names: Vec<_> = contents
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = &names[..] else {
        panic!("{names:?}")
    };
    cloud.json(&format!("stack/contents/{name}")).await
}

#[tokio::test]
async fn the_same_bytes_under_another_key_are_rejected_with_the_name_of_the_job() {
    let cloud = TestCloud::new();
    drop_as(&cloud, FIRST, &[]).await;
    cloud.run().await;
    let [first] = &with_marker(&cloud, "_SUCCESS")[..] else {
        panic!("{:?}", cloud.jobs())
    };
    move_to(&cloud, FIRST, MOVED).await;
    cloud.run().await;
    move_to(&cloud, MOVED, "inbox/older/skus.jsonl").await;
    cloud.run().await;
    // Metadata that tools write does not change the content.
    drop_as(
        &cloud,
        "inbox/copied.jsonl",
        &[("mtime", "1700000000"), ("mode", "33188")],
    )
    .await;
    cloud.run().await;

    assert_eq!(cloud.gemini.batches_created(), 1);
    let refused = with_marker(&cloud, "_REJECTED");
    assert_eq!(
        (refused.len(), with_marker(&cloud, "_SUCCESS").len()),
        (3, 1)
    );
    let name = first.trim_start_matches("jobs/").trim_end_matches('/');
    for job in &refused {
        let validation = cloud.text(&format!("{job}validation.csv")).await;
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
            !cloud.exists(&format!("{job}plan.lock")),
            "nothing of it was planned"
        );
    }
    assert_eq!(
        (claim(&cloud).await["job"].as_str(), open(&cloud)),
        (Some(name), 0)
    );
}

#[tokio::test]
async fn an_upload_that_is_renamed_from_a_temporary_name_is_bought_once() {
    let cloud = TestCloud::new();
    cloud.put("inbox/skus.jsonl.filepart", stones(3)).await;
    cloud.run().await;
    move_to(&cloud, "inbox/skus.jsonl.filepart", FIRST).await;
    cloud.run().await;
    assert_eq!((cloud.gemini.batches_created(), cloud.jobs().len()), (1, 1));
    assert_eq!(with_marker(&cloud, "_SUCCESS").len(), 1);
}

#[tokio::test]
async fn files_of_file_managers_are_ignored() {
    let cloud = TestCloud::new();
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
        cloud.put(&format!("inbox/{name}"), "no manifest").await;
        assert!(cloud.plan().await.acknowledged());
    }
    assert!(!cloud.exists("jobs") && !cloud.exists("stack"));
}

#[tokio::test]
async fn another_run_is_bought_again() {
    let cloud = TestCloud::new();
    drop_as(&cloud, FIRST, &[]).await;
    drop_as(&cloud, MOVED, &[("run", "2")]).await;
    cloud.run().await;
    assert_eq!(
        (
            cloud.gemini.batches_created(),
            with_marker(&cloud, "_SUCCESS").len()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn an_estimate_and_a_rejected_manifest_do_not_claim_their_content() {
    let cloud = TestCloud::new();
    drop_as(&cloud, FIRST, &[("mode", "dry_run")]).await;
    drop_as(&cloud, MOVED, &[("mode", "dry_run")]).await;
    cloud.put("inbox/bad.jsonl", "{\"promt\":\"x\"}").await;
    cloud.run().await;
    assert!(!cloud.exists("stack/contents"));
    assert_eq!(with_marker(&cloud, "_DRY_RUN").len(), 2);
}

#[tokio::test]
async fn of_two_at_the_same_moment_exactly_one_is_bought() {
    let cloud = TestCloud::new();
    drop_as(&cloud, FIRST, &[]).await;
    drop_as(&cloud, MOVED, &[]).await;
    let (one, two) = (cloud.deliver(MANIFESTS), cloud.deliver(MANIFESTS));
    let (deps, deadline) = (&cloud.local.deps.plan, cloud.now() + FUNCTION_TIMEOUT);
    let (one, two) = tokio::join!(
        plan::handler::handle(deps, one, deadline),
        plan::handler::handle(deps, two, deadline)
    );
    assert!(one.acknowledged() && two.acknowledged());
    cloud.run().await;
    assert_eq!(cloud.gemini.batches_created(), 1);
    let (refused, bought) = (
        with_marker(&cloud, "_REJECTED"),
        with_marker(&cloud, "_SUCCESS"),
    );
    assert!(
        refused.len() == 1 && bought.len() == 1 && refused != bought,
        "{refused:?} {bought:?}"
    );
    assert_eq!(open(&cloud), 0);
}

#[tokio::test]
async fn a_deleted_job_releases_its_content() {
    let cloud = TestCloud::new();
    drop_as(&cloud, FIRST, &[]).await;
    cloud.run().await;
    let first = cloud.jobs().remove(0);
    fs::remove_dir_all(cloud.path_of(&first)).unwrap();
    move_to(&cloud, FIRST, MOVED).await;
    cloud.run().await;
    let [second] = &with_marker(&cloud, "_SUCCESS")[..] else {
        panic!("{:?}", cloud.jobs())
    };
    assert_eq!(cloud.gemini.batches_created(), 2);
    assert_eq!(
        format!("jobs/{}/", claim(&cloud).await["job"].as_str().unwrap()),
        *second
    );
}

/// Kills `plan` before the write with this number, if any. Returns the number of its writes.
async fn dies_before_write(cloud: &TestCloud, number: Option<usize>) -> usize {
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    cloud.aws.decide(move |head| {
        let is_write = matches!(head.method.as_str(), "PUT" | "POST" | "DELETE");
        let dies = is_write && Some(counted.fetch_add(1, Ordering::Relaxed)) == number;
        if dies {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    match number {
        Some(_) => plan_dies(cloud).await,
        None => assert!(cloud.plan().await.acknowledged()),
    }
    cloud.aws.decide(|_| FaultAction::Pass);
    writes.load(Ordering::Relaxed)
}

#[tokio::test]
async fn one_of_two_keys_is_bought_wherever_a_planning_is_killed() {
    let cloud = TestCloud::new();
    drop_as(&cloud, FIRST, &[]).await;
    let writes = dies_before_write(&cloud, None).await;
    assert!(
        writes >= 9,
        "models, lock, mark, problems, plan, requests, state, claim, status, message: {writes}"
    );
    for (number, is_moved) in (0..writes).flat_map(|number| [(number, true), (number, false)]) {
        let cloud = TestCloud::new();
        drop_as(&cloud, FIRST, &[]).await;
        dies_before_write(&cloud, Some(number)).await;
        if is_moved {
            move_to(&cloud, FIRST, MOVED).await;
        } else {
            drop_as(&cloud, MOVED, &[]).await;
        }
        cloud.run().await;
        cloud.advance(SignedDuration::from_hours(2));
        cloud.sweep().await;
        cloud.run().await;

        let case = format!("killed before write {number}, moved: {is_moved}");
        assert_eq!(
            (
                cloud.gemini.batches_created(),
                with_marker(&cloud, "_SUCCESS").len()
            ),
            (1, 1),
            "{case}"
        );
        assert_eq!(open(&cloud), 0, "{case}");
    }
}
