//! The page of a job: while images arrive, when the job is closed, and when thumbnails arrive
//! later.

use std::future::pending;

use aws_sim::queue::Outgoing;
use cli::host::{self, StopReason, WaitMode};
use darkroom::{
    chain::REPORTS,
    messages::JobMessage,
    names::{JobId, ShardId},
    object_keys,
    thumbnails::{Thumbnail, Thumbnails},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud, gallery::GalleryContent};

use super::{planned, stones};

/// The positions of a row that the tests look at.
const KEY: usize = 0;
const STATUS: usize = 4;
const IMAGE: usize = 5;
const THUMBNAIL: usize = 9;

/// Reads the page of the only job.
async fn page(cloud: &TestCloud) -> GalleryContent {
    GalleryContent::read(&cloud.job().text("index.html").await)
}

/// Sends the message of a function that has changed a shard.
fn notify(cloud: &TestCloud, job: &JobId, shard: ShardId) {
    let body = serde_json::to_string(&JobMessage::of_shard(job, shard)).unwrap();
    let queues = &cloud.local.queues;
    queues.send(REPORTS, Outgoing::new(body)).unwrap();
}

/// Returns the texts of a column.
fn texts(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| value.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_job_in_progress_has_a_page_with_waiting_rows_and_a_closed_one_has_all_images() {
    let cloud = planned().await;
    assert!(cloud.submit().await.acknowledged());
    assert!(cloud.report().await.acknowledged());
    let open = page(&cloud).await;
    assert_eq!(texts(&open.column(STATUS)), ["waiting"; 3]);
    assert_eq!(
        (
            &open.head["phase"],
            &open.head["closed"],
            &open.head["images"]
        ),
        (&json!("waiting"), &json!(false), &json!(3))
    );
    assert_eq!(
        (
            &open.sums["counts"]["waiting"],
            &open.sums["counts"]["expected"]
        ),
        (&json!(3), &json!(3))
    );

    cloud.run().await;
    let (job, closed) = (cloud.job(), page(&cloud).await);
    assert_eq!(
        texts(&closed.column(KEY)),
        ["stone-000", "stone-001", "stone-002"]
    );
    assert_eq!(texts(&closed.column(STATUS)), ["succeeded"; 3]);
    for path in texts(&closed.column(IMAGE)) {
        assert!(path.starts_with("images/") && job.has(path), "{path}");
    }
    let (status, summary) = (job.json("job.json").await, job.json("summary.json").await);
    assert_eq!(
        (&closed.head["phase"], &closed.head["closed"]),
        (&status["phase"], &json!(true))
    );
    assert_eq!(closed.head["updated"], status["updated_at"]);
    assert_eq!(
        closed.sums["counts"]["succeeded"],
        summary["counts"]["succeeded"]
    );
    let dollars = summary["cost"]["actual_usd"].as_f64().unwrap();
    assert_eq!(closed.sums["cost"], json!((dollars * 1e6).round() as i64));
    let links = &summary["links"];
    for link in [&links["gallery"], &links["summary"]] {
        assert!(cloud.exists(link.as_str().unwrap()), "{link}");
    }
    let text = job.text("summary.md").await;
    assert!(text.contains("All 3 images were made"), "{text}");
}

/// The proof ends, and then nothing happens for days. The page must not stay at an earlier state,
/// although the last changes come faster than it is rewritten.
#[tokio::test]
async fn a_held_job_shows_its_proof_and_what_waits_for_approval() {
    let cloud = TestCloud::new();
    let items: Vec<Value> = (0..20)
        .map(|number| json!({"key": format!("k-{number:02}"), "prompt": "a stone"}))
        .collect();
    let manifest = json!({"job": {"proof": {"count": 4, "hold": true}}, "items": items});
    cloud.put("inbox/stones.json", manifest.to_string()).await;
    let counts = async || {
        let job = cloud.jobs().pop()?;
        let text = cloud.read(&format!("{job}index.html")).await?;
        let sums = GalleryContent::read(&text).sums;
        let count = |name: &str| sums["counts"][name].as_u64();
        Some((count("succeeded")?, count("held")?, count("waiting")?))
    };
    let started = cloud.now();
    let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(counts().await == Some((4, 16, 0)))
    });
    assert_eq!(stopped.await.unwrap(), StopReason::ConditionMet);
    assert!(cloud.now() < started + SignedDuration::from_mins(10));
    assert!(cloud.job().status().await.cost_usd.is_none());
}

