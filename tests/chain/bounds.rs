//! What a project allows, and how much a manifest may ask for: batches are cut so that each has its
//! day, what takes days says so, and checking ends in time.

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
    ledger::ProjectLimits,
    manifest::Limits,
    money::Usd,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{Making, World, wire::Trip};

use super::{acknowledged, another_run, delivered, messages, plan_dies, step, stones};

/// The model of items that name none.
const MODEL: &str = "gemini-nano-banana-2.1";

fn allowing(tokens: &[(&str, u64)], daily_usd: Option<&str>) -> ProjectLimits {
    let tokens = tokens
        .iter()
        .map(|(model, limit)| ((*model).to_owned(), *limit));
    ProjectLimits {
        live_batches: 100,
        enqueued_tokens: tokens.collect(),
        daily_usd: daily_usd.map(usd),
    }
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn world(limits: ProjectLimits) -> World {
    World::made_with(Making {
        limits: Some(limits),
        ..Making::default()
    })
    .unwrap()
}

/// Has `plan`, which allows `project` and these limits of a manifest, handle its next message.
async fn plan_with(world: &World, project: ProjectLimits, limits: Limits) -> bool {
    let deps = plan::deps::Deps {
        project,
        limits,
        ..world.cloud.deps.plan.clone()
    };
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    acknowledged(&plan::handler::handle(&deps, delivered(world, MANIFESTS), deadline).await)
}

/// Has `plan` die at its next write whose key ends so.
async fn plan_dies_at(world: &World, key_end: &'static str) {
    world.aws.decide(move |head| {
        let is_there = head.method == "PUT" && head.uri.path().ends_with(key_end);
        if is_there { Trip::Die } else { Trip::Pass }
    });
    plan_dies(world).await;
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + FUNCTION_TIMEOUT * 6)
        .unwrap();
}

fn job(world: &World) -> String {
    let [job] = &world.jobs().unwrap()[..] else {
        panic!("{:?}", world.jobs())
    };
    job.clone()
}

async fn validation(world: &World) -> String {
    world
        .read(&format!("{}validation.csv", job(world)))
        .await
        .unwrap()
        .unwrap()
}

async fn is_rejected(world: &World) -> bool {
    let status = world
        .json(&format!("{}job.json", job(world)))
        .await
        .unwrap();
    let marker = world
        .read(&format!("{}_REJECTED", job(world)))
        .await
        .unwrap();
    assert_eq!(marker.is_some(), status["phase"] == "rejected", "{status}");
    marker.is_some()
}

#[tokio::test]
async fn a_cap_below_a_full_shard_makes_smaller_shards_and_every_image_comes() {
    // At $0.0205505 an image at the most, 24 images a day.
    let world = world(allowing(&[], Some("0.50")));
    world.put("inbox/stones.jsonl", stones(60)).await.unwrap();
    let held = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&held);
    host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        for (key, state) in world
            .objects()?
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
    let job = job(&world);
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        (held.load(Ordering::Relaxed), world.gemini.batches_created()),
        (0, 3)
    );
    let days: BTreeSet<String> = world
        .gemini
        .records()
        .unwrap()
        .iter()
        .map(|record| record.created.to_string()[..10].to_owned())
        .collect();
    assert!(days.len() >= 2, "{days:?}");

    // It was said at planning that it takes days.
    let status = world.json(&format!("{job}job.json")).await.unwrap();
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
async fn a_job_that_takes_a_day_at_most_says_nothing_of_time() {
    let world = world(allowing(&[(MODEL, 1_000)], Some("100")));
    world.put("inbox/stones.jsonl", stones(60)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    let status = world
        .json(&format!("{}job.json", job(&world)))
        .await
        .unwrap();
    assert_eq!(status["plan"]["forecast"], Value::Null, "{status}");
}

#[tokio::test]
async fn a_model_of_few_tokens_gets_smaller_shards() {
    // Two tokens for each prompt.
    let world = world(allowing(&[(MODEL, 20)], None));
    world.put("inbox/stones.jsonl", stones(25)).await.unwrap();
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("{}_SUCCESS", job(&world)))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(world.gemini.batches_created(), 3);
}

#[tokio::test]
async fn an_image_above_the_cap_is_an_error_with_its_line_and_goes_once_the_cap_is_raised() {
    let world = world(allowing(&[], Some("0.03")));
    let manifest = "key,prompt,image_size\nsmall,a stone,1K\nlarge,a stone,4K\n";
    world.put("inbox/stones.csv", manifest).await.unwrap();
    world.run().await.unwrap();
    assert!(is_rejected(&world).await);
    let validation = validation(&world).await;
    assert!(
        validation.contains("3,large,error,over_daily_cap,"),
        "{validation}"
    );
    assert!(
        validation.contains("above the daily cap of $0.03: raise DAILY_CAP_USD"),
        "{validation}"
    );
    assert_eq!(world.gemini.batches_created(), 0);

    // The cap is no part of the job's identity.
    world.put("inbox/stones.csv", manifest).await.unwrap();
    assert!(plan_with(&world, allowing(&[], Some("1")), Limits::default()).await);
    assert!(!is_rejected(&world).await);
    assert_eq!(messages(&world, SHARDS), 1);
}

