//! Killed at any moment, and started again.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Place, files, keys};

/// How many moments of a run are tried.
const MOMENTS: usize = 10;

/// Kills the process as soon as the bucket holds `objects` objects; false if it ended before that.
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

/// Whether a shard was left between asking for its batch and writing down the answer. Such a shard
/// is held for a person, and never asked for again.
fn ambiguous(place: &Place) -> bool {
    files(&place.out().join("darkroom/jobs"))
        .iter()
        .filter(|file| file.ends_with("state.json"))
        .any(|file| {
            let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            state["phase"]["name"] == "creating"
        })
}

#[test]
fn killed_at_ten_moments_it_goes_on_and_never_makes_two_batches_for_a_shard() {
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
    let undisturbed = Place::new();
    undisturbed
        .run(&undisturbed.manifest("stones.jsonl", &text), &[])
        .exits(0);
    let total = files(&undisturbed.out().join("darkroom")).len();

    let mut killed = 0;
    for moment in 1..=MOMENTS {
        let place = Place::new();
        let manifest = place.manifest("stones.jsonl", &text);
        let process = place
            .command(&manifest, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        killed += usize::from(kill_at(
            process,
            &place.out().join("darkroom"),
            total * moment / (MOMENTS + 1),
        ));
        let held = ambiguous(&place);

        place.run(&manifest, &[]).exits(i32::from(held));
        let results = place.lines("results.jsonl");
        assert_eq!(
            keys(&results),
            keys(&undisturbed.lines("results.jsonl")),
            "moment {moment}"
        );
        assert!(
            held || results.iter().all(|result| result["status"] == "succeeded"),
            "moment {moment}"
        );
        let mut batches = place.batches();
        let made = batches.len();
        batches.sort();
        // The last part of a display name is the attempt.
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
        "only {killed} runs were killed before their end"
    );
}
