//! Outcomes of single requests: refused, missing and repeated lines, unrequested keys, deviating
//! images.

use std::collections::{BTreeMap, BTreeSet};

use darkroom::results::image::Provenance;
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Scenario};
use serde_json::{Value, json};

use super::{
    results::done,
    service::{Service, assert_schema, image, jpeg_pixels, line, steady},
};

/// Describes a refusal.
fn shape(response: &Value) -> String {
    let Some(candidate) = response.get("candidates").map(|candidates| &candidates[0]) else {
        return match response.get("promptFeedback") {
            Some(feedback) => format!("blocked {}", feedback["blockReason"].as_str().unwrap()),
            None => "no candidates".to_owned(),
        };
    };
    let reason = candidate["finishReason"].as_str().unwrap();
    match &candidate["content"]["parts"] {
        Value::Null => {
            assert_eq!(candidate["content"], json!({}));
            reason.to_owned()
        }
        parts => {
            let [part] = &parts.as_array().unwrap()[..] else {
                panic!("one part: {parts}")
            };
            format!(
                "{reason} after {}",
                part.as_object().unwrap().keys().next().unwrap()
            )
        }
    }
}

#[tokio::test]
async fn refusals_take_every_shape_and_never_have_an_image() {
    let (service, lines) = done(
        Scenario {
            refuse_percent: 100,
            ..steady()
        },
        200,
    )
    .await;
    let mut shapes = BTreeSet::new();
    for line in &lines {
        let response = &line["response"];
        let shape = shape(response);
        // The schema lacks these values on purpose.
        if ![
            "blocked MODEL_ARMOR",
            "blocked JAILBREAK",
            "NOT_YET_DOCUMENTED",
        ]
        .contains(&shape.as_str())
        {
            assert_schema("BatchOutputLine", line);
        }
        assert!(!line.to_string().contains("inlineData"));
        assert!(
            response["usageMetadata"]["promptTokenCount"]
                .as_u64()
                .unwrap()
                > 0
        );
        assert_eq!(
            response["usageMetadata"].get("candidatesTokensDetails"),
            None
        );
        let message = &response["candidates"][0]["finishMessage"];
        assert_eq!(
            message
                .as_str()
                .is_some_and(|text| text.contains("not be charged")),
            shape == "IMAGE_SAFETY"
        );
        shapes.insert(shape);
    }
    let expected = [
        "IMAGE_OTHER",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_SAFETY",
        "MAX_TOKENS",
        "NOT_YET_DOCUMENTED",
        "NO_IMAGE",
        "OTHER",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "SAFETY",
        "STOP",
        "STOP after text",
        "STOP after thoughtSignature",
        "blocked BLOCKLIST",
        "blocked IMAGE_SAFETY",
        "blocked JAILBREAK",
        "blocked MODEL_ARMOR",
        "blocked OTHER",
        "blocked PROHIBITED_CONTENT",
        "blocked SAFETY",
        "no candidates",
    ];
    assert_eq!(
        shapes.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    assert!(
        service.gemini.billed().unwrap() < 747 * 30_000,
        "no image is billed"
    );
}

#[tokio::test]
async fn refusals_of_single_requests_have_the_same_shapes() {
    let service = Service::new(Scenario {
        refuse_percent: 100,
        ..steady()
    });
    let body = json!({"contents": [{"parts": [{"text": "a fox"}]}]});
    let reply = service
        .post(
            "/v1beta/models/gemini-3.1-flash-image:generateContent",
            &body,
        )
        .await;
    assert_eq!(reply.status, 200);
    let shape = shape(&reply.json());
    assert!(
        !shape.is_empty() && !reply.json().to_string().contains("inlineData"),
        "{shape}"
    );
}

#[tokio::test]
async fn missing_lines_are_absent_and_repeated_lines_occur_twice() {
    let (_, lines) = done(
        Scenario {
            missing_percent: 40,
            repeated_percent: 40,
            ..steady()
        },
        30,
    )
    .await;
    let mut counts = BTreeMap::new();
    for line in &lines {
        *counts.entry(line["key"].as_str().unwrap()).or_insert(0) += 1;
    }
    assert!(counts.len() < 30, "some keys should be missing");
    assert!(counts.values().any(|count| *count == 2) && counts.values().all(|count| *count <= 2));
}

#[tokio::test]
async fn a_thought_image_comes_before_the_image_and_is_marked() {
    let (_, lines) = done(
        Scenario {
            thoughts_percent: 100,
            ..steady()
        },
        1,
    )
    .await;
    let parts = lines[0]["response"]["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap();
    let images: Vec<&Value> = parts
        .iter()
        .filter(|part| part.get("inlineData").is_some())
        .collect();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0]["thought"], true);
    assert_eq!(images[1].get("thought"), None);
    assert_ne!(images[0]["inlineData"], images[1]["inlineData"]);
}

