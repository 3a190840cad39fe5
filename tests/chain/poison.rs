//! A line of the output that ends each reader is passed over; all others are collected.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use runtime::metrics::Metric;
use serde_json::{Value, json};
use tests::{Making, World, wire::Trip};

use super::{metrics::watching, stones};

/// What is written, by the name of the object, and how often.
type Written = Arc<Mutex<BTreeMap<String, u32>>>;

/// Has the first `deaths` writers of the image of stone-005 die, and counts what is written before
/// and after.
fn poison(world: &World, deaths: u32) -> (Arc<AtomicU32>, Written) {
    let (died, written) = (Arc::new(AtomicU32::new(0)), Written::default());
    let (deaths_so_far, counts) = (Arc::clone(&died), Arc::clone(&written));
    world.aws.decide(move |head| {
        let path = head.uri.path();
        if head.method != "PUT" || !path.contains("/images/") {
            return Trip::Pass;
        }
        if path.contains("stone-005") && deaths_so_far.load(Ordering::Relaxed) < deaths {
            deaths_so_far.fetch_add(1, Ordering::Relaxed);
            return Trip::Die;
        }
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        *counts.lock().unwrap().entry(name).or_default() += 1;
        Trip::Pass
    });
    (died, written)
}

async fn summary(world: &World) -> Value {
    world
        .json(&format!("{}summary.json", world.jobs().unwrap()[0]))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_line_that_ends_each_reader_is_skipped_and_not_bought_again() {
    let (metrics, seen) = watching();
    let world = World::made_with(Making {
        metrics,
        ..Making::default()
    })
    .unwrap();
    // One reader that reads fast, and three that die at the line itself.
    let (died, written) = poison(&world, 4);
    world.put("inbox/stones.jsonl", stones(12)).await.unwrap();
    world.run().await.unwrap();

    assert_eq!(died.load(Ordering::Relaxed), 4);
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_PARTIAL"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(seen.lock().unwrap()[&Metric::PoisonLines], 1.0);
    assert_eq!(world.gemini.batches_created(), 1);
    let summary = summary(&world).await;
    assert_eq!(
        (
            &summary["integrity"]["skipped_lines"],
            &summary["counts"]["succeeded"]
        ),
        (&json!(1), &json!(11))
    );
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 1);
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    for line in results {
        if line["key"] == "stone-005" {
            let message = line["error"]["message"].as_str().unwrap();
            assert!(
                line["error"]["code"] == "UNREAD_LINE" && message.contains("files/batch-"),
                "{line}"
            );
        } else {
            assert_eq!(
                (&line["status"], &line["attempts"]),
                (&json!("succeeded"), &json!(1)),
                "{line}"
            );
        }
    }
    // The reader that read fast may have written some that it had not written down, and no other
    // reader has.
    let written = written.lock().unwrap().clone();
    assert!(
        written.len() == 11 && written.values().all(|count| *count <= 2),
        "{written:?}"
    );
}

#[tokio::test]
async fn two_deaths_at_a_line_are_no_reason_to_skip_it() {
    let world = World::new().unwrap();
    let (died, _) = poison(&world, 3);
    world.put("inbox/stones.jsonl", stones(12)).await.unwrap();
    world.run().await.unwrap();
    assert_eq!(died.load(Ordering::Relaxed), 3);
    assert_eq!(world.gemini.batches_created(), 1);
    let summary = summary(&world).await;
    assert_eq!(
        (&summary["status"], &summary["integrity"]["skipped_lines"]),
        (&json!("succeeded"), &json!(0))
    );
}
