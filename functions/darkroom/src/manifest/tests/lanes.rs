//! Lanes, time limits and proofs.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    cost::ShareKey,
    lane::{Lane, RequestedLane},
};

/// Reads a manifest as `plan` does: first to find the lanes, then with them. Both readings must
/// find the same.
fn read_twice(manifest: &[u8], context: &Context<'_>) -> (Vec<PlannedImage>, Reading) {
    let (first, found) = read_all(manifest, context);
    let with_lanes = Context {
        lanes: Some(&found.lanes),
        ..context.clone()
    };
    let (images, reading) = read_all(manifest, &with_lanes);
    assert_eq!(reading, found);
    assert!(first.iter().all(|image| !image.proof));
    if found.lanes.are_final() {
        let lanes = |images: &[PlannedImage]| -> Vec<Lane> {
            images.iter().map(|image| image.lane).collect()
        };
        assert_eq!(lanes(&first), lanes(&images));
    }
    (images, reading)
}

/// The images of a manifest without errors, in their final lanes.
fn placed(manifest: &Value) -> (Vec<PlannedImage>, Reading) {
    let (images, reading) = read_twice(manifest.to_string().as_bytes(), &context());
    assert_eq!(reading.errors, 0, "{:#?}", reading.problems);
    (images, reading)
}

fn lanes(images: &[PlannedImage]) -> Vec<Lane> {
    images.iter().map(|image| image.lane).collect()
}

/// The keys of the images that are in the proof.
fn proofs(images: &[PlannedImage]) -> Vec<&str> {
    let proofs = images.iter().filter(|image| image.proof);
    proofs.map(|image| image.key.as_str()).collect()
}

fn warnings(reading: &Reading) -> Vec<&str> {
    reading
        .problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect()
}

/// Items with the keys `k0`, `k1` and so on.
fn items(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({"key": format!("k{number}"), "prompt": "a stone"}))
        .collect()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

const PRO: &str = "gemini-3-pro-image";
const FLASH: &str = "gemini-nano-banana-2.1";

#[test]
fn an_item_takes_its_lane_from_itself_then_from_the_defaults_then_from_the_job() {
    let request = json!({"contents": [{"parts": [{"text": "a stone"}]}]});
    let items = json!([
        {"key": "a", "prompt": "a stone", "lane": "batch"},
        {"key": "b", "prompt": "a stone"},
        {"key": "c", "request": request, "lane": "batch"},
        {"key": "d", "request": request},
        {"custom_id": "e", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "a stone"}},
        {"recordId": "f", "modelInput": request},
        {"recordId": "g", "modelInput": {"prompt": "a stone", "lane": "batch"}},
        {"key": "h", "template": "stone"},
    ]);
    let templates = json!({"stone": {"prompt": "a stone", "lane": "batch"}});
    for (sections, expected) in [
        (json!({}), Lane::Batch),
        (json!({"job": {"lane": "flex"}}), Lane::Flex),
        (
            json!({"defaults": {"lane": "interactive"}}),
            Lane::Interactive,
        ),
        (
            json!({"job": {"lane": "interactive"}, "defaults": {"lane": "flex"}}),
            Lane::Flex,
        ),
    ] {
        let mut manifest = json!({"items": items, "templates": templates, "defaults": {}});
        for (name, section) in sections.as_object().unwrap() {
            manifest[name] = section.clone();
        }
        manifest["defaults"]["model"] = json!("nano-banana-pro");
        let (images, reading) = placed(&manifest);
        assert_eq!(reading.problems, [], "{manifest}");
        let batch = Lane::Batch;
        assert_eq!(
            lanes(&images),
            [
                batch, expected, batch, expected, expected, expected, batch, batch
            ],
            "{manifest}"
        );
    }
}

