//! A job of 5,000 images on a day on which everything goes wrong at once, held against what Gemini
//! says it did.

use std::collections::{BTreeMap, BTreeSet};

use base64_simd::STANDARD;
use darkroom::job::JobSettings;
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Gemini, Scenario};
use http::Request;
use http_body_util::BodyExt;
use seam::transport::{Transport, empty};
use serde_json::{Value, json};
use tests::{Making, World};

const IMAGES: usize = 5_000;

/// 3 % refused, 2 % internal errors, 1 % missing, 1 % repeated, shuffled; the second batch never
/// ends, the fourth expires; creating and asking is refused now and then.
fn bad_day() -> Scenario {
    let fault = |rule: &str| rule.parse().unwrap();
    Scenario {
        seed: 11,
        refuse_percent: 3,
        internal_error_percent: 2,
        missing_percent: 1,
        repeated_percent: 1,
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

/// The smallest images there are: what counts here is how many.
fn manifest() -> String {
    let item = |number| json!({"key": format!("stone-{number:04}"), "prompt": "a stone", "image_size": "512"});
    (0..IMAGES)
        .map(|number| item(number).to_string() + "\n")
        .collect()
}

async fn day(max_rounds: u8) -> (World, String) {
    let settings = JobSettings {
        max_rounds,
        default_model: "gemini-3.1-flash-image".to_owned(),
        allow_retired_models: true,
        ..JobSettings::default()
    };
    let world = World::made_with(Making {
        scenario: bad_day(),
        settings,
        ..Making::default()
    })
    .unwrap();
    world.put("inbox/stones.jsonl", manifest()).await.unwrap();
    world.run().await.unwrap();
    let job = world.jobs().unwrap().remove(0);
    (world, job)
}

/// What Gemini says of one batch.
struct Told {
    state: String,
    requests: u64,
    /// The lines of its output file, without what the day did to the connection.
    lines: Vec<Value>,
}

async fn ask(gemini: &Gemini, path: &str) -> Vec<u8> {
    // Faults are of single calls: asked again, it answers.
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

/// All that was ever made, by the name of its batch.
async fn told_by(gemini: &Gemini) -> BTreeMap<String, Told> {
    let mut told = BTreeMap::new();
    let list: Value =
        serde_json::from_slice(&ask(gemini, "http://g/v1beta/batches?pageSize=1000").await)
            .unwrap();
    for batch in list["operations"].as_array().unwrap() {
        let metadata = &batch["metadata"];
        let lines = match metadata["output"]["responsesFile"].as_str() {
            None => Vec::new(),
            Some(file) => {
                let text = ask(
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
        told.insert(
            batch["name"].as_str().unwrap().to_owned(),
            Told {
                state,
                requests,
                lines,
            },
        );
    }
    told
}

fn key(line: &Value) -> &str {
    line["key"].as_str().unwrap()
}

/// The image of an output line, as Gemini made it.
fn image(line: &Value) -> Option<Vec<u8>> {
    let parts = line["response"]["candidates"][0]["content"]["parts"].as_array()?;
    let data = parts
        .iter()
        .filter(|part| part["thought"] != true)
        .find_map(|part| part["inlineData"]["data"].as_str())?;
    Some(STANDARD.decode_to_vec(data).unwrap())
}

/// Every image lies under its own key, byte for byte as the batch that made it says; none was made
/// twice and kept.
async fn check_images(world: &World, job: &str, told: &BTreeMap<String, Told>) -> BTreeSet<String> {
    let made: BTreeMap<(&str, &str), &Value> = told
        .iter()
        .flat_map(|(batch, told)| {
            told.lines
                .iter()
                .map(move |line| ((batch.as_str(), key(line)), line))
        })
        .collect();
    let mut there = BTreeSet::new();
    for result in world.lines(&format!("{job}results.jsonl")).await.unwrap() {
        if result["status"] == "succeeded" {
            let path = world
                .cloud
                .path_of(&format!("{job}images/{}.jpg", key(&result)));
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
async fn on_a_bad_day_with_rounds_every_key_that_may_succeed_becomes_an_image() {
    // So many that no key can fail in each.
    let (world, job) = day(9).await;
    let told = told_by(&world.gemini).await;
    let there = check_images(&world, &job, &told).await;
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    assert_eq!(results.len(), IMAGES);
    let refused: BTreeSet<String> = told
        .values()
        .flat_map(|told| &told.lines)
        .filter(|line| line["response"].is_object() && image(line).is_none())
        .map(|line| key(line).to_owned())
        .collect();
    let all: BTreeSet<String> = results.iter().map(|line| key(line).to_owned()).collect();
    // An answer that came out empty is asked again, and may succeed then.
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
    let states: BTreeSet<&str> = told.values().map(|told| told.state.as_str()).collect();
    assert!(states.contains("BATCH_STATE_EXPIRED"), "{states:?}");
    assert!(
        told.len() > 7,
        "{} batches: five shards, and rounds",
        told.len()
    );
}

#[tokio::test]
async fn on_a_bad_day_without_rounds_the_counts_are_exact_and_the_retry_manifest_finishes_the_rest()
{
    let (world, job) = day(1).await;
    assert!(
        world
            .read(&format!("{job}_PARTIAL"))
            .await
            .unwrap()
            .is_some()
    );
    let told = told_by(&world.gemini).await;
    assert_eq!(told.len(), 5);

    let (mut images, mut refused, mut failed, mut cancelled, mut expired) = (0, 0, 0, 0, 0);
    let (mut repeated, mut missing) = (0, 0);
    for told in told.values() {
        let first: BTreeMap<&str, &Value> = told
            .lines
            .iter()
            .rev()
            .map(|line| (key(line), line))
            .collect();
        repeated += told.lines.len() - first.len();
        for line in first.values() {
            match line["error"]["code"].as_u64() {
                Some(1) => cancelled += 1,
                Some(13) => failed += 1,
                Some(code) => panic!("code {code}"),
                None if image(line).is_some() => images += 1,
                None => refused += 1,
            }
        }
        let silent = told.requests - first.len() as u64;
        match told.state.as_str() {
            "BATCH_STATE_SUCCEEDED" => missing += silent,
            "BATCH_STATE_CANCELLED" => cancelled += silent,
            "BATCH_STATE_EXPIRED" => expired += silent,
            state => panic!("{state}"),
        }
    }
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
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
        "the stuck batch, half of it salvaged: {cancelled}"
    );
    let there = check_images(&world, &job, &told).await;
    assert_eq!(there.len(), images);

    // The day is over, and the prompts that were refused are better.
    let retry = world
        .read(&format!("{job}retry.jsonl"))
        .await
        .unwrap()
        .unwrap();
    let world = world.with_behavior(Scenario::default()).unwrap();
    world.put("inbox/retry.jsonl", retry).await.unwrap();
    world.run().await.unwrap();
    let second = world
        .jobs()
        .unwrap()
        .into_iter()
        .find(|job| job.starts_with("jobs/retry-"))
        .unwrap();
    let summary = world.json(&format!("{second}summary.json")).await.unwrap();
    assert!(
        world
            .read(&format!("{second}_SUCCESS"))
            .await
            .unwrap()
            .is_some(),
        "{summary}"
    );
    let rest = check_images(&world, &second, &told_by(&world.gemini).await).await;
    assert!(rest.is_disjoint(&there), "paid for again");
    assert_eq!(rest.len() + there.len(), IMAGES);
}
