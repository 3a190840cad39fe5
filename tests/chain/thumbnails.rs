//! Thumbnails of the images of a job, from its manifest to `thumbs.json`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_sim::queue::Outgoing;
use darkroom::{
    chain::{REPORTS, THUMBNAILS},
    results::image::{Provenance, read_header},
    thumbnails::Thumbnails,
};
use gemini_sim::Scenario;
use http::{Method, request::Parts};
use jiff::SignedDuration;
use serde_json::json;
use tests::{BatchResponse, TestCloud, TestJob, wire::FaultAction};

use super::stones;

/// A cloud whose images have all formats and marks.
fn mixed() -> TestCloud {
    let scenario = Scenario {
        seed: 3,
        mislabelled_percent: 40,
        iptc_percent: 50,
        c2pa_percent: 50,
        internal_error_percent: 20,
        ..Scenario::default()
    };
    let builder = TestCloud::builder().scenario(scenario);
    builder.shard_requests(5).build()
}

/// Whether a request writes a thumbnail.
fn writes_thumbnail(head: &Parts) -> bool {
    head.method == Method::PUT && head.uri.path().contains("/thumbs/")
}

/// Returns the names of all shards and rounds of a job.
fn shards(cloud: &TestCloud, job: &TestJob<'_>) -> Vec<String> {
    let mut shards: Vec<String> = std::fs::read_dir(cloud.path_of(&job.key("shards")))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    shards.sort();
    shards
}

async fn list(job: &TestJob<'_>, shard: &str) -> Thumbnails {
    let list = job.text(&format!("shards/{shard}/thumbs.json")).await;
    serde_json::from_str(&list).unwrap()
}

/// Returns what is wrong with the thumbnails of a closed job. Every image must have one.
async fn flaws(cloud: &TestCloud, job: &TestJob<'_>) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut listed = BTreeMap::new();
    for shard in shards(cloud, job) {
        let list = list(job, &shard).await;
        if !list.is_complete(&job.chunks(&shard).await) {
            flaws.push(format!("the list of {shard} is incomplete"));
        }
        let failed = list.failed.iter();
        flaws.extend(failed.map(|(path, reason)| format!("{path}: {reason}")));
        listed.extend(list.made);
    }
    let objects = cloud.objects();
    let folder = format!("darkroom/{}", job.key("images/"));
    for (key, image) in objects.range(folder.clone()..) {
        let Some(path) = key.strip_prefix(&folder) else {
            break;
        };
        let thumbnail = objects.get(&format!(
            "darkroom/{}",
            job.key(&format!("thumbs/{path}.jpg"))
        ));
        let (Some(thumbnail), Some(entry)) = (thumbnail, listed.remove(path)) else {
            flaws.push(format!("{path} has no thumbnail"));
            continue;
        };
        let (small, large) = (read_header(thumbnail).unwrap(), read_header(image).unwrap());
        let longest = large.width.max(large.height).min(512);
        let is_right = small.width.max(small.height) == longest
            && (entry.width, entry.height) == (small.width, small.height)
            && entry.bytes == thumbnail.len() as u64
            && thumbnail.len() <= 30_000
            && Provenance::of(thumbnail).iptc == Provenance::of(image).iptc;
        if !is_right {
            flaws.push(format!("{path}: {entry:?} of {small:?} for {large:?}"));
        }
    }
    flaws.extend(listed.keys().map(|path| format!("{path} is no image")));
    flaws
}

#[tokio::test]
async fn every_image_of_a_job_has_a_thumbnail() {
    let cloud = mixed();
    cloud.put("inbox/stones.jsonl", stones(12)).await;
    cloud.run().await;
    let job = cloud.job();
    assert!(job.has("_SUCCESS"));
    assert!(shards(&cloud, &job).len() > 3, "there are no rounds");
    assert_eq!(flaws(&cloud, &job).await, Vec::<String>::new());
    for queue in [THUMBNAILS, REPORTS] {
        assert_eq!(cloud.messages(queue), 0, "{queue}");
    }
}

/// The null control: if S3 loses thumbnails, the other tests notice.
#[tokio::test]
async fn lost_thumbnails_are_noticed() {
    let cloud = mixed();
    cloud.aws.decide(|head| {
        if writes_thumbnail(head) {
            FaultAction::Lost
        } else {
            FaultAction::Pass
        }
    });
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    assert_eq!(flaws(&cloud, &cloud.job()).await.len(), 3);
}

#[tokio::test]
async fn the_marks_of_images_are_reported_and_counted() {
    let cloud = mixed();
    cloud.put("inbox/stones.jsonl", stones(12)).await;
    cloud.run().await;
    let job = cloud.job();
    let mut counts = BTreeMap::from([("iptc", 0), ("c2pa", 0), ("none", 0)]);
    for line in job.lines("results.jsonl").await {
        let image = &line["image"];
        let uri = image["uri"].as_str().unwrap();
        let stored =
            std::fs::read(cloud.path_of(uri.trim_start_matches("s3://darkroom/"))).unwrap();
        let marks = Provenance::of(&stored);
        assert_eq!(
            image["provenance"],
            json!({"iptc": marks.iptc, "c2pa": marks.c2pa})
        );
        for (name, is_marked) in [
            ("iptc", marks.iptc),
            ("c2pa", marks.c2pa),
            ("none", marks == Provenance::default()),
        ] {
            *counts.get_mut(name).unwrap() += u64::from(is_marked);
        }
    }
    assert!(counts.values().all(|count| *count > 0), "{counts:?}");
    let summary = job.json("summary.json").await;
    assert_eq!(summary["provenance"], json!(counts));
}

