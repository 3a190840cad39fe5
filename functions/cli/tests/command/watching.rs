//! `darkroom status` and `darkroom watch`: what users read about jobs that run elsewhere.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{Run, Workspace, serve::Host};

/// Two images, and a proof of one that must be approved.
const PROOF: &str = r#"{"manifest":{"version":1,"job":{"lane":"batch","proof":{"count":1}}}}
{"key":"a","prompt":"a stone"}
{"key":"b","prompt":"a leaf"}
"#;

fn name(workspace: &Workspace) -> String {
    let job = workspace.job();
    job.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Starts `darkroom watch`, whose output is not a terminal.
fn watch(arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    command.arg("watch").args(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn status_lists_jobs_and_explains_one() {
    let workspace = Workspace::new();
    assert!(
        workspace
            .look(&["status"])
            .exits(0)
            .contains("There are no jobs in")
    );
    let two = "{\"key\":\"a\",\"prompt\":\"a stone\"}\n{\"key\":\"b\",\"prompt\":\"a leaf\"}\n";
    workspace
        .run(&workspace.manifest("two.jsonl", two), &[])
        .exits(0);
    let job = name(&workspace);

    let table = workspace.look(&["status"]).exits(0);
    let (head, row) = table.trim().split_once('\n').unwrap();
    let heads: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(
        heads,
        ["job", "phase", "images", "cost", "age", "waits", "for"]
    );
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..3], [&job, "succeeded", "2/2"], "{table}");
    assert!(cells[3].starts_with('$'), "{table}");

    let details = workspace.look(&["status", "two"]).exits(0);
    for text in [
        "complete: 2 images, $",
        "s3://darkroom/inbox/two.jsonl",
        "2 of 2 images",
    ] {
        assert!(details.contains(text), "{text} in {details}");
    }
    let document: Value =
        serde_json::from_str(&workspace.look(&["status", &job, "--json"]).exits(0)).unwrap();
    assert_eq!(document["job"]["phase"], "succeeded");
    assert_eq!(document["summary"]["counts"]["succeeded"], 2);
    let list: Value =
        serde_json::from_str(&workspace.look(&["status", "--json"]).exits(0)).unwrap();
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]),
        (1, &document["job"])
    );

    let unknown = workspace.look(&["status", "three"]).exits(3);
    assert!(
        unknown.contains("whose name begins with \"three\""),
        "{unknown}"
    );
    assert!(
        workspace
            .look(&["watch", &job])
            .exits(0)
            .contains("2 of 2 images")
    );
}

#[test]
fn a_held_proof_is_explained_with_the_commands_that_decide() {
    let workspace = Workspace::new();
    workspace
        .run(&workspace.manifest("proof.jsonl", PROOF), &[])
        .exits(1);
    let job = name(&workspace);
    let details = workspace.look(&["status", &job]).exits(0);
    let out = workspace.out().display().to_string();
    for text in [
        "waits for  your approval of the proof",
        &format!("darkroom approve {job} --out {out}    makes 1 image"),
        &format!("darkroom cancel {job} --out {out}"),
        "held until the proof is approved: 1 images, about $",
    ] {
        assert!(details.contains(text), "{text} in {details}");
    }
    assert!(
        workspace
            .look(&["status"])
            .exits(0)
            .contains("your approval of the proof")
    );

    // The job is watched until another process has made the rest.
    let mut watching = watch(&[&job, "--out", &out], &[]);
    let mut output = BufReader::new(watching.stdout.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("darkroom approve") {
        assert!(output.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    workspace.look(&["approve", &job]).exits(0);
    let manifest = workspace.0.path().join("proof.jsonl");
    workspace.run(&manifest, &[]).exits(0);
    output.read_to_string(&mut seen).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(0), "{seen}");
    assert!(seen.contains("2 of 2 images"), "{seen}");
}

#[tokio::test]
async fn a_job_is_watched_from_drop_to_done_in_a_folder_and_in_a_bucket() {
    let workspace = Workspace::new();
    let mut host = Host::start(&workspace);
    let out = workspace.out().display().to_string();
    let mut watchers = [
        watch(&["two-", "--out", &out], &[]),
        watch(&["two-", "--bucket", "darkroom"], &host.variables()),
    ];
    let mut outputs = Vec::new();
    for watcher in &mut watchers {
        let mut output = BufReader::new(watcher.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(
            line.starts_with("waiting for a job in ")
                && line.ends_with(" whose name begins with two-\n"),
            "{line}"
        );
        outputs.push(output);
    }

    let two = r#"[{"key": "a", "prompt": "a stone"}, {"key": "b", "prompt": "a leaf"}]"#;
    host.put("inbox/two.json", two).await;
    for (watcher, mut output) in watchers.iter_mut().zip(outputs) {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(watcher.wait().unwrap().code(), Some(0), "{text}");
        let position = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("{part} in {text}"))
        };
        let places = [
            "waiting for Gemini",
            "complete: 2 images, $",
            "2 of 2 images",
        ]
        .map(position);
        assert!(places.is_sorted(), "{text}");
        assert!(
            !text.contains('\u{1b}'),
            "no control character in a log: {text:?}"
        );
        println!("{text}");
    }
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn the_exit_code_of_watch_is_that_of_run() {
    let one = r#"{"key":"a","prompt":"a stone"}"#;
    for (manifest, options, code, text) in [
        (one, &["--refuse", "100"][..], 1, "0 of 1 image"),
        (
            r#"{"key":"a","promt":"a stone"}"#,
            &[],
            2,
            "Rejected: 2 errors. Nothing was bought.",
        ),
    ] {
        let workspace = Workspace::new();
        let path = workspace.manifest("one.jsonl", manifest);
        workspace.run(&path, options).exits(code);
        let output = workspace.look(&["watch", "one-"]).exits(code);
        assert!(output.contains(text), "{output}");
        workspace.look(&["status", "one-"]).exits(0);
    }
}

#[test]
fn no_text_of_a_job_controls_the_terminal() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    workspace.run(&manifest, &[]).exits(0);
    let path = workspace.job().join("job.json");
    let mut status: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    status["phase"] = "blocked".into();
    status["manifest"] = "s3://darkroom/inbox/\u{1b}]0;owned\u{7}.csv".into();
    status["shards"][0]["phase"] = "submitted".into();
    status["shards"][0]["note"] = "\u{1b}[2J\u{9b}31m\u{202e}".into();
    fs::write(&path, serde_json::to_vec(&status).unwrap()).unwrap();
    let name = name(&workspace);
    for arguments in [
        &["status"][..],
        &["status", &name],
        &["status", &name, "--json"],
    ] {
        let Run(output) = workspace.look(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            !text
                .chars()
                .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{text:?}"
        );
        assert!(arguments.len() == 1 || text.contains("owned"), "{text:?}");
    }
}
