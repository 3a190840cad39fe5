//! Rejected manifests and other ways to end without images.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::Workspace;

/// One valid line and six lines with different errors.
const BAD: &str = r#"{"key":"good","prompt":"a stone"}
{"key":"good","prompt":"the same key again"}
{"key":"ratio","prompt":"a stone","aspect_ratio":"5:7"}
{"key":"model","prompt":"a stone","model":"dall-e-3"}
{"key":"field","prompt":"a stone","colour":"red"}
{"key":"broken","prompt":
{"key":"reference","prompt":"a stone","refs":["refs/nowhere.png"]}
"#;

#[test]
fn lists_six_kinds_of_errors_and_buys_nothing() {
    let workspace = Workspace::new();
    workspace
        .run(&workspace.manifest("bad.jsonl", BAD), &[])
        .exits(2);
    let job = workspace.job();
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
    assert!(workspace.batches().is_empty());
    assert!(!job.join("shards").exists());
}

#[test]
fn a_rejected_manifest_runs_after_its_missing_picture_is_added() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
        "late.jsonl",
        r#"{"key":"a","prompt":"a stone","refs":["refs/late.png"]}"#,
    );
    workspace.run(&manifest, &[]).exits(2);
    fs::create_dir(workspace.0.path().join("refs")).unwrap();
    fs::copy(
        super::samples().join("refs/fox.png"),
        workspace.0.path().join("refs/late.png"),
    )
    .unwrap();
    workspace.run(&manifest, &[]).exits(0);
    assert!(
        workspace.job().join("_SUCCESS").exists() && !workspace.job().join("_REJECTED").exists()
    );
}

#[test]
fn a_wrong_command_line_has_its_own_exit_code() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    workspace.run(&manifest, &["--nonsense"]).exits(64);
    workspace
        .run(&workspace.0.path().join("nowhere.csv"), &[])
        .exits(3);
}

#[test]
fn the_real_api_requires_a_key_and_consent() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let output = workspace.run(&manifest, &["--gemini", "live"]).exits(3);
    assert!(output.contains("GEMINI_API_KEY"), "{output}");
    let mut command = workspace.command(&manifest, &["--gemini", "live"]);
    let output = super::Run(
        command
            .env("GEMINI_API_KEY", "canary-1234")
            .output()
            .unwrap(),
    )
    .exits(4);
    assert!(
        output.contains("--yes") && !output.contains("canary"),
        "{output}"
    );
}

#[test]
fn prints_googles_message_if_the_key_is_rejected() {
    for (answer, message) in [
        ("key-invalid", "API key not valid"),
        ("api-disabled", "has not been used in project"),
        ("country", "User location is not supported"),
    ] {
        let workspace = Workspace::new();
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
            .arg(workspace.0.path().join("gemini"))
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

        let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
        let mut command = workspace.command(&manifest, &["--gemini", "live", "--yes"]);
        let output = super::Run(
            command
                .envs([("GEMINI_API_KEY", "canary-1234"), ("GEMINI_BASE_URL", &url)])
                .output()
                .unwrap(),
        );
        service.kill().unwrap();
        service.wait().unwrap();
        let output = output.exits(3);
        assert!(
            output.contains(message)
                && output.contains("Nothing was bought")
                && !output.contains("canary"),
            "{output}"
        );
        assert!(!workspace.out().join("darkroom/jobs").exists());
    }
}

/// Returns seven simple lines and, as the fifth, one in Google's form with these parts and members.
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
fn an_invalid_request_rejects_the_manifest_or_with_request_check_warn_fails_alone() {
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
        let workspace = Workspace::new();
        let manifest = workspace.manifest("eight.jsonl", &among_seven(parts, members));
        workspace.run(&manifest, &[]).exits(2);
        let table = fs::read_to_string(workspace.job().join("validation.csv")).unwrap();
        assert!(
            table.lines().count() == 2 && table.contains("\n5,bad,error,"),
            "{table}"
        );
        assert!(workspace.batches().is_empty());

        let workspace = Workspace::new();
        workspace
            .run(&manifest, &["--metadata", "request-check=warn"])
            .exits(1);
        assert!(workspace.job().join("_PARTIAL").exists());
        let results = workspace.lines("results.jsonl");
        let failed: Vec<&str> = results
            .iter()
            .filter(|result| result["status"] != "succeeded")
            .map(|result| result["key"].as_str().unwrap())
            .collect();
        assert_eq!((results.len(), failed), (8, vec!["bad"]), "{members}");
    }
}