#[tokio::test]
async fn a_function_that_is_killed_is_repeated() {
    let cloud = mixed();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    cloud.aws.decide(move |head| {
        // The third thumbnail is stored, and its function is killed before it can be listed.
        if writes_thumbnail(head) && count.fetch_add(1, Ordering::Relaxed) == 2 {
            FaultAction::DieAfter
        } else {
            FaultAction::Pass
        }
    });
    cloud.put("inbox/stones.jsonl", stones(12)).await;
    cloud.run().await;
    let job = cloud.job();
    assert_eq!(flaws(&cloud, &job).await, Vec::<String>::new());
    // It has repeated those of one shard, which are at most five.
    let written = written.load(Ordering::Relaxed);
    assert!((13..=17).contains(&written), "{written}");
}

/// The time of an invocation ends after the second thumbnail of a shard. The next one makes the rest
/// and no thumbnail twice.
#[tokio::test]
async fn an_invocation_without_time_leaves_the_rest_to_the_next_one() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(12)).await;
    assert!(cloud.plan().await.acknowledged());
    assert!(cloud.submit().await.acknowledged());
    let mut is_collected = false;
    while !is_collected {
        cloud.advance(SignedDuration::from_mins(15));
        is_collected = cloud.poll().await.acknowledged();
    }
    assert!(cloud.collect().await.acknowledged());
    assert!(cloud.report().await.acknowledged());
    let job = cloud.job();

    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, time) = (Arc::clone(&written), cloud.local.time.clone());
    cloud.aws.decide(move |head| {
        if writes_thumbnail(head) {
            let mut seen = seen.lock().unwrap();
            seen.push(head.uri.path().to_owned());
            if seen.len() == 2 {
                let late = time.now() + SignedDuration::from_secs(14 * 60 + 1);
                time.jump_to(late).unwrap();
            }
        }
        FaultAction::Pass
    });
    assert!(!cloud.thumbs().await.acknowledged());
    let first = list(&job, "0000").await;
    assert!(first.chunks.is_empty() && (2..12).contains(&first.made.len()));
    assert_eq!(cloud.next_in(THUMBNAILS), SignedDuration::ZERO);

    assert!(cloud.thumbs().await.acknowledged());
    assert_eq!(flaws(&cloud, &job).await, Vec::<String>::new());
    let mut written = written.lock().unwrap().clone();
    written.sort();
    written.dedup();
    assert_eq!(written.len(), 12);
}

#[tokio::test]
async fn a_second_message_about_a_shard_writes_and_sends_nothing() {
    let cloud = mixed();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    let before = cloud.objects();
    let message = json!({"v": 1, "job": cloud.job().id(), "shard": "0000"}).to_string();
    let queues = &cloud.local.queues;
    queues.send(THUMBNAILS, Outgoing::new(message)).unwrap();
    assert!(cloud.thumbs().await.acknowledged());
    assert_eq!(cloud.messages(REPORTS), 0);
    assert_eq!(cloud.objects(), before);
}

#[tokio::test]
async fn a_damaged_and_a_missing_image_are_listed_with_a_reason() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    let job = cloud.job();
    // A user replaces one image and deletes another one before the thumbnails are made.
    let bucket = &cloud.local.bucket;
    cloud
        .put(&job.key("images/stone-000.jpg"), "not an image")
        .await;
    for name in ["images/stone-001.jpg", "shards/0000/thumbs.json"] {
        bucket.delete(&job.key(name)).await.unwrap();
    }
    let message = json!({"v": 1, "job": job.id(), "shard": "0000"}).to_string();
    let queues = &cloud.local.queues;
    queues.send(THUMBNAILS, Outgoing::new(message)).unwrap();
    assert!(cloud.thumbs().await.acknowledged());
    let list = list(&job, "0000").await;
    assert!(list.is_complete(&job.chunks("0000").await));
    assert_eq!(list.made.keys().collect::<Vec<_>>(), ["stone-002.jpg"]);
    assert_eq!(
        list.failed["stone-000.jpg"],
        "the bytes are neither PNG, JPEG nor WebP"
    );
    assert_eq!(list.failed["stone-001.jpg"], "the image does not exist");
    assert_eq!(cloud.messages(REPORTS), 1);
}

#[tokio::test]
async fn a_job_closes_even_if_no_thumbnail_can_be_made() {
    let cloud = TestCloud::new();
    cloud.aws.decide(|head| {
        // `report` reads the list too, so only requests with the trace of `thumbs` are cut.
        let trace = head.headers.get("x-amzn-trace-id");
        let is_thumbs =
            trace.is_some_and(|trace| trace.to_str().is_ok_and(|trace| trace.contains("thumbs:")));
        let reads_list = head.uri.path().ends_with("/thumbs.json");
        if is_thumbs && head.method == Method::GET && reads_list {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.messages(THUMBNAILS), 0);
    // `report` sends a second message about the shard if two of its invocations end the job.
    assert!((1..=2).contains(&cloud.messages("thumbnails-dead")));
}
