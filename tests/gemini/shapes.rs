//! Unusual shapes of result lines, and the service's own record of their content.

use std::collections::{BTreeMap, BTreeSet};

use gemini_sim::{Delivered, ImageForm, LineOrigin, Scenario, Selector};
use serde_json::{Value, json};

use super::service::{Service, assert_schema, image, jpeg_pixels, line, name, steady};

const MODEL: &str = "gemini-3.1-flash-image";

/// The cost of one regular image of the [`lines`]: four or five tokens of prompt and the image, at
/// half price.
const IMAGE_NANODOLLARS: std::ops::RangeInclusive<u64> = 747 * 30_000..=747 * 30_000 + 10 * 250;

fn shaped(rules: &[&str]) -> Scenario {
    Scenario {
        shapes: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        ..steady()
    }
}

/// Returns lines with the keys `0`, `1`, …, a key with a leading zero and one that is not a number.
fn lines(count: usize) -> Vec<Value> {
    let keys = (0..count)
        .map(|n| n.to_string())
        .chain(["007".to_owned(), "a-1".to_owned()]);
    keys.map(|key| line(&key, json!({"imageSize": "512"})))
        .collect()
}

/// Runs a batch of these lines, and returns its result lines, the service's record of them, and the
/// bill.
async fn done(scenario: Scenario, asked: &[Value]) -> (Vec<Value>, Delivered, u64) {
    let service = Service::new(scenario);
    let batch = service.batch(MODEL, asked).await;
    service.pass_minutes(100);
    let lines = service.results(&batch).await;
    let delivered = service.gemini.delivered(name(&batch)).unwrap();
    let bill = service.gemini.records().unwrap()[0].bill;
    assert_eq!(bill.nanodollars, service.gemini.billed().unwrap());
    assert_eq!(
        delivered.nanodollars(),
        bill.nanodollars - bill.undelivered_nanodollars
    );
    assert_eq!(delivered.lines.len(), lines.len());
    (lines, delivered, bill.nanodollars)
}

fn parts(response: &Value) -> &Vec<Value> {
    response["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap()
}

fn decoded(base64: &str) -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(base64).unwrap()
}

#[tokio::test]
async fn a_line_without_key_is_otherwise_unchanged() {
    let (lines, delivered, bill) = done(shaped(&["no-key:100"]), &lines(2)).await;
    for (line, known) in lines.iter().zip(&delivered.lines) {
        assert_schema("BatchOutputLine", line);
        assert_eq!(line.get("key"), None);
        assert_eq!(known.image.as_ref().unwrap().bytes, image(line));
        assert!(!known.carries_key);
    }
    assert!(delivered.images().is_empty());
    assert_eq!(
        (
            delivered.unmatched().count(),
            delivered.without_key().count()
        ),
        (4, 4)
    );
    let keys: Vec<&str> = delivered
        .lines
        .iter()
        .map(|line| line.key.as_str())
        .collect();
    assert_eq!(
        keys,
        ["0", "1", "007", "a-1"],
        "the record has the keys of the requests"
    );
    assert!(IMAGE_NANODOLLARS.contains(&(bill / 4)));
}

#[tokio::test]
async fn a_numeric_key_becomes_a_number_if_lossless() {
    let (lines, delivered, _) = done(shaped(&["numeric-key:100"]), &lines(2)).await;
    let keys: Vec<&Value> = lines.iter().map(|line| &line["key"]).collect();
    assert_eq!(keys, [&json!(0), &json!(1), &json!("007"), &json!("a-1")]);
    assert_eq!(
        delivered.images().into_keys().collect::<Vec<_>>(),
        ["0", "007", "1", "a-1"]
    );
}

#[tokio::test]
async fn a_response_without_wrapper_is_in_the_line() {
    let (lines, delivered, _) = done(shaped(&["no-wrapper:100"]), &lines(1)).await;
    let mut orders = BTreeSet::new();
    for line in &lines {
        assert_eq!(line.get("response"), None);
        assert!(line["usageMetadata"]["promptTokenCount"].is_u64());
        let response = json!({"response": line});
        assert_eq!(jpeg_pixels(&image(&response)), (512, 512));
        orders.insert(line.as_object().unwrap().keys().next().unwrap().clone());
    }
    assert_eq!(delivered.images().len(), 3);
    let mut unwrapped = lines[0].clone();
    unwrapped.as_object_mut().unwrap().remove("key");
    assert_schema("GenerateContentResponse", &unwrapped);
}