#[test]
fn a_column_or_the_metadata_may_name_the_lane() {
    let sidecar = Sidecar {
        metadata: [("lane".to_owned(), "interactive".to_owned())].into(),
        ..Sidecar::default()
    };
    let context = Context {
        sidecar: &sidecar,
        ..context()
    };
    let table = b"key,prompt,lane\na,x,batch\nb,x,\nc,x,interactive\n";
    let (images, reading) = read_twice(table, &context);
    assert_eq!(reading.problems, []);
    assert_eq!(
        lanes(&images),
        [Lane::Batch, Lane::Interactive, Lane::Interactive]
    );
}

#[test]
fn every_setting_of_the_time_may_be_metadata() {
    let metadata = [
        ("lane", "auto"),
        ("within", "2h"),
        ("rescue", "interactive"),
        ("flex-fallback", "interactive"),
        ("proof", "2"),
    ];
    let sidecar = |metadata: &[(&str, &str)]| Sidecar {
        metadata: metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Sidecar::default()
    };
    let found = sidecar(&metadata);
    fn context_with(sidecar: &Sidecar) -> Context<'_> {
        Context {
            sidecar,
            ..context()
        }
    }
    let table = b"key,prompt\na,x\nb,x\nc,x\n";
    let header = Header::read(&table[..], &context_with(&found)).unwrap();
    let job = header.job();
    assert_eq!(job.lane, RequestedLane::Auto);
    assert_eq!(job.within, Some(SignedDuration::from_hours(2)));
    assert_eq!(job.rescue_lane(), Some(Lane::Interactive));
    assert_eq!(job.fallback(), Lane::Interactive);
    assert_eq!(job.proof.as_ref().unwrap().images, ProofImages::First(2));
    for (name, value, message) in [
        ("proof", "some", "job.proof.count must be a whole number"),
        ("within", "2", "job.within must be a time"),
        ("rescue", "flex", "job.rescue needs job.within"),
    ] {
        let wrong = sidecar(&[(name, value)]);
        let (_, reading) = read_all(table, &context_with(&wrong));
        assert!(
            reading.problems[0].message.contains(message),
            "{:?}",
            reading.problems
        );
    }
}

#[test]
fn a_wrong_lane_is_reported_with_the_accepted_words_and_the_nearest_one() {
    let lines = "{\"key\":\"a\",\"prompt\":\"x\",\"lane\":\"interactiv\"}\n\
                 {\"key\":\"b\",\"prompt\":\"x\",\"lane\":\"now\"}\n\
                 {\"key\":\"c\",\"prompt\":\"x\",\"lane\":7}\n\
                 {\"key\":\"d\",\"request\":{\"contents\":[{\"parts\":[{\"text\":\"x\"}]}]},\"lane\":\"Flex\"}\n";
    insta::assert_snapshot!(problems(lines).join("\n"), @r#"
    1 bad_value lane must be batch, flex, interactive or auto, not "interactiv": did you mean interactive?
    2 bad_value lane must be batch, flex, interactive or auto, not "now"
    3 bad_value lane must be batch, flex, interactive or auto, not 7
    4 bad_value lane must be batch, flex, interactive or auto, not "Flex": did you mean flex?
    "#);
}

#[test]
fn a_model_without_the_flex_tier_refuses_the_lane() {
    let table = "key,prompt,model,lane\n\
                 a,x,nano-banana-2,flex\n\
                 b,x,nano-banana-pro,flex\n\
                 c,x,nano-banana-2,auto\n";
    insta::assert_snapshot!(problems(table).join("\n"), @"2 bad_lane gemini-nano-banana-2.1 doesn't have the lane flex: use batch or interactive");

    // The tier of a model that the catalog does not have is unknown.
    let allowed = Context {
        allow_unknown_models: true,
        ..context()
    };
    let table = b"key,prompt,model,lane\na,x,gemini-4-image,flex\n";
    let (_, reading) = read_all(table, &allowed);
    assert!(warnings(&reading).contains(&"bad_lane"));
}

#[test]
fn a_rescue_needs_a_time_limit_and_a_lane_that_the_model_has() {
    let manifest = |job: &Value| json!({"job": job, "items": items(1)}).to_string();
    for (job, expected) in [
        (
            json!({"rescue": "interactive"}),
            Some("job.rescue needs job.within"),
        ),
        (json!({"rescue": "off"}), None),
        (json!({"rescue": "interactive", "within": "2h"}), None),
        (
            json!({"rescue": "flex", "within": "2h"}),
            Some("doesn't have the lane flex of job.rescue: set it to interactive or off"),
        ),
        (
            json!({"rescue": "flex", "within": "2h", "lane": "interactive"}),
            Some("job.rescue has no effect"),
        ),
    ] {
        let found = problems(&manifest(&job));
        match expected {
            None => assert_eq!(found, [""; 0], "{job}"),
            Some(expected) => assert!(
                found.len() == 1 && found[0].contains(expected),
                "{job}: {found:?}"
            ),
        }
    }
}

#[test]
fn settings_without_an_effect_are_reported() {
    for (job, expected) in [
        (json!({"within": "2h"}), vec!["job.within"]),
        (json!({"within": "2h", "lane": "auto"}), vec![]),
        (
            json!({"flex_fallback": "interactive"}),
            vec!["job.flex_fallback"],
        ),
        (
            json!({"flex_fallback": "batch", "lane": "auto", "within": "2h"}),
            vec![],
        ),
        (
            json!({"flexFallback": "batch", "lane": "interactive", "within": "1d"}),
            vec!["job.within", "job.flex_fallback"],
        ),
    ] {
        let found = problems(&json!({"job": job, "items": items(1)}).to_string());
        assert_eq!(found.len(), expected.len(), "{job}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                found.contains(&format!("unused_setting {expected} has no effect")),
                "{found}"
            );
        }
    }
}

