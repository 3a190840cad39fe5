//! Outputs of odd shapes, early and late, with and without counts: one batch is made, and every
//! image that came is kept.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use darkroom::job::JobSettings;
use gemini_sim::{
    ArrayRule, ArrayStyle, DoneFlag, LateOutputRule, Scenario, Selector, Shape, ShapeRule,
};
use serde_json::{Value, json};
use tests::{Making, World};

/// How the end of a batch is told: early, late, never; with and without counts; with the output
/// there at once or later.
fn tellings() -> Vec<Scenario> {
    let mut tellings = Vec::new();
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
                tellings.push(Scenario {
                    done,
                    without_counts,
                    late_outputs,
                    ..Scenario::default()
                });
            }
        }
    }
    tellings
}

/// A world in which twelve images were asked for, with keys that can be numbers.
async fn world(scenario: Scenario) -> World {
    let settings = JobSettings {
        max_rounds: 3,
        ..JobSettings::default()
    };
    let world = World::made_with(Making {
        scenario,
        settings,
        ..Making::default()
    })
    .unwrap();
    let items = (100..112)
        .map(|number| json!({ "key": number.to_string(), "prompt": "a stone" }).to_string() + "\n");
    world
        .put("inbox/stones.jsonl", items.collect::<String>())
        .await
        .unwrap();
    world.run().await.unwrap();
    world
}

fn job(world: &World) -> String {
    world.jobs().unwrap()[0].clone()
}

/// Files below a folder of the job, by their contents.
fn kept(world: &World, folder: &str) -> BTreeSet<Bytes> {
    let prefix = format!("darkroom/{}{folder}/", job(world));
    let objects = world.objects().unwrap();
    objects
        .into_iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(_, content)| content.into())
        .collect()
}

/// Holds what was kept against what the only batch's output holds.
async fn assert_all_is_kept(world: &World, about: &str) {
    assert_eq!(world.gemini.batches_created(), 1, "{about}");
    let batch = world.gemini.records().unwrap().remove(0).name;
    let delivered = world.gemini.delivered(&batch).unwrap();
    let results = world
        .lines(&format!("{}results.jsonl", job(world)))
        .await
        .unwrap();
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
    let (own, unmatched) = (kept(world, "images"), kept(world, "unmatched"));
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
async fn lines_of_odd_shapes_are_read_or_kept_and_never_bought_again() {
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
        for (number, telling) in tellings().into_iter().enumerate() {
            // Every shape with every telling would take minutes; each telling comes with three
            // shapes or more.
            if (number + place) % 3 > 0 {
                continue;
            }
            for percent in [30, 100] {
                let shapes = vec![ShapeRule { shape, percent }];
                let world = world(Scenario {
                    shapes,
                    shuffle: true,
                    seed: number as u64,
                    ..telling.clone()
                })
                .await;
                assert_all_is_kept(&world, &format!("{shape:?}, {percent} %, {number}")).await;
            }
        }
    }
}

#[tokio::test]
async fn outputs_of_odd_forms_are_read() {
    let array = |style| {
        vec![ArrayRule {
            which: Selector::Percent(100),
            style: Some(style),
        }]
    };
    for (number, telling) in tellings().into_iter().enumerate() {
        for (form, scenario) in [
            (
                "inline",
                Scenario {
                    inline_outputs: vec![Selector::Percent(100)],
                    ..telling.clone()
                },
            ),
            (
                "one line",
                Scenario {
                    arrays: array(ArrayStyle::Compact),
                    ..telling.clone()
                },
            ),
            (
                "lines",
                Scenario {
                    arrays: array(ArrayStyle::Lines),
                    ..telling.clone()
                },
            ),
        ] {
            let world = world(scenario).await;
            assert_all_is_kept(&world, &format!("{form}, {number}")).await;
            assert!(
                world
                    .read(&format!("{}_SUCCESS", job(&world)))
                    .await
                    .unwrap()
                    .is_some(),
                "{form}, {number}"
            );
        }
    }
}

#[tokio::test]
async fn images_that_no_line_gives_to_a_request_are_told_of_and_counted_once() {
    let shapes = vec![ShapeRule {
        shape: Shape::NoKey,
        percent: 100,
    }];
    let world = world(Scenario {
        shapes,
        ..Scenario::default()
    })
    .await;
    let job = job(&world);
    let state = world
        .json(&format!("{job}shards/0000/state.json"))
        .await
        .unwrap();
    assert_eq!(state["phase"]["name"], "done", "{state}");
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    assert_eq!(
        (
            &summary["counts"]["succeeded"],
            &summary["integrity"]["unreadable_lines"]
        ),
        (&json!(0), &json!(12))
    );
    let (billed, told) = (
        world.gemini.billed().unwrap() as f64 / 1e9,
        summary["cost"]["actual_usd"].as_f64().unwrap(),
    );
    assert!((billed - told).abs() < 1e-6, "{billed} and {told}");
    assert_eq!(summary["cost"]["unaccounted"]["requests"], 0, "{summary}");
    let results = world.lines(&format!("{job}results.jsonl")).await.unwrap();
    let says =
        |line: &Value| line["error"]["code"] == "UNMATCHED" && line["error"]["retryable"] == false;
    assert!(results.iter().all(says), "{results:?}");
    // A person who wants them again has the manifest for it.
    assert_eq!(
        world
            .lines(&format!("{job}retry.jsonl"))
            .await
            .unwrap()
            .len(),
        12
    );
}
