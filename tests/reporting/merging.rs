//! Messages that are lost, repeated and out of order, and concurrent invocations of `report`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use darkroom::{
    chain::{FUNCTION_TIMEOUT, REPORTS},
    lane::Lane,
    manifest::Reading,
    names::{BatchName, JobId, ShardId},
    plan::PlanSummary,
    state::{Demand, Phase, Shard, Submitted},
    status::ShardStatus,
};
use jiff::SignedDuration;
use runtime::shard_store::{Cas, StoredShard};
use serde_json::json;
use tests::{
    TestCloud,
    made_job::{create, ended, write_lock, write_plan},
    wire::FaultAction,
};
use tokio::runtime::Handle;

use super::{count, event, event_of_all, markers, notify, notify_of_job, report, status, watch};

/// Writes a job of `shards` planned shards with one request each. Its plan is empty, so it is never
/// closed.
async fn planned(cloud: &TestCloud, shards: u32) -> JobId {
    let (job, now) = (JobId::new("merged-1"), cloud.now());
    write_lock(&cloud.local, &job, now).await;
    let demand = Demand {
        requests: 1,
        ..Demand::default()
    };
    for number in 0..shards {
        create(
            &cloud.local,
            Shard::planned(&job, ShardId::first(number), "m", demand, (0, 0), now),
        )
        .await;
    }
    let reading = Reading {
        images: u64::from(shards),
        ..Reading::default()
    };
    write_plan(
        &cloud.local,
        &job,
        PlanSummary::of(&reading, shards, now),
        now,
    )
    .await;
    job
}

/// Reads the state of a shard with its version.
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

/// Writes the next phase of a shard.
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
        panic!("another writer has changed the state")
    };
}

/// Returns the phase after this one, in the order of a shard that succeeds.
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
        // The shard stays open, because these jobs have no plan to be closed with.
        Phase::Ready { .. } => None,
        _ => panic!("{phase:?} does not occur here"),
    }
}

/// Advances a shard to its next phase.
async fn advance(cloud: &TestCloud, job: &JobId, shard: ShardId) {
    let phase = stored(cloud, job, shard).await.shard.phase;
    enter(cloud, job, shard, following(cloud, &phase).unwrap()).await;
}

/// Returns the shards in a random order, each as often as it changes its phase.
fn changes(rng: &mut fastrand::Rng, shards: u32) -> Vec<ShardId> {
    let mut changes: Vec<ShardId> = (0..shards)
        .flat_map(|number| [ShardId::first(number); 4])
        .collect();
    rng.shuffle(&mut changes);
    changes
}

/// Returns the entries of `job.json`, and the entries that the states result in.
async fn entries(cloud: &TestCloud, job: &JobId) -> (serde_json::Value, serde_json::Value) {
    let reported = status(cloud, job).await["shards"].clone();
    let mut states = Vec::new();
    for entry in reported.as_array().unwrap() {
        let id: ShardId = entry["shard"].as_str().unwrap().parse().unwrap();
        states.push(ShardStatus::from(&stored(cloud, job, id).await.shard));
    }
    (reported, json!(states))
}

/// Handles all messages of `reports`, two events at a time.
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

/// Handles the messages of `reports` that are visible now.
async fn handle_due(cloud: &TestCloud) {
    while let Some(event) = event(cloud) {
        report(cloud, event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entries_are_the_last_states_whatever_the_order_of_the_messages() {
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cloud = TestCloud::new();
        let shards = 1 + rng.u32(..30);
        let job = planned(&cloud, shards).await;
        for id in changes(&mut rng, shards) {
            advance(&cloud, &job, id).await;
            // Messages are lost, repeated, and handled late.
            for _ in 0..rng.u32(..3) {
                notify(&cloud, &job, id);
            }
            match rng.u32(..6) {
                0 => drain(&cloud).await,
                1 => notify_of_job(&cloud, &job),
                2 => handle_due(&cloud).await,
                _ => cloud.advance(SignedDuration::from_secs(2)),
            }
        }
        // The message about the last change of each shard is never lost.
        (0..shards).for_each(|number| notify(&cloud, &job, ShardId::first(number)));
        drain(&cloud).await;
        let (reported, states) = entries(&cloud, &job).await;
        assert_eq!(reported, states, "seed {seed}");
        let phase = status(&cloud, &job).await["phase"].clone();
        assert_eq!(
            (reported.as_array().unwrap().len(), phase),
            (shards as usize, json!("collecting"))
        );
    }
}

/// An invocation has read `job.json` and a state. Before it writes, the shard changes again, and
/// another invocation writes that change.
#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_invocation_does_not_write_its_old_state() {
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
                    notify(&its, &its_job, id);
                    report(&its, event(&its).unwrap()).await;
                });
            });
        }
        FaultAction::Pass
    });
    cloud.advance(SignedDuration::from_mins(1));
    notify(&cloud, &job, id);
    report(&cloud, event(&cloud).unwrap()).await;
    assert!(overtaken.load(Ordering::SeqCst));
    let (reported, states) = entries(&cloud, &job).await;
    assert_eq!(
        (&reported, &reported[0]["phase"]),
        (&states, &json!("submitted"))
    );
    drain(&cloud).await;
    assert_eq!(entries(&cloud, &job).await.0, states);
}

