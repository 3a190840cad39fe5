//! A user cancels a job, in any phase, with an upload to S3.

use darkroom::{
    chain::{CONTROLS, POLLS, SHARDS},
    job::JobSettings,
    manifest::Sidecar,
    money::Usd,
    names::{JobId, ShardId},
    plan::job_id,
    report::Summary,
    state::Phase,
    status::{JobPhase, JobStatus, ShardPhase},
};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use tests::{
    BatchResponse, TestCloud,
    wire::{Fault, FaultAction},
};

use super::{planned, state, stones};

const CREATE: &str = ":batchGenerateContent";

/// Returns the markers of the job.
fn markers(cloud: &TestCloud) -> Vec<String> {
    let folder = cloud.path_of(cloud.job().folder());
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('_')).collect()
}

/// Returns the status of each result, in order.
async fn statuses(cloud: &TestCloud) -> Vec<String> {
    let results = cloud.job().lines("results.jsonl").await;
    results
        .iter()
        .map(|line| line["status"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_job_cancelled_before_its_batch_is_created_costs_nothing() {
    let cloud = planned().await;
    cloud.job().request("cancel").await;
    assert!(cloud.control().await.acknowledged());
    cloud.run().await;
    assert_eq!(
        (markers(&cloud), cloud.wire.count(CREATE)),
        (vec!["_CANCELLED".to_owned()], 0)
    );
    assert_eq!(statuses(&cloud).await, ["skipped"; 3]);
    let retry = cloud.job().lines("retry.jsonl").await;
    assert_eq!(retry.len(), 3);
    let summary = cloud.job().json("summary.json").await;
    assert_eq!(
        (&summary["status"], &summary["cost"]["actual_usd"]),
        (&"cancelled".into(), &0.into())
    );
}

#[tokio::test]
async fn images_made_before_the_cancel_are_collected() {
    let scenario = Scenario {
        seed: 5,
        internal_error_percent: 20,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder().scenario(scenario).build();
    cloud.put("inbox/stones.jsonl", stones(40)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(cloud.submit().await.acknowledged());
    let finished = async || match state(&cloud).await.phase {
        Phase::Submitted(submitted) => submitted.finished,
        other => panic!("the shard is not submitted: {other:?}"),
    };
    while finished().await < 10 {
        assert!(!cloud.poll().await.acknowledged());
        cloud.advance_to_next(POLLS);
    }
    cloud.job().request("cancel").await;
    // The cancel takes effect before the shard's message is due.
    assert!(cloud.control().await.acknowledged());
    cloud.advance(SignedDuration::ZERO);
    cloud.run().await;

    assert_eq!(
        (markers(&cloud), cloud.wire.count(":cancel")),
        (vec!["_CANCELLED".to_owned()], 1)
    );
    let statuses = statuses(&cloud).await;
    let succeeded = statuses
        .iter()
        .filter(|status| *status == "succeeded")
        .count();
    assert!((8..40).contains(&succeeded), "{statuses:?}");
    // No image is requested again.
    assert_eq!(cloud.gemini.batches_created(), 1);
    let images = std::fs::read_dir(cloud.path_of(&cloud.job().key("images")))
        .unwrap()
        .count();
    assert_eq!(images, succeeded);
    let billed = cloud.gemini.billed().unwrap() as f64 / 1e9;
    let summary = cloud.job().json("summary.json").await;
    let cost = summary["cost"]["actual_usd"].as_f64().unwrap();
    assert!(
        (billed - cost).abs() < 1e-6,
        "billed {billed}, reported {cost}"
    );
}

#[tokio::test]
async fn a_batch_that_is_being_looked_up_is_found_before_it_is_cancelled() {
    let cloud = planned().await;
    let mut is_lost = false;
    cloud.wire.decide(move |sent| {
        let lose = sent.path.ends_with(CREATE) && !is_lost;
        is_lost |= lose;
        lose.then_some(Fault::AnswerLost)
    });
    assert!(!cloud.submit().await.acknowledged());
    cloud.job().request("cancel").await;
    cloud.run().await;
    assert_eq!(cloud.gemini.batches_created(), 1);
    let markers = markers(&cloud);
    // The batch may have ended during the half hour of the lookup.
    assert!(
        markers == ["_CANCELLED"] || markers == ["_SUCCESS"],
        "{markers:?}"
    );
    assert_eq!(cloud.job().phase("0000").await, ShardPhase::Done);
}

#[tokio::test]
async fn a_cancel_before_the_images_are_collected_prevents_a_round() {
    let scenario = Scenario {
        seed: 5,
        internal_error_percent: 30,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder().scenario(scenario).build();
    cloud.put("inbox/stones.jsonl", stones(20)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(cloud.submit().await.acknowledged());
    while !cloud.poll().await.acknowledged() {
        cloud.advance_to_next(POLLS);
    }
    cloud.job().request("cancel").await;
    assert!(cloud.control().await.acknowledged());
    assert!(cloud.collect().await.acknowledged());
    cloud.run().await;
    assert_eq!(
        (markers(&cloud), cloud.gemini.batches_created()),
        (vec!["_CANCELLED".to_owned()], 1)
    );
    assert!(matches!(
        state(&cloud).await.phase,
        Phase::Done { next: None, .. }
    ));
}

/// Returns the id of the job that a manifest of three stones becomes.
fn stones_job() -> JobId {
    let hash: [u8; 32] = Sha256::digest(stones(3)).into();
    job_id(
        "darkroom",
        "inbox/stones.jsonl",
        &hash,
        &JobSettings::default(),
        &Sidecar::default(),
    )
}

#[tokio::test]
async fn a_cancel_before_the_manifest_prevents_the_purchase() {
    let cloud = TestCloud::new();
    let job = stones_job();
    cloud.put(&format!("control/{job}/cancel"), "").await;
    cloud.run().await;
    assert!(
        !cloud.exists("jobs"),
        "an unknown name leaves nothing in the bucket"
    );
    for _ in 0..2 {
        cloud.put("inbox/stones.jsonl", stones(3)).await;
        cloud.run().await;
    }
    assert_eq!(
        (cloud.jobs(), markers(&cloud)),
        (vec![format!("jobs/{job}/")], vec!["_CANCELLED".to_owned()])
    );
    assert_eq!((cloud.wire.sent().len(), cloud.messages(SHARDS)), (0, 0));

    // A cancelled job has all documents, and they are readable.
    let read = async |name: &str| cloud.text(&format!("jobs/{job}/{name}")).await;
    assert_eq!(
        (read("results.jsonl").await, read("retry.jsonl").await),
        (String::new(), String::new())
    );
    assert!(
        read("results.csv")
            .await
            .starts_with("\u{feff}key,variant,status,")
            && read("results.csv").await.lines().count() == 1
    );
    assert!(
        read("validation.csv")
            .await
            .contains("1,,warning,cancelled,")
    );
    let summary: Summary = serde_json::from_str(&read("summary.json").await).unwrap();
    assert_eq!(
        (
            summary.status,
            summary.counts.expected,
            summary.cost.actual_usd
        ),
        (JobPhase::Cancelled, 0, Usd::ZERO)
    );
    let status: JobStatus = serde_json::from_str(&read("job.json").await).unwrap();
    assert_eq!((status.phase, status.finished), (JobPhase::Cancelled, 0));
    assert!(!cloud.exists("stack/open") && !cloud.local.has_open_jobs());
}

#[tokio::test]
async fn a_cancel_takes_effect_at_every_step_of_planning() {
    // The write during which the cancel arrives. `control` knows the job once it is locked.
    for at in [
        "/models.toml",
        "/plan.lock",
        "/plan.jsonl",
        "/state.json",
        "/job.json",
    ] {
        let cloud = TestCloud::new();
        let job = stones_job();
        cloud.put("inbox/stones.jsonl", stones(3)).await;
        let (folder, file) = (cloud.path_of(&format!("control/{job}")), "cancel");
        cloud.aws.decide(move |head| {
            // Before the lock, `control` has already handled the cancel and found no such job, so
            // the file appears without an event.
            if head.method == "PUT"
                && head.uri.path().ends_with(at)
                && matches!(at, "/models.toml" | "/plan.lock")
            {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(file), "").unwrap();
            }
            FaultAction::Pass
        });
        assert!(cloud.plan().await.acknowledged());
        if !matches!(at, "/models.toml" | "/plan.lock") {
            cloud.job().request("cancel").await;
            assert!(cloud.control().await.acknowledged());
        }
        cloud.aws.decide(|_| FaultAction::Pass);
        cloud.run().await;
        assert_eq!(
            (markers(&cloud), cloud.wire.count(CREATE)),
            (vec!["_CANCELLED".to_owned()], 0),
            "{at}"
        );
        assert_eq!(statuses(&cloud).await, ["skipped"; 3], "{at}");
    }
}

#[tokio::test]
async fn a_cancel_between_two_plannings_takes_effect_without_control() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.aws.decide(|head| {
        let is_lock = head.method == "PUT" && head.uri.path().ends_with("/plan.lock");
        if is_lock {
            FaultAction::DieAfter
        } else {
            FaultAction::Pass
        }
    });
    super::plan_dies(&cloud).await;
    cloud.job().request("cancel").await;
    cloud.local.queues.purge(CONTROLS).unwrap();
    cloud.run().await;
    assert_eq!(
        (markers(&cloud), cloud.wire.count(CREATE)),
        (vec!["_CANCELLED".to_owned()], 0)
    );
    assert_eq!(statuses(&cloud).await, ["skipped"; 3]);
}

#[tokio::test]
async fn the_sweep_releases_the_reservation_of_a_cancelled_shard_without_a_batch() {
    let cloud = planned().await;
    // `submit` died after it had reserved the cost, and again after it had cancelled the shard.
    let ledger = cloud.local.deps.submit.ledger.clone();
    let shard = cloud
        .local
        .deps
        .plan
        .states
        .read(&stones_job(), ShardId::first(0))
        .await
        .unwrap()
        .unwrap()
        .shard;
    let (now, limits) = (cloud.now(), cloud.local.deps.submit.limits.clone());
    ledger
        .change(|ledger| ledger.admit(&shard, &limits, now))
        .await
        .unwrap();
    assert!(ledger.read().await.unwrap().spent_today(now) > Usd::ZERO);
    let stored = cloud
        .local
        .deps
        .plan
        .states
        .read(&shard.job, shard.shard)
        .await
        .unwrap()
        .unwrap();
    cloud
        .local
        .deps
        .plan
        .states
        .swap(&stored, stored.shard.cancelled())
        .await
        .unwrap();
    cloud.sweep().await;
    let ledger = ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    assert_eq!(ledger.spent_today(now), Usd::ZERO);
}

#[tokio::test]
async fn a_cancel_does_not_change_a_complete_job() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    let before = cloud.objects();
    cloud.job().request("cancel").await;
    cloud.put("control/no-such-job/cancel", "").await;
    cloud.put("control/nonsense", "").await;
    cloud.run().await;
    let mut after = cloud.objects();
    after.retain(|key, _| !key.contains("control/"));
    assert_eq!(after, before);
}
