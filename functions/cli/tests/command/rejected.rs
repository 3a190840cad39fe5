//! Manifests that are refused, and other ways to end without images.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::Place;

/// A good line among six kinds of bad ones, with the lines and codes that the report must have.
const BAD: &str = r#"{"key":"good","prompt":"a stone"}
{"key":"good","prompt":"the same key again"}
{"key":"ratio","prompt":"a stone","aspect_ratio":"5:7"}
{"key":"model","prompt":"a stone","model":"dall-e-3"}
{"key":"field","prompt":"a stone","colour":"red"}
{"key":"broken","prompt":
{"key":"reference","prompt":"a stone","refs":["refs/nowhere.png"]}
"#;

#[test]
fn six_kinds_of_bad_lines_are_all_listed_and_nothing_is_bought() {
    let place = Place::new();
    place.run(&place.manifest("bad.jsonl", BAD), &[]).exits(2);
    let job = place.job();
    assert!(job.join("_REJECTED").exists());
    let table = fs::read_to_string(job.join("validation.csv")).unwrap();
    let lines: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(lines, ["2", "3", "4", "5", "6", "7"], "{table}");
    assert!(
        table.lines().skip(1).all(|line| line.contains(",error,")),
        "{table}"
    );
    assert!(place.batches().is_empty());
    assert!(!job.join("shards").exists());
}

#[test]
fn a_rejected_manifest_runs_once_what_it_lacked_is_there() {
    let place = Place::new();
    let manifest = place.manifest(
        "late.jsonl",
        r#"{"key":"a","prompt":"a stone","refs":["refs/late.png"]}"#,
    );
    place.run(&manifest, &[]).exits(2);
    fs::create_dir(place.0.path().join("refs")).unwrap();
    fs::copy(
        super::samples().join("refs/fox.png"),
        place.0.path().join("refs/late.png"),
    )
    .unwrap();
    place.run(&manifest, &[]).exits(0);
    assert!(place.job().join("_SUCCESS").exists() && !place.job().join("_REJECTED").exists());
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_rejection() {
    let place = Place::new();
    let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    place.run(&manifest, &["--nonsense"]).exits(64);
    place.run(&place.0.path().join("nowhere.csv"), &[]).exits(3);
}

#[test]
fn the_real_api_needs_a_key_and_a_yes() {
    let place = Place::new();
    let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let said = place.run(&manifest, &["--gemini", "live"]).exits(3);
    assert!(said.contains("GEMINI_API_KEY"), "{said}");
    let mut command = place.command(&manifest, &["--gemini", "live"]);
    let said = super::Run(
        command
            .env("GEMINI_API_KEY", "canary-1234")
            .output()
            .unwrap(),
    )
    .exits(4);
    assert!(said.contains("--yes") && !said.contains("canary"), "{said}");
}

#[test]
fn a_key_that_google_refuses_ends_the_command_in_its_words() {
    for (answer, words) in [
        ("key-invalid", "API key not valid"),
        ("api-disabled", "has not been used in project"),
        ("country", "User location is not supported"),
    ] {
        let place = Place::new();
        let mut service = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        service.args([
            "gemini",
            "--port",
            "0",
            "--outage",
            &format!("any:{answer}:0..1d"),
            "--state",
        ]);
        let mut service = service
            .arg(place.0.path().join("gemini"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(service.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let url = lines
            .find_map(|line| {
                line.trim()
                    .starts_with("http://")
                    .then(|| line.trim().to_owned())
            })
            .unwrap();

        let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
        let mut command = place.command(&manifest, &["--gemini", "live", "--yes"]);
        let said = super::Run(
            command
                .envs([("GEMINI_API_KEY", "canary-1234"), ("GEMINI_BASE_URL", &url)])
                .output()
                .unwrap(),
        );
        service.kill().unwrap();
        service.wait().unwrap();
        let said = said.exits(3);
        assert!(
            said.contains(words) && said.contains("Nothing was bought") && !said.contains("canary"),
            "{said}"
        );
        assert!(!place.out().join("darkroom/jobs").exists());
    }
}

/// Seven friendly lines, and one in Google's form with these parts and members as the fifth.
fn among_seven(parts: &str, members: &str) -> String {
    let good = |number| format!("{{\"key\":\"good-{number}\",\"prompt\":\"a shoe\"}}\n");
    let bad = format!(
        "{{\"key\":\"bad\",\"request\":{{\"contents\":[{{\"parts\":[{parts}]}}]{members}}}}}\n"
    );
    (0..4)
        .map(good)
        .chain([bad])
        .chain((5..8).map(good))
        .collect()
}

#[test]
fn one_request_that_gemini_refuses_rejects_the_manifest_or_by_the_switch_fails_alone() {
    let text = r#"{"text":"a shoe"}"#;
    let storage = format!(
        r#"{text},{{"fileData":{{"mimeType":"image/png","fileUri":"gs://acme/shoe.png"}}}}"#
    );
    for (parts, members) in [
        (
            text,
            r#","generationConfig":{"imageConfig":{"aspectRatio":"1:1","personGeneration":"ALLOW_ALL"}}"#,
        ),
        (text, r#","generationConfig":{"thinkingLevel":"HIGH"}"#),
        (text, r#","generationConfig":{"candidateCount":2}"#),
        (storage.as_str(), ""),
    ] {
        let place = Place::new();
        let manifest = place.manifest("eight.jsonl", &among_seven(parts, members));
        place.run(&manifest, &[]).exits(2);
        let table = fs::read_to_string(place.job().join("validation.csv")).unwrap();
        assert!(
            table.lines().count() == 2 && table.contains("\n5,bad,error,"),
            "{table}"
        );
        assert!(place.batches().is_empty());

        let place = Place::new();
        place
            .run(&manifest, &["--metadata", "request-check=warn"])
            .exits(1);
        assert!(place.job().join("_PARTIAL").exists());
        let results = place.lines("results.jsonl");
        let failed: Vec<&str> = results
            .iter()
            .filter(|result| result["status"] != "succeeded")
            .map(|result| result["key"].as_str().unwrap())
            .collect();
        assert_eq!((results.len(), failed), (8, vec!["bad"]), "{members}");
    }
}
