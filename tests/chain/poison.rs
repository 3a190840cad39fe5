//! A line of the output that kills every reader is skipped, and all others are collected.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use runtime::metrics::Metric;
use serde_json::{Value, json};
use tests::{TestCloud, wire::FaultAction};

use super::{metrics::watching, stones};

/// How often each object was written, by name.
type Written = Arc<Mutex<BTreeMap<String, u32>>>;

/// Kills the first `deaths` writers of the image of stone-005. Returns the number of kills and of
/// writes.
fn poison(cloud: &TestCloud, deaths: u32) -> (Arc<AtomicU32>, Written) {
    let (died, written) = (Arc::new(AtomicU32::new(0)), Written::default());
    let (deaths_so_far, counts) = (Arc::clone(&died), Arc::clone(&written));
    cloud.aws.decide(move |head| {
        let path = head.uri.path();
        if head.method != "PUT" || !path.contains("/images/") {
            return FaultAction::Pass;
        }
        if path.contains("stone-005") && deaths_so_far.load(Ordering::Relaxed) < deaths {
            deaths_so_far.fetch_add(1, Ordering::Relaxed);
            return FaultAction::Die;
        }
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        *counts.lock().unwrap().entry(name).or_default() += 1;
        FaultAction::Pass
    });
    (died, written)
}

async fn summary(cloud: &TestCloud) -> Value {
    cloud.job().json("summary.json").await
}

#[tokio::test]
async fn a_line_that_kills_every_reader_is_skipped_and_not_bought_again() {
    let (metrics, seen) = watching();
    let cloud = TestCloud::builder().metrics(metrics).build();
    // The first reader is ahead of the bucket; three more die at the line itself.
    let (died, written) = poison(&cloud, 4);
    cloud.put("inbox/stones.jsonl", stones(12)).await;
    cloud.run().await;

    assert_eq!(died.load(Ordering::Relaxed), 4);
    let job = cloud.job();
    assert!(job.has("_PARTIAL"));
    assert_eq!(seen.lock().unwrap()[&Metric::PoisonLines], 1.0);
    assert_eq!(cloud.gemini.batches_created(), 1);
    let summary = summary(&cloud).await;
    assert_eq!(
        (
            &summary["integrity"]["skipped_lines"],
            &summary["counts"]["succeeded"]
        ),
        (&json!(1), &json!(11))
    );
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 1);
    let results = job.lines("results.jsonl").await;
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
    // Only the first reader may have written images after its last checkpoint.
    let written = written.lock().unwrap().clone();
    assert!(
        written.len() == 11 && written.values().all(|count| *count <= 2),
        "{written:?}"
    );
}

#[tokio::test]
async fn a_line_is_not_skipped_after_two_deaths() {
    let cloud = TestCloud::new();
    let (died, _) = poison(&cloud, 3);
    cloud.put("inbox/stones.jsonl", stones(12)).await;
    cloud.run().await;
    assert_eq!(died.load(Ordering::Relaxed), 3);
    assert_eq!(cloud.gemini.batches_created(), 1);
    let summary = summary(&cloud).await;
    assert_eq!(
        (&summary["status"], &summary["integrity"]["skipped_lines"]),
        (&json!("succeeded"), &json!(0))
    );
}