#[test]
fn the_lane_decides_the_estimate_and_the_ceiling() {
    let of = |job: Value| {
        let defaults = json!({"model": "nano-banana-pro"});
        let manifest =
            json!({"job": job, "defaults": defaults, "items": [{"key": "a", "prompt": "x"}]});
        let (images, reading) = placed(&manifest);
        assert_eq!(images[0].estimate, reading.estimate);
        assert_eq!(images[0].ceiling_usd, reading.ceiling_usd);
        assert_eq!(reading.breakdown.of_model(PRO), reading.estimate);
        (reading.estimate.usd(), reading.ceiling_usd)
    };
    // One input token, and 930 thinking tokens in the ceiling.
    let batch = (usd("0.067001"), usd("0.072581"));
    let flex = (usd("0.067201"), usd("0.072781"));
    let interactive = (usd("0.134002"), usd("0.145162"));
    assert_eq!(of(json!({})), batch);
    assert_eq!(of(json!({"lane": "batch"})), batch);
    assert_eq!(of(json!({"lane": "interactive"})), interactive);
    assert_eq!(of(json!({"lane": "flex"})), flex);
    assert_eq!(
        of(json!({"lane": "flex", "flex_fallback": "interactive"})),
        (flex.0, interactive.1),
        "an image that falls back costs the full price"
    );
}

#[test]
fn thinking_has_the_prices_of_the_lane() {
    let max = |lane: &str| {
        let manifest =
            json!({"items": [{"key": "a", "prompt": "x", "thinking": "high", "lane": lane}]});
        let (_, reading) = placed(&manifest);
        reading.breakdown.thinking().max
    };
    // 2,000 tokens at $3.75 and $7.50 a million.
    assert_eq!(max("batch").usd(), usd("0.0075"));
    assert_eq!(max("batch").lanes_usd, None);
    assert_eq!(max("interactive").usd(), usd("0.015"));
}

