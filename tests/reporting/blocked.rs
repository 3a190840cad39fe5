//! A document that a job can't be closed without is missing or damaged.

use darkroom::{
    chain::{CHAIN, FUNCTION_TIMEOUT},
    names::JobId,
};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sweep::handler::Swept;
use tests::TestCloud;

use super::{
    made::{Made, Spec, make},
    markers, status, tell, tell_of_all, watch,
};

const SPEC: Spec = Spec {
    items: 400,
    models: 2,
    shard_requests: 100,
    every_failed: 4,
};

/// The documents of a made job that closing needs, below its folder.
const DOCUMENTS: [&str; 7] = [
    "plan.jsonl",
    "plan.lock",
    "models.toml",
    "shards/0002/state.json",
    "shards/0001/request.jsonl",
    "shards/0003/results/rest.jsonl",
    "shards/0000/results/rest.jsonl",
];

async fn made(cloud: &TestCloud) -> Made {
    make(cloud, SPEC).await
}

fn key(job: &JobId, name: &str) -> String {
    format!("jobs/{job}/{name}")
}

async fn sweep(cloud: &TestCloud) -> Swept {
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    sweep::handler::handle(&cloud.local.deps.sweep, deadline)
        .await
        .unwrap()
}

/// Messages of all queues and of their dead letters.
fn messages(cloud: &TestCloud) -> usize {
    let count = |queue: &str| {
        let depth = cloud.local.queues.depth(queue).unwrap();
        depth.visible + depth.in_flight + depth.delayed
    };
    CHAIN
        .iter()
        .map(|source| count(source.queue) + count(&source.dead_letters()))
        .sum()
}

/// Tells of every shard, and runs until nothing happens any more.
async fn tell_and_run(cloud: &TestCloud, made: &Made) {
    made.shards
        .iter()
        .for_each(|shard| tell(cloud, &made.job, *shard));
    cloud.run().await;
}

/// Checks that people are told of the document, that nothing else was written, and that nothing
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

/// Does something to a document, looks at what follows, puts it back, and has the job closed by
/// `wake`.
async fn assert_blocks_until_restored(
    name: &str,
    harm: impl AsyncFn(&TestCloud, &str),
    wake: impl AsyncFn(&TestCloud, &Made),
) {
    let cloud = TestCloud::new();
    let made = made(&cloud).await;
    let key = key(&made.job, name);
    let content = cloud.text(&key).await;
    harm(&cloud, &key).await;
    tell_and_run(&cloud, &made).await;
    let told = assert_blocked(&cloud, &made.job, name).await;
    if name.ends_with("state.json") {
        // The other shards are told of all the same: their messages don't come again.
        assert_eq!(
            told["shards"].as_array().unwrap().len(),
            made.shards.len() - 1,
            "{told}"
        );
    }

    // Told again, it changes nothing, reads next to nothing, and nothing waits.
    let asked = watch(&cloud);
    tell_and_run(&cloud, &made).await;
    assert_eq!(assert_blocked(&cloud, &made.job, name).await, told);
    assert_eq!(
        super::count(&asked, "GET plan.jsonl") + super::count(&asked, "GET part"),
        0,
        "{name}: closed again"
    );

    // Sweeps count it, and send no message for as long as nothing has changed.
    for _ in 0..5 {
        cloud.advance(SignedDuration::from_hours(1));
        let swept = sweep(&cloud).await;
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
        (results.len(), sweep(&cloud).await.blocked, messages(&cloud)),
        (400, 0, 0),
        "{name}"
    );
}

async fn by_a_sweep(cloud: &TestCloud, _: &Made) {
    sweep(cloud).await;
    assert_eq!(messages(cloud), 1);
}

async fn by_a_message(cloud: &TestCloud, made: &Made) {
    tell(cloud, &made.job, made.shards[0]);
}

#[tokio::test]
async fn a_missing_document_is_told_once_and_its_return_closes_the_job() {
    for name in DOCUMENTS {
        let remove =
            async |cloud: &TestCloud, key: &str| cloud.local.bucket.delete(key).await.unwrap();
        assert_blocks_until_restored(name, remove, by_a_sweep).await;
        assert_blocks_until_restored(name, remove, by_a_message).await;
    }
}

/// The lines of a document with one of them changed, or left out.
fn with_line(text: &str, number: usize, line: Option<&str>) -> String {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(at, old)| if at == number { line } else { Some(old) })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// What a document holds after something has harmed it.
type Harm = fn(&str) -> String;