#[tokio::test]
async fn images_can_be_urls_thoughts_files_and_texts() {
    let asked = lines(1);
    let (regular, truth, cost) = done(steady(), &asked).await;
    let images: Vec<Vec<u8>> = regular.iter().map(image).collect();
    assert_eq!(truth.images().values().flatten().count(), 3);
    for (shape, form) in [
        ("data-url", ImageForm::DataUrl),
        ("thought-only", ImageForm::OnlyThought),
        ("file-data", ImageForm::FileData),
        ("image-as-text", ImageForm::Text),
    ] {
        let (lines, delivered, bill) = done(shaped(&[&format!("{shape}:100")]), &asked).await;
        assert_eq!(bill, cost, "{shape}: an image is billed in any form");
        for ((line, known), expected) in lines.iter().zip(&delivered.lines).zip(&images) {
            assert_schema("BatchOutputLine", line);
            let known = known.image.as_ref().unwrap();
            assert_eq!(
                (known.form, &known.bytes[..]),
                (form, &expected[..]),
                "{shape}"
            );
            let part = parts(&line["response"]).last().unwrap();
            let data = part["inlineData"]["data"].as_str();
            match form {
                ImageForm::InlineData => panic!("no shape"),
                ImageForm::DataUrl => {
                    let base64 = data
                        .unwrap()
                        .strip_prefix("data:image/jpeg;base64,")
                        .unwrap();
                    assert_eq!(&decoded(base64), expected);
                }
                ImageForm::OnlyThought => {
                    assert_eq!(
                        (&part["thought"], &decoded(data.unwrap())),
                        (&json!(true), expected)
                    );
                    let shown = parts(&line["response"])
                        .iter()
                        .filter(|part| part["thought"] != true);
                    assert_eq!(
                        shown
                            .filter(|part| part.get("inlineData").is_some())
                            .count(),
                        0
                    );
                }
                ImageForm::FileData => {
                    assert_eq!(data, None);
                    assert!(
                        part["fileData"]["fileUri"]
                            .as_str()
                            .unwrap()
                            .contains("/v1beta/files/")
                    );
                }
                ImageForm::Text => {
                    let text = part["text"].as_str().unwrap();
                    let base64 = text
                        .strip_prefix("![image](data:image/jpeg;base64,")
                        .unwrap()
                        .strip_suffix(')')
                        .unwrap();
                    assert_eq!(&decoded(base64), expected);
                }
            }
        }
        let hidden = if form.is_decodable() { 0 } else { 3 };
        assert_eq!(
            (delivered.images().len(), delivered.undecodable().count()),
            (3 - hidden, hidden),
            "{shape}"
        );
        assert_eq!(delivered.unmatched().count(), 0);
    }
}

#[tokio::test]
async fn the_last_of_several_thoughts_is_the_image() {
    let (lines, delivered, _) = done(
        Scenario {
            thoughts_percent: 100,
            ..shaped(&["thought-only:100"])
        },
        &lines(1),
    )
    .await;
    for (line, known) in lines.iter().zip(&delivered.lines) {
        let images: Vec<&Value> = parts(&line["response"])
            .iter()
            .filter(|part| part.get("inlineData").is_some())
            .collect();
        assert_eq!(images.len(), 2);
        assert!(images.iter().all(|part| part["thought"] == true));
        let last = decoded(images[1]["inlineData"]["data"].as_str().unwrap());
        assert_eq!(known.image.as_ref().unwrap().bytes, last);
    }
}

#[tokio::test]
async fn snake_case_applies_to_all_names_of_the_response() {
    let (lines, delivered, _) = done(shaped(&["snake-case:100"]), &lines(1)).await;
    for line in &lines {
        let response = &line["response"];
        assert_eq!(response["candidates"][0]["finish_reason"], "STOP");
        assert!(parts(response)[0]["inline_data"]["mime_type"].is_string());
        assert!(response["usage_metadata"]["candidates_tokens_details"][0]["token_count"].is_u64());
        assert!(response["model_version"].is_string() && response["response_id"].is_string());
        assert!(line["key"].is_string());
    }
    assert_eq!(delivered.images().len(), 3);
}

