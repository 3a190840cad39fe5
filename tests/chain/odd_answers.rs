//! Outputs of unusual shapes, early and late, with and without counts: one batch is created, and
//! every delivered image is kept.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use darkroom::{job::JobSettings, settings::MaxRounds, status::ShardPhase};
use gemini_sim::{
    ArrayRule, ArrayStyle, DoneFlag, LateOutputRule, Scenario, Selector, Shape, ShapeRule,
};
use serde_json::{Value, json};
use tests::TestCloud;

/// Returns all ways in which Gemini reports the end of a batch: the `done` flag early, late or
/// absent, with and without counts, and the output at once or later.
fn endings() -> Vec<Scenario> {
    let mut endings = Vec::new();
    for done in [DoneFlag::Early, DoneFlag::Late, DoneFlag::Absent] {
        for without_counts in [false, true] {
            for late_minutes in [0, 7, 90] {
                let delay = Duration::from_secs(late_minutes * 60);
                let late = LateOutputRule {
                    delay,
                    which: Selector::Percent(100),
                };
                let late_outputs = if late_minutes > 0 {
                    vec![late]
                } else {
                    Vec::new()
                };
                endings.push(Scenario {
                    done,
                    without_counts,
                    late_outputs,
                    ..Scenario::default()
                });
            }
        }
    }
    endings
}

/// Runs a job of twelve images. Their keys can be read as numbers.
async fn test_cloud(scenario: Scenario) -> TestCloud {
    let settings = JobSettings {
        max_rounds: MaxRounds::new(3).unwrap(),
        ..JobSettings::default()
    };
    let cloud = TestCloud::builder()
        .scenario(scenario)
        .settings(settings)
        .build();
    let items = (100..112)
        .map(|number| json!({ "key": number.to_string(), "prompt": "a stone" }).to_string() + "\n");
    cloud
        .put("inbox/stones.jsonl", items.collect::<String>())
        .await;
    cloud.run().await;
    cloud
}

/// Returns the contents of all files in a folder of the job.
fn kept(cloud: &TestCloud, folder: &str) -> BTreeSet<Bytes> {
    let prefix = format!("darkroom/{}/", cloud.job().key(folder));
    let objects = cloud.objects();
    objects
        .into_iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(_, content)| content.into())
        .collect()
}

/// Checks that everything in the output of the only batch is kept.
async fn assert_all_is_kept(cloud: &TestCloud, about: &str) {
    assert_eq!(cloud.gemini.batches_created(), 1, "{about}");
    let batch = cloud.gemini.records().unwrap().remove(0).name;
    let delivered = cloud.gemini.delivered(&batch).unwrap();
    let results = cloud.job().lines("results.jsonl").await;
    assert_eq!(results.len(), 12, "{about}");
    let images = delivered.images();
    for line in &results {
        let key = line["key"].as_str().unwrap();
        assert_eq!(
            line["status"] == "succeeded",
            images.contains_key(key),
            "{about}: {line}"
        );
    }
    let (own, unmatched) = (kept(cloud, "images"), kept(cloud, "unmatched"));
    assert!(
        images.values().flatten().all(|image| own.contains(*image)),
        "{about}"
    );
    for line in delivered.unmatched() {
        assert!(
            unmatched.contains(&line.image.as_ref().unwrap().bytes),
            "{about}: {}",
            line.key
        );
    }
}

#[tokio::test]
async fn lines_of_unusual_shapes_are_read_or_kept_and_never_bought_again() {
    let shapes = [
        Shape::NoKey,
        Shape::NumericKey,
        Shape::NoWrapper,
        Shape::DataUrl,
        Shape::ThoughtOnly,
        Shape::FileData,
        Shape::ImageAsText,
        Shape::SnakeCase,
    ];
    for (place, shape) in shapes.into_iter().enumerate() {
        for (number, ending) in endings().into_iter().enumerate() {
            // All combinations would take minutes. This way each ending has at least two shapes.
            if (number + place) % 3 > 0 {
                continue;
            }
            for percent in [30, 100] {
                let shapes = vec![ShapeRule { shape, percent }];
                let cloud = test_cloud(Scenario {
                    shapes,
                    shuffle: true,
                    seed: number as u64,
                    ..ending.clone()
                })
                .await;
                assert_all_is_kept(&cloud, &format!("{shape:?}, {percent} %, {number}")).await;
            }
        }
    }
}

#[tokio::test]
async fn outputs_of_unusual_forms_are_read() {
    let array = |style| {
        vec![ArrayRule {
            which: Selector::Percent(100),
            style: Some(style),
        }]
    };
    for (number, ending) in endings().into_iter().enumerate() {
        for (form, scenario) in [
            (
                "inline",
                Scenario {
                    inline_outputs: vec![Selector::Percent(100)],
                    ..ending.clone()
                },
            ),
            (
                "one line",
                Scenario {
                    arrays: array(ArrayStyle::Compact),
                    ..ending.clone()
                },
            ),
            (
                "lines",
                Scenario {
                    arrays: array(ArrayStyle::Lines),
                    ..ending.clone()
                },
            ),
        ] {
            let cloud = test_cloud(scenario).await;
            assert_all_is_kept(&cloud, &format!("{form}, {number}")).await;
            assert!(cloud.job().has("_SUCCESS"), "{form}, {number}");
        }
    }
}

#[tokio::test]
async fn images_without_a_key_are_reported_and_counted_once() {
    let shapes = vec![ShapeRule {
        shape: Shape::NoKey,
        percent: 100,
    }];
    let cloud = test_cloud(Scenario {
        shapes,
        ..Scenario::default()
    })
    .await;
    let job = cloud.job();
    assert_eq!(job.phase("0000").await, ShardPhase::Done);
    let summary = job.json("summary.json").await;
    assert_eq!(
        (
            &summary["counts"]["succeeded"],
            &summary["integrity"]["unreadable_lines"]
        ),
        (&json!(0), &json!(12))
    );
    let (billed, reported) = (
        cloud.gemini.billed().unwrap() as f64 / 1e9,
        summary["cost"]["actual_usd"].as_f64().unwrap(),
    );
    assert!((billed - reported).abs() < 1e-6, "{billed} and {reported}");
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 0, "{summary}");
    let results = job.lines("results.jsonl").await;
    let is_unmatched =
        |line: &Value| line["error"]["code"] == "UNMATCHED" && line["error"]["retryable"] == false;
    assert!(results.iter().all(is_unmatched), "{results:?}");
    // The retry manifest lists all of them.
    assert_eq!(job.lines("retry.jsonl").await.len(), 12);
}
