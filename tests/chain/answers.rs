//! Every key ends as exactly one result, whatever Gemini responds.

use std::{collections::BTreeSet, future::pending};

use base64_simd::STANDARD;
use cli::host::{self, WaitMode};
use darkroom::{
    job::JobSettings,
    settings::MaxRounds,
    status::{JobStatus, ShardPhase, ShardStatus},
};
use gemini_sim::Scenario;
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{TINY_SIDE, TestCloud, wire::Fault};

use super::stones;

/// Returns a scenario with every kind of failure at once.
fn unreliable() -> Scenario {
    Scenario {
        seed: 7,
        refuse_percent: 10,
        internal_error_percent: 12,
        missing_percent: 6,
        repeated_percent: 8,
        thoughts_percent: 20,
        shuffle: true,
        ..Scenario::default()
    }
}

fn of_status<'a>(results: &'a [Value], status: &str) -> Vec<&'a Value> {
    results
        .iter()
        .filter(|line| line["status"] == status)
        .collect()
}

fn keys(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn rounds_make_an_image_of_every_key_that_can_succeed() {
    // With this number of rounds, no key fails in each.
    let settings = JobSettings {
        max_rounds: MaxRounds::new(9).unwrap(),
        ..JobSettings::default()
    };
    let cloud = TestCloud::builder()
        .scenario(unreliable())
        .settings(settings)
        .build();
    cloud.put("inbox/stones.jsonl", stones(120)).await;
    cloud.run().await;
    let job = cloud.job();
    let results = job.lines("results.jsonl").await;
    assert_eq!(keys(&results), keys(&job.lines("plan.jsonl").await));
    let (images, failed) = (
        of_status(&results, "succeeded"),
        of_status(&results, "failed"),
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(
        images.len() > 80 && images.len() < 120,
        "{} images",
        images.len()
    );
    assert!(
        images.iter().any(|line| line["attempts"] == 2),
        "no round was needed"
    );
    for image in images {
        let key = image["image"]["uri"]
            .as_str()
            .unwrap()
            .trim_start_matches("s3://darkroom/")
            .to_owned();
        assert!(
            key.ends_with(&format!("images/{}.jpg", image["key"].as_str().unwrap())),
            "{key}"
        );
        assert!(cloud.path_of(&key).is_file());
    }
    let summary = job.json("summary.json").await;
    assert!(
        summary["integrity"]["repeated_keys"].as_u64().unwrap() > 0,
        "{summary}"
    );
    assert_eq!(summary["counts"]["expected"], 120);
}

#[tokio::test]
async fn without_rounds_the_retry_manifest_finishes_the_rest() {
    let settings = JobSettings {
        max_rounds: MaxRounds::new(1).unwrap(),
        ..JobSettings::default()
    };
    let cloud = TestCloud::builder()
        .scenario(unreliable())
        .settings(settings)
        .build();
    cloud.put("inbox/stones.jsonl", stones(80)).await;
    cloud.run().await;
    let first = cloud.jobs()[0].clone();
    assert!(cloud.exists(&format!("{first}_PARTIAL")));
    let results = cloud.lines(&format!("{first}results.jsonl")).await;
    let missing: Vec<&str> = results
        .iter()
        .filter(|line| line["status"] != "succeeded")
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    assert!(!missing.is_empty());

    let retry = cloud.text(&format!("{first}retry.jsonl")).await;
    cloud.put("inbox/retry.jsonl", retry).await;
    cloud.run().await;
    let second = cloud
        .jobs()
        .into_iter()
        .find(|job| job.starts_with("jobs/retry-"))
        .unwrap();
    let retried = cloud.lines(&format!("{second}plan.jsonl")).await;
    assert_eq!(keys(&retried), missing);
}

#[tokio::test]
async fn a_refused_prompt_is_a_result_and_only_an_empty_response_is_retried() {
    let scenario = Scenario {
        refuse_percent: 100,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder().scenario(scenario).build();
    cloud.put("inbox/stones.jsonl", stones(60)).await;
    cloud.run().await;
    let job = cloud.job();
    assert_eq!(cloud.gemini.batches_created(), 3);
    assert!(job.has("_FAILED"));
    let results = job.lines("results.jsonl").await;
    let statuses: BTreeSet<&str> = results
        .iter()
        .map(|line| line["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, BTreeSet::from(["blocked", "no_image"]));
    // A key with three attempts was retryable after the second; a key with one has a permanent
    // error.
    let asked_again: Vec<_> = results
        .iter()
        .filter(|line| line["attempts"] != 1)
        .collect();
    assert!(
        !asked_again.is_empty() && asked_again.len() < 45,
        "{} of 60",
        asked_again.len()
    );
    for line in &results {
        let is_final = line["error"]["retryable"] == false;
        assert!(is_final || line["attempts"] == 3, "{line}");
        assert!(
            line["error"]["code"] != "IMAGE_SAFETY" || is_final,
            "{line}"
        );
    }
    let once = results.iter().filter(|line| line["attempts"] == 1);
    assert!(
        once.clone()
            .any(|line| line["error"]["code"] == "IMAGE_SAFETY"),
        "{results:?}"
    );
    assert_eq!(job.lines("retry.jsonl").await.len(), 60);
}

/// Returns a scenario in which a batch takes `hours` hours.
fn slow(hours: u32) -> Scenario {
    let seconds = hours * 60 * 60;
    Scenario {
        shortest_batch_seconds: seconds,
        longest_batch_seconds: seconds,
        image_side: Some(TINY_SIDE),
        ..Scenario::default()
    }
}

#[tokio::test]
async fn a_batch_past_its_deadline_is_cancelled_and_salvaged_and_the_rest_is_retried() {
    let mut ends = BTreeSet::new();
    for seed in 0..6 {
        let cloud = TestCloud::builder()
            .scenario(Scenario { seed, ..slow(60) })
            .build();
        cloud.put("inbox/stones.jsonl", stones(8)).await;
        cloud.run().await;
        let job = cloud.job();
        assert!(cloud.wire.count(":cancel") >= 1);
        let first = job.json("shards/0000/state.json").await;
        ends.insert(
            first["phase"]["ended"]["state"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        let results = job.lines("results.jsonl").await;
        assert_eq!(results.len(), 8);
        let (images, cancelled) = (
            of_status(&results, "succeeded"),
            of_status(&results, "cancelled"),
        );
        assert_eq!(images.len() + cancelled.len(), 8);
        assert!(
            images.iter().any(|line| line["attempts"] == 1),
            "nothing was salvaged"
        );
        assert!(
            images.iter().any(|line| line["attempts"] == 2),
            "nothing was retried"
        );
    }
    let both = ["CANCELLED", "SUCCEEDED"].map(str::to_owned);
    assert_eq!(
        ends,
        BTreeSet::from(both),
        "a cancelled batch ends either way"
    );
}

#[tokio::test]
async fn an_expired_batch_is_retried_in_a_round() {
    let cloud = TestCloud::builder().scenario(slow(200)).build();
    cloud.put("inbox/stones.jsonl", stones(4)).await;
    // The cancel is lost, until Gemini lets the batch expire.
    cloud.wire.decide(|sent| {
        let answer = || Fault::Answered(StatusCode::OK, "{}".to_owned());
        sent.path.ends_with(":cancel").then(answer)
    });
    cloud.run().await;
    assert_eq!(cloud.gemini.batches_created(), 3);
    let results = cloud.job().lines("results.jsonl").await;
    assert!(
        results.len() == 4 && results.iter().all(|line| line["status"] == "expired"),
        "{results:?}"
    );
    assert!(
        results.iter().all(|line| line["attempts"] == 3),
        "{results:?}"
    );
}

/// Responds to every request for a batch with an end that has this metadata.
fn ended_badly(cloud: &TestCloud, metadata: &'static str) {
    cloud.wire.decide(move |sent| {
        let asked = sent.method == "GET" && sent.path.contains("/batches/");
        let body = format!(
            r#"{{"name":"{}","done":true,{metadata}}}"#,
            sent.path.trim_start_matches("/v1beta/")
        );
        asked.then_some(Fault::Answered(StatusCode::OK, body))
    });
}

#[tokio::test]
async fn a_failed_batch_gives_every_key_the_reason_of_gemini() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(2)).await;
    ended_badly(
        &cloud,
        r#""metadata":{"state":"BATCH_STATE_FAILED"},"error":{"code":3,"message":"no such model"}"#,
    );
    cloud.run().await;
    assert_eq!(cloud.gemini.batches_created(), 1);
    let results = cloud.job().lines("results.jsonl").await;
    for line in results {
        assert_eq!(
            (&line["status"], &line["error"]["code"]),
            (&"failed".into(), &"INVALID_ARGUMENT".into())
        );
        assert!(
            line["error"]["message"]
                .as_str()
                .unwrap()
                .contains("no such model"),
            "{line}"
        );
    }
}

/// Runs until a shard of the job is held. Returns the reason.
async fn held(cloud: &TestCloud) -> String {
    let reason = async || {
        let job = cloud.jobs().into_iter().next()?;
        let status = cloud.read(&format!("{job}job.json")).await?;
        let status: JobStatus = serde_json::from_str(&status).unwrap();
        let held = |shard: &ShardStatus| shard.phase == ShardPhase::Held;
        status.shards.into_iter().find(held)?.note
    };
    let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(reason().await.is_some())
    });
    assert_eq!(stopped.await.unwrap(), host::StopReason::ConditionMet);
    reason().await.unwrap()
}

/// Responses for a batch that has ended, without the location of its output.
const WITHOUT_OUTPUT: [&str; 5] = [
    r#""done":true,"metadata":{"state":"BATCH_STATE_SUCCEEDED","batchStats":{"requestCount":"2","successfulRequestCount":"2"}}"#,
    r#""metadata":{"state":"BATCH_STATE_SUCCEEDED"}"#,
    r#""metadata":{"state":"JOB_STATE_SUCCEEDED","batchStats":{"requestCount":"2","failedRequestCount":"2"}}"#,
    r#""done":true,"response":{}"#,
    r#""done":true,"metadata":{"state":"BATCH_STATE_CANCELLED","batchStats":{"requestCount":"2","successfulRequestCount":"1"}}"#,
];

#[tokio::test]
async fn a_batch_without_the_location_of_its_output_is_polled_until_the_images_arrive() {
    for answer in WITHOUT_OUTPUT {
        for minutes in [1, 59, 60 * 30] {
            let cloud = TestCloud::new();
            cloud.put("inbox/stones.jsonl", stones(2)).await;
            let (clock, mut since) = (cloud.local.time.clone(), None);
            cloud.wire.decide(move |sent| {
                let asked = sent.method == "GET" && sent.path.contains("/batches/");
                let late = clock
                    .now()
                    .duration_since(*since.get_or_insert(clock.now()));
                // While the batch runs, it is reported as running.
                let is_late = asked && late >= SignedDuration::from_hours(3);
                let is_late = is_late
                    && late < SignedDuration::from_hours(3) + SignedDuration::from_mins(minutes);
                let name = sent.path.trim_start_matches("/v1beta/");
                let early = asked && late < SignedDuration::from_hours(3);
                let running = r#""metadata":{"state":"BATCH_STATE_RUNNING"}"#;
                let body = |members| {
                    Fault::Answered(StatusCode::OK, format!(r#"{{"name":"{name}",{members}}}"#))
                };
                if early {
                    Some(body(running))
                } else {
                    is_late.then(|| body(answer))
                }
            });
            cloud.run().await;
            assert!(cloud.job().has("_SUCCESS"), "{answer}, {minutes}");
            assert_eq!(cloud.gemini.batches_created(), 1, "{answer}, {minutes}");
        }
    }
}

#[tokio::test]
async fn a_batch_whose_output_is_missing_waits_for_an_operator_who_may_end_it() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(2)).await;
    without_output(&cloud);
    let reason = held(&cloud).await;
    assert!(
        reason.contains("batches/") && reason.contains("six weeks"),
        "{reason}"
    );
    cloud.job().request("cancel").await;
    cloud.run().await;
    let job = cloud.job();
    assert_eq!(cloud.gemini.batches_created(), 1);
    assert!(job.has("_CANCELLED"));
    let summary = job.json("summary.json").await;
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 2, "{summary}");
    assert!(
        summary["shards"][0]["batch_name"]
            .as_str()
            .unwrap()
            .starts_with("batches/"),
        "{summary}"
    );
}

#[tokio::test]
async fn an_operator_may_buy_images_again_whose_output_is_missing() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(2)).await;
    without_output(&cloud);
    held(&cloud).await;
    cloud.wire.decide(|_| None);
    // The output exists by now, but the operator's decision takes precedence.
    cloud.job().request("approve").await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 2);
}

