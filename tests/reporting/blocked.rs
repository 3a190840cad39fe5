//! A document that is needed to close a job is missing or damaged.

use darkroom::{
    chain::{CHAIN, THUMBNAILS},
    names::JobId,
};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{
    TestCloud,
    made_job::{JobSpec, MadeJob, make},
};

use super::{markers, notify, notify_of_job, status, watch};

const SPEC: JobSpec = JobSpec {
    items: 400,
    models: 2,
    shard_requests: 100,
    every_failed: 4,
};

/// The documents that are needed to close the job, below its folder.
const DOCUMENTS: [&str; 7] = [
    "plan.jsonl",
    "plan.lock",
    "models.toml",
    "shards/0002/state.json",
    "shards/0001/request.jsonl",
    "shards/0003/results/rest.jsonl",
    "shards/0000/results/rest.jsonl",
];

/// Creates the job.
async fn made(cloud: &TestCloud) -> MadeJob {
    make(&cloud.local, SPEC).await
}

/// Returns the key of an object of the job.
fn key(job: &JobId, name: &str) -> String {
    format!("jobs/{job}/{name}")
}

/// Counts the messages of all queues and of their dead-letter queues. The ones of `thumbs` do not
/// count: for a missing chunk, they end among the dead letters, from where an operator sends them
/// again.
fn messages(cloud: &TestCloud) -> usize {
    let count = |queue: &str| {
        let depth = cloud.local.queues.depth(queue).unwrap();
        depth.visible + depth.in_flight + depth.delayed
    };
    CHAIN
        .iter()
        .filter(|source| source.queue != THUMBNAILS)
        .map(|source| count(source.queue) + count(&source.dead_letters()))
        .sum()
}

/// Sends a message for every shard and runs the chain until it is idle.
async fn notify_and_run(cloud: &TestCloud, made: &MadeJob) {
    made.shards
        .iter()
        .for_each(|shard| notify(cloud, &made.job, *shard));
    cloud.run().await;
}

/// Checks that the status names the document, that nothing else was written, and that no message
/// waits.
async fn assert_blocked(cloud: &TestCloud, job: &JobId, document: &str) -> Value {
    let status = status(cloud, job).await;
    assert_eq!(status["phase"], "blocked", "{document}");
    let blocker = &status["blocker"];
    assert!(
        blocker["what"].as_str().unwrap().contains(document),
        "{document}: {blocker}"
    );
    assert!(
        blocker["what_to_do"].as_str().unwrap().contains("Restore"),
        "{blocker}"
    );
    assert_eq!(markers(cloud, job), [""; 0], "{document}");
    for output in [
        "results.jsonl",
        "results.csv",
        "retry.jsonl",
        "summary.json",
    ] {
        assert!(
            !cloud.exists(&key(job, output)),
            "{document}: {output} was written"
        );
    }
    assert_eq!(messages(cloud), 0, "{document}");
    status
}

/// Damages a document, checks that the job is blocked, restores the document, and checks that
/// `wake` leads to the end of the job.
async fn assert_blocks_until_restored(
    name: &str,
    damage: impl AsyncFn(&TestCloud, &str),
    wake: impl AsyncFn(&TestCloud, &MadeJob),
) {
    let cloud = TestCloud::new();
    let made = made(&cloud).await;
    let key = key(&made.job, name);
    let content = cloud.text(&key).await;
    damage(&cloud, &key).await;
    notify_and_run(&cloud, &made).await;
    let reported = assert_blocked(&cloud, &made.job, name).await;
    if name.ends_with("state.json") {
        // The other shards are recorded anyway, because their messages are not redelivered.
        assert_eq!(
            reported["shards"].as_array().unwrap().len(),
            made.shards.len() - 1,
            "{reported}"
        );
    }

    // Further messages change nothing and read only the blocking document, and no message waits.
    let requests = watch(&cloud);
    notify_and_run(&cloud, &made).await;
    assert_eq!(assert_blocked(&cloud, &made.job, name).await, reported);
    assert_eq!(
        super::count(&requests, "GET plan.jsonl") + super::count(&requests, "GET chunk"),
        0,
        "{name}: the job was read again"
    );

    // Sweeps count the job, and send no message while nothing has changed.
    for _ in 0..5 {
        cloud.advance(SignedDuration::from_hours(1));
        let swept = cloud.sweep().await;
        assert_eq!(
            (swept.blocked, swept.stale, messages(&cloud)),
            (1, 0, 0),
            "{name}"
        );
    }

    cloud.put(&key, content).await;
    wake(&cloud, &made).await;
    cloud.run().await;
    let status = status(&cloud, &made.job).await;
    assert_eq!(
        (&status["phase"], &status["blocker"]),
        (&json!("partial"), &Value::Null),
        "{name}"
    );
    assert_eq!(markers(&cloud, &made.job), ["_PARTIAL"], "{name}");
    let results = cloud
        .lines(&format!("jobs/{}/results.jsonl", made.job))
        .await;
    assert!(
        results
            .iter()
            .all(|line| line["error"]["code"] != "MISSING"),
        "{name}"
    );
    assert_eq!(
        (results.len(), cloud.sweep().await.blocked, messages(&cloud)),
        (400, 0, 0),
        "{name}"
    );
}