#[tokio::test]
async fn errors_take_each_form_and_cost_nothing() {
    let kinds = |shape: &'static str| async move {
        let (lines, delivered, bill) = done(shaped(&[&format!("{shape}:100")]), &lines(40)).await;
        assert_eq!(bill, 0, "{shape}");
        assert!(
            delivered
                .lines
                .iter()
                .all(|line| line.image.is_none() && line.carries_key && line.nanodollars == 0)
        );
        assert!(
            lines
                .iter()
                .all(|line| line.get("response").is_none() && line["key"].is_string())
        );
        lines
            .into_iter()
            .map(|mut line| line["error"].take())
            .collect::<Vec<_>>()
    };
    let distinct = |errors: &[Value]| {
        errors
            .iter()
            .map(Value::to_string)
            .collect::<BTreeSet<_>>()
            .len()
    };

    let http = kinds("error-http").await;
    let known = BTreeMap::from([
        (400, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ]);
    assert!(
        http.iter()
            .all(|error| known.get(&error["code"].as_u64().unwrap()).copied()
                == error["status"].as_str())
    );
    assert_eq!(distinct(&http), known.len());
    let text = kinds("error-text").await;
    assert!(
        text.iter()
            .all(|error| error.as_str().is_some_and(|text| !text.is_empty()))
    );
    let code_text = kinds("error-code-text").await;
    assert!(
        code_text
            .iter()
            .all(|error| error["code"] == "13" && error["message"].is_string())
    );
    let status = kinds("error-status").await;
    assert!(
        status
            .iter()
            .all(|error| error.get("code").is_none() && error["status"].is_string())
    );
    let empty = kinds("error-empty").await;
    assert!(
        empty
            .iter()
            .all(|error| error["message"].as_str().unwrap_or_default().is_empty())
    );
    assert!(empty.contains(&json!({})) && empty.contains(&json!({"message": ""})));
    assert_eq!(distinct(&empty), 3);
}

#[tokio::test]
async fn failures_of_each_form_are_counted_as_failed() {
    let service = Service::new(shaped(&["error-text:50"]));
    let batch = service.batch(MODEL, &lines(28)).await;
    service.pass_minutes(100);
    let failed = service
        .results(&batch)
        .await
        .iter()
        .filter(|line| line.get("error").is_some())
        .count();
    assert!((1..30).contains(&failed));
    let stats = &service.get(&batch).await["metadata"]["batchStats"];
    assert_eq!(
        (
            &stats["failedRequestCount"],
            &stats["successfulRequestCount"]
        ),
        (
            &json!(failed.to_string()),
            &json!((30 - failed).to_string())
        )
    );
}

#[tokio::test]
async fn answers_without_image_have_a_reason_and_cost_their_prompt() {
    for (shape, reason) in [
        ("no-image", "NO_IMAGE"),
        ("image-other", "IMAGE_OTHER"),
        ("other", "OTHER"),
        ("malformed", "MALFORMED_RESPONSE"),
    ] {
        let (lines, delivered, bill) = done(shaped(&[&format!("{shape}:100")]), &lines(1)).await;
        for line in &lines {
            assert_schema("BatchOutputLine", line);
            let candidate = &line["response"]["candidates"][0];
            assert_eq!(
                (&candidate["finishReason"], &candidate["content"]),
                (&json!(reason), &json!({}))
            );
        }
        assert!(bill > 0 && bill < 100_000, "{shape}: prompts alone, {bill}");
        assert!(delivered.lines.iter().all(|line| line.image.is_none()));
    }
    let (lines, _, bill) = done(shaped(&["empty-response:100"]), &lines(1)).await;
    assert!(lines.iter().all(|line| line["response"] == json!({})));
    assert_eq!(bill, 0, "an empty response reports no tokens");
}

