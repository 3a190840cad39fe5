//! What a person can do to a job with nothing but S3: cancel it, in any phase.

use darkroom::{
    chain::{CONTROLS, FUNCTION_TIMEOUT, MANIFESTS, POLLS, RESULTS, SHARDS},
    job::JobSettings,
    manifest::Sidecar,
    money::Usd,
    names::{JobId, ShardId},
    plan::job_id,
    report::Summary,
    status::{JobPhase, JobStatus},
};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tests::{
    Making, World,
    wire::{Fault, Trip},
};

use super::{acknowledged, messages, next_in, planned, state, step, stones};

const CREATE: &str = ":batchGenerateContent";

fn job(world: &World) -> String {
    world.jobs().unwrap()[0].clone()
}

async fn cancel(world: &World) {
    let name = job(world).trim_start_matches("jobs/").to_owned();
    world
        .put(&format!("control/{name}cancel"), "")
        .await
        .unwrap();
}

/// The markers that a job ends with.
fn markers(world: &World) -> Vec<String> {
    let folder = world.cloud.path_of(&job(world));
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('_')).collect()
}

async fn statuses(world: &World) -> Vec<String> {
    let results = world
        .lines(&format!("{}results.jsonl", job(world)))
        .await
        .unwrap();
    results
        .iter()
        .map(|line| line["status"].as_str().unwrap().to_owned())
        .collect()
}

fn jump(world: &World, wait: SignedDuration) {
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + wait)
        .unwrap();
}

#[tokio::test]
async fn a_job_cancelled_before_anything_was_asked_for_costs_nothing() {
    let world = planned().await;
    cancel(&world).await;
    assert!(acknowledged(&step!(&world, control, CONTROLS)));
    world.run().await.unwrap();
    assert_eq!(
        (markers(&world), world.wire.count(CREATE)),
        (vec!["_CANCELLED".to_owned()], 0)
    );
    assert_eq!(statuses(&world).await, ["skipped"; 3]);
    let retry = world
        .lines(&format!("{}retry.jsonl", job(&world)))
        .await
        .unwrap();
    assert_eq!(retry.len(), 3);
    let summary = world
        .json(&format!("{}summary.json", job(&world)))
        .await
        .unwrap();
    assert_eq!(
        (&summary["status"], &summary["cost"]["actual_usd"]),
        (&"cancelled".into(), &0.into())
    );
}

#[tokio::test]
async fn what_was_made_before_the_cancel_is_collected() {
    let scenario = Scenario {
        seed: 5,
        internal_error_percent: 20,
        ..Scenario::default()
    };
    let world = World::made_with(Making {
        scenario,
        ..Making::default()
    })
    .unwrap();
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

    assert_eq!(
        (markers(&world), world.wire.count(":cancel")),
        (vec!["_CANCELLED".to_owned()], 1)
    );
    let statuses = statuses(&world).await;
    let succeeded = statuses
        .iter()
        .filter(|status| *status == "succeeded")
        .count();
    assert!((8..40).contains(&succeeded), "{statuses:?}");
    // Nothing is asked for again.
    assert_eq!(world.gemini.batches_created(), 1);
    let images = std::fs::read_dir(world.cloud.path_of(&format!("{}images", job(&world))))
        .unwrap()
        .count();
    assert_eq!(images, succeeded);
    let billed = world.gemini.billed().unwrap() as f64 / 1e9;
    let summary = world
        .json(&format!("{}summary.json", job(&world)))
        .await
        .unwrap();
    let cost = summary["cost"]["actual_usd"].as_f64().unwrap();
    assert!(
        (billed - cost).abs() < 1e-6,
        "billed {billed}, reported {cost}"
    );
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
    assert!(
        markers == ["_CANCELLED"] || markers == ["_SUCCESS"],
        "{markers:?}"
    );
    assert_eq!(state(&world).await["phase"]["name"], "done");
}

#[tokio::test]
async fn a_cancel_while_images_are_collected_plans_no_round() {
    let scenario = Scenario {
        seed: 5,
        internal_error_percent: 30,
        ..Scenario::default()
    };
    let world = World::made_with(Making {
        scenario,
        ..Making::default()
    })
    .unwrap();
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
    assert_eq!(
        (markers(&world), world.gemini.batches_created()),
        (vec!["_CANCELLED".to_owned()], 1)
    );
    assert_eq!(state(&world).await["phase"]["next"], Value::Null);
}

