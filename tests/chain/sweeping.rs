//! The sweep finds within hours what was lost.

use darkroom::{
    chain::{MANIFESTS, POLLS, REPORTS, RESULTS, SHARDS},
    ledger::Reservation,
};
use gemini::Gemini;
use jiff::SignedDuration;
use sweep::handler::Swept;
use tests::{BatchResponse, TestCloud, upload};

use super::planned;

/// Deletes all messages of a queue.
pub(super) fn lose(cloud: &TestCloud, queue: &str) {
    let lost = cloud.local.queues.receive(queue, 10, None).unwrap();
    assert!(!lost.is_empty(), "{queue} has no message");
    for delivery in lost {
        cloud
            .local
            .queues
            .delete(queue, &delivery.receipt_handle)
            .unwrap();
    }
}

/// Creates a batch with this display name. Returns its name.
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
async fn a_lost_message_is_sent_again_from_every_queue() {
    for queue in [SHARDS, POLLS, RESULTS, REPORTS] {
        let cloud = planned().await;
        let has_come = |now: &str| now == queue;
        let mut stale = 0;
        if has_come(SHARDS) {
            lose(&cloud, SHARDS);
        } else {
            assert!(cloud.submit().await.acknowledged());
            if has_come(POLLS) {
                lose(&cloud, POLLS);
            } else {
                while !cloud.poll().await.acknowledged() {
                    cloud.advance_to_next(POLLS);
                }
                if has_come(RESULTS) {
                    lose(&cloud, RESULTS);
                } else {
                    assert!(cloud.collect().await.acknowledged());
                    lose(&cloud, REPORTS);
                }
            }
        }
        // At first the message may still be in flight.
        assert_eq!(cloud.sweep().await.stale, 0, "{queue}");
        for _ in 0..3 {
            cloud.advance(SignedDuration::from_hours(1));
            stale += cloud.sweep().await.stale;
        }
        assert!(stale >= 1, "{queue}: nothing was found");
        cloud.run().await;
        assert!(cloud.job().has("_SUCCESS"), "{queue}");
        assert_eq!(cloud.gemini.batches_created(), 1, "{queue}");
        assert_eq!(
            cloud.sweep().await.stale,
            0,
            "{queue}: found again after the end"
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_being_polled_is_left_alone() {
    let cloud = planned().await;
    assert!(cloud.submit().await.acknowledged());
    for _ in 0..40 {
        if cloud.poll().await.acknowledged() {
            break;
        }
        assert_eq!(
            cloud.sweep().await,
            Swept {
                live: 1,
                ..Swept::default()
            }
        );
        cloud.advance_to_next(POLLS);
    }
}

#[tokio::test]
async fn a_batch_without_a_state_is_reported_and_left_alone() {
    let cloud = planned().await;
    let gemini = &cloud.local.deps.submit.gemini;
    let stack = &cloud.local.deps.submit.stack;
    let _ = batch(gemini, &format!("{stack}/ghost-1/0000/1")).await;
    let _ = batch(gemini, "another/ghost-1/0000/1").await;
    let _ = batch(gemini, "another client's").await;
    assert_eq!(cloud.sweep().await.orphans, 1);
    assert_eq!(cloud.wire.count(":cancel"), 0);
}

#[tokio::test]
async fn a_second_batch_of_a_shard_is_cancelled_and_the_first_continues() {
    let cloud = planned().await;
    assert!(cloud.submit().await.acknowledged());
    let (stack, job) = (&cloud.local.deps.submit.stack, cloud.job().id());
    let name = |attempt| format!("{stack}/{job}/0000/{attempt}");
    let second = batch(&cloud.local.deps.submit.gemini, &name(1)).await;
    // A batch of an attempt that the state does not know was created by a copy of the state.
    let _ = batch(&cloud.local.deps.submit.gemini, &name(2)).await;
    let swept = cloud.sweep().await;
    assert_eq!((swept.extras, swept.orphans), (1, 1));
    assert_eq!(
        (
            cloud.wire.count(":cancel"),
            cloud.wire.count(&format!("/{second}:cancel"))
        ),
        (1, 1)
    );
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
}

#[tokio::test]
async fn only_input_files_that_gemini_has_read_are_deleted() {
    let cloud = planned().await;
    let gemini = cloud.local.deps.submit.gemini.clone();
    let foreign = upload(&gemini, "holiday.jsonl", b"{}").await.unwrap();
    assert!(cloud.submit().await.acknowledged());
    assert_eq!(
        (
            cloud.sweep().await.files,
            gemini.files().await.unwrap().len()
        ),
        (0, 2)
    );
    while !cloud.poll().await.acknowledged() {
        cloud.advance_to_next(POLLS);
    }
    assert_eq!(cloud.sweep().await.files, 1);
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
async fn a_ledger_entry_without_a_shard_is_removed() {
    let cloud = planned().await;
    assert!(cloud.submit().await.acknowledged());
    let ledger = &cloud.local.deps.submit.ledger;
    let now = cloud.now();
    ledger
        .change(|ledger| {
            let model = "m".to_owned();
            let usd = "1".parse().unwrap();
            let left = Reservation {
                model,
                folder: None,
                tokens: 1,
                usd,
                at: now,
                asked_at: now,
            };
            ledger.live.insert("gone-1/0000".to_owned(), left);
        })
        .await
        .unwrap();
    assert_eq!(cloud.sweep().await.live, 1);
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
async fn a_sweep_of_an_empty_stack_finds_nothing() {
    let cloud = TestCloud::new();
    assert_eq!(cloud.sweep().await, Swept::default());
    assert!(
        cloud
            .local
            .queues
            .receive(MANIFESTS, 1, None)
            .unwrap()
            .is_empty()
    );
}
