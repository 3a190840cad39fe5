//! A command that is killed and started again.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Workspace, files, keys};

/// The number of moments of a run at which it is killed.
const MOMENTS: usize = 10;

/// Kills the process as soon as the bucket holds `objects` objects. Returns false if the process
/// ended before that.
fn kill_at(mut process: Child, bucket: &Path, objects: usize) -> bool {
    loop {
        if files(bucket).len() >= objects {
            let running = process.try_wait().unwrap().is_none();
            process.kill().unwrap();
            process.wait().unwrap();
            return running;
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        thread::sleep(Duration::from_micros(300));
    }
}

/// Whether the process was killed between a request to create a batch and storing the answer. Such
/// a shard is held for the user and its batch is never requested again.
fn ambiguous(workspace: &Workspace) -> bool {
    files(&workspace.out().join("darkroom/jobs"))
        .iter()
        .filter(|file| file.ends_with("state.json"))
        .any(|file| {
            let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            state["phase"]["name"] == "creating"
        })
}

#[test]
fn resumes_after_a_kill_at_ten_moments_without_a_second_batch_for_a_shard() {
    let lines: Vec<String> = (0..60)
        .map(|number| {
            let model = if number % 3 == 0 {
                "nano-banana-pro"
            } else {
                "nano-banana-2"
            };
            serde_json::json!({ "key": format!("k/{number}"), "prompt": "a stone", "model": model })
                .to_string()
        })
        .collect();
    let text = lines.join("\n");
    let undisturbed = Workspace::new();
    undisturbed
        .run(&undisturbed.manifest("stones.jsonl", &text), &[])
        .exits(0);
    let total = files(&undisturbed.out().join("darkroom")).len();

    let mut killed = 0;
    for moment in 1..=MOMENTS {
        let workspace = Workspace::new();
        let manifest = workspace.manifest("stones.jsonl", &text);
        let process = workspace
            .command(&manifest, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        killed += usize::from(kill_at(
            process,
            &workspace.out().join("darkroom"),
            total * moment / (MOMENTS + 1),
        ));
        let held = ambiguous(&workspace);

        workspace.run(&manifest, &[]).exits(i32::from(held));
        let results = workspace.lines("results.jsonl");
        assert_eq!(
            keys(&results),
            keys(&undisturbed.lines("results.jsonl")),
            "moment {moment}"
        );
        assert!(
            held || results.iter().all(|result| result["status"] == "succeeded"),
            "moment {moment}"
        );
        let mut batches = workspace.batches();
        let made = batches.len();
        batches.sort();
        // Batches of the same shard differ only in the last part of their names, the attempt.
        batches.dedup_by_key(|name| name.rsplit_once('/').unwrap().0.to_owned());
        assert_eq!(
            batches.len(),
            made,
            "moment {moment}: two batches for one shard"
        );
        assert!(held || made == 2, "moment {moment}: {made} batches");
    }
    assert!(
        killed >= MOMENTS / 2,
        "only {killed} runs were killed before they finished"
    );
}
