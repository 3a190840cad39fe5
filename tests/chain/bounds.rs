//! The limits of the project and of a manifest: batches fit into a day, a job that takes days
//! states so at planning, and checking ends in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cli::{
    cloud::CloudConfig,
    host::{self, WaitMode},
};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, MANIFESTS, SHARDS},
    job::JobSettings,
    ledger::{FolderCaps, ProjectLimits},
    manifest::Limits,
    money::Usd,
    settings::MaxLiveBatches,
    status::JobPhase,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud, wire::FaultAction};

use super::{another_run, plan_dies, stones};

/// The default model.
const MODEL: &str = "gemini-nano-banana-2.1";

/// Returns project limits by the enqueued tokens of each model and by cost.
fn allowing(tokens: &[(&str, u64)], daily_usd: Option<&str>) -> ProjectLimits {
    let tokens = tokens
        .iter()
        .map(|(model, limit)| ((*model).to_owned(), *limit));
    ProjectLimits {
        live_batches: MaxLiveBatches::default(),
        enqueued_tokens: tokens.collect(),
        daily_usd: daily_usd.map(usd),
        folders: FolderCaps::default(),
    }
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn test_cloud(limits: ProjectLimits) -> TestCloud {
    TestCloud::builder().limits(limits).build()
}

/// Runs `plan` with other limits on its next message. Returns whether it acknowledged that.
async fn plan_with(cloud: &TestCloud, project: ProjectLimits, limits: Limits) -> bool {
    let deps = plan::deps::Deps {
        project: project.into(),
        limits,
        ..cloud.local.deps.plan.clone()
    };
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    plan::handler::handle(&deps, cloud.deliver(MANIFESTS), deadline)
        .await
        .acknowledged()
}

/// Kills `plan` before it writes a key that ends in `key_end`, and waits until its message can be
/// received again.
async fn plan_dies_at(cloud: &TestCloud, key_end: &'static str) {
    cloud.aws.decide(move |head| {
        let is_there = head.method == "PUT" && head.uri.path().ends_with(key_end);
        if is_there {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    plan_dies(cloud).await;
    cloud.advance(FUNCTION_TIMEOUT * 6);
}

async fn validation(cloud: &TestCloud) -> String {
    cloud.only_job().text("validation.csv").await
}

/// Whether the only job was rejected. Its marker and its status must agree.
async fn is_rejected(cloud: &TestCloud) -> bool {
    let job = cloud.only_job();
    let is_rejected = job.has("_REJECTED");
    let phase = job.status().await.phase;
    assert_eq!(is_rejected, phase == JobPhase::Rejected, "{phase:?}");
    is_rejected
}

#[tokio::test]
async fn a_cap_below_a_full_shard_makes_smaller_shards_and_every_image() {
    // An image costs at most $0.0205505, so 24 images fit into a day.
    let cloud = test_cloud(allowing(&[], Some("0.50")));
    cloud.put("inbox/stones.jsonl", stones(60)).await;
    let held = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&held);
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        for (key, state) in cloud
            .objects()
            .into_iter()
            .filter(|(key, _)| key.ends_with("/state.json"))
        {
            let state: Value = serde_json::from_slice(&state)?;
            assert!(
                state["demand"]["usd"].as_f64().unwrap() <= 0.50,
                "{key}: {state}"
            );
            seen.fetch_add(
                usize::from(state["phase"]["name"] == "held"),
                Ordering::Relaxed,
            );
        }
        Ok(false)
    })
    .await
    .unwrap();
    let job = cloud.only_job();
    assert!(job.has("_SUCCESS"));
    assert_eq!(
        (held.load(Ordering::Relaxed), cloud.gemini.batches_created()),
        (0, 3)
    );
    let days: BTreeSet<String> = cloud
        .gemini
        .records()
        .unwrap()
        .iter()
        .map(|record| record.created.to_string()[..10].to_owned())
        .collect();
    assert!(days.len() >= 2, "{days:?}");

    // The plan already states that the job takes days.
    let status = job.json("job.json").await;
    let forecast = &status["plan"]["forecast"];
    assert_eq!(
        (&forecast["batches"], &forecast["limit"]),
        (&json!(3), &json!("daily_cap")),
        "{status}"
    );
    let note = forecast["note"].as_str().unwrap();
    assert_eq!(
        note,
        "3 batches, one after another, by the daily cap of $0.50: about 3 days"
    );
}

#[tokio::test]
async fn a_job_that_fits_into_a_day_states_no_duration() {
    let cloud = test_cloud(allowing(&[(MODEL, 1_000)], Some("100")));
    cloud.put("inbox/stones.jsonl", stones(60)).await;
    assert!(cloud.plan().await.acknowledged());
    let status = cloud.job().json("job.json").await;
    assert_eq!(status["plan"]["forecast"], Value::Null, "{status}");
}

#[tokio::test]
async fn a_low_token_limit_makes_smaller_shards() {
    // Each prompt has two tokens.
    let cloud = test_cloud(allowing(&[(MODEL, 20)], None));
    cloud.put("inbox/stones.jsonl", stones(25)).await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 3);
}