#[tokio::test]
async fn planning_that_is_done_again_cuts_as_it_did_whatever_the_cap_is_by_then() {
    let plans = async |disturbed: bool| {
        let world = world(allowing(&[], Some("0.10")));
        world.put("inbox/stones.jsonl", stones(10)).await.unwrap();
        if disturbed {
            plan_dies_at(&world, "/shards/0001/state.json").await;
            assert!(
                plan_with(
                    &world,
                    allowing(&[(MODEL, 2)], Some("0.03")),
                    Limits::default()
                )
                .await
            );
        } else {
            assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
        }
        let lock = world
            .json(&format!("{}plan.lock", job(&world)))
            .await
            .unwrap();
        assert_eq!(lock["bounds"], json!({"usd": 0.1}));
        let objects = world.objects().unwrap();
        let plans: BTreeMap<String, Vec<u8>> = objects
            .into_iter()
            .filter(|(key, _)| key.ends_with(".jsonl"))
            .collect();
        assert!(
            plans.len() >= 4,
            "a plan and three request files, not {:?}",
            plans.keys()
        );
        (plans, messages(&world, SHARDS))
    };
    assert_eq!(plans(true).await, plans(false).await);
}

#[tokio::test]
async fn a_model_whose_tokens_are_taken_holds_up_no_other_model() {
    let world = world(allowing(&[(MODEL, 50)], None));
    for number in 0..6 {
        world
            .put(
                &format!("inbox/x-{number}.jsonl"),
                another_run(&number.to_string(), &stones(20)),
            )
            .await
            .unwrap();
    }
    let start = world.cloud.time.now();
    host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        Ok(world.gemini.batches_created() > 0)
    })
    .await
    .unwrap();
    let plain = json!({"key": "y", "prompt": "one plain image", "model": "nano-banana-pro"});
    world.put("inbox/y.jsonl", plain.to_string()).await.unwrap();
    world.run().await.unwrap();
    let records = world.gemini.records().unwrap();
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
async fn a_manifest_of_too_many_batches_is_rejected() {
    let mut settings = JobSettings::default();
    settings.shard.requests = 1;
    let world = World::made_with(Making {
        settings,
        ..Making::default()
    })
    .unwrap();
    world
        .put("inbox/stones.jsonl", stones(10_001))
        .await
        .unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(is_rejected(&world).await);
    assert!(
        validation(&world)
            .await
            .contains("too_many_batches,\"the manifest would become 10001 batches")
    );
}

#[tokio::test]
async fn a_manifest_that_is_too_large_to_be_read_is_rejected_unread() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(100)).await.unwrap();
    let limits = Limits {
        manifest_bytes: 1_000,
        ..Limits::default()
    };
    assert!(plan_with(&world, CloudConfig::default().limits, limits).await);
    assert!(is_rejected(&world).await);
    assert!(
        validation(&world)
            .await
            .contains("1,,error,manifest_too_large,the manifest is larger than 1000 bytes")
    );
}

/// A manifest of so many items, each with a reference of its own.
fn referring(count: usize) -> String {
    let item = |number| json!({"key": format!("k-{number}"), "prompt": "a fox", "refs": [format!("refs/{number}.png")]});
    (0..count)
        .map(|number| item(number).to_string() + "\n")
        .collect()
}

#[tokio::test]
async fn missing_references_are_listed_up_to_the_limit_and_no_others_are_looked_at() {
    let world = World::new().unwrap();
    world
        .put("inbox/foxes.jsonl", referring(500))
        .await
        .unwrap();
    let limits = Limits {
        problems: 5,
        ..Limits::default()
    };
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looks);
    world.aws.decide(move |head| {
        seen.fetch_add(
            usize::from(head.uri.path().contains("/refs/")),
            Ordering::Relaxed,
        );
        Trip::Pass
    });
    assert!(plan_with(&world, CloudConfig::default().limits, limits).await);
    assert!(is_rejected(&world).await);
    let validation = validation(&world).await;
    assert_eq!(
        validation.matches("missing_reference").count(),
        5,
        "{validation}"
    );
    assert!(
        validation.contains("495 of 500 distinct references were not looked at"),
        "{validation}"
    );
    // So many are asked for at the same time.
    assert!(looks.load(Ordering::Relaxed) < 150, "{looks:?}");
}