fn without_output(cloud: &TestCloud) {
    cloud.wire.decide(|sent| {
        let asked = sent.method == "GET" && sent.path.contains("/batches/");
        let body = format!(
            r#"{{"name":"{}",{}}}"#,
            sent.path.trim_start_matches("/v1beta/"),
            WITHOUT_OUTPUT[0]
        );
        asked.then_some(Fault::Answered(StatusCode::OK, body))
    });
}

#[tokio::test]
async fn a_held_shard_continues_when_gemini_responds_again() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(2)).await;
    let mut refusals = 12;
    cloud.wire.decide(move |sent| {
        let refused = sent.method == "GET" && sent.path.contains("/batches/") && refusals > 0;
        refusals -= i32::from(refused);
        refused.then(|| Fault::Answered(StatusCode::SERVICE_UNAVAILABLE, "{}".to_owned()))
    });
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(cloud.gemini.batches_created(), 1);
}

#[tokio::test]
async fn a_repeated_refusal_is_counted_once() {
    let scenario = Scenario {
        refuse_percent: 100,
        repeated_percent: 100,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder().scenario(scenario).build();
    cloud.put("inbox/stones.jsonl", stones(9)).await;
    cloud.run().await;
    let summary = cloud.job().json("summary.json").await;
    let rounds = summary["cost"]["by_round"].as_array().unwrap();
    let asked: u64 = rounds
        .iter()
        .map(|round| round["requests"].as_u64().unwrap())
        .sum();
    assert!(asked >= 9, "{summary}");
    assert_eq!(summary["integrity"]["repeated_keys"], asked);
    let billed = cloud.gemini.billed().unwrap();
    assert!(
        (summary["cost"]["actual_usd"].as_f64().unwrap() * 1e9 - billed as f64).abs() <= 1_000.0,
        "{summary} {billed}"
    );
}

#[tokio::test]
async fn cost_is_what_gemini_billed_with_refusals_and_rounds() {
    // A line that is missing from the output is billed at an unknown amount.
    let scenario = Scenario {
        missing_percent: 0,
        ..unreliable()
    };
    let cloud = TestCloud::builder().scenario(scenario).build();
    cloud.put_sample("catalog.csv").await;
    cloud.run().await;
    let cost = cloud.job().json("summary.json").await["cost"].clone();
    let (actual, interactive) = (
        cost["actual_usd"].as_f64().unwrap(),
        cost["interactive_usd"].as_f64().unwrap(),
    );
    let billed = cloud.gemini.billed().unwrap();
    assert!(
        (actual * 1e9 - billed as f64).abs() <= 1_000.0,
        "{actual} is not {billed} billionths"
    );
    assert!((interactive - 2.0 * actual).abs() < 1e-5, "{cost}");
}

/// Returns a line of a responses file with the header of a PNG of this size as its image.
fn image_line(key: &str, width: u32, height: u32) -> String {
    let header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    let png = [
        header.as_slice(),
        &width.to_be_bytes(),
        &height.to_be_bytes(),
        b"\x08\x02\0\0\0",
    ]
    .concat();
    let part = json!({ "inlineData": { "mimeType": "image/png", "data": STANDARD.encode_to_string(png) } });
    json!({ "key": key, "response": { "candidates": [{ "content": { "parts": [part] } }] } })
        .to_string()
}

#[tokio::test]
async fn results_that_differ_from_their_request_are_counted_and_reported() {
    let settings = JobSettings {
        max_rounds: MaxRounds::new(1).unwrap(),
        ..JobSettings::default()
    };
    let cloud = TestCloud::builder().settings(settings).build();
    let items = [
        json!({ "key": "fits", "prompt": "p", "aspect_ratio": "16:9", "image_size": "2K" }),
        json!({ "key": "small", "prompt": "p", "image_size": "2K" }),
        json!({ "key": "large", "prompt": "p", "image_size": "1K" }),
        json!({ "key": "square", "prompt": "p", "aspect_ratio": "16:9" }),
        json!({ "key": "small-square", "prompt": "p", "aspect_ratio": "16:9", "image_size": "4K" }),
        json!({ "key": "twice", "prompt": "p" }),
        json!({ "key": "gone", "prompt": "p" }),
    ];
    let lines = [
        image_line("fits", 2816, 1536),
        image_line("small", 1024, 1024),
        image_line("large", 2048, 2048),
        image_line("square", 1024, 1024),
        image_line("small-square", 1024, 1024),
        image_line("twice", 1024, 1024),
        image_line("twice", 1024, 1024),
        image_line("unknown", 1024, 1024),
        "this is no JSON".to_owned(),
        "{}".to_owned(),
    ];
    let output = lines.join("\n");
    cloud.wire.decide(move |sent| {
        sent.path
            .ends_with(":download")
            .then(|| Fault::Answered(StatusCode::OK, output.clone()))
    });
    let manifest: String = items.iter().map(|item| format!("{item}\n")).collect();
    cloud.put("inbox/stones.jsonl", manifest).await;
    cloud.run().await;

    let job = cloud.job();
    let summary = job.json("summary.json").await;
    let wanted = json!({
        "unknown_keys": 1, "repeated_keys": 1, "unreadable_lines": 2, "skipped_lines": 0, "missing": 1,
        "wrong_ratio": 2, "wrong_size": 3,
    });
    assert_eq!(summary["integrity"], wanted);
    let warnings: Vec<(String, Vec<String>)> = job
        .lines("results.jsonl")
        .await
        .iter()
        .map(|line| {
            let warnings = line["warnings"].as_array().into_iter().flatten();
            let asked = warnings
                .map(|text| text.as_str().unwrap())
                .filter(|text| text.starts_with("asked"));
            (
                line["key"].as_str().unwrap().to_owned(),
                asked.map(str::to_owned).collect::<Vec<_>>(),
            )
        })
        .filter(|(_, warnings)| !warnings.is_empty())
        .collect();
    let told = |key: &str, warnings: &[&str]| {
        (
            key.to_owned(),
            warnings.iter().map(|text| (*text).to_owned()).collect(),
        )
    };
    let wanted = [
        told("small", &["asked for 2K, but the image is 1024 x 1024"]),
        told("large", &["asked for 1K, but the image is 2048 x 2048"]),
        told("square", &["asked for 16:9, but the image is 1024 x 1024"]),
        told(
            "small-square",
            &[
                "asked for 16:9, but the image is 1024 x 1024",
                "asked for 4K, but the image is 1024 x 1024",
            ],
        ),
    ];
    assert_eq!(warnings, wanted);
}
