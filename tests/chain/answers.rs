//! Whatever Gemini answers, every key ends as exactly one result.

use std::{collections::BTreeSet, future::pending};

use base64_simd::STANDARD;
use cli::host::{self, WaitMode};
use darkroom::job::JobSettings;
use gemini_sim::Scenario;
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::{Making, World, wire::Fault};

use super::stones;

/// A Gemini that goes wrong in every way at once.
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
async fn with_rounds_every_key_that_may_succeed_becomes_an_image() {
    // So many that no key can fail in each.
    let settings = JobSettings {
        max_rounds: 9,
        ..JobSettings::default()
    };
    let world = World::made_with(Making {
        scenario: unreliable(),
        settings,
        ..Making::default()
    })
    .unwrap();
    world.put("inbox/stones.jsonl", stones(120)).await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    assert_eq!(
        keys(&results),
        keys(&world.lines(&format!("{job}plan.jsonl")).await.unwrap())
    );
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
        assert!(world.cloud.path_of(&key).is_file());
    }
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    assert!(
        summary["integrity"]["repeated_keys"].as_u64().unwrap() > 0,
        "{summary}"
    );
    assert_eq!(summary["counts"]["expected"], 120);
}

#[tokio::test]
async fn without_rounds_the_retry_manifest_finishes_the_rest() {
    let settings = JobSettings {
        max_rounds: 1,
        ..JobSettings::default()
    };
    let world = World::made_with(Making {
        scenario: unreliable(),
        settings,
        ..Making::default()
    })
    .unwrap();
    world.put("inbox/stones.jsonl", stones(80)).await.unwrap();
    world.run().await.unwrap();
    let first = world.jobs().unwrap()[0].clone();
    assert!(
        world
            .read(&format!("{first}_PARTIAL"))
            .await
            .unwrap()
            .is_some()
    );
    let results = world.lines(&format!("{first}results.jsonl")).await.unwrap();
    let missing: Vec<&str> = results
        .iter()
        .filter(|line| line["status"] != "succeeded")
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    assert!(!missing.is_empty());

    let retry = world
        .read(&format!("{first}retry.jsonl"))
        .await
        .unwrap()
        .unwrap();
    world.put("inbox/retry.jsonl", retry).await.unwrap();
    world.run().await.unwrap();
    let second = world
        .jobs()
        .unwrap()
        .into_iter()
        .find(|job| job.starts_with("jobs/retry-"))
        .unwrap();
    let retried = world.lines(&format!("{second}plan.jsonl")).await.unwrap();
    assert_eq!(keys(&retried), missing);
}