#[tokio::test]
async fn an_image_above_the_cap_is_rejected_with_its_line_until_the_cap_is_raised() {
    let cloud = test_cloud(allowing(&[], Some("0.03")));
    let manifest = "key,prompt,image_size\nsmall,a stone,1K\nlarge,a stone,4K\n";
    cloud.put("inbox/stones.csv", manifest).await;
    cloud.run().await;
    assert!(is_rejected(&cloud).await);
    let validation = validation(&cloud).await;
    assert!(
        validation.contains("3,large,error,over_daily_cap,"),
        "{validation}"
    );
    assert!(
        validation.contains("above the daily cap of $0.03: raise DAILY_CAP_USD"),
        "{validation}"
    );
    assert_eq!(cloud.gemini.batches_created(), 0);

    // The cap is not part of the job's identity.
    cloud.put("inbox/stones.csv", manifest).await;
    assert!(plan_with(&cloud, allowing(&[], Some("1")), Limits::default()).await);
    assert!(!is_rejected(&cloud).await);
    assert_eq!(cloud.messages(SHARDS), 1);
}

#[tokio::test]
async fn a_repeated_planning_keeps_its_shards_after_the_cap_has_changed() {
    let plans = async |disturbed: bool| {
        let cloud = test_cloud(allowing(&[], Some("0.10")));
        cloud.put("inbox/stones.jsonl", stones(10)).await;
        if disturbed {
            plan_dies_at(&cloud, "/shards/0001/state.json").await;
            assert!(
                plan_with(
                    &cloud,
                    allowing(&[(MODEL, 2)], Some("0.03")),
                    Limits::default()
                )
                .await
            );
        } else {
            assert!(cloud.plan().await.acknowledged());
        }
        let lock = cloud.job().json("plan.lock").await;
        assert_eq!(lock["bounds"], json!({"usd": 0.1}));
        let objects = cloud.objects();
        let plans: BTreeMap<String, Vec<u8>> = objects
            .into_iter()
            .filter(|(key, _)| key.ends_with(".jsonl"))
            .collect();
        assert!(
            plans.len() >= 4,
            "a plan and three request files, not {:?}",
            plans.keys()
        );
        (plans, cloud.messages(SHARDS))
    };
    assert_eq!(plans(true).await, plans(false).await);
}