#[tokio::test]
async fn stray_images_are_added_and_billed() {
    let (service, lines) = done(
        Scenario {
            unknown_percent: 50,
            ..steady()
        },
        10,
    )
    .await;
    let (asked, regular) = done(steady(), 10).await;
    let (known, strays): (Vec<_>, Vec<_>) = lines
        .iter()
        .partition(|line| line["key"].as_str().unwrap().starts_with('k'));
    let keys = |lines: &[&Value]| {
        lines
            .iter()
            .map(|line| line["key"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&known), keys(&regular.iter().collect::<Vec<_>>()));
    let count = strays.len() as u64;
    assert!((1..10).contains(&count), "{count} strays");
    assert_eq!(
        keys(&strays)
            .iter()
            .map(Value::to_string)
            .collect::<BTreeSet<_>>()
            .len(),
        strays.len()
    );
    for stray in strays {
        assert_schema("BatchOutputLine", stray);
        assert_eq!(jpeg_pixels(&image(stray)), (512, 512));
    }
    // All requests cost the same.
    let one = asked.gemini.billed().unwrap() / 10;
    assert_eq!(
        service.gemini.billed().unwrap(),
        asked.gemini.billed().unwrap() + count * one
    );
}

#[tokio::test]
async fn a_request_served_twice_has_two_billed_answers() {
    let (service, lines) = done(
        Scenario {
            served_twice_percent: 50,
            ..steady()
        },
        10,
    )
    .await;
    let (once, _) = done(steady(), 10).await;
    let answers = |line: &Value| {
        (
            line["key"].to_string(),
            line["response"]["responseId"].to_string(),
        )
    };
    let all: BTreeSet<_> = lines.iter().map(answers).collect();
    let keys: BTreeSet<_> = all.iter().map(|(key, _)| key).collect();
    assert_eq!(
        (all.len(), keys.len()),
        (lines.len(), 10),
        "every answer is distinct, and no key is new"
    );
    assert!((11..20).contains(&lines.len()), "{} lines", lines.len());
    let one = once.gemini.billed().unwrap() / 10;
    assert_eq!(service.gemini.billed().unwrap(), one * lines.len() as u64);
}

#[tokio::test]
async fn a_bill_separates_delivered_and_undelivered_answers() {
    let scenario = Scenario {
        missing_percent: 30,
        repeated_percent: 30,
        served_twice_percent: 30,
        ..steady()
    };
    for outcome in [None, Some(BatchOutcome::Truncated)] {
        let rule = outcome.map(|outcome| BatchOutcomeRule {
            which: "100%".parse().unwrap(),
            outcome,
        });
        let service = Service::new(Scenario {
            batch_outcomes: rule.into_iter().collect(),
            ..scenario.clone()
        });
        let asked: Vec<_> = (0..30).map(|n| line(&format!("k{n}"), json!({}))).collect();
        let batch = service.batch("gemini-nano-banana-2.1", &asked).await;
        service.pass_minutes(100);
        // A reader can add up each complete answer once.
        let output = service.output(&batch).await;
        let output = std::str::from_utf8(&output).unwrap();
        let whole = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let answers: BTreeMap<_, _> = whole
            .map(|line| {
                (
                    line["response"]["responseId"].to_string(),
                    line["response"]["usageMetadata"].clone(),
                )
            })
            .collect();
        let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap_or(0);
        let price = |usage: &Value| {
            let (text, image) = (
                count(usage, "thoughtsTokenCount"),
                count(usage, "candidatesTokenCount"),
            );
            (count(usage, "promptTokenCount") * 1_500 + text * 7_500 + image * 30_000) / 2
        };
        let record = &service.gemini.records().unwrap()[0];
        let delivered = record.bill.nanodollars - record.bill.undelivered_nanodollars;
        assert_eq!(
            answers.values().map(price).sum::<u64>(),
            delivered,
            "{outcome:?}"
        );
        assert!(record.bill.undelivered_nanodollars > 0);
        assert_eq!(record.bill.nanodollars, service.gemini.billed().unwrap());
    }
}

#[tokio::test]
async fn a_wrong_ratio_is_clearly_another_ratio() {
    let service = Service::new(Scenario {
        wrong_ratio_percent: 50,
        ..steady()
    });
    let wide = |n: usize| {
        line(
            &format!("k{n}"),
            json!({"imageSize": "512", "aspectRatio": "16:9"}),
        )
    };
    let batch = service
        .batch(
            "gemini-3.1-flash-image",
            &(0..20).map(wide).collect::<Vec<_>>(),
        )
        .await;
    service.pass_minutes(100);
    let pixels: Vec<_> = service
        .results(&batch)
        .await
        .iter()
        .map(|line| jpeg_pixels(&image(line)))
        .collect();
    let (right, wrong): (Vec<_>, Vec<_>) =
        pixels.into_iter().partition(|pixels| *pixels == (688, 384));
    assert!(!right.is_empty() && !wrong.is_empty());
    for (width, height) in wrong {
        let ratio = f64::from(width) / f64::from(height) * 9.0 / 16.0;
        assert!(
            !(0.85..1.15).contains(&ratio),
            "{width} x {height} could pass"
        );
    }
}

#[tokio::test]
async fn a_mislabelled_image_is_png_labelled_as_jpeg() {
    let (_, lines) = done(
        Scenario {
            mislabelled_percent: 50,
            ..steady()
        },
        12,
    )
    .await;
    let mut kinds = BTreeMap::new();
    for line in &lines {
        // This asserts that the image is labelled as JPEG.
        let image = image(line);
        let kind = if let Some(header) = image.strip_prefix(b"\x89PNG\r\n\x1a\n") {
            assert_eq!(header[8..16], [0, 0, 2, 0, 0, 0, 2, 0], "512 x 512");
            assert!(image.ends_with(b"IEND\xae\x42\x60\x82"));
            "png"
        } else {
            assert_eq!(jpeg_pixels(&image), (512, 512));
            "jpeg"
        };
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 2, "{kinds:?}");
}

#[tokio::test]
async fn images_carry_the_marks_of_the_scenario() {
    let (_, lines) = done(
        Scenario {
            mislabelled_percent: 50,
            iptc_percent: 50,
            c2pa_percent: 50,
            ..steady()
        },
        40,
    )
    .await;
    let mut found = BTreeSet::new();
    for line in &lines {
        let image = image(line);
        let marks = Provenance::of(&image);
        let text = String::from_utf8_lossy(&image);
        assert_eq!(marks.iptc, text.contains("/trainedAlgorithmicMedia"));
        assert_eq!(marks.c2pa, text.contains("jumdc2pa"));
        found.insert((image.starts_with(b"\x89PNG"), marks.iptc, marks.c2pa));
    }
    assert_eq!(found.len(), 8, "{found:?}");
}

#[tokio::test]
async fn the_seed_determines_the_outcomes() {
    let with_seed = |seed| Scenario {
        seed,
        refuse_percent: 20,
        internal_error_percent: 20,
        missing_percent: 20,
        repeated_percent: 20,
        unknown_percent: 20,
        wrong_ratio_percent: 20,
        ..steady()
    };
    let (_, one) = done(with_seed(1), 30).await;
    let (_, again) = done(with_seed(1), 30).await;
    let (_, other) = done(with_seed(2), 30).await;
    assert_eq!(one, again);
    assert_ne!(one, other);
}