#[tokio::test]
async fn all_lines_of_a_request_share_its_shape_and_have_an_origin() {
    let scenario = Scenario {
        repeated_percent: 50,
        served_twice_percent: 50,
        unknown_percent: 50,
        missing_percent: 20,
        ..shaped(&["no-wrapper:100", "data-url:100", "numeric-key:100"])
    };
    let (lines, delivered, _) = done(scenario, &lines(18)).await;
    for line in &lines {
        assert!(
            parts(line)[0]["inlineData"]["data"]
                .as_str()
                .unwrap()
                .starts_with("data:")
        );
    }
    let mut by_key: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (line, known) in lines.iter().zip(&delivered.lines) {
        let key = line["key"]
            .as_str()
            .map_or_else(|| line["key"].to_string(), str::to_owned);
        assert_eq!(key, known.key);
        assert_eq!(key.starts_with("stray-"), known.origin == LineOrigin::Stray);
        let bytes = decoded(
            parts(line)[0]["inlineData"]["data"]
                .as_str()
                .unwrap()
                .split_once(',')
                .unwrap()
                .1,
        );
        assert_eq!(known.image.as_ref().unwrap().bytes, bytes);
        if known.origin != LineOrigin::Stray {
            by_key.entry(key).or_default().insert(bytes);
        }
    }
    let images = delivered.images();
    assert_eq!(images.len(), by_key.len());
    for (key, bytes) in by_key {
        let known: BTreeSet<Vec<u8>> = images[key.as_str()]
            .iter()
            .map(|bytes| bytes.to_vec())
            .collect();
        assert_eq!(known, bytes, "{key}");
    }
    let count = |origin| {
        delivered
            .lines
            .iter()
            .filter(|line| line.origin == origin)
            .count()
    };
    let counts = [
        LineOrigin::Request,
        LineOrigin::Repetition,
        LineOrigin::SecondAnswer,
        LineOrigin::Stray,
    ]
    .map(count);
    assert!(
        counts.iter().all(|count| *count > 0) && counts[0] < 20,
        "{counts:?}"
    );
    assert_eq!(delivered.unmatched().count(), counts[3]);
    let repeated = delivered
        .lines
        .iter()
        .filter(|line| line.origin == LineOrigin::Repetition);
    assert!(repeated.into_iter().all(|line| line.nanodollars == 0));
}

#[tokio::test]
async fn inline_responses_have_the_same_shapes() {
    let scenario = shaped(&[
        "no-key:30",
        "numeric-key:40",
        "no-wrapper:50",
        "error-text:20",
    ]);
    let service = Service::new(Scenario {
        inline_outputs: vec![Selector::Percent(100)],
        ..scenario
    });
    let batch = service.batch(MODEL, &lines(28)).await;
    service.pass_minutes(100);
    let ended = service.get(&batch).await;
    let responses = ended["response"]["inlinedResponses"]["inlinedResponses"]
        .as_array()
        .unwrap();
    let delivered = service.gemini.delivered(name(&batch)).unwrap();
    let mut seen = BTreeSet::new();
    for (response, known) in responses.iter().zip(&delivered.lines) {
        let key = response.get("metadata").map(|metadata| &metadata["key"]);
        assert_eq!(key.is_some(), known.carries_key);
        if let Some(key) = key {
            assert_eq!(
                key.as_str().map_or_else(|| key.to_string(), str::to_owned),
                known.key
            );
        }
        seen.insert((
            key.map(Value::is_number),
            response.get("candidates").is_some(),
        ));
        assert_eq!(response["error"].is_string(), known.image.is_none());
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

#[tokio::test]
async fn outputs_are_reproducible_after_a_restart() {
    let rules = [
        "no-key:10",
        "numeric-key:30",
        "data-url:20",
        "image-as-text:10",
        "error-empty:10",
        "snake-case:20",
    ];
    let scenario = Scenario {
        arrays: vec!["50%".parse().unwrap()],
        ..shaped(&rules)
    };
    let mut outputs = Vec::new();
    for seed in [4, 4, 5] {
        let service = Service::new(Scenario {
            seed,
            ..scenario.clone()
        });
        let batch = service.batch(MODEL, &lines(20)).await;
        service.pass_minutes(100);
        let output = service.output(&batch).await;
        let service = service.reopened(steady());
        assert!(service.output(&batch).await == output);
        outputs.push(output);
    }
    assert!(outputs[0] == outputs[1], "the same seed");
    assert!(outputs[0] != outputs[2], "another seed");
}

#[tokio::test]
async fn single_requests_keep_their_usual_shape() {
    let service = Service::new(shaped(&[
        "no-image:100",
        "data-url:100",
        "no-wrapper:100",
        "snake-case:100",
    ]));
    let body = json!({"contents": [{"parts": [{"text": "a fox"}]}]});
    let reply = service
        .post(
            "/v1beta/models/gemini-3.1-flash-image:generateContent",
            &body,
        )
        .await
        .json();
    assert_schema("GenerateContentResponse", &reply);
    assert_eq!(
        jpeg_pixels(&image(&json!({"response": reply}))),
        (1024, 1024)
    );
}
