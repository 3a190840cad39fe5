//! A job of 5,000 images on a day on which everything fails at once, compared with what Gemini
//! reports.

use std::collections::{BTreeMap, BTreeSet};

use base64_simd::STANDARD;
use darkroom::{job::JobSettings, settings::MaxRounds};
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Gemini, Scenario};
use http::Request;
use http_body_util::BodyExt;
use seam::transport::{Transport, empty};
use serde_json::{Value, json};
use tests::{TINY_SIDE, TestCloud};

const IMAGES: usize = 5_000;

/// Returns a scenario with 3 % refused, 2 % internal errors, 1 % missing and 1 % repeated results,
/// shuffled. The second batch never ends, the fourth expires, and some creates and polls are
/// refused.
fn bad_day() -> Scenario {
    let fault = |rule: &str| rule.parse().unwrap();
    Scenario {
        seed: 11,
        refuse_percent: 3,
        internal_error_percent: 2,
        missing_percent: 1,
        repeated_percent: 1,
        image_side: Some(TINY_SIDE),
        shuffle: true,
        batch_outcomes: vec![
            BatchOutcomeRule {
                which: "2".parse().unwrap(),
                outcome: BatchOutcome::StuckRunning,
            },
            BatchOutcomeRule {
                which: "4".parse().unwrap(),
                outcome: BatchOutcome::Expired,
            },
        ],
        faults: vec![
            fault("create-batch:429:first-2"),
            fault("create-batch:429-minute:20%"),
            fault("get-batch:503:5%"),
            fault("download:cut:first-2"),
        ],
        ..Scenario::default()
    }
}

/// Returns a manifest of the cheapest images.
fn manifest() -> String {
    let item = |number| json!({"key": format!("stone-{number:04}"), "prompt": "a stone", "image_size": "512"});
    (0..IMAGES)
        .map(|number| item(number).to_string() + "\n")
        .collect()
}

/// Runs the job with this maximum number of rounds. Returns the cloud and the job's folder.
async fn day(max_rounds: u8) -> (TestCloud, String) {
    let settings = JobSettings {
        max_rounds: MaxRounds::new(max_rounds).unwrap(),
        default_model: "gemini-3.1-flash-image".to_owned(),
        allow_retired_models: true,
        ..JobSettings::default()
    };
    let cloud = TestCloud::builder()
        .scenario(bad_day())
        .settings(settings)
        .build();
    cloud.put("inbox/stones.jsonl", manifest()).await;
    cloud.run().await;
    let job = cloud.jobs().remove(0);
    (cloud, job)
}

/// What Gemini reports about one batch.
struct Reported {
    state: String,
    requests: u64,
    /// The lines of its output file, as they are without connection faults.
    lines: Vec<Value>,
}

/// Reads an address of Gemini. Retries, because faults affect single calls.
async fn fetch(gemini: &Gemini, path: &str) -> Vec<u8> {
    loop {
        let request = Request::get(path)
            .header("x-goog-api-key", "k")
            .body(empty())
            .unwrap();
        let Ok(answer) = gemini.send(request).await else {
            continue;
        };
        if answer.status().is_success()
            && let Ok(body) = answer.into_body().collect().await
        {
            return body.to_bytes().to_vec();
        }
    }
}