#[test]
fn a_level_of_thinking_that_a_model_does_not_accept_is_reported_with_those_that_it_does() {
    let table = "key,prompt,model,thinking,lane\n\
                 a,x,nano-banana-2,low,interactive\n\
                 b,x,nano-banana-2-lite,medium,batch\n\
                 c,x,nano-banana-pro,high,flex\n\
                 d,x,nano-banana-2,most,\n";
    insta::assert_snapshot!(problems(table).join("\n"), @r#"
    2 bad_thinking gemini-nano-banana-2.1 doesn't accept thinking low: use minimal, medium, high
    3 bad_thinking gemini-3.1-flash-lite-image doesn't accept thinking medium: use minimal, high
    4 bad_thinking gemini-3-pro-image accepts no thinking level: remove it
    5 bad_value thinking must be minimal, low, medium or high, not "most"
    "#);
}

#[test]
fn the_budget_must_cover_the_prices_of_the_lanes() {
    let codes = |job: Value| {
        let manifest = json!({"job": job, "items": items(10)}).to_string();
        let (_, reading) = read_twice(manifest.as_bytes(), &context());
        warnings(&reading)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Ten images cost at most $0.20 in a batch.
    assert_eq!(codes(json!({"budget_usd": 0.21})), [""; 0]);
    let over = ["over_budget"];
    assert_eq!(
        codes(json!({"budget_usd": 0.21, "lane": "interactive"})),
        over
    );
    assert_eq!(
        codes(json!({"budget_usd": 0.21, "lane": "auto", "within": "1h"})),
        over
    );
    assert_eq!(
        codes(json!({"budget_usd": 0.21, "lane": "auto", "within": "1d"})),
        [""; 0]
    );
    // A proof of two images costs two images more.
    assert_eq!(
        codes(json!({"budget_usd": 0.21, "proof": {"count": 2}})),
        over
    );
    assert_eq!(
        codes(json!({"budget_usd": 0.25, "proof": {"count": 2}})),
        [""; 0]
    );
}

#[test]
fn a_request_of_googles_form_may_not_name_a_tier() {
    for name in ["serviceTier", "service_tier"] {
        for tier in ["flex", "standard"] {
            let request = json!({"contents": [{"parts": [{"text": "x"}]}], name: tier});
            for (line, root) in [
                (
                    json!({"key": "a", "request": request, "lane": "flex"}),
                    "request",
                ),
                (
                    json!({"recordId": "a", "modelInput": request}),
                    "modelInput",
                ),
            ] {
                let found = problems(&format!("{line}\n"));
                let expected = format!("bad_request {root}.serviceTier is decided by the lane");
                assert!(
                    found.iter().any(|found| found.contains(&expected)),
                    "{line}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn auto_is_decided_for_each_model_on_its_own() {
    let mut all = items(12);
    all.extend((0..3).map(
        |number| json!({"key": format!("p{number}"), "prompt": "x", "model": "nano-banana-pro"}),
    ));
    all.push(json!({"key": "b", "prompt": "x", "lane": "batch"}));
    let (images, reading) =
        placed(&json!({"job": {"lane": "auto", "within": "20m"}, "items": all}));
    assert_eq!(
        lanes(&images),
        [
            vec![Lane::Interactive; 12],
            vec![Lane::Flex; 3],
            vec![Lane::Batch]
        ]
        .concat()
    );
    let said: Vec<(&str, Lane, u64, &str)> = reading
        .lanes
        .choices()
        .iter()
        .map(|choice| {
            (
                choice.model.as_str(),
                choice.lane,
                choice.images,
                choice.why.as_str(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (
                PRO,
                Lane::Flex,
                3,
                "3 images within 20 min: flex, +$0.0006 over batch"
            ),
            (
                FLASH,
                Lane::Interactive,
                12,
                "12 images within 20 min: interactive, +$0.2016 over batch"
            ),
        ]
    );
    assert_eq!(reading.problems, []);
}

#[test]
fn each_rule_for_auto_explains_itself() {
    let why = |within: Option<&str>, count: usize| {
        let mut job = json!({"lane": "auto"});
        if let Some(within) = within {
            job["within"] = json!(within);
        }
        let (_, reading) = placed(&json!({"job": job, "items": items(count)}));
        (
            reading.lanes.choices()[0].why.clone(),
            warnings(&reading).join(" "),
        )
    };
    let quiet = |why: &str| (why.to_owned(), String::new());
    assert_eq!(
        why(None, 1),
        quiet("1 image without job.within: batch, the lowest price")
    );
    assert_eq!(
        why(Some("1d"), 12),
        quiet("12 images within 1 d: batch, which takes up to 1 d")
    );
    assert_eq!(
        why(Some("90m"), 2),
        quiet("2 images within 1 h 30 min: interactive, +$0.0336 over batch")
    );
    assert_eq!(
        why(Some("1m"), 33),
        (
            "33 images within 1 min: interactive, +$0.5544 over batch, although that takes about 2 min"
                .to_owned(),
            "within_too_short".to_owned()
        )
    );
}

#[test]
fn images_that_are_late_in_any_lane_are_reported_with_their_time() {
    let manifest = json!({"job": {"lane": "auto", "within": "1m"}, "items": items(33)});
    let (_, reading) = placed(&manifest);
    insta::assert_snapshot!(reading.problems[0].message, @"33 images by gemini-nano-banana-2.1 take about 2 min in the lane interactive, and job.within is 1 min: raise it, or request fewer images");
}

#[test]
fn a_proof_is_requested_in_its_own_lane() {
    let manifest = json!({"job": {"proof": {"count": 2}}, "items": items(5)});
    let (images, reading) = placed(&manifest);
    assert_eq!(proofs(&images), ["k0", "k1"]);
    let (batch, interactive) = (Lane::Batch, Lane::Interactive);
    assert_eq!(
        lanes(&images),
        [interactive, interactive, batch, batch, batch]
    );
    let proof = reading.proof.unwrap();
    assert_eq!(
        (proof.images, proof.lane, proof.hold),
        (2, interactive, true)
    );
    assert_eq!(proof.estimate.usd(), images[0].estimate.usd() * 2);
    let shares: Vec<(&ShareKey, u64)> = reading
        .breakdown
        .shares()
        .map(|(key, share)| (key, share.images))
        .collect();
    let key = |lane, is_proof| ShareKey {
        model: FLASH.to_owned(),
        size: "1K".to_owned(),
        lane,
        is_proof,
    };
    assert_eq!(
        shares,
        [(&key(batch, false), 3), (&key(interactive, true), 2)]
    );
    assert!(!reading.lanes.are_final());
}

#[test]
fn a_proof_takes_the_images_that_it_names() {
    let mut all = items(9);
    all[3] = json!({"key": "k3", "prompt": "x", "n": 2});
    for (proof, expected) in [
        (json!({"count": 1}), vec!["k0"]),
        (
            json!({"count": 3, "sample": "first"}),
            vec!["k0", "k1", "k2"],
        ),
        (
            json!({"count": 4, "sample": "spread"}),
            vec!["k0", "k3.v01", "k5", "k8"],
        ),
        (json!({"keys": ["k5"]}), vec!["k5"]),
        (
            json!({"keys": ["k3", "k8"]}),
            vec!["k3.v01", "k3.v02", "k8"],
        ),
        (
            json!({"keys": ["k3.v02"], "lane": "batch", "hold": false}),
            vec!["k3.v02"],
        ),
    ] {
        let (images, reading) = placed(&json!({"job": {"proof": proof}, "items": all}));
        assert_eq!(proofs(&images), expected, "{proof}");
        assert_eq!(reading.proof.unwrap().images, expected.len() as u64);
        assert_eq!(reading.problems, []);
        let selection = reading.lanes.proof().unwrap();
        assert_eq!(selection.hold, proof["hold"] != json!(false));
    }
}

#[test]
fn a_proof_of_all_images_is_no_proof() {
    for proof in [
        json!({"count": 3}),
        json!({"count": 100, "sample": "spread"}),
        json!({"keys": ["k0", "k1", "k2"]}),
    ] {
        let (images, reading) = placed(&json!({"job": {"proof": proof}, "items": items(3)}));
        assert_eq!(warnings(&reading), ["proof_of_everything"]);
        assert_eq!((proofs(&images), reading.proof), (vec![], None));
        assert_eq!(lanes(&images), [Lane::Batch; 3]);
        assert!(reading.lanes.are_final());
    }
    let one = problems(&json!({"job": {"proof": {"count": 1}}, "items": items(1)}).to_string());
    assert_eq!(
        one,
        [
            "1 proof_of_everything job.proof covers the only image, so no proof is made: remove it, or choose fewer images"
        ]
    );
}

#[test]
fn mistakes_in_a_proof_are_reported() {
    for (proof, expected) in [
        (
            json!(4),
            "job.proof must be an object such as {\"count\": 4}, not 4",
        ),
        (json!({}), "job.proof names no images"),
        (json!({"hold": true}), "job.proof names no images"),
        (
            json!({"count": 0}),
            "job.proof.count must be a whole number from 1 to 100, not 0",
        ),
        (json!({"count": 101}), "from 1 to 100, not 101"),
        (json!({"count": 1.5}), "from 1 to 100, not 1.5"),
        (json!({"count": 2, "keys": ["k0"]}), "has count and keys"),
        (
            json!({"keys": ["k0"], "sample": "first"}),
            "sample has no effect on keys",
        ),
        (json!({"keys": []}), "a list of 1 to 100 keys, not []"),
        (json!({"keys": "k0"}), "a list of 1 to 100 keys, not \"k0\""),
        (json!({"keys": [null]}), "has the key null"),
        (
            json!({"keys": [{}]}),
            "must be a text in quotes, or a number",
        ),
        (
            json!({"keys": ["k9"]}),
            "has \"k9\", and no item and no image has this key",
        ),
        (
            json!({"count": 1, "sample": "last"}),
            "sample must be \"first\" or \"spread\", not \"last\"",
        ),
        (
            json!({"count": 1, "lane": "auto"}),
            "lane must be batch, flex or interactive, not \"auto\"",
        ),
        (json!({"count": 1, "lane": "batsch"}), "did you mean batch?"),
        (
            json!({"count": 1, "lane": "flex"}),
            "doesn't have the lane flex of job.proof: use batch or interactive",
        ),
        (
            json!({"count": 1, "hold": "yes"}),
            "hold must be true or false, not \"yes\"",
        ),
        (
            json!({"count": 1, "number": 2}),
            "in job.proof: there is no field \"number\"",
        ),
        (json!({"count": 1, "holds": true}), "did you mean hold?"),
    ] {
        let manifest = json!({"job": {"proof": proof}, "items": items(3)}).to_string();
        let (_, reading) = read_twice(manifest.as_bytes(), &context());
        assert_eq!(reading.errors, 1, "{proof}: {:?}", reading.problems);
        let message = &reading.problems[0].message;
        assert!(message.contains(expected), "{proof}: {message}");
    }
    assert_eq!(
        codes(&json!({"job": {"proof": null}, "items": items(3)}).to_string()),
        []
    );
}

#[test]
fn a_key_of_an_item_with_an_error_is_not_reported_as_unknown() {
    let manifest = json!({"job": {"proof": {"keys": ["bad"]}}, "items": [
        {"key": "bad", "prompt": "x", "n": 0}, {"key": "good", "prompt": "x"},
    ]});
    let found = codes(&manifest.to_string());
    assert_eq!(found, [(1, "bad_value".to_owned())]);
}

#[test]
fn a_flex_proof_needs_the_tier_for_its_own_images_only() {
    let manifest = |flash: usize| {
        let mut all = items(4);
        for (number, item) in all.iter_mut().enumerate() {
            if number != flash {
                item["model"] = json!("nano-banana-pro");
            }
        }
        json!({"job": {"proof": {"count": 2, "sample": "spread", "lane": "flex"}}, "items": all})
            .to_string()
    };
    // The first and the last image are the proof.
    for (flash, expected) in [(0, 1), (1, 0), (2, 0), (3, 1)] {
        let (_, reading) = read_twice(manifest(flash).as_bytes(), &context());
        assert_eq!(reading.errors, expected, "{flash}");
    }
}

#[test]
fn auto_counts_the_images_that_are_not_in_the_proof() {
    // Of 33 images within a minute, one more than fits in the interactive lane.
    let manifest = |proof: Value| json!({"job": {"lane": "auto", "within": "1m", "proof": proof}, "items": items(33)});
    let (_, reading) = placed(&manifest(json!({"count": 1, "lane": "batch"})));
    assert_eq!(reading.problems, []);
    assert_eq!(reading.lanes.choices()[0].images, 32);
}

#[test]
fn an_image_is_refused_if_it_exceeds_the_daily_cap_in_any_lane_that_it_may_get() {
    let bounds = BatchBounds {
        usd: Some(usd("0.03")),
        ..BatchBounds::default()
    };
    let context = Context {
        bounds: &bounds,
        ..context()
    };
    for (job, expected) in [
        (json!({}), 0),
        (json!({"lane": "interactive"}), 3),
        (json!({"lane": "auto", "within": "2d"}), 3),
        (json!({"proof": {"count": 1}}), 3),
    ] {
        let manifest = json!({"job": job, "items": items(3)}).to_string();
        let (_, reading) = read_twice(manifest.as_bytes(), &context);
        assert_eq!(reading.errors, expected, "{job}: {:?}", reading.problems);
    }
}

#[test]
fn a_retry_line_names_the_lane_if_the_manifest_names_one() {
    let request = json!({"contents": [{"parts": [{"text": "x"}]}]});
    let all = json!([
        {"key": "a", "prompt": "x"},
        {"key": "b", "prompt": "x", "lane": "batch"},
        {"key": "c", "request": request},
        {"key": "d", "request": request, "lane": "interactive"},
    ]);
    let lane = |image: &PlannedImage| image.retry.as_ref().unwrap().get("lane").cloned();
    let retries = |job: Value| {
        let (images, _) = placed(&json!({"job": job, "items": all}));
        images.iter().map(lane).collect::<Vec<_>>()
    };
    let [batch, interactive] = ["batch", "interactive"].map(|lane| Some(json!(lane)));
    assert_eq!(
        retries(json!({})),
        [None, batch.clone(), None, interactive.clone()],
        "a manifest without lanes has the lines that it always had"
    );
    assert_eq!(
        retries(json!({"lane": "auto", "within": "1h"})),
        [
            interactive.clone(),
            batch.clone(),
            interactive.clone(),
            interactive.clone()
        ]
    );
    assert_eq!(
        retries(json!({"proof": {"count": 1}})),
        [interactive.clone(), batch.clone(), None, interactive]
    );
}

#[test]
fn a_summary_without_lanes_keeps_its_members() {
    let (_, reading) = placed(&json!({"items": items(2)}));
    let summary = crate::plan::PlanSummary::of(&reading, 1, jiff::Timestamp::UNIX_EPOCH);
    let members: Vec<String> = serde_json::to_value(&summary)
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        members,
        [
            "images",
            "shards",
            "estimate",
            "thinking",
            "models",
            "warnings",
            "planned_at"
        ]
    );
    let (_, reading) =
        placed(&json!({"job": {"lane": "auto", "within": "20m"}, "items": items(2)}));
    let summary = crate::plan::PlanSummary::of(&reading, 1, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(
        serde_json::to_value(&summary).unwrap()["lanes"],
        json!([{
            "model": FLASH, "lane": "interactive", "images": 2,
            "why": "2 images within 20 min: interactive, +$0.0336 over batch",
        }])
    );
}

/// Items of all lanes, models and sizes, and a job with a proof.
fn arbitrary() -> impl Strategy<Value = Value> {
    let item = (
        prop::sample::select(vec!["nano-banana-2", "nano-banana-pro"]),
        prop::sample::select(vec!["1K", "2K", "4K"]),
        prop::option::of(prop::sample::select(vec!["batch", "interactive", "auto"])),
        1..4_u32,
        0..200_usize,
    );
    let proof = prop::option::of(prop_oneof![
        (1..=100_u64, prop::sample::select(vec!["first", "spread"]))
            .prop_map(|(count, sample)| json!({"count": count, "sample": sample})),
        prop::collection::vec(0..3_usize, 1..3).prop_map(|keys| {
            let keys: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
            json!({"keys": keys})
        }),
    ]);
    let job = (
        prop::option::of(prop::sample::select(vec!["batch", "interactive", "auto"])),
        prop::option::of(prop::sample::select(vec!["1m", "30m", "5h", "3d"])),
        prop::sample::select(vec!["batch", "interactive"]),
        prop::sample::select(vec!["batch", "interactive"]),
        proof,
    );
    (prop::collection::vec(item, 3..20), job).prop_map(|(items, job)| {
        let (lane, within, fallback, proof_lane, proof) = job;
        let items: Vec<Value> = items
            .into_iter()
            .enumerate()
            .map(|(number, (model, size, lane, count, characters))| {
                let mut item = json!({"key": format!("k{number}"), "prompt": "x".repeat(characters + 1), "n": count,
                    "model": model, "image_size": size});
                if let Some(lane) = lane {
                    item["lane"] = json!(lane);
                }
                item
            })
            .collect();
        let mut job = json!({"flex_fallback": fallback});
        for (name, value) in [("lane", lane), ("within", within)] {
            if let Some(value) = value {
                job[name] = json!(value);
            }
        }
        if let Some(mut proof) = proof {
            proof["lane"] = json!(proof_lane);
            job["proof"] = proof;
        }
        json!({"job": job, "items": items})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_totals_are_those_of_the_images_in_their_final_lanes(manifest in arbitrary()) {
        let (images, reading) = placed(&manifest);
        let sum = |cost: fn(&PlannedImage) -> Usd| images.iter().map(cost).sum::<Usd>();
        prop_assert_eq!(sum(|image| image.estimate.usd()), reading.estimate.usd());
        prop_assert_eq!(sum(|image| image.estimate.batch_usd), reading.estimate.batch_usd);
        prop_assert_eq!(sum(|image| image.ceiling_usd), reading.ceiling_usd);
        prop_assert_eq!(images.len() as u64, reading.images);
        for (key, share) in reading.breakdown.shares() {
            let of_share: Vec<&PlannedImage> = images.iter().filter(|image| {
                image.model == key.model && image.image_size.as_deref() == Some(&key.size)
                    && image.lane == key.lane && image.proof == key.is_proof
            }).collect();
            prop_assert_eq!(of_share.len() as u64, share.images, "{:?}", key);
            let cost: Usd = of_share.iter().map(|image| image.estimate.usd()).sum();
            prop_assert_eq!(cost, share.estimate.usd());
        }
        let in_proof = images.iter().filter(|image| image.proof).count() as u64;
        prop_assert_eq!(in_proof, reading.proof.map_or(0, |proof| proof.images));
        for image in images.iter().filter(|image| image.proof) {
            prop_assert_eq!(image.lane, reading.proof.unwrap().lane);
        }
    }
}

/// More images than a spread proof samples.
#[test]
fn a_spread_proof_of_many_images_has_the_same_cost_in_both_readings() {
    for count in [4_096_usize, 4_097, 4_098, 8_193, 20_000] {
        let lines: String = (0..count)
            .map(|number| format!("k{number},{}\n", "x".repeat(number % 97 + 1)))
            .collect();
        let sidecar = Sidecar {
            job: Some(json!({"job": {"proof": {"count": 7, "sample": "spread"}}}).to_string()),
            ..Sidecar::default()
        };
        let context = Context {
            sidecar: &sidecar,
            ..context()
        };
        let table = format!("key,prompt\n{lines}");
        let (images, reading) = read_twice(table.as_bytes(), &context);
        assert_eq!(reading.errors, 0);
        let found = proofs(&images);
        let last = format!("k{}", count - 1);
        assert_eq!((found.len(), found[0], found[6]), (7, "k0", last.as_str()));
        let sum: Usd = images.iter().map(|image| image.estimate.usd()).sum();
        assert_eq!(sum, reading.estimate.usd());
    }
}
