//! The images of a run: each exists under its key, decodes, and has the requested shape.

use std::{collections::BTreeSet, fs, path::Path};

use darkroom::results::image::ratio_matches;
use serde_json::Value;
use zune_jpeg::{JpegDecoder, zune_core::bytestream::ZCursor};

use super::{Workspace, keys, samples};

/// Decodes the whole file and returns its width and height. Fails the test if that is not possible.
fn decoded(path: &Path) -> (usize, usize) {
    let mut decoder = JpegDecoder::new(ZCursor::new(fs::read(path).unwrap()));
    decoder
        .decode()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    decoder.dimensions().unwrap()
}

/// Returns the results. Fails the test unless every image of the plan exists, decodes, and has its
/// aspect ratio.
#[track_caller]
fn complete(workspace: &Workspace) -> Vec<Value> {
    let (plan, results) = (
        workspace.lines("plan.jsonl"),
        workspace.lines("results.jsonl"),
    );
    assert_eq!(
        keys(&plan),
        keys(&results),
        "results are in manifest order, each key once"
    );
    assert!(workspace.job().join("_SUCCESS").exists());
    for (plan, result) in plan.iter().zip(&results) {
        assert_eq!(result["status"], "succeeded", "{result}");
        let uri = result["image"]["uri"].as_str().unwrap();
        let file = workspace.out().join(uri.strip_prefix("s3://").unwrap());
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
fn the_catalog_sample_gives_every_image_of_both_models() {
    let workspace = Workspace::new();
    let output = workspace.run(&samples().join("catalog.csv"), &[]).exits(0);
    let results = complete(&workspace);
    assert!(results.len() >= 24, "{} images", results.len());
    let distinct = |name: &str, lines: &[Value]| -> BTreeSet<String> {
        lines
            .iter()
            .filter_map(|line| line[name].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(distinct("model", &results).len(), 2);
    assert!(distinct("aspect_ratio", &workspace.lines("plan.jsonl")).len() >= 4);
    assert!(
        workspace
            .lines("plan.jsonl")
            .iter()
            .any(|line| line["refs"].as_array().is_some_and(|refs| !refs.is_empty()))
    );
    assert!(
        output.contains("cost") && output.contains("interactively"),
        "{output}"
    );
}

#[test]
fn reports_images_whose_shape_differs_from_the_request() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
        "shapes.jsonl",
        "{\"key\":\"a\",\"prompt\":\"a stone\",\"aspect_ratio\":\"16:9\"}\n{\"key\":\"b\",\"prompt\":\"a stone\",\"aspect_ratio\":\"1:1\"}\n",
    );
    let output = workspace.run(&manifest, &["--wrong-ratio", "100"]).exits(0);
    assert!(
        output.contains(
            "check      2 images have a different aspect ratio than requested; see the warnings in"
        ),
        "{output}"
    );
    assert!(!output.contains("different size"), "{output}");
    let workspace = Workspace::new();
    assert!(!workspace.run(&manifest, &[]).exits(0).contains("check    "));
}

#[test]
fn runs_every_sample() {
    for (name, least) in [
        ("sweep.json", 6),
        ("characters.jsonl", 4),
        ("native.jsonl", 2),
    ] {
        let workspace = Workspace::new();
        workspace.run(&samples().join(name), &[]).exits(0);
        assert!(complete(&workspace).len() >= least, "{name}");
    }
}

#[test]
fn runs_a_gzipped_manifest() {
    use std::io::Write;
    let workspace = Workspace::new();
    let text = "key,prompt\na,a stone\nb,\"another stone,\nand a line break\"\n";
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(text.as_bytes()).unwrap();
    let path = workspace.0.path().join("stones.csv.gz");
    fs::write(&path, zipped.finish().unwrap()).unwrap();
    workspace.run(&path, &[]).exits(0);
    assert_eq!(keys(&complete(&workspace)), ["a", "b"]);
    assert!(
        workspace
            .job()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("stones-")
    );
}

#[test]
fn hostile_keys_get_distinct_safe_paths() {
    let workspace = Workspace::new();
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
    workspace
        .run(&workspace.manifest("hurt.jsonl", &lines.join("\n")), &[])
        .exits(0);
    let results = complete(&workspace);
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
