//! Messages that are lost, doubled and out of order, and reporters that get into each other's way.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cli::host::{self, WaitMode};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, REPORTS},
    manifest::Reading,
    names::{BatchName, JobId, ShardId},
    plan::PlanSummary,
    state::{Demand, Phase, Shard, Submitted},
    status::ShardStatus,
};
use jiff::SignedDuration;
use runtime::shard_store::{Cas, StoredShard};
use serde_json::json;
use tests::{TestCloud, wire::FaultAction};
use tokio::runtime::Handle;

use super::{
    count, event,
    made::{create, ended, write_lock, write_plan},
    markers, report, status, tell, tell_of_all, watch,
};

/// A job of so many shards that are planned, with one request each and an empty plan: it is not to
/// be closed.
async fn planned(cloud: &TestCloud, shards: u32) -> JobId {
    let (job, now) = (JobId::new("merged-1"), cloud.now());
    write_lock(cloud, &job, now).await;
    let demand = Demand {
        requests: 1,
        ..Demand::default()
    };
    for number in 0..shards {
        create(
            cloud,
            Shard::planned(&job, ShardId::first(number), "m", demand, (0, 0), now),
        )
        .await;
    }
    let reading = Reading {
        images: u64::from(shards),
        ..Reading::default()
    };
    write_plan(cloud, &job, PlanSummary::of(&reading, shards, now), now).await;
    job
}

async fn stored(cloud: &TestCloud, job: &JobId, shard: ShardId) -> StoredShard {
    cloud
        .local
        .deps
        .report
        .states
        .read(job, shard)
        .await
        .unwrap()
        .unwrap()
}

async fn enter(cloud: &TestCloud, job: &JobId, shard: ShardId, phase: Phase) {
    let stored = stored(cloud, job, shard).await;
    let next = stored.shard.enter(phase, stored.shard.deadline);
    let Cas::Written(_) = cloud
        .local
        .deps
        .report
        .states
        .swap(&stored, next)
        .await
        .unwrap()
    else {
        panic!("somebody else has changed the state")
    };
}

/// The phase after this one, of those that a shard goes through.
fn following(cloud: &TestCloud, phase: &Phase) -> Option<Phase> {
    let now = cloud.now();
    let submitted = |finished| {
        Phase::Submitted(Submitted {
            attempt: 1,
            batch: BatchName::new("batches/b"),
            submitted_at: now,
            finished,
            cancelled_at: None,
            output_missing_since: None,
        })
    };
    match phase {
        Phase::Planned { .. } => Some(Phase::Uploading {
            attempt: 1,
            lease_until: now,
        }),
        Phase::Uploading { .. } => Some(submitted(0)),
        Phase::Submitted(Submitted { finished: 0, .. }) => Some(submitted(1)),
        Phase::Submitted(_) => Some(Phase::Ready { ended: ended(now) }),
        // Open for ever: these jobs have no plan to be closed by.
        Phase::Ready { .. } => None,
        _ => panic!("{phase:?} is not gone through here"),
    }
}

/// Has a shard enter the phase after its own.
async fn advance(cloud: &TestCloud, job: &JobId, shard: ShardId) {
    let phase = stored(cloud, job, shard).await.shard.phase;
    enter(cloud, job, shard, following(cloud, &phase).unwrap()).await;
}

/// The shards in some order, each as often as it enters another phase.
fn changes(rng: &mut fastrand::Rng, shards: u32) -> Vec<ShardId> {
    let mut changes: Vec<ShardId> = (0..shards)
        .flat_map(|number| [ShardId::first(number); 4])
        .collect();
    rng.shuffle(&mut changes);
    changes
}

/// The entries of `job.json`, and those that the states give.
async fn entries(cloud: &TestCloud, job: &JobId) -> (serde_json::Value, serde_json::Value) {
    let told = status(cloud, job).await["shards"].clone();
    let mut states = Vec::new();
    for entry in told.as_array().unwrap() {
        let id: ShardId = entry["shard"].as_str().unwrap().parse().unwrap();
        states.push(ShardStatus::from(&stored(cloud, job, id).await.shard));
    }
    (told, json!(states))
}