#[tokio::test]
async fn a_round_that_its_parent_names_is_reported_before_it_sends_a_message() {
    let cloud = TestCloud::new();
    let job = planned(&cloud, 1).await;
    let (first, now) = (ShardId::first(0), cloud.now());
    let demand = Demand {
        requests: 1,
        ..Demand::default()
    };
    create(
        &cloud.local,
        Shard::planned(&job, first.next_round(), "m", demand, (0, 0), now),
    )
    .await;
    let next = Some(first.next_round());
    enter(
        &cloud,
        &job,
        first,
        Phase::Done {
            ended: Some(ended(now)),
            chunks: Vec::new(),
            next,
            next_lane: Lane::Batch,
            succeeded: None,
            cost_usd: None,
        },
    )
    .await;
    notify(&cloud, &job, first);
    drain(&cloud).await;
    let status = status(&cloud, &job).await;
    assert_eq!(
        (&status["phase"], &status["shards"][1]["phase"]),
        (&json!("submitting"), &json!("planned"))
    );
    assert!(markers(&cloud, &job).is_empty());
}

#[tokio::test]
async fn a_message_about_an_unknown_shard_is_acknowledged_and_changes_nothing() {
    let cloud = TestCloud::new();
    let job = planned(&cloud, 1).await;
    let before = status(&cloud, &job).await;
    for id in [ShardId::first(7), ShardId::first(0).next_round()] {
        notify(&cloud, &job, id);
    }
    drain(&cloud).await;
    assert_eq!(status(&cloud, &job).await, before);
}

/// One message can't be read, and one is about an unknown job. Only these two are redelivered.
#[tokio::test]
async fn a_failed_message_does_not_fail_the_others() {
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
    notify(&cloud, &JobId::new("gone-1"), ShardId::first(0));
    notify(&cloud, &job, ShardId::first(1));
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

/// Returns how many bytes of `job.json` are written per shard while the shards of a job change one
/// by one, 15 seconds apart.
async fn bytes_per_shard(shards: u32) -> u64 {
    let cloud = TestCloud::new();
    let job = planned(&cloud, shards).await;
    let requests = watch(&cloud);
    let mut rng = fastrand::Rng::with_seed(7);
    for id in changes(&mut rng, shards) {
        advance(&cloud, &job, id).await;
        notify(&cloud, &job, id);
        cloud.advance(SignedDuration::from_secs(15));
        while let Some(event) = event_of_all(&cloud) {
            report(&cloud, event).await;
        }
    }
    cloud.run().await;
    let (reported, states) = entries(&cloud, &job).await;
    assert_eq!(reported, states);
    let bytes = std::fs::metadata(cloud.path_of(&format!("jobs/{job}/job.json")))
        .unwrap()
        .len();
    let (writes, reads) = (
        count(&requests, "PUT job.json"),
        count(&requests, "GET state.json"),
    );
    println!(
        "{shards:>6} shards: job.json has {bytes} bytes at the end, written {writes} times; {reads} state reads"
    );
    writes * bytes / u64::from(shards)
}

#[tokio::test]
async fn the_bytes_written_per_shard_do_not_grow_with_the_number_of_shards() {
    let (few, many) = (bytes_per_shard(100).await, bytes_per_shard(300).await);
    assert!(many <= 2 * few, "{few} bytes a shard of 100, {many} of 300");
}
