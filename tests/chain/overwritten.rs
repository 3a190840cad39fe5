//! A manifest that is overwritten between the lock and the plan leaves no open job, and nothing is
//! bought twice.

use std::fs;

use darkroom::chain::FUNCTION_TIMEOUT;
use jiff::SignedDuration;
use serde_json::json;
use tests::{BatchResponse, TestCloud, wire::FaultAction};

use super::{plan_dies, stones};

const KEY: &str = "inbox/stones.jsonl";

/// Opens a cloud in which `plan` died after it had locked the plan of three stones.
async fn locked() -> TestCloud {
    let cloud = TestCloud::new();
    cloud.put(KEY, stones(3)).await;
    cloud.aws.decide(|head| {
        let is_lock = head.method == "PUT" && head.uri.path().ends_with("/plan.jsonl");
        if is_lock {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    plan_dies(&cloud).await;
    cloud
}

/// Counts the jobs that are listed as open.
fn open_jobs(cloud: &TestCloud) -> usize {
    fs::read_dir(cloud.path_of("stack/open")).map_or(0, Iterator::count)
}

/// Whether the job was rejected because its manifest was overwritten, with an explanation for
/// users.
async fn is_rejected(cloud: &TestCloud, job: &str) -> bool {
    let Some(validation) = cloud.read(&format!("{job}validation.csv")).await else {
        return false;
    };
    let status = cloud.read(&format!("{job}job.json")).await;
    let marker = cloud.read(&format!("{job}_REJECTED")).await;
    let is_rejected = validation.contains("1,,error,overwritten,")
        && validation.contains("drop it again under the same key");
    assert_eq!(is_rejected, marker.is_some());
    assert!(!is_rejected || status.unwrap().contains("\"rejected\""));
    is_rejected
}

#[tokio::test]
async fn the_sweep_rejects_the_job_of_an_overwritten_manifest_after_a_killed_planning() {
    let cloud = locked().await;
    let old = cloud.jobs()[0].clone();
    cloud.put(KEY, stones(2)).await;
    cloud.advance(SignedDuration::from_mins(30));
    cloud.sweep().await;
    assert!(
        !is_rejected(&cloud, &old).await,
        "the invocation may still be running"
    );
    // The newer version is planned and completed.
    cloud.run().await;
    assert_eq!((cloud.jobs().len(), cloud.gemini.batches_created()), (2, 1));
    assert_eq!(open_jobs(&cloud), 1);
    cloud.advance(SignedDuration::from_hours(1));
    for _ in 0..2 {
        cloud.sweep().await;
        assert!(is_rejected(&cloud, &old).await);
        assert_eq!(open_jobs(&cloud), 0);
    }

    // When the old version is dropped again, it is the same job and is bought once.
    for _ in 0..2 {
        cloud.put(KEY, stones(3)).await;
        cloud.run().await;
    }
    assert!(cloud.exists(&format!("{old}_SUCCESS")));
    assert!(!cloud.exists(&format!("{old}_REJECTED")));
    assert_eq!(
        (
            cloud.jobs().len(),
            cloud.gemini.batches_created(),
            open_jobs(&cloud)
        ),
        (2, 2, 0)
    );
}

#[tokio::test]
async fn the_sweep_leaves_a_job_alone_while_its_manifest_is_unchanged() {
    let cloud = locked().await;
    cloud.advance(SignedDuration::from_hours(1));
    cloud.sweep().await;
    let job = cloud.jobs()[0].clone();
    assert!(!is_rejected(&cloud, &job).await);
    cloud.run().await;
    assert!(cloud.exists(&format!("{job}_SUCCESS")));
}

#[tokio::test]
async fn the_sweep_rejects_the_job_of_a_deleted_manifest() {
    let cloud = locked().await;
    let job = cloud.jobs()[0].clone();
    cloud.local.bucket.delete(KEY).await.unwrap();
    cloud.run().await;
    cloud.advance(SignedDuration::from_hours(2));
    cloud.sweep().await;
    assert!(is_rejected(&cloud, &job).await);
    assert_eq!((open_jobs(&cloud), cloud.gemini.batches_created()), (0, 0));
}

#[tokio::test]
async fn a_planning_that_finds_another_version_rejects_the_old_job() {
    let cloud = TestCloud::new();
    cloud.put(KEY, stones(3)).await;
    // A user overwrites the manifest while the lock is written.
    let (manifest, newer) = (cloud.path_of(KEY), cloud.path_of("newer"));
    let content = json!({"key": "pebble", "prompt": "a pebble"}).to_string();
    cloud.aws.decide(move |head| {
        if head.method == "PUT" && head.uri.path().ends_with("/plan.lock") {
            fs::write(&newer, &content).unwrap();
            fs::rename(&newer, &manifest).unwrap();
        }
        FaultAction::Pass
    });
    assert!(
        !cloud.plan().await.acknowledged(),
        "the message must be redelivered for the new version"
    );
    cloud.aws.decide(|_| FaultAction::Pass);
    let old = cloud.jobs()[0].clone();
    assert!(is_rejected(&cloud, &old).await);
    assert_eq!(open_jobs(&cloud), 0);
    cloud.run().await;
    let jobs = cloud.jobs();
    let new = jobs.iter().find(|job| **job != old).unwrap();
    assert!(cloud.exists(&format!("{new}_SUCCESS")));
    assert_eq!(
        (
            jobs.len(),
            cloud.gemini.batches_created(),
            open_jobs(&cloud)
        ),
        (2, 1, 0)
    );
}

#[tokio::test]
async fn an_invocation_that_completes_the_old_plan_withdraws_the_rejection() {
    let cloud = locked().await;
    let old = cloud.jobs()[0].clone();
    // Another invocation still has the old manifest open, because S3 continues to send the version
    // with which it began. The rejection arrives just before that invocation writes the status.
    let deps = cloud.local.deps.plan.clone();
    let name = darkroom::names::JobId::new(old.trim_start_matches("jobs/").trim_end_matches('/'));
    let uri = darkroom::names::ObjectUri {
        bucket: "darkroom".to_owned(),
        key: KEY.to_owned(),
    };
    let now = cloud.now();
    assert!(
        runtime::rejection::reject_overwritten(&deps.bucket, &name, &uri, None, now)
            .await
            .unwrap()
    );
    assert_eq!(open_jobs(&cloud), 0);
    cloud.advance_to(now + FUNCTION_TIMEOUT * 6);
    assert!(cloud.plan().await.acknowledged());
    assert!(!cloud.exists(&format!("{old}_REJECTED")));
    assert_eq!(open_jobs(&cloud), 1, "the sweep must watch the job again");
    // A later rejection has no effect.
    assert!(
        !runtime::rejection::reject_overwritten(&deps.bucket, &name, &uri, None, now)
            .await
            .unwrap()
    );
    assert_eq!(open_jobs(&cloud), 1);
    cloud.run().await;
    assert!(cloud.exists(&format!("{old}_SUCCESS")));
    assert_eq!((cloud.gemini.batches_created(), open_jobs(&cloud)), (1, 0));
}