#[tokio::test]
async fn a_damaged_document_is_never_taken_for_requests_without_a_result() {
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
            // A line more of a part says nothing new; the state will say how many lines there are.
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
async fn a_plan_whose_lines_are_not_those_of_its_shards_is_damaged() {
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

/// A person who asks has it looked at at once, though the document seems to be as it was.
#[tokio::test]
async fn a_look_at_the_whole_job_reads_everything_again() {
    let cloud = TestCloud::new();
    let made = made(&cloud).await;
    let key = key(&made.job, "plan.jsonl");
    let content = cloud.text(&key).await;
    cloud.local.bucket.delete(&key).await.unwrap();
    tell_and_run(&cloud, &made).await;
    let asked = watch(&cloud);
    tell_of_all(&cloud, &made.job);
    cloud.run().await;
    assert_eq!(
        (super::count(&asked, "GET plan.jsonl"), messages(&cloud)),
        (1, 0)
    );
    cloud.put(&key, content).await;
    tell_of_all(&cloud, &made.job);
    cloud.run().await;
    assert_eq!(markers(&cloud, &made.job), ["_PARTIAL"]);
}

/// Two documents are missing: the second is told once the first is back.
#[tokio::test]
async fn the_next_document_is_told_when_the_first_is_back() {
    let cloud = TestCloud::new();
    let made = made(&cloud).await;
    let (plan, lock) = (key(&made.job, "plan.jsonl"), key(&made.job, "plan.lock"));
    let contents = [cloud.text(&lock).await, cloud.text(&plan).await];
    cloud.local.bucket.delete(&plan).await.unwrap();
    cloud.local.bucket.delete(&lock).await.unwrap();
    tell_and_run(&cloud, &made).await;
    assert_blocked(&cloud, &made.job, "plan.lock").await;
    cloud.put(&lock, contents[0].as_str()).await;
    tell(&cloud, &made.job, made.shards[0]);
    cloud.run().await;
    assert_blocked(&cloud, &made.job, "plan.jsonl").await;
    cloud.put(&plan, contents[1].as_str()).await;
    tell(&cloud, &made.job, made.shards[0]);
    cloud.run().await;
    assert_eq!(markers(&cloud, &made.job), ["_PARTIAL"]);
}

/// A job of the whole chain that is over, but for its report.
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
    // As it was before the job was closed.
    let mut earlier: Value = serde_json::from_str(&content).unwrap();
    earlier["phase"] = json!("waiting");
    earlier["shards"] = json!([]);
    (cloud, job, earlier.to_string())
}

#[tokio::test]
async fn a_job_json_that_was_removed_or_damaged_says_so_and_may_be_restored() {
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
        tell(&cloud, &job, "0000".parse().unwrap());
        cloud.run().await;
        let told = assert_blocked(&cloud, &job, "job.json").await;
        assert_eq!(told["manifest"], "s3://darkroom/inbox/two.json");
        assert!(
            told["blocker"]["what_to_do"]
                .as_str()
                .unwrap()
                .contains("inbox/two.json"),
            "{told}"
        );
        let swept = sweep(&cloud).await;
        assert_eq!((swept.blocked, swept.stale, messages(&cloud)), (1, 0, 0));

        cloud.put(&status_key, earlier).await;
        cloud.advance(SignedDuration::from_hours(3));
        sweep(&cloud).await;
        cloud.run().await;
        assert_eq!(
            (markers(&cloud, &job), sweep(&cloud).await.blocked),
            (vec!["_FAILED".to_owned()], 0),
            "{damage:?}"
        );
    }
}

#[tokio::test]
async fn a_job_json_that_was_removed_comes_back_when_the_manifest_is_uploaded_again() {
    let (cloud, job, _) = collected().await;
    cloud
        .local
        .bucket
        .delete(&key(&job, "job.json"))
        .await
        .unwrap();
    tell(&cloud, &job, "0000".parse().unwrap());
    cloud.run().await;
    assert_blocked(&cloud, &job, "job.json").await;
    let created = cloud.gemini.batches_created();
    let manifest = r#"[{"key": "a", "prompt": "a stone"}, {"key": "b", "prompt": "a leaf"}]"#;
    cloud.put("inbox/two.json", manifest).await;
    cloud.run().await;
    cloud.advance(SignedDuration::from_hours(3));
    sweep(&cloud).await;
    cloud.run().await;
    assert_eq!(markers(&cloud, &job), ["_FAILED"]);
    assert_eq!(
        cloud.gemini.batches_created(),
        created,
        "something was bought again"
    );
}

/// `job.json` of another version of Darkroom is not written over.
#[tokio::test]
async fn a_job_json_of_another_form_is_left_alone() {
    let (cloud, job, _) = collected().await;
    let newer = r#"{"job":"two","v":9,"everything":"is called otherwise"}"#;
    cloud.put(&key(&job, "job.json"), newer).await;
    tell(&cloud, &job, "0000".parse().unwrap());
    super::report(&cloud, super::event(&cloud).unwrap()).await;
    assert_eq!(cloud.text(&key(&job, "job.json")).await, newer);
    assert_eq!(messages(&cloud), 1, "the message was acknowledged");
}