async fn by_a_sweep(cloud: &TestCloud, _: &MadeJob) {
    cloud.sweep().await;
    assert_eq!(messages(cloud), 1);
}

async fn by_a_message(cloud: &TestCloud, made: &MadeJob) {
    notify(cloud, &made.job, made.shards[0]);
}

#[tokio::test]
async fn a_missing_document_is_reported_once_and_its_return_closes_the_job() {
    for name in DOCUMENTS {
        let remove =
            async |cloud: &TestCloud, key: &str| cloud.local.bucket.delete(key).await.unwrap();
        assert_blocks_until_restored(name, remove, by_a_sweep).await;
        assert_blocks_until_restored(name, remove, by_a_message).await;
    }
}

/// Returns a document with one line replaced or removed.
fn with_line(text: &str, number: usize, line: Option<&str>) -> String {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(at, old)| if at == number { line } else { Some(old) })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Damages the content of a document.
type Harm = fn(&str) -> String;

#[tokio::test]
async fn a_damaged_document_never_counts_as_requests_without_a_result() {
    let harms: [(&str, Harm); 6] = [
        ("cut off", |text| text[..text.len() / 2].to_owned()),
        ("cut off at a line", |text| with_line(text, 7, None)),
        ("a line too many", |text| {
            format!("{text}{}\n", text.lines().next().unwrap())
        }),
        ("a line that can't be read", |text| {
            with_line(text, 7, Some("{\"key\": \"stone-1\""))
        }),
        ("binary", |_| "\u{0}\u{1}\u{2}\n".repeat(100)),
        ("empty", |_| String::new()),
    ];
    for name in DOCUMENTS {
        for (how, harm) in harms {
            let is_lines = name.ends_with(".jsonl");
            // A repeated line of a chunk adds no result, but the state has the number of lines.
            let is_harmless = how == "a line too many" && name.contains("/results/")
                || name.ends_with("request.jsonl")
                    && how != "binary"
                    && how != "empty"
                    && how != "cut off"
                || !is_lines && how.contains("line");
            if !is_harmless {
                let damage = async |cloud: &TestCloud, key: &str| {
                    let text = cloud.text(key).await;
                    cloud.put(key, harm(&text)).await;
                };
                println!("{name}: {how}");
                assert_blocks_until_restored(name, damage, by_a_sweep).await;
            }
        }
    }
}

#[tokio::test]
async fn a_plan_whose_lines_do_not_match_its_shards_is_damaged() {
    for (from, to) in [
        ("\"shard\":\"0000\"", "\"shard\":\"0099\""),
        ("\"shard\":\"0000\"", "\"shard\":\"0001\""),
    ] {
        let damage = async |cloud: &TestCloud, key: &str| {
            let text = cloud.text(key).await;
            cloud.put(key, text.replacen(from, to, 1)).await;
        };
        assert_blocks_until_restored("plan.jsonl", damage, by_a_sweep).await;
    }
}

/// An operator's message has every document read again, even if the blocking one seems unchanged.
#[tokio::test]
async fn a_message_about_the_whole_job_reads_everything_again() {
    let cloud = TestCloud::new();
    let made = made(&cloud).await;
    let key = key(&made.job, "plan.jsonl");
    let content = cloud.text(&key).await;
    cloud.local.bucket.delete(&key).await.unwrap();
    notify_and_run(&cloud, &made).await;
    let requests = watch(&cloud);
    notify_of_job(&cloud, &made.job);
    cloud.run().await;
    assert_eq!(
        (super::count(&requests, "GET plan.jsonl"), messages(&cloud)),
        (1, 0)
    );
    cloud.put(&key, content).await;
    notify_of_job(&cloud, &made.job);
    cloud.run().await;
    assert_eq!(markers(&cloud, &made.job), ["_PARTIAL"]);
}

/// Two documents are missing, and the second is reported once the first is restored.
#[tokio::test]
async fn the_next_missing_document_is_reported_when_the_first_is_restored() {
    let cloud = TestCloud::new();
    let made = made(&cloud).await;
    let (plan, lock) = (key(&made.job, "plan.jsonl"), key(&made.job, "plan.lock"));
    let contents = [cloud.text(&lock).await, cloud.text(&plan).await];
    cloud.local.bucket.delete(&plan).await.unwrap();
    cloud.local.bucket.delete(&lock).await.unwrap();
    notify_and_run(&cloud, &made).await;
    assert_blocked(&cloud, &made.job, "plan.lock").await;
    cloud.put(&lock, contents[0].as_str()).await;
    notify(&cloud, &made.job, made.shards[0]);
    cloud.run().await;
    assert_blocked(&cloud, &made.job, "plan.jsonl").await;
    cloud.put(&plan, contents[1].as_str()).await;
    notify(&cloud, &made.job, made.shards[0]);
    cloud.run().await;
    assert_eq!(markers(&cloud, &made.job), ["_PARTIAL"]);
}

