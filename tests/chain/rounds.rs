//! A round: planned before its parent is done, woken after, once, whenever an invocation dies.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sim::queue::Outgoing;
use darkroom::settings::CollectLimits;
use darkroom::{
    chain::{FUNCTION_TIMEOUT, RESULTS, SHARDS},
    names::{JobId, RequestKey, ShardId},
};
use gemini_sim::Scenario;
use serde_json::{Value, json};
use tests::{Making, World, wire::Trip};

use super::{
    acknowledged,
    collecting::{ended_in, parts},
    delivered, messages, next_in, state, step,
};

/// A Gemini whose first batch has keys that are worth another try.
fn failing() -> Making {
    Making {
        scenario: Scenario {
            seed: 3,
            internal_error_percent: 30,
            ..Scenario::default()
        },
        ..Making::default()
    }
}

fn job(world: &World) -> JobId {
    JobId::new(
        world.jobs().unwrap()[0]
            .trim_start_matches("jobs/")
            .trim_end_matches('/'),
    )
}

async fn round(world: &World) -> Option<Value> {
    let text = world
        .read(&format!("jobs/{}/shards/0000.r2/state.json", job(world)))
        .await
        .unwrap()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// The keys that are worth another try, by the result lines.
async fn retryable(world: &World) -> Vec<String> {
    let lines = parts(world).await;
    let mut keys: Vec<String> = lines
        .iter()
        .filter(|line| line["error"]["retryable"] == true)
        .map(|line| line["key"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    keys
}

/// Has `collect` die of its next message, and waits until that comes back.
async fn collect_dies(world: &World) {
    super::collect_dies(world).await;
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + next_in(world, RESULTS))
        .unwrap();
}

#[tokio::test]
async fn a_round_has_the_keys_that_are_worth_another_try() {
    let world = ended_in(failing(), 30).await;
    let before = messages(&world, SHARDS);
    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    assert_eq!(state(&world).await["phase"]["next"], "0000.r2");
    let round = round(&world).await.unwrap();
    assert_eq!(round["phase"]["name"], "planned");
    assert!(!retryable(&world).await.is_empty());
    assert_eq!(round_keys(&world).await, retryable(&world).await);
    assert_eq!(messages(&world, SHARDS), before + 1);
}

#[tokio::test]
async fn a_round_whose_message_was_lost_is_woken_by_the_next_delivery() {
    let world = ended_in(failing(), 30).await;
    let before = messages(&world, SHARDS);
    // The first message is to (reports), the second to (shards).
    let sends = AtomicUsize::new(0);
    world.aws.decide(move |head| {
        let is_send = head
            .headers
            .get("x-amz-target")
            .is_some_and(|target| target == "AmazonSQS.SendMessage");
        if is_send && sends.fetch_add(1, Ordering::Relaxed) == 1 {
            Trip::Die
        } else {
            Trip::Pass
        }
    });
    collect_dies(&world).await;
    assert_eq!(state(&world).await["phase"]["next"], "0000.r2");
    assert_eq!(messages(&world, SHARDS), before);

    let done = state(&world).await;
    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    assert_eq!(messages(&world, SHARDS), before + 1);
    assert_eq!(state(&world).await, done);
}

#[tokio::test]
async fn a_round_is_not_woken_before_its_parent_is_done() {
    // Few enough fail that none fails in every round.
    let scenario = Scenario {
        internal_error_percent: 10,
        ..failing().scenario
    };
    let world = ended_in(
        Making {
            scenario,
            ..failing()
        },
        30,
    )
    .await;
    let before = messages(&world, SHARDS);
    let folder = world
        .cloud
        .path_of(&format!("jobs/{}/shards/0000.r2/state.json", job(&world)));
    world.aws.decide(move |head| {
        let ends_parent =
            head.method == "PUT" && head.uri.path().ends_with("shards/0000/state.json");
        if ends_parent && folder.exists() {
            Trip::Die
        } else {
            Trip::Pass
        }
    });
    collect_dies(&world).await;
    let planned = round(&world).await.unwrap();
    assert_eq!(
        (
            &state(&world).await["phase"]["name"],
            messages(&world, SHARDS)
        ),
        (&json!("collecting"), before)
    );

    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    assert_eq!(
        (
            &state(&world).await["phase"]["name"],
            messages(&world, SHARDS)
        ),
        (&json!("done"), before + 1)
    );
    assert_eq!(round(&world).await.unwrap(), planned);
    world.run().await.unwrap();
    assert!(
        world
            .read(&format!("jobs/{}/_SUCCESS", job(&world)))
            .await
            .unwrap()
            .is_some()
    );
}

/// The keys that the second round asks for.
async fn round_keys(world: &World) -> Vec<String> {
    let states = &world.cloud.deps.collect.states;
    let round = states
        .read(&job(world), ShardId::first(0).next_round())
        .await
        .unwrap()
        .unwrap();
    let keys = states.keys(&round.shard).await.unwrap().unwrap();
    keys.into_iter().map(|key| key.to_string()).collect()
}

/// Writes the state of a round that asks for one key alone.
async fn leave_a_round(world: &World, driver: Option<&str>) {
    let (job, now) = (job(world), world.cloud.time.now());
    let parent = world
        .cloud
        .deps
        .collect
        .states
        .read(&job, ShardId::first(0))
        .await
        .unwrap()
        .unwrap();
    let states = &world.cloud.deps.collect.states;
    let keys = states
        .keep_keys(
            &job,
            parent.shard.shard.next_round(),
            &[RequestKey::new("stone-000")],
        )
        .await
        .unwrap();
    let round = parent.shard.next_round(keys, now);
    let round = driver.map_or(round.clone(), |message| round.driven_by(message, now));
    world.cloud.deps.collect.states.create(round).await.unwrap();
}

#[tokio::test]
async fn a_round_that_nobody_was_told_of_gets_the_right_keys() {
    let world = ended_in(failing(), 30).await;
    leave_a_round(&world, None).await;
    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    assert_eq!(round_keys(&world).await, retryable(&world).await);
}

#[tokio::test]
async fn a_round_that_has_begun_with_other_keys_is_left_to_a_person() {
    let world = ended_in(failing(), 30).await;
    leave_a_round(&world, Some("a message")).await;
    let left = round(&world).await.unwrap();
    for _ in 0..4 {
        assert!(!acknowledged(&step!(&world, collect, RESULTS)));
        let waiting = state(&world).await;
        assert!(
            waiting["waiting"]
                .as_str()
                .unwrap()
                .contains("0000.r2 has begun"),
            "{waiting}"
        );
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + next_in(&world, RESULTS))
            .unwrap();
    }
    assert!(!acknowledged(&step!(&world, collect, RESULTS)));
    let held = state(&world).await;
    assert_eq!(held["phase"]["name"], "held");
    assert!(
        held["phase"]["reason"]
            .as_str()
            .unwrap()
            .contains("0000.r2 has begun"),
        "{held}"
    );
    assert_eq!(round(&world).await.unwrap(), left);
}

#[tokio::test]
async fn a_cancelled_job_is_collected_and_has_no_further_round() {
    for (making, stopped, marker) in [
        (failing(), true, "_CANCELLED"),
        (Making::default(), false, "_SUCCESS"),
    ] {
        let world = ended_in(making, 30).await;
        world
            .put(&format!("jobs/{}/cancel.json", job(&world)), "{}")
            .await
            .unwrap();
        assert!(acknowledged(&step!(&world, collect, RESULTS)));
        let done = state(&world).await;
        assert_eq!(
            (&done["phase"]["name"], &done["cancel_requested"]),
            (&json!("done"), &json!(stopped))
        );
        assert!(
            done["phase"]["next"].is_null() && round(&world).await.is_none(),
            "{done}"
        );
        world.run().await.unwrap();
        assert!(
            world
                .read(&format!("jobs/{}/{marker}", job(&world)))
                .await
                .unwrap()
                .is_some(),
            "{marker}"
        );
    }
}

#[tokio::test]
async fn only_the_message_that_moves_a_shard_on_reads_it_until_it_must_have_been_lost() {
    let pace = CollectLimits {
        reserve: FUNCTION_TIMEOUT,
        puts: 1,
        ..CollectLimits::default()
    };
    let world = ended_in(Making { pace, ..failing() }, 30).await;
    let first = delivered(&world, RESULTS);
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    assert!(!acknowledged(
        &collect::handler::handle(&world.cloud.deps.collect, first.clone(), deadline).await
    ));
    let before = state(&world).await;
    assert_eq!(
        before["driver"]["message"],
        first.records[0].message_id.clone().unwrap()
    );

    // As the queue keeps the first, it is another that comes now.
    world.cloud.queues.purge(RESULTS).unwrap();
    let body = json!({ "v": 1, "job": job(&world), "shard": "0000" }).to_string();
    world
        .cloud
        .queues
        .send(RESULTS, Outgoing::new(body.clone()))
        .unwrap();
    assert!(acknowledged(&step!(&world, collect, RESULTS)));
    assert_eq!(state(&world).await, before);

    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + darkroom::state::DRIVER_LOST_AFTER)
        .unwrap();
    world.cloud.queues.purge(RESULTS).unwrap();
    let second = world
        .cloud
        .queues
        .send(RESULTS, Outgoing::new(body))
        .unwrap();
    assert!(!acknowledged(&step!(&world, collect, RESULTS)));
    let after = state(&world).await;
    assert_eq!(after["driver"]["message"], second);
    assert!(after["phase"]["offset"].as_u64() > before["phase"]["offset"].as_u64());
}

#[tokio::test]
async fn a_held_shard_waits_for_the_message_that_comes_back() {
    let world = ended_in(failing(), 3).await;
    world.wire.decide(|sent| {
        sent.path
            .ends_with(":download")
            .then_some(tests::wire::Fault::NeverSent)
    });
    while state(&world).await["phase"]["name"] != "held" {
        assert!(!acknowledged(&step!(&world, collect, RESULTS)));
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + next_in(&world, RESULTS))
            .unwrap();
    }
    let driver = state(&world).await["driver"].clone();
    assert!(!acknowledged(&step!(&world, collect, RESULTS)));
    let later = state(&world).await["driver"].clone();
    assert_eq!(later["message"], driver["message"]);
    assert!(
        later["back_at"].as_str() > driver["back_at"].as_str(),
        "or the sweep would take it for lost"
    );
}