/// Returns the reports of all batches by name.
async fn reported_by(gemini: &Gemini) -> BTreeMap<String, Reported> {
    let mut reported = BTreeMap::new();
    let list: Value =
        serde_json::from_slice(&fetch(gemini, "http://g/v1beta/batches?pageSize=1000").await)
            .unwrap();
    for batch in list["operations"].as_array().unwrap() {
        let metadata = &batch["metadata"];
        let lines = match metadata["output"]["responsesFile"].as_str() {
            None => Vec::new(),
            Some(file) => {
                let text = fetch(
                    gemini,
                    &format!("http://g/v1beta/{file}:download?alt=media"),
                )
                .await;
                text.split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .map(|line| serde_json::from_slice(line).unwrap())
                    .collect()
            }
        };
        let requests = metadata["batchStats"]["requestCount"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let state = metadata["state"].as_str().unwrap().to_owned();
        reported.insert(
            batch["name"].as_str().unwrap().to_owned(),
            Reported {
                state,
                requests,
                lines,
            },
        );
    }
    reported
}

fn key(line: &Value) -> &str {
    line["key"].as_str().unwrap()
}

/// Returns the image of an output line.
fn image(line: &Value) -> Option<Vec<u8>> {
    let parts = line["response"]["candidates"][0]["content"]["parts"].as_array()?;
    let data = parts
        .iter()
        .filter(|part| part["thought"] != true)
        .find_map(|part| part["inlineData"]["data"].as_str())?;
    Some(STANDARD.decode_to_vec(data).unwrap())
}

/// Checks that every image is stored under its key, byte for byte as its batch reports it, and that
/// no key has two images.
async fn check_images(
    cloud: &TestCloud,
    job: &str,
    reported: &BTreeMap<String, Reported>,
) -> BTreeSet<String> {
    let made: BTreeMap<(&str, &str), &Value> = reported
        .iter()
        .flat_map(|(batch, reported)| {
            reported
                .lines
                .iter()
                .map(move |line| ((batch.as_str(), key(line)), line))
        })
        .collect();
    let mut there = BTreeSet::new();
    for result in cloud.lines(&format!("{job}results.jsonl")).await {
        if result["status"] == "succeeded" {
            let path = cloud.path_of(&format!("{job}images/{}.jpg", key(&result)));
            let line = made[&(result["batch_name"].as_str().unwrap(), key(&result))];
            assert!(
                std::fs::read(path).unwrap() == image(line).unwrap(),
                "{} is not its image",
                key(&result)
            );
            there.insert(key(&result).to_owned());
        }
    }
    there
}

#[tokio::test]
async fn on_a_bad_day_rounds_make_an_image_of_every_key_that_can_succeed() {
    // With this number of rounds, no key fails in each.
    let (cloud, job) = day(9).await;
    let reported = reported_by(&cloud.gemini).await;
    let there = check_images(&cloud, &job, &reported).await;
    let results = cloud.lines(&format!("{job}results.jsonl")).await;
    assert_eq!(results.len(), IMAGES);
    let refused: BTreeSet<String> = reported
        .values()
        .flat_map(|reported| &reported.lines)
        .filter(|line| line["response"].is_object() && image(line).is_none())
        .map(|line| key(line).to_owned())
        .collect();
    let all: BTreeSet<String> = results.iter().map(|line| key(line).to_owned()).collect();
    // An empty response is retried and may then succeed.
    let missing: BTreeSet<String> = all.difference(&there).cloned().collect();
    assert!(
        missing.is_subset(&refused),
        "{:?}",
        missing.difference(&refused)
    );
    for result in results
        .iter()
        .filter(|result| missing.contains(key(result)))
    {
        assert_eq!(result["error"]["retryable"], false, "{result}");
    }
    assert!(
        (50..400).contains(&refused.len()),
        "{} refused",
        refused.len()
    );
    let states: BTreeSet<&str> = reported
        .values()
        .map(|reported| reported.state.as_str())
        .collect();
    assert!(states.contains("BATCH_STATE_EXPIRED"), "{states:?}");
    assert!(
        reported.len() > 7,
        "{} batches: five shards, and rounds",
        reported.len()
    );
}

#[tokio::test]
async fn on_a_bad_day_without_rounds_the_counts_are_exact_and_the_retry_manifest_finishes_the_rest()
{
    let (cloud, job) = day(1).await;
    assert!(cloud.exists(&format!("{job}_PARTIAL")));
    let reported = reported_by(&cloud.gemini).await;
    assert_eq!(reported.len(), 5);

    let (mut images, mut refused, mut failed, mut cancelled, mut expired) = (0, 0, 0, 0, 0);
    let (mut repeated, mut missing) = (0, 0);
    for reported in reported.values() {
        let first: BTreeMap<&str, &Value> = reported
            .lines
            .iter()
            .rev()
            .map(|line| (key(line), line))
            .collect();
        repeated += reported.lines.len() - first.len();
        for line in first.values() {
            match line["error"]["code"].as_u64() {
                Some(1) => cancelled += 1,
                Some(13) => failed += 1,
                Some(code) => panic!("code {code}"),
                None if image(line).is_some() => images += 1,
                None => refused += 1,
            }
        }
        let silent = reported.requests - first.len() as u64;
        match reported.state.as_str() {
            "BATCH_STATE_SUCCEEDED" => missing += silent,
            "BATCH_STATE_CANCELLED" => cancelled += silent,
            "BATCH_STATE_EXPIRED" => expired += silent,
            state => panic!("{state}"),
        }
    }
    let summary = cloud.json(&format!("{job}summary.json")).await;
    let (counts, integrity) = (&summary["counts"], &summary["integrity"]);
    let withheld = counts["blocked"].as_u64().unwrap() + counts["no_image"].as_u64().unwrap();
    assert_eq!(counts["succeeded"], images, "{summary}");
    assert_eq!(withheld, refused, "{summary}");
    assert_eq!(counts["failed"], failed + missing, "{summary}");
    assert_eq!(counts["cancelled"], cancelled, "{summary}");
    assert_eq!(counts["expired"], expired, "{summary}");
    assert_eq!(integrity["repeated_keys"], repeated, "{summary}");
    assert_eq!(integrity["missing"], missing, "{summary}");
    assert_eq!(expired, 1_000, "the expired batch");
    assert!(
        (500..1_000).contains(&cancelled),
        "half of the stuck batch is salvaged: {cancelled}"
    );
    let there = check_images(&cloud, &job, &reported).await;
    assert_eq!(there.len(), images);

    // Gemini no longer fails, and accepts the prompts that it refused before.
    let retry = cloud.text(&format!("{job}retry.jsonl")).await;
    let cloud = cloud.with_scenario(Scenario::default());
    cloud.put("inbox/retry.jsonl", retry).await;
    cloud.run().await;
    let second = cloud
        .jobs()
        .into_iter()
        .find(|job| job.starts_with("jobs/retry-"))
        .unwrap();
    let summary = cloud.json(&format!("{second}summary.json")).await;
    assert!(cloud.exists(&format!("{second}_SUCCESS")), "{summary}");
    let rest = check_images(&cloud, &second, &reported_by(&cloud.gemini).await).await;
    assert!(rest.is_disjoint(&there), "paid for again");
    assert_eq!(rest.len() + there.len(), IMAGES);
}