/// Runs a job through the whole chain and removes its report. Returns the earlier status as well.
async fn collected() -> (TestCloud, JobId, String) {
    let cloud = TestCloud::builder()
        .scenario(Scenario {
            refuse_percent: 100,
            ..Scenario::default()
        })
        .build();
    let manifest = r#"[{"key": "a", "prompt": "a stone"}, {"key": "b", "prompt": "a leaf"}]"#;
    cloud.put("inbox/two.json", manifest).await;
    cloud.run().await;
    let job = JobId::new(
        cloud.jobs()[0]
            .trim_start_matches("jobs/")
            .trim_end_matches('/'),
    );
    let status = key(&job, "job.json");
    let content = cloud.text(&status).await;
    for output in [
        "_FAILED",
        "results.jsonl",
        "results.csv",
        "retry.jsonl",
        "summary.json",
    ] {
        cloud.local.bucket.delete(&key(&job, output)).await.unwrap();
    }
    cloud.put(&format!("stack/open/{job}"), "").await;
    // The status is as it was before the job was closed.
    let mut earlier: Value = serde_json::from_str(&content).unwrap();
    earlier["phase"] = json!("waiting");
    earlier["shards"] = json!([]);
    (cloud, job, earlier.to_string())
}

#[tokio::test]
async fn a_removed_or_damaged_job_json_is_reported_and_may_be_restored() {
    for damage in [
        None,
        Some(""),
        Some("no JSON"),
        Some("[1, 2]"),
        Some("{\"job\":\"two"),
    ] {
        let (cloud, job, earlier) = collected().await;
        let status_key = key(&job, "job.json");
        match damage {
            None => cloud.local.bucket.delete(&status_key).await.unwrap(),
            Some(text) => cloud.put(&status_key, text).await,
        }
        notify(&cloud, &job, "0000".parse().unwrap());
        cloud.run().await;
        let reported = assert_blocked(&cloud, &job, "job.json").await;
        assert_eq!(reported["manifest"], "s3://darkroom/inbox/two.json");
        assert!(
            reported["blocker"]["what_to_do"]
                .as_str()
                .unwrap()
                .contains("inbox/two.json"),
            "{reported}"
        );
        let swept = cloud.sweep().await;
        assert_eq!((swept.blocked, swept.stale, messages(&cloud)), (1, 0, 0));

        cloud.put(&status_key, earlier).await;
        cloud.advance(SignedDuration::from_hours(3));
        cloud.sweep().await;
        cloud.run().await;
        assert_eq!(
            (markers(&cloud, &job), cloud.sweep().await.blocked),
            (vec!["_FAILED".to_owned()], 0),
            "{damage:?}"
        );
    }
}

#[tokio::test]
async fn a_removed_job_json_is_recreated_when_the_manifest_is_uploaded_again() {
    let (cloud, job, _) = collected().await;
    cloud
        .local
        .bucket
        .delete(&key(&job, "job.json"))
        .await
        .unwrap();
    notify(&cloud, &job, "0000".parse().unwrap());
    cloud.run().await;
    assert_blocked(&cloud, &job, "job.json").await;
    let created = cloud.gemini.batches_created();
    let manifest = r#"[{"key": "a", "prompt": "a stone"}, {"key": "b", "prompt": "a leaf"}]"#;
    cloud.put("inbox/two.json", manifest).await;
    cloud.run().await;
    cloud.advance(SignedDuration::from_hours(3));
    cloud.sweep().await;
    cloud.run().await;
    assert_eq!(markers(&cloud, &job), ["_FAILED"]);
    assert_eq!(
        cloud.gemini.batches_created(),
        created,
        "something was bought again"
    );
}

/// A `job.json` of another version of Darkroom is not overwritten.
#[tokio::test]
async fn a_job_json_of_another_version_is_left_alone() {
    let (cloud, job, _) = collected().await;
    let newer = r#"{"job":"two","v":9,"everything":"is called otherwise"}"#;
    cloud.put(&key(&job, "job.json"), newer).await;
    notify(&cloud, &job, "0000".parse().unwrap());
    super::report(&cloud, super::event(&cloud).unwrap()).await;
    assert_eq!(cloud.text(&key(&job, "job.json")).await, newer);
    assert_eq!(messages(&cloud), 1, "the message was acknowledged");
}