#[tokio::test]
async fn thumbnails_that_arrive_after_the_close_are_added_once() {
    let cloud = planned().await;
    cloud.run().await;
    let (job, before) = (cloud.job().id(), cloud.objects());

    let thumbnail = Thumbnail {
        width: 512,
        height: 410,
        bytes: 20_111,
    };
    let images = page(&cloud).await.column(IMAGE);
    let paths: Vec<&str> = texts(&images)
        .iter()
        .map(|path| path.strip_prefix("images/").unwrap())
        .collect();
    let shard = ShardId::first(0);
    let key = object_keys::thumbnails(&job, shard);
    let make = async |paths: &[&str]| {
        let made = paths.iter().map(|path| ((*path).to_owned(), thumbnail));
        let thumbnails = Thumbnails {
            made: made.collect(),
            ..Thumbnails::default()
        };
        let document = serde_json::to_vec(&thumbnails).unwrap();
        cloud.put(&key, document).await;
        notify(&cloud, &job, shard);
    };
    // The job was closed before its thumbnails were made, and the page has all of them now.
    let link = |path: &str| format!("thumbs/{path}.jpg");
    let all = json!([link(paths[0]), link(paths[1]), link(paths[2])]);
    assert_eq!(json!(page(&cloud).await.column(THUMBNAIL)), all);

    // A list with other thumbnails is shown as it is.
    cloud.advance(SignedDuration::from_mins(10));
    make(&paths[1..2]).await;
    assert!(cloud.report().await.acknowledged());
    let expected = json!([null, link(paths[1]), null]);
    assert_eq!(json!(page(&cloud).await.column(THUMBNAIL)), expected);

    // The page was just written, so the next message returns later.
    make(&paths[1..]).await;
    assert!(!cloud.report().await.acknowledged());
    assert_eq!(json!(page(&cloud).await.column(THUMBNAIL)), expected);
    cloud.run().await;
    let rows = page(&cloud).await;
    let expected = json!([null, link(paths[1]), link(paths[2])]);
    assert_eq!(json!(rows.column(THUMBNAIL)), expected);
    assert_eq!(texts(&rows.column(STATUS)), ["succeeded"; 3]);

    // Nothing else has changed, and later messages change nothing.
    let after = cloud.objects();
    let changed: Vec<&String> = after
        .keys()
        .filter(|key| before.get(*key) != after.get(*key))
        .collect();
    let page_key = object_keys::gallery(&job);
    assert!(
        changed.len() == 2
            && changed
                .iter()
                .all(|name| name.ends_with(&key) || name.ends_with(&page_key)),
        "{changed:?}"
    );
    cloud.advance(SignedDuration::from_mins(10));
    let written = cloud.local.bucket.head(&page_key).await.unwrap().unwrap();
    notify(&cloud, &job, shard);
    cloud.run().await;
    let head = cloud.local.bucket.head(&page_key).await.unwrap().unwrap();
    assert_eq!(head.last_modified, written.last_modified);
}

/// An invocation that dies before the marker leaves everything to the next one.
#[tokio::test]
async fn closing_a_job_again_gives_the_same_bytes() {
    let cloud = planned().await;
    cloud.run().await;
    let (job, before) = (cloud.job(), cloud.objects());
    cloud.advance(SignedDuration::from_hours(1));
    let marker = job.key("_SUCCESS");
    cloud.local.bucket.delete(&marker).await.unwrap();
    notify(&cloud, &job.id(), ShardId::first(0));
    cloud.run().await;
    assert!(cloud.exists(&marker));
    let after = cloud.objects();
    let changed: Vec<&String> = after
        .keys()
        .filter(|key| before.get(*key) != after.get(*key))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// A page that can't be written is logged, and the job continues.
#[tokio::test]
async fn a_page_that_fails_blocks_nothing() {
    let cloud = planned().await;
    let lock = cloud.job().key("plan.lock");
    let content = cloud.text(&lock).await;
    cloud.local.bucket.delete(&lock).await.unwrap();
    assert!(cloud.submit().await.acknowledged());
    assert!(cloud.report().await.acknowledged());
    let job = cloud.job();
    assert!(!job.has("index.html"));
    assert_eq!(job.json("job.json").await["phase"], "waiting");
    cloud.put(&lock, content).await;
    cloud.run().await;
    assert!(job.has("_SUCCESS") && job.has("index.html"));
}

/// Damaged records of thumbnails are ignored.
#[tokio::test]
async fn a_job_with_damaged_thumbnails_is_closed() {
    let cloud = planned().await;
    let key = object_keys::thumbnails(&cloud.job().id(), ShardId::first(0));
    cloud.put(&key, "{").await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(page(&cloud).await.rows.len(), 3);
}

#[tokio::test]
async fn a_job_that_is_canceled_before_it_is_planned_has_an_empty_page() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    // The job's id is known before it is planned, because it is derived from its manifest.
    let probe = planned().await.job().id();
    cloud.put(&object_keys::cancel_request(&probe), "").await;
    cloud.run().await;
    let job = cloud.only_job();
    assert!(job.has("_CANCELLED"));
    let page = page(&cloud).await;
    assert_eq!(
        (page.rows.len(), &page.head["phase"]),
        (0, &json!("cancelled"))
    );
    assert!(job.text("summary.md").await.contains("canceled"));
}

/// Variables have a column in `results.csv`, and a value in each row of the page, in the same
/// order.
#[tokio::test]
async fn variables_are_columns_of_the_table_and_values_of_the_rows() {
    let cloud = TestCloud::new();
    let manifest = "key,prompt,Color,View\na,a red mug,red,front\nb,a blue mug,blue,\n";
    cloud.put("inbox/mugs.csv", manifest).await;
    cloud.run().await;
    let table = cloud.job().text("results.csv").await;
    let mut lines = table.lines();
    assert!(lines.next().unwrap().ends_with(",color,view"), "{table}");
    assert!(lines.next().unwrap().ends_with(",red,front"), "{table}");
    assert!(lines.next().unwrap().ends_with(",blue,"), "{table}");
    let page = page(&cloud).await;
    assert_eq!(page.head["variables"], json!(["color", "view"]));
    assert_eq!(page.column(20)[0], json!(["red", "front"]));
    assert_eq!(page.column(20)[1], json!(["blue", null]));
}