/// The job that dropping three stones means.
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
async fn a_cancel_that_comes_before_the_manifest_keeps_it_from_being_bought() {
    let world = World::new().unwrap();
    let job = stones_job();
    world
        .put(&format!("control/{job}/cancel"), "")
        .await
        .unwrap();
    world.run().await.unwrap();
    assert!(
        !world.cloud.path_of("jobs").exists(),
        "nothing is kept of a name that is unknown"
    );
    for _ in 0..2 {
        world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
        world.run().await.unwrap();
    }
    assert_eq!(
        (world.jobs().unwrap(), markers(&world)),
        (vec![format!("jobs/{job}/")], vec!["_CANCELLED".to_owned()])
    );
    assert_eq!((world.wire.sent().len(), messages(&world, SHARDS)), (0, 0));

    // All documents of a cancelled job are there, and can be read.
    let read = async |name: &str| {
        world
            .read(&format!("jobs/{job}/{name}"))
            .await
            .unwrap()
            .unwrap()
    };
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
    assert!(!world.cloud.path_of("stack/open").exists() && !world.cloud.has_open_jobs());
}

#[tokio::test]
async fn a_cancel_that_comes_while_the_job_is_planned_counts_wherever_the_planning_is() {
    // How far planning is when the cancel comes: before the lock, which `control` sees first, and
    // after it.
    for at in [
        "/models.toml",
        "/plan.lock",
        "/plan.jsonl",
        "/state.json",
        "/job.json",
    ] {
        let world = World::new().unwrap();
        let job = stones_job();
        world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
        let (folder, file) = (world.cloud.path_of(&format!("control/{job}")), "cancel");
        world.aws.decide(move |head| {
            // Written as a file, so that `control` is not told: it was, and knew no such job.
            if head.method == "PUT"
                && head.uri.path().ends_with(at)
                && matches!(at, "/models.toml" | "/plan.lock")
            {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(file), "").unwrap();
            }
            Trip::Pass
        });
        assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
        if !matches!(at, "/models.toml" | "/plan.lock") {
            cancel(&world).await;
            assert!(acknowledged(&step!(&world, control, CONTROLS)));
        }
        world.aws.decide(|_| Trip::Pass);
        world.run().await.unwrap();
        assert_eq!(
            (markers(&world), world.wire.count(CREATE)),
            (vec!["_CANCELLED".to_owned()], 0),
            "{at}"
        );
        assert_eq!(statuses(&world).await, ["skipped"; 3], "{at}");
    }
}

#[tokio::test]
async fn a_cancel_between_two_plannings_counts_though_control_knew_no_such_job() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(3)).await.unwrap();
    world.aws.decide(|head| {
        let is_lock = head.method == "PUT" && head.uri.path().ends_with("/plan.lock");
        if is_lock { Trip::DieAfter } else { Trip::Pass }
    });
    super::plan_dies(&world).await;
    cancel(&world).await;
    world.cloud.queues.purge(CONTROLS).unwrap();
    world.run().await.unwrap();
    assert_eq!(
        (markers(&world), world.wire.count(CREATE)),
        (vec!["_CANCELLED".to_owned()], 0)
    );
    assert_eq!(statuses(&world).await, ["skipped"; 3]);
}

#[tokio::test]
async fn what_a_cancelled_shard_without_a_batch_had_reserved_is_given_back_by_the_sweep_too() {
    let world = planned().await;
    // `submit` dies with the shard's place taken, and again after it has ended the shard.
    let ledger = world.cloud.deps.submit.ledger.clone();
    let shard = world
        .cloud
        .deps
        .plan
        .states
        .read(&stones_job(), ShardId::first(0))
        .await
        .unwrap()
        .unwrap()
        .shard;
    let (now, limits) = (
        world.cloud.time.now(),
        world.cloud.deps.submit.limits.clone(),
    );
    ledger
        .change(|ledger| ledger.admit(&shard, &limits, now))
        .await
        .unwrap();
    assert!(ledger.read().await.unwrap().spent_today(now) > Usd::ZERO);
    let stored = world
        .cloud
        .deps
        .plan
        .states
        .read(&shard.job, shard.shard)
        .await
        .unwrap()
        .unwrap();
    world
        .cloud
        .deps
        .plan
        .states
        .swap(&stored, stored.shard.cancelled())
        .await
        .unwrap();
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    sweep::handler::handle(&world.cloud.deps.sweep, deadline)
        .await
        .unwrap();
    let ledger = ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    assert_eq!(ledger.spent_today(now), Usd::ZERO);
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