/// Handles what (reports) has until it has nothing, two events at a time.
async fn drain(cloud: &TestCloud) {
    loop {
        match (event(cloud), event(cloud)) {
            (None, _) => match cloud.local.queues.next_due(REPORTS).unwrap() {
                Some(due) => cloud.advance_to(due),
                None => return,
            },
            (Some(one), None) => report(cloud, one).await,
            (Some(one), Some(other)) => {
                tokio::join!(report(cloud, one), report(cloud, other));
            }
        }
    }
}

/// Handles what (reports) has now. What comes back later is left for later.
async fn handle_due(cloud: &TestCloud) {
    while let Some(event) = event(cloud) {
        report(cloud, event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_order_of_the_messages_the_entries_are_the_last_states() {
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cloud = TestCloud::new();
        let shards = 1 + rng.u32(..30);
        let job = planned(&cloud, shards).await;
        for id in changes(&mut rng, shards) {
            advance(&cloud, &job, id).await;
            // Messages are lost, doubled, and handled late.
            for _ in 0..rng.u32(..3) {
                tell(&cloud, &job, id);
            }
            match rng.u32(..6) {
                0 => drain(&cloud).await,
                1 => tell_of_all(&cloud, &job),
                2 => handle_due(&cloud).await,
                _ => cloud.advance(SignedDuration::from_secs(2)),
            }
        }
        // The last change of each shard is told, as the function tells it that has changed it.
        (0..shards).for_each(|number| tell(&cloud, &job, ShardId::first(number)));
        drain(&cloud).await;
        let (told, states) = entries(&cloud, &job).await;
        assert_eq!(told, states, "seed {seed}");
        let phase = status(&cloud, &job).await["phase"].clone();
        assert_eq!(
            (told.as_array().unwrap().len(), phase),
            (shards as usize, json!("collecting"))
        );
    }
}

/// A reporter has read `job.json` and a state. Before it writes, the shard changes again, and
/// another reporter writes that.
#[tokio::test(flavor = "multi_thread")]
async fn a_reporter_that_was_overtaken_does_not_write_what_it_read_before() {
    let cloud = Arc::new(TestCloud::new());
    let job = planned(&cloud, 2).await;
    let id = ShardId::first(0);
    enter(
        &cloud,
        &job,
        id,
        Phase::Uploading {
            attempt: 1,
            lease_until: cloud.now(),
        },
    )
    .await;
    let overtaken = Arc::new(AtomicBool::new(false));
    let (its, its_job, was) = (Arc::clone(&cloud), job.clone(), Arc::clone(&overtaken));
    cloud.aws.decide(move |head| {
        let is_write = head.method == "PUT" && head.uri.path().ends_with("/job.json");
        if is_write && !was.swap(true, Ordering::SeqCst) {
            tokio::task::block_in_place(|| {
                Handle::current().block_on(async {
                    let phase = stored(&its, &its_job, id).await.shard.phase;
                    enter(&its, &its_job, id, following(&its, &phase).unwrap()).await;
                    tell(&its, &its_job, id);
                    report(&its, event(&its).unwrap()).await;
                });
            });
        }
        FaultAction::Pass
    });
    cloud.advance(SignedDuration::from_mins(1));
    tell(&cloud, &job, id);
    report(&cloud, event(&cloud).unwrap()).await;
    assert!(overtaken.load(Ordering::SeqCst));
    let (told, states) = entries(&cloud, &job).await;
    assert_eq!((&told, &told[0]["phase"]), (&states, &json!("submitted")));
    drain(&cloud).await;
    assert_eq!(entries(&cloud, &job).await.0, states);
}

#[tokio::test]
async fn a_round_that_its_parent_names_is_seen_before_it_sends_a_message() {
    let cloud = TestCloud::new();
    let job = planned(&cloud, 1).await;
    let (first, now) = (ShardId::first(0), cloud.now());
    let demand = Demand {
        requests: 1,
        ..Demand::default()
    };
    create(
        &cloud,
        Shard::planned(&job, first.next_round(), "m", demand, (0, 0), now),
    )
    .await;
    let next = Some(first.next_round());
    enter(
        &cloud,
        &job,
        first,
        Phase::Done {
            ended: ended(now),
            chunks: Vec::new(),
            next,
            cost_usd: None,
        },
    )
    .await;
    tell(&cloud, &job, first);
    drain(&cloud).await;
    let status = status(&cloud, &job).await;
    assert_eq!(
        (&status["phase"], &status["shards"][1]["phase"]),
        (&json!("submitting"), &json!("planned"))
    );
    assert!(markers(&cloud, &job).is_empty());
}

#[tokio::test]
async fn a_message_about_a_shard_that_never_was_is_acknowledged_and_says_nothing() {
    let cloud = TestCloud::new();
    let job = planned(&cloud, 1).await;
    let before = status(&cloud, &job).await;
    for id in [ShardId::first(7), ShardId::first(0).next_round()] {
        tell(&cloud, &job, id);
    }
    drain(&cloud).await;
    assert_eq!(status(&cloud, &job).await, before);
}

/// One of many messages can't be read, and one is about a job that isn't there. They come back, the
/// others are handled.
#[tokio::test]
async fn messages_that_fail_do_not_fail_those_that_they_come_with() {
    let cloud = TestCloud::new();
    let job = planned(&cloud, 3).await;
    enter(&cloud, &job, ShardId::first(1), Phase::Cancelled).await;
    cloud
        .local
        .queues
        .send(
            REPORTS,
            aws_sim::queue::Outgoing::new("{\"v\":1}".to_owned()),
        )
        .unwrap();
    tell(&cloud, &JobId::new("gone-1"), ShardId::first(0));
    tell(&cloud, &job, ShardId::first(1));
    cloud.advance(SignedDuration::from_mins(1));
    let event = event(&cloud).unwrap();
    assert_eq!(event.records.len(), 3);
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    let response = report::handler::handle(&cloud.local.deps.report, event, deadline).await;
    assert_eq!(response.batch_item_failures.len(), 2);
    assert_eq!(
        status(&cloud, &job).await["shards"][0]["phase"],
        "cancelled"
    );
}

/// Bytes of `job.json` that are written for a job whose shards change one by one, a quarter of a
/// minute apart, per shard.
async fn bytes_a_shard(shards: u32) -> u64 {
    let cloud = TestCloud::new();
    let job = planned(&cloud, shards).await;
    let asked = watch(&cloud);
    let mut rng = fastrand::Rng::with_seed(7);
    for id in changes(&mut rng, shards) {
        advance(&cloud, &job, id).await;
        tell(&cloud, &job, id);
        cloud.advance(SignedDuration::from_secs(15));
        // As the function has them: all that is due, in one event.
        host::run(&cloud.local, WaitMode::Jump, pending(), async || Ok(true))
            .await
            .unwrap();
    }
    cloud.run().await;
    let (told, states) = entries(&cloud, &job).await;
    assert_eq!(told, states);
    let bytes = std::fs::metadata(cloud.path_of(&format!("jobs/{job}/job.json")))
        .unwrap()
        .len();
    let (writes, reads) = (
        count(&asked, "PUT job.json"),
        count(&asked, "GET state.json"),
    );
    println!(
        "{shards:>6} shards: job.json has {bytes} bytes at the end, written {writes} times; {reads} state reads"
    );
    writes * bytes / u64::from(shards)
}

#[tokio::test]
async fn what_is_written_of_a_job_does_not_grow_with_the_square_of_its_shards() {
    let (few, many) = (bytes_a_shard(100).await, bytes_a_shard(300).await);
    assert!(many <= 2 * few, "{few} bytes a shard of 100, {many} of 300");
}