#[tokio::test]
async fn an_exhausted_model_does_not_delay_other_models() {
    let cloud = test_cloud(allowing(&[(MODEL, 50)], None));
    for number in 0..6 {
        cloud
            .put(
                &format!("inbox/x-{number}.jsonl"),
                another_run(&number.to_string(), &stones(20)),
            )
            .await;
    }
    let start = cloud.now();
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(cloud.gemini.batches_created() > 0)
    })
    .await
    .unwrap();
    let plain = json!({"key": "y", "prompt": "one plain image", "model": "nano-banana-pro"});
    cloud.put("inbox/y.jsonl", plain.to_string()).await;
    cloud.run().await;
    let records = cloud.gemini.records().unwrap();
    let first_of = |job: &str| {
        let of_job = records
            .iter()
            .filter(|record| record.display_name.contains(job));
        of_job
            .map(|record| record.created)
            .min()
            .unwrap()
            .duration_since(start)
    };
    assert!(
        first_of("/y-") <= SignedDuration::from_mins(1),
        "{} after the first",
        first_of("/y-")
    );
    let last = (0..6)
        .map(|number| first_of(&format!("/x-{number}-")))
        .max()
        .unwrap();
    assert!(
        last >= SignedDuration::from_mins(20),
        "the others had to wait for each other, not {last}"
    );
}

#[tokio::test]
async fn a_manifest_with_too_many_batches_is_rejected() {
    let mut settings = JobSettings::default();
    settings.shard.requests = 1;
    let cloud = TestCloud::builder().settings(settings).build();
    cloud.put("inbox/stones.jsonl", stones(10_001)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(is_rejected(&cloud).await);
    assert!(
        validation(&cloud)
            .await
            .contains("too_many_batches,\"the manifest would become 10001 batches")
    );
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_rejected_unread() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(100)).await;
    let limits = Limits {
        manifest_bytes: 1_000,
        ..Limits::default()
    };
    assert!(plan_with(&cloud, CloudConfig::default().limits, limits).await);
    assert!(is_rejected(&cloud).await);
    assert!(
        validation(&cloud)
            .await
            .contains("1,,error,manifest_too_large,the manifest is larger than 1000 bytes")
    );
}

/// Returns a manifest of `count` items, each with its own reference.
fn referring(count: usize) -> String {
    let item = |number| json!({"key": format!("k-{number}"), "prompt": "a fox", "refs": [format!("refs/{number}.png")]});
    (0..count)
        .map(|number| item(number).to_string() + "\n")
        .collect()
}

#[tokio::test]
async fn missing_references_are_listed_up_to_the_limit_and_the_rest_is_not_requested() {
    let cloud = TestCloud::new();
    cloud.put("inbox/foxes.jsonl", referring(500)).await;
    let limits = Limits {
        problems: 5,
        ..Limits::default()
    };
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looks);
    cloud.aws.decide(move |head| {
        seen.fetch_add(
            usize::from(head.uri.path().contains("/refs/")),
            Ordering::Relaxed,
        );
        FaultAction::Pass
    });
    assert!(plan_with(&cloud, CloudConfig::default().limits, limits).await);
    assert!(is_rejected(&cloud).await);
    let validation = validation(&cloud).await;
    assert_eq!(
        validation.matches("missing_reference").count(),
        5,
        "{validation}"
    );
    assert!(
        validation.contains("495 of 500 distinct references were not checked"),
        "{validation}"
    );
    // The bound allows for the requests that run concurrently.
    assert!(looks.load(Ordering::Relaxed) < 150, "{looks:?}");
}

#[tokio::test]
async fn each_reference_is_checked_by_one_request() {
    let cloud = TestCloud::new();
    for number in 0..40 {
        cloud
            .put(
                &format!("refs/{number}.png"),
                b"\x89PNG\r\n\x1a\n".repeat(100),
            )
            .await;
    }
    cloud.put("refs/40.png", "").await;
    cloud.put("inbox/foxes.jsonl", referring(41)).await;
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    cloud.aws.decide(move |head| {
        if head.uri.path().contains("/refs/") {
            assert!(
                head.method == "GET" && head.headers["range"] == "bytes=0-63",
                "{head:?}"
            );
            seen.fetch_add(1, Ordering::Relaxed);
        }
        FaultAction::Pass
    });
    assert!(cloud.plan().await.acknowledged());
    assert_eq!(requests.load(Ordering::Relaxed), 41);
    // An empty object exists, but is not an image.
    let validation = validation(&cloud).await;
    assert!(
        validation.contains("41,k-40,error,bad_reference") && validation.lines().count() == 2,
        "{validation}"
    );
}