#[tokio::test]
async fn a_refused_prompt_is_a_result_and_only_an_empty_answer_is_asked_again() {
    let scenario = Scenario {
        refuse_percent: 100,
        ..Scenario::default()
    };
    let world = World::made_with(Making {
        scenario,
        ..Making::default()
    })
    .unwrap();
    world.put("inbox/stones.jsonl", stones(60)).await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert_eq!(world.gemini.batches_created(), 3);
    assert!(
        world
            .read(&format!("{job}_FAILED"))
            .await
            .unwrap()
            .is_some()
    );
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    let statuses: BTreeSet<&str> = results
        .iter()
        .map(|line| line["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, BTreeSet::from(["blocked", "no_image"]));
    // What was asked three times was worth it to the last but one; what was not is a reason that
    // stays.
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
    assert_eq!(
        world
            .lines(&format!("{job}retry.jsonl"))
            .await
            .unwrap()
            .len(),
        60
    );
}

/// A batch that takes so many hours.
fn slow(hours: u32) -> Scenario {
    let seconds = hours * 60 * 60;
    Scenario {
        shortest_batch_seconds: seconds,
        longest_batch_seconds: seconds,
        ..Scenario::default()
    }
}

#[tokio::test]
async fn a_batch_past_its_deadline_is_cancelled_and_salvaged_and_the_rest_is_asked_again() {
    let mut ends = BTreeSet::new();
    for seed in 0..6 {
        let world = World::made_with(Making {
            scenario: Scenario { seed, ..slow(60) },
            ..Making::default()
        })
        .unwrap();
        world.put("inbox/stones.jsonl", stones(8)).await.unwrap();
        world.run().await.unwrap();
        let job = &world.jobs().unwrap()[0];
        assert!(world.wire.count(":cancel") >= 1);
        let first = world
            .json(&format!("{job}shards/0000/state.json"))
            .await
            .unwrap();
        ends.insert(
            first["phase"]["ended"]["state"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
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
            "nothing was asked again"
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
async fn a_batch_that_gemini_lets_expire_is_asked_again_in_a_round() {
    let world = World::made_with(Making {
        scenario: slow(200),
        ..Making::default()
    })
    .unwrap();
    world.put("inbox/stones.jsonl", stones(4)).await.unwrap();
    // Its cancellation goes unheard, until Gemini gives it up by itself.
    world.wire.decide(|sent| {
        let answer = || Fault::Answered(StatusCode::OK, "{}".to_owned());
        sent.path.ends_with(":cancel").then(answer)
    });
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert_eq!(world.gemini.batches_created(), 3);
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    assert!(
        results.len() == 4 && results.iter().all(|line| line["status"] == "expired"),
        "{results:?}"
    );
    assert!(
        results.iter().all(|line| line["attempts"] == 3),
        "{results:?}"
    );
}

/// Answers about the batch as if Gemini had failed it, or had lost its output.
fn ended_badly(world: &World, metadata: &'static str) {
    world.wire.decide(move |sent| {
        let asked = sent.method == "GET" && sent.path.contains("/batches/");
        let body = format!(
            r#"{{"name":"{}","done":true,{metadata}}}"#,
            sent.path.trim_start_matches("/v1beta/")
        );
        asked.then_some(Fault::Answered(StatusCode::OK, body))
    });
}

#[tokio::test]
async fn a_failed_batch_gives_every_key_geminis_reason() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(2)).await.unwrap();
    ended_badly(
        &world,
        r#""metadata":{"state":"BATCH_STATE_FAILED"},"error":{"code":3,"message":"no such model"}"#,
    );
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert_eq!(world.gemini.batches_created(), 1);
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
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

/// Runs until a shard of the only job is held. Its reason.
async fn held(world: &World) -> String {
    let reason = async || {
        let status = world
            .json(&format!("{}job.json", world.jobs().ok()?.first()?))
            .await
            .ok()?;
        let shard = status["shards"]
            .as_array()?
            .iter()
            .find(|shard| shard["phase"] == "held")?;
        Some(shard["note"].as_str()?.to_owned())
    };
    let stopped = host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        Ok(reason().await.is_some())
    });
    assert_eq!(stopped.await.unwrap(), host::StopReason::ConditionMet);
    reason().await.unwrap()
}

async fn say(world: &World, word: &str) {
    let job = world.jobs().unwrap()[0]
        .trim_start_matches("jobs/")
        .to_owned();
    world
        .put(&format!("control/{job}{word}"), "")
        .await
        .unwrap();
}

/// What an ended batch can say that does not say where its output is.
const WITHOUT_OUTPUT: [&str; 5] = [
    r#""done":true,"metadata":{"state":"BATCH_STATE_SUCCEEDED","batchStats":{"requestCount":"2","successfulRequestCount":"2"}}"#,
    r#""metadata":{"state":"BATCH_STATE_SUCCEEDED"}"#,
    r#""metadata":{"state":"JOB_STATE_SUCCEEDED","batchStats":{"requestCount":"2","failedRequestCount":"2"}}"#,
    r#""done":true,"response":{}"#,
    r#""done":true,"metadata":{"state":"BATCH_STATE_CANCELLED","batchStats":{"requestCount":"2","successfulRequestCount":"1"}}"#,
];

#[tokio::test]
async fn a_batch_that_does_not_say_where_its_output_is_is_asked_again_and_its_images_come() {
    for answer in WITHOUT_OUTPUT {
        for minutes in [1, 59, 60 * 30] {
            let world = World::new().unwrap();
            world.put("inbox/stones.jsonl", stones(2)).await.unwrap();
            let (clock, mut since) = (world.cloud.time.clone(), None);
            world.wire.decide(move |sent| {
                let asked = sent.method == "GET" && sent.path.contains("/batches/");
                let late = clock
                    .now()
                    .duration_since(*since.get_or_insert(clock.now()));
                // As long as the batch runs, what Gemini says itself is true.
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
            world.run().await.unwrap();
            let job = &world.jobs().unwrap()[0];
            assert!(
                world
                    .read(&format!("{job}_SUCCESS"))
                    .await
                    .unwrap()
                    .is_some(),
                "{answer}, {minutes}"
            );
            assert_eq!(world.gemini.batches_created(), 1, "{answer}, {minutes}");
        }
    }
}

#[tokio::test]
async fn a_batch_whose_output_does_not_come_waits_for_a_person_who_may_end_it() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(2)).await.unwrap();
    without_output(&world);
    let reason = held(&world).await;
    assert!(
        reason.contains("batches/") && reason.contains("six weeks"),
        "{reason}"
    );
    say(&world, "cancel").await;
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert_eq!(world.gemini.batches_created(), 1);
    assert!(
        world
            .read(&format!("{job}_CANCELLED"))
            .await
            .unwrap()
            .is_some()
    );
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
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
async fn a_person_may_have_images_bought_again_whose_output_does_not_come() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(2)).await.unwrap();
    without_output(&world);
    held(&world).await;
    world.wire.decide(|_| None);
    // It is there by now, and nevertheless the person has the last word.
    say(&world, "approve").await;
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(world.gemini.batches_created(), 2);
}

fn without_output(world: &World) {
    world.wire.decide(|sent| {
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
async fn a_held_shard_goes_on_when_gemini_answers_again() {
    let world = World::new().unwrap();
    world.put("inbox/stones.jsonl", stones(2)).await.unwrap();
    let mut refusals = 12;
    world.wire.decide(move |sent| {
        let refused = sent.method == "GET" && sent.path.contains("/batches/") && refusals > 0;
        refusals -= i32::from(refused);
        refused.then(|| Fault::Answered(StatusCode::SERVICE_UNAVAILABLE, "{}".to_owned()))
    });
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn a_repeated_refusal_is_counted_once() {
    let scenario = Scenario {
        refuse_percent: 100,
        repeated_percent: 100,
        ..Scenario::default()
    };
    let world = World::made_with(Making {
        scenario,
        ..Making::default()
    })
    .unwrap();
    world.put("inbox/stones.jsonl", stones(9)).await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    let rounds = summary["cost"]["by_round"].as_array().unwrap();
    let asked: u64 = rounds
        .iter()
        .map(|round| round["requests"].as_u64().unwrap())
        .sum();
    assert!(asked >= 9, "{summary}");
    assert_eq!(summary["integrity"]["repeated_keys"], asked);
    let billed = world.gemini.billed().unwrap();
    assert!(
        (summary["cost"]["actual_usd"].as_f64().unwrap() * 1e9 - billed as f64).abs() <= 1_000.0,
        "{summary} {billed}"
    );
}

#[tokio::test]
async fn cost_is_what_gemini_billed_with_refusals_and_rounds() {
    // A line that is missing from the output is billed, but nobody can know how much.
    let scenario = Scenario {
        missing_percent: 0,
        ..unreliable()
    };
    let world = World::made_with(Making {
        scenario,
        ..Making::default()
    })
    .unwrap();
    world.put_sample("catalog.csv").await.unwrap();
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let cost = world.json(&format!("{job}summary.json")).await.unwrap()["cost"].clone();
    let (actual, interactive) = (
        cost["actual_usd"].as_f64().unwrap(),
        cost["interactive_usd"].as_f64().unwrap(),
    );
    let billed = world.gemini.billed().unwrap();
    assert!(
        (actual * 1e9 - billed as f64).abs() <= 1_000.0,
        "{actual} is not {billed} billionths"
    );
    assert!((interactive - 2.0 * actual).abs() < 1e-5, "{cost}");
}

/// A line of a responses file whose image is a PNG, by its header, of this size.
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
async fn whatever_does_not_fit_what_was_asked_is_counted_and_told() {
    let settings = JobSettings {
        max_rounds: 1,
        ..JobSettings::default()
    };
    let world = World::made_with(Making {
        settings,
        ..Making::default()
    })
    .unwrap();
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
        image_line("nobody's", 1024, 1024),
        "this is no JSON".to_owned(),
        "{}".to_owned(),
    ];
    let output = lines.join("\n");
    world.wire.decide(move |sent| {
        sent.path
            .ends_with(":download")
            .then(|| Fault::Answered(StatusCode::OK, output.clone()))
    });
    let manifest: String = items.iter().map(|item| format!("{item}\n")).collect();
    world.put("inbox/stones.jsonl", manifest).await.unwrap();
    world.run().await.unwrap();

    let job = &world.jobs().unwrap()[0];
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    let wanted = json!({
        "unknown_keys": 1, "repeated_keys": 1, "unreadable_lines": 2, "skipped_lines": 0, "missing": 1,
        "wrong_ratio": 2, "wrong_size": 3,
    });
    assert_eq!(summary["integrity"], wanted);
    let warnings: Vec<(String, Vec<String>)> = world
        .lines(&format!("{job}results.jsonl"))
        .await
        .unwrap()
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
