//! Jobs that an earlier version has left behind are finished by this one. `../upgrade` has their
//! folders, which `../upgrade/record` made.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use seam::clock::Clock;

use super::{Workspace, files, keys};

/// The versions whose jobs are finished, by the commit of their command.
const VERSIONS: [&str; 1] = ["389e1dc"];

/// Copies a recorded job into a workspace, whose simulated time continues where the job stopped.
/// Returns the path of its manifest.
fn restore(recorded: &Path, workspace: &Workspace) -> PathBuf {
    for (from, to) in [("bucket", "darkroom"), ("internal", ".darkroom")] {
        let folder = recorded.join(from);
        for file in files(&folder) {
            let copy = workspace
                .out()
                .join(to)
                .join(file.strip_prefix(&folder).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
    }
    let stopped: Timestamp = fs::read_to_string(recorded.join("stopped-at"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let ahead = stopped.duration_since(Clock::system().now()).as_millis();
    fs::write(
        workspace.out().join(".darkroom/jumped-ms"),
        ahead.to_string(),
    )
    .unwrap();
    workspace.manifest(
        "manifest.jsonl",
        &fs::read_to_string(recorded.join("manifest.jsonl")).unwrap(),
    )
}

/// Finishes the jobs that were recorded in a phase, one of each version.
fn finish(phase: &str, new_batches: usize) {
    for version in VERSIONS {
        finish_one(version, phase, new_batches);
    }
}

/// Finishes a recorded job. Each image must have succeeded, and no batch that existed may have been
/// replaced.
fn finish_one(version: &str, phase: &str, new_batches: usize) {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/upgrade")
        .join(version)
        .join(phase);
    let workspace = Workspace::new();
    let manifest = restore(&recorded, &workspace);
    let before: BTreeSet<String> = workspace.batches().into_iter().collect();
    if phase == "held" {
        let job = workspace.job();
        let job = job.file_name().unwrap().to_str().unwrap();
        workspace.look(&["approve", job]).exits(0);
    }
    workspace.run(&manifest, &[]).exits(0);

    let results = workspace.lines("results.jsonl");
    assert_eq!(
        keys(&results),
        ["stone/0", "stone/1", "stone/2", "stone/3"],
        "{version} {phase}"
    );
    for line in &results {
        assert_eq!(line["status"], "succeeded", "{version} {phase}: {line}");
    }
    let after: BTreeSet<String> = workspace.batches().into_iter().collect();
    assert!(after.is_superset(&before), "{version} {phase}");
    assert_eq!(after.len() - before.len(), new_batches, "{version} {phase}");
}

#[test]
fn a_job_that_an_earlier_version_has_submitted_is_finished() {
    finish("submitted", 0);
}

#[test]
fn a_job_whose_batches_have_ended_in_an_earlier_version_is_finished() {
    finish("ready", 0);
}

#[test]
fn a_job_whose_images_an_earlier_version_was_requesting_is_finished() {
    finish("generating", 0);
}

/// The images that waited for the approval have two models, and therefore two batches.
#[test]
fn a_proof_of_an_earlier_version_is_approved() {
    finish("held", 2);
}