#[tokio::test]
async fn a_manifest_whose_check_takes_too_long_is_rejected_with_advice() {
    let cloud = TestCloud::new();
    for number in 0..2_000 {
        cloud
            .put(&format!("refs/{number}.png"), b"\x89PNG\r\n\x1a\n".to_vec())
            .await;
    }
    cloud.put("inbox/foxes.jsonl", referring(2_000)).await;
    // Each check takes a second.
    let time = cloud.local.time.clone();
    cloud.aws.decide(move |head| {
        if head.uri.path().contains("/refs/") {
            time.jump_to(time.now() + SignedDuration::from_secs(1))
                .unwrap();
        }
        FaultAction::Pass
    });
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    assert!(
        cloud.plan().await.acknowledged(),
        "not a time-out, not a dead letter"
    );
    assert!(cloud.now() < deadline, "it ended in time");
    assert!(is_rejected(&cloud).await);
    let validation = validation(&cloud).await;
    assert!(
        validation.contains("checking_took_too_long"),
        "{validation}"
    );
    assert!(
        validation.contains("of its 2000 distinct references: split the manifest and drop"),
        "{validation}"
    );
    assert_eq!((cloud.messages(SHARDS), cloud.messages(MANIFESTS)), (0, 1));

    // The rejection leaves nothing behind: with more time, the same manifest is planned.
    cloud.aws.decide(|_| FaultAction::Pass);
    cloud.put("inbox/foxes.jsonl", referring(2_000)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(!is_rejected(&cloud).await);
}

#[tokio::test]
async fn a_small_manifest_is_not_rejected_because_s3_stalled() {
    let cloud = TestCloud::new();
    for number in 0..3 {
        cloud
            .put(&format!("refs/{number}.png"), b"\x89PNG\r\n\x1a\n".to_vec())
            .await;
    }
    for stalled in ["/refs/", "/inbox/"] {
        cloud.aws.decide(|_| FaultAction::Pass);
        cloud.put("inbox/foxes.jsonl", referring(3)).await;
        let time = cloud.local.time.clone();
        cloud.aws.decide(move |head| {
            if head.method == "GET" && head.uri.path().contains(stalled) {
                time.jump_to(time.now() + SignedDuration::from_mins(14))
                    .unwrap();
            }
            FaultAction::Pass
        });
        assert!(!cloud.plan().await.acknowledged(), "{stalled}");
        assert!(
            !cloud.exists("jobs"),
            "{stalled}: it was rejected, or planned"
        );
    }
    cloud.aws.decide(|_| FaultAction::Pass);
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
}

#[tokio::test]
async fn a_locked_plan_is_continued_without_checking_references_again() {
    let cloud = TestCloud::new();
    for number in 0..3 {
        cloud
            .put(&format!("refs/{number}.png"), b"\x89PNG\r\n\x1a\n".to_vec())
            .await;
    }
    cloud.put("inbox/foxes.jsonl", referring(3)).await;
    plan_dies_at(&cloud, "/plan.jsonl").await;
    let job = cloud.only_job();

    // No time is left: the message is redelivered, and nothing is rejected.
    let time = cloud.local.time.clone();
    let is_written = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&is_written);
    cloud.aws.decide(move |head| {
        assert!(!head.uri.path().contains("/refs/"), "{head:?}");
        // This is the first write of the second planning.
        if head.method == "PUT" && seen.fetch_add(1, Ordering::Relaxed) == 0 {
            time.jump_to(time.now() + FUNCTION_TIMEOUT).unwrap();
        }
        FaultAction::Pass
    });
    assert!(!cloud.plan().await.acknowledged());
    assert!(!job.has("_REJECTED"));
    assert!(
        cloud.plan().await.acknowledged(),
        "it must be redelivered at once"
    );
    cloud.aws.decide(|_| FaultAction::Pass);
    assert_eq!(job.lines("plan.jsonl").await.len(), 3);
    cloud.run().await;
    assert!(job.has("_SUCCESS"));
}
