//! What was lost on the way is found within hours.

use darkroom::{
    chain::{MANIFESTS, POLLS, REPORTS, RESULTS, SHARDS},
    ledger::Reservation,
};
use gemini::Gemini;
use jiff::SignedDuration;
use sweep::handler::Swept;
use tests::{World, upload};

use super::{acknowledged, next_in, planned, state, step};

async fn sweep(world: &World) -> Swept {
    let deadline = world.cloud.time.now() + super::FUNCTION_TIMEOUT;
    sweep::handler::handle(&world.cloud.deps.sweep, deadline)
        .await
        .unwrap()
}

/// Makes a queue lose its message.
fn lose(world: &World, queue: &str) {
    let lost = world.cloud.queues.receive(queue, 10, None).unwrap();
    assert!(!lost.is_empty(), "{queue} has no message");
    for delivery in lost {
        world
            .cloud
            .queues
            .delete(queue, &delivery.receipt_handle)
            .unwrap();
    }
}

fn jump(world: &World, wait: SignedDuration) {
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + wait)
        .unwrap();
}

async fn batch(gemini: &Gemini, name: &str) -> String {
    let file = upload(
        gemini,
        name,
        br#"{"key":"x","request":{"contents":[{"parts":[{"text":"x"}]}]}}"#,
    )
    .await
    .unwrap();
    gemini
        .create_batch("gemini-nano-banana-2.1", name, &file)
        .await
        .unwrap()
        .name
        .to_string()
}

#[tokio::test]
async fn a_message_that_is_lost_anywhere_is_sent_again() {
    for queue in [SHARDS, POLLS, RESULTS, REPORTS] {
        let world = planned().await;
        let has_come = |now: &str| now == queue;
        let mut stale = 0;
        if has_come(SHARDS) {
            lose(&world, SHARDS);
        } else {
            assert!(acknowledged(&step!(&world, submit, SHARDS)));
            if has_come(POLLS) {
                lose(&world, POLLS);
            } else {
                while !acknowledged(&step!(&world, poll, POLLS)) {
                    jump(&world, next_in(&world, POLLS));
                }
                if has_come(RESULTS) {
                    lose(&world, RESULTS);
                } else {
                    assert!(acknowledged(&step!(&world, collect, RESULTS)));
                    lose(&world, REPORTS);
                }
            }
        }
        // Too early to tell: it may be on its way.
        assert_eq!(sweep(&world).await.stale, 0, "{queue}");
        for _ in 0..3 {
            jump(&world, SignedDuration::from_hours(1));
            stale += sweep(&world).await.stale;
        }
        assert!(stale >= 1, "{queue}: nothing was found");
        world.run().await.unwrap();
        let job = &world.jobs().unwrap()[0];
        assert!(
            world
                .read(&format!("{job}_SUCCESS"))
                .await
                .unwrap()
                .is_some(),
            "{queue}"
        );
        assert_eq!(world.gemini.batches_created(), 1, "{queue}");
        assert_eq!(
            sweep(&world).await.stale,
            0,
            "{queue}: found again after the end"
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_waited_for_is_left_in_peace() {
    let world = planned().await;
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    for _ in 0..40 {
        if acknowledged(&step!(&world, poll, POLLS)) {
            break;
        }
        assert_eq!(
            sweep(&world).await,
            Swept {
                live: 1,
                ..Swept::default()
            }
        );
        jump(&world, next_in(&world, POLLS));
    }
}

#[tokio::test]
async fn a_batch_without_a_state_is_reported_and_left_alone() {
    let world = planned().await;
    let gemini = &world.cloud.deps.submit.gemini;
    let stack = &world.cloud.deps.submit.stack;
    let _ = batch(gemini, &format!("{stack}/ghost-1/0000/1")).await;
    let _ = batch(gemini, "another/ghost-1/0000/1").await;
    let _ = batch(gemini, "somebody's own").await;
    assert_eq!(sweep(&world).await.orphans, 1);
    assert_eq!(world.wire.count(":cancel"), 0);
}

#[tokio::test]
async fn a_second_batch_of_a_shard_is_cancelled_and_the_first_goes_on() {
    let world = planned().await;
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    let (stack, state) = (&world.cloud.deps.submit.stack, state(&world).await);
    let name = |attempt| format!("{stack}/{}/0000/{attempt}", state["job"].as_str().unwrap());
    let second = batch(&world.cloud.deps.submit.gemini, &name(1)).await;
    // One of an attempt that this state has not made was made by a copy of the state.
    let _ = batch(&world.cloud.deps.submit.gemini, &name(2)).await;
    let swept = sweep(&world).await;
    assert_eq!((swept.extras, swept.orphans), (1, 1));
    assert_eq!(
        (
            world.wire.count(":cancel"),
            world.wire.count(&format!("/{second}:cancel"))
        ),
        (1, 1)
    );
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
async fn input_files_that_were_read_are_deleted_and_no_others() {
    let world = planned().await;
    let gemini = world.cloud.deps.submit.gemini.clone();
    let foreign = upload(&gemini, "holiday.jsonl", b"{}").await.unwrap();
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    assert_eq!(
        (
            sweep(&world).await.files,
            gemini.files().await.unwrap().len()
        ),
        (0, 2)
    );
    while !acknowledged(&step!(&world, poll, POLLS)) {
        jump(&world, next_in(&world, POLLS));
    }
    assert_eq!(sweep(&world).await.files, 1);
    let left: Vec<_> = gemini
        .files()
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect();
    assert_eq!(left, [foreign]);
}

#[tokio::test]
async fn a_place_in_the_ledger_that_nobody_needs_is_freed() {
    let world = planned().await;
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    let ledger = &world.cloud.deps.submit.ledger;
    let now = world.cloud.time.now();
    ledger
        .change(|ledger| {
            let model = "m".to_owned();
            let usd = "1".parse().unwrap();
            let left = Reservation {
                model,
                tokens: 1,
                usd,
                at: now,
                asked_at: now,
            };
            ledger.live.insert("gone-1/0000".to_owned(), left);
        })
        .await
        .unwrap();
    assert_eq!(sweep(&world).await.live, 1);
    assert!(
        !ledger
            .read()
            .await
            .unwrap()
            .live
            .contains_key("gone-1/0000")
    );
}

#[tokio::test]
async fn a_stack_without_a_job_sweeps_nothing() {
    let world = World::new().unwrap();
    assert_eq!(sweep(&world).await, Swept::default());
    assert!(
        world
            .cloud
            .queues
            .receive(MANIFESTS, 1, None)
            .unwrap()
            .is_empty()
    );
}