#[tokio::test]
async fn each_reference_is_looked_at_by_one_request() {
    let world = World::new().unwrap();
    for number in 0..40 {
        world
            .put(
                &format!("refs/{number}.png"),
                b"\x89PNG\r\n\x1a\n".repeat(100),
            )
            .await
            .unwrap();
    }
    world.put("refs/40.png", "").await.unwrap();
    world.put("inbox/foxes.jsonl", referring(41)).await.unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    world.aws.decide(move |head| {
        if head.uri.path().contains("/refs/") {
            assert!(
                head.method == "GET" && head.headers["range"] == "bytes=0-63",
                "{head:?}"
            );
            seen.fetch_add(1, Ordering::Relaxed);
        }
        Trip::Pass
    });
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert_eq!(requests.load(Ordering::Relaxed), 41);
    // An empty object is there, and is no picture.
    let validation = validation(&world).await;
    assert!(
        validation.contains("41,k-40,error,bad_reference") && validation.lines().count() == 2,
        "{validation}"
    );
}

#[tokio::test]
async fn a_manifest_whose_checking_takes_too_long_is_rejected_with_what_to_do() {
    let world = World::new().unwrap();
    for number in 0..2_000 {
        world
            .put(&format!("refs/{number}.png"), b"\x89PNG\r\n\x1a\n".to_vec())
            .await
            .unwrap();
    }
    world
        .put("inbox/foxes.jsonl", referring(2_000))
        .await
        .unwrap();
    // Each picture takes a second to be looked at.
    let time = world.cloud.time.clone();
    world.aws.decide(move |head| {
        if head.uri.path().contains("/refs/") {
            time.jump_to(time.now() + SignedDuration::from_secs(1))
                .unwrap();
        }
        Trip::Pass
    });
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    assert!(
        acknowledged(&step!(&world, plan, MANIFESTS)),
        "not a time-out, not a dead letter"
    );
    assert!(world.cloud.time.now() < deadline, "it ended in time");
    assert!(is_rejected(&world).await);
    let validation = validation(&world).await;
    assert!(
        validation.contains("checking_took_too_long"),
        "{validation}"
    );
    assert!(
        validation.contains("of its 2000 distinct references: drop it in several parts"),
        "{validation}"
    );
    assert_eq!(
        (messages(&world, SHARDS), messages(&world, MANIFESTS)),
        (0, 1)
    );

    // Nothing is left of it: with more time the same manifest is planned.
    world.aws.decide(|_| Trip::Pass);
    world
        .put("inbox/foxes.jsonl", referring(2_000))
        .await
        .unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(!is_rejected(&world).await);
}

#[tokio::test]
async fn a_small_manifest_is_not_rejected_because_s3_stood_still() {
    let world = World::new().unwrap();
    for number in 0..3 {
        world
            .put(&format!("refs/{number}.png"), b"\x89PNG\r\n\x1a\n".to_vec())
            .await
            .unwrap();
    }
    for stalled in ["/refs/", "/inbox/"] {
        world.aws.decide(|_| Trip::Pass);
        world.put("inbox/foxes.jsonl", referring(3)).await.unwrap();
        let time = world.cloud.time.clone();
        world.aws.decide(move |head| {
            if head.method == "GET" && head.uri.path().contains(stalled) {
                time.jump_to(time.now() + SignedDuration::from_mins(14))
                    .unwrap();
            }
            Trip::Pass
        });
        assert!(!acknowledged(&step!(&world, plan, MANIFESTS)), "{stalled}");
        assert!(
            !world.cloud.path_of("jobs").exists(),
            "{stalled}: it was rejected, or planned"
        );
    }
    world.aws.decide(|_| Trip::Pass);
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

#[tokio::test]
async fn a_plan_that_is_locked_is_gone_on_with_and_looks_at_no_reference_again() {
    let world = World::new().unwrap();
    for number in 0..3 {
        world
            .put(&format!("refs/{number}.png"), b"\x89PNG\r\n\x1a\n".to_vec())
            .await
            .unwrap();
    }
    world.put("inbox/foxes.jsonl", referring(3)).await.unwrap();
    plan_dies_at(&world, "/plan.jsonl").await;
    let job = job(&world);

    // There is no time at all: the message comes back, and nothing is rejected.
    let time = world.cloud.time.clone();
    let is_written = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&is_written);
    world.aws.decide(move |head| {
        assert!(!head.uri.path().contains("/refs/"), "{head:?}");
        // The first write of the second planning.
        if head.method == "PUT" && seen.fetch_add(1, Ordering::Relaxed) == 0 {
            time.jump_to(time.now() + FUNCTION_TIMEOUT).unwrap();
        }
        Trip::Pass
    });
    assert!(!acknowledged(&step!(&world, plan, MANIFESTS)));
    assert!(
        world
            .read(&format!("{job}_REJECTED"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        acknowledged(&step!(&world, plan, MANIFESTS)),
        "it comes back at once"
    );
    world.aws.decide(|_| Trip::Pass);
    assert_eq!(
        world
            .lines(&format!("{job}plan.jsonl"))
            .await
            .unwrap()
            .len(),
        3
    );
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
}
