//! What a run leaves behind: every image, under its own key, at the shape that was asked for.

use std::{collections::BTreeSet, fs, path::Path};

use darkroom::results::image::ratio_matches;
use serde_json::Value;
use zune_jpeg::{JpegDecoder, zune_core::bytestream::ZCursor};

use super::{Place, keys, samples};

/// Fails unless the whole file decodes; its width and height.
fn decoded(path: &Path) -> (usize, usize) {
    let mut decoder = JpegDecoder::new(ZCursor::new(fs::read(path).unwrap()));
    decoder
        .decode()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    decoder.dimensions().unwrap()
}

/// Fails unless every image of the plan is there, decodes, and has its ratio; the results.
#[track_caller]
fn complete(place: &Place) -> Vec<Value> {
    let (plan, results) = (place.lines("plan.jsonl"), place.lines("results.jsonl"));
    assert_eq!(
        keys(&plan),
        keys(&results),
        "results are in manifest order, each key once"
    );
    assert!(place.job().join("_SUCCESS").exists());
    for (plan, result) in plan.iter().zip(&results) {
        assert_eq!(result["status"], "succeeded", "{result}");
        let uri = result["image"]["uri"].as_str().unwrap();
        let file = place.out().join(uri.strip_prefix("s3://").unwrap());
        let expected = format!("images/{}.jpg", plan["path"].as_str().unwrap());
        assert!(
            file.ends_with(&expected),
            "{} is not {expected}",
            file.display()
        );
        let (width, height) = decoded(&file);
        assert_eq!(
            (
                result["image"]["width"].as_u64(),
                result["image"]["height"].as_u64()
            ),
            (Some(width as u64), Some(height as u64))
        );
        if let Some(ratio) = plan["aspect_ratio"].as_str() {
            let (width, height) = (
                u32::try_from(width).unwrap(),
                u32::try_from(height).unwrap(),
            );
            assert!(
                ratio_matches(width, height, ratio),
                "{width} x {height} is not {ratio}"
            );
        }
    }
    results
}

#[test]
fn catalog_gives_every_image_of_both_models() {
    let place = Place::new();
    let said = place.run(&samples().join("catalog.csv"), &[]).exits(0);
    let results = complete(&place);
    assert!(results.len() >= 24, "{} images", results.len());
    let distinct = |name: &str, lines: &[Value]| -> BTreeSet<String> {
        lines
            .iter()
            .filter_map(|line| line[name].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(distinct("model", &results).len(), 2);
    assert!(distinct("aspect_ratio", &place.lines("plan.jsonl")).len() >= 4);
    assert!(
        place
            .lines("plan.jsonl")
            .iter()
            .any(|line| line["refs"].as_array().is_some_and(|refs| !refs.is_empty()))
    );
    assert!(
        said.contains("cost") && said.contains("interactively"),
        "{said}"
    );
}

#[test]
fn images_of_another_shape_than_was_asked_for_are_told_at_the_end() {
    let place = Place::new();
    let manifest = place.manifest(
        "shapes.jsonl",
        "{\"key\":\"a\",\"prompt\":\"a stone\",\"aspect_ratio\":\"16:9\"}\n{\"key\":\"b\",\"prompt\":\"a stone\",\"aspect_ratio\":\"1:1\"}\n",
    );
    let said = place.run(&manifest, &["--wrong-ratio", "100"]).exits(0);
    assert!(
        said.contains(
            "check    2 images have another aspect ratio than was asked for: see the warnings in"
        ),
        "{said}"
    );
    assert!(!said.contains("another size"), "{said}");
    let place = Place::new();
    assert!(!place.run(&manifest, &[]).exits(0).contains("check    "));
}

#[test]
fn every_sample_runs() {
    for (name, least) in [
        ("sweep.json", 6),
        ("characters.jsonl", 4),
        ("native.jsonl", 2),
    ] {
        let place = Place::new();
        place.run(&samples().join(name), &[]).exits(0);
        assert!(complete(&place).len() >= least, "{name}");
    }
}

#[test]
fn a_zipped_manifest_is_the_same_manifest() {
    use std::io::Write;
    let place = Place::new();
    let text = "key,prompt\na,a stone\nb,\"another stone,\nand a line break\"\n";
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(text.as_bytes()).unwrap();
    let path = place.0.path().join("stones.csv.gz");
    fs::write(&path, zipped.finish().unwrap()).unwrap();
    place.run(&path, &[]).exits(0);
    assert_eq!(keys(&complete(&place)), ["a", "b"]);
    assert!(
        place
            .job()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("stones-")
    );
}

#[test]
fn keys_that_hurt_land_in_distinct_safe_places() {
    let place = Place::new();
    let long = "k".repeat(256);
    let keys = [
        "日本/東京",
        "a b+c%20d&e=f",
        "x",
        "x/y",
        "UPPER",
        "upper",
        "-rf",
        "../up",
        "=cmd|' /C calc'!A0",
        &long,
        "x.jpg",
        "x.jpg/y",
    ];
    let lines: Vec<String> = keys
        .iter()
        .map(|key| serde_json::json!({ "key": key, "prompt": "a stone" }).to_string())
        .collect();
    place
        .run(&place.manifest("hurt.jsonl", &lines.join("\n")), &[])
        .exits(0);
    let results = complete(&place);
    assert_eq!(super::keys(&results), keys);
    let uris: BTreeSet<String> = results
        .iter()
        .map(|result| result["image"]["uri"].as_str().unwrap().to_lowercase())
        .collect();
    assert_eq!(uris.len(), keys.len());
    for uri in uris {
        assert!(
            uri.len() < 1_024
                && !uri.contains("..")
                && !uri.contains("//images")
                && !uri.contains('='),
            "{uri}"
        );
    }
}
