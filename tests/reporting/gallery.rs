//! The page of a job of which only a part is collected.

use darkroom::{
    chunks::Chunk,
    names::ShardId,
    object_keys,
    state::{Collecting, Phase, Shard},
};
use jiff::SignedDuration;
use runtime::shard_store::Cas;
use serde_json::{Value, json};
use tests::{
    TestCloud,
    gallery::GalleryContent,
    made_job::{JobSpec, make},
};

use super::{count, notify, watch};

/// Replaces the phase of a shard.
async fn enter(cloud: &TestCloud, job: &darkroom::names::JobId, id: ShardId, phase: Phase) {
    let states = &cloud.local.deps.report.states;
    let stored = states.read(job, id).await.unwrap().unwrap();
    let next = Shard {
        phase,
        ..stored.shard.clone()
    };
    let Cas::Written(_) = states.swap(&stored, next).await.unwrap() else {
        panic!("another writer has changed the state")
    };
}

/// One shard has two of its chunks, the next one has ended, and the last one is held.
#[tokio::test]
async fn the_chunks_of_an_open_shard_are_shown() {
    let cloud = TestCloud::new();
    let spec = JobSpec {
        items: 1_500,
        models: 1,
        shard_requests: 500,
        every_failed: 10,
    };
    let made = make(&cloud.local, spec).await;
    let states = &cloud.local.deps.report.states;
    let first = states
        .read(&made.job, made.shards[0])
        .await
        .unwrap()
        .unwrap();
    let Phase::Done {
        ended: Some(ended),
        chunks,
        ..
    } = first.shard.phase.clone()
    else {
        panic!("the shard is not done")
    };
    let chunks: Vec<Chunk> = chunks.into_iter().take(2).collect();
    let collecting = Phase::Collecting(Collecting {
        chunks,
        ..Collecting::of(ended)
    });
    enter(&cloud, &made.job, made.shards[0], collecting).await;
    let held = Phase::Held {
        reason: "approve it".to_owned(),
        before: Box::new(Phase::Planned { attempts: 0 }),
    };
    enter(&cloud, &made.job, made.shards[2], held).await;

    let requests = watch(&cloud);
    for shard in &made.shards {
        notify(&cloud, &made.job, *shard);
    }
    cloud.run().await;
    let text = cloud.text(&object_keys::gallery(&made.job)).await;
    let page = GalleryContent::read(&text);
    let statuses = page.column(4);
    let of = |range: std::ops::Range<usize>, status: &str| {
        let statuses: &[Value] = &statuses[range];
        statuses.iter().filter(|other| *other == status).count()
    };
    assert_eq!((of(0..400, "succeeded"), of(0..400, "blocked")), (360, 40));
    assert_eq!(of(400..500, "waiting"), 100);
    assert_eq!(
        (of(500..1_000, "succeeded"), of(500..1_000, "blocked")),
        (450, 50)
    );
    assert_eq!(of(1_000..1_500, "held"), 500);
    assert_eq!(page.sums["counts"]["expected"], json!(1_500));
    assert_eq!(page.head["closed"], json!(false));
    assert_eq!(count(&requests, "PUT index.html"), 1);

    // The lists of thumbnails are about as old as the page, so it may lack them and is written
    // again. After that, the same state is not written again.
    for _ in 0..3 {
        cloud.advance(SignedDuration::from_mins(1));
        for shard in &made.shards {
            notify(&cloud, &made.job, *shard);
        }
        cloud.run().await;
        assert_eq!(count(&requests, "PUT index.html"), 2);
    }
}

/// The beginning of a large page is its first part, and is written last.
#[tokio::test]
async fn a_page_of_any_size_begins_with_what_is_known_last() {
    let cloud = TestCloud::new();
    let mut rng = fastrand::Rng::with_seed(7);
    for size in [0, 1_000, 8 << 20, (8 << 20) + 1, 21 << 20] {
        let rest: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(size).collect();
        let mut writer = cloud
            .local
            .bucket
            .writer("jobs/j/index.html", "text/html")
            .with_late_beginning();
        for piece in rest.chunks(300_000) {
            writer.write(piece).await.unwrap();
        }
        writer.finish_with(b"<!doctype html>").await.unwrap();
        let object = cloud.local.bucket.read("jobs/j/index.html").await.unwrap();
        let bytes = object.unwrap().bytes;
        assert!(
            bytes.strip_prefix(b"<!doctype html>") == Some(&rest[..]),
            "{size} bytes"
        );
    }
}
