//! Running a command again, and other commands in the same folder.

use super::{Workspace, samples};

#[test]
fn running_a_finished_job_again_changes_nothing() {
    let workspace = Workspace::new();
    let manifest = samples().join("characters.jsonl");
    workspace.run(&manifest, &[]).exits(0);
    let (bucket, gemini) = (
        workspace.snapshot("darkroom"),
        workspace.snapshot(".darkroom/gemini"),
    );
    assert!(!bucket.is_empty() && !gemini.is_empty());

    let output = workspace.run(&manifest, &[]).exits(0);
    assert!(output.contains("is already complete"), "{output}");
    assert_eq!(workspace.snapshot("darkroom"), bucket);
    // The counters of the simulated Gemini are among these files, so it received no request.
    assert_eq!(workspace.snapshot(".darkroom/gemini"), gemini);
}

#[test]
fn a_different_setting_makes_a_different_job() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    workspace.run(&manifest, &[]).exits(0);
    workspace.run(&manifest, &["--max-rounds", "1"]).exits(0);
    assert_eq!(
        std::fs::read_dir(workspace.out().join("darkroom/jobs"))
            .unwrap()
            .count(),
        2
    );
}

#[test]
fn rejects_a_renamed_copy_and_names_its_job() {
    let workspace = Workspace::new();
    let text = r#"{"key":"a","prompt":"a stone"}"#;
    workspace
        .run(&workspace.manifest("one.jsonl", text), &[])
        .exits(0);
    let first = workspace.job();
    let name = first.file_name().unwrap().to_str().unwrap();
    let copy = workspace.manifest("copy.jsonl", text);
    let output = workspace.run(&copy, &[]).exits(2);
    assert!(
        output.contains("same_content")
            && output.contains(name)
            && output.contains("inbox/one.jsonl"),
        "{output}"
    );
    assert_eq!(workspace.batches().len(), 1);
    workspace.run(&copy, &["--metadata", "run=2"]).exits(0);
    assert_eq!(workspace.batches().len(), 2);
}

#[test]
fn a_dry_run_buys_nothing_and_does_not_fix_the_mode_of_the_folder() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let output = workspace.run(&manifest, &["--dry-run"]).exits(0);
    assert!(
        output.contains("Nothing was bought") && workspace.batches().is_empty(),
        "{output}"
    );
    assert!(
        workspace.job().join("_DRY_RUN").exists()
            && !workspace.out().join(".darkroom/gemini-is").exists()
    );
    workspace.run(&manifest, &[]).exits(0);
    assert_eq!(workspace.batches().len(), 1);
}

#[test]
fn rejects_a_temporary_file() {
    let workspace = Workspace::new();
    for name in ["one.jsonl.part", "~$one.jsonl", ".one.jsonl.swp"] {
        let manifest = workspace.manifest(name, r#"{"key":"a","prompt":"a stone"}"#);
        let output = workspace.run(&manifest, &[]).exits(64);
        assert!(output.contains("temporary file"), "{output}");
    }
}

#[test]
fn rejects_a_folder_that_another_process_uses() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    std::fs::create_dir_all(workspace.out().join(".darkroom")).unwrap();
    let held = std::fs::File::create(workspace.out().join(".darkroom/lock")).unwrap();
    held.lock().unwrap();
    let output = workspace.run(&manifest, &[]).exits(3);
    assert!(output.contains("another process"), "{output}");
}

#[test]
fn a_job_with_a_proof_stops_until_it_is_approved() {
    let workspace = Workspace::new();
    let items: String = (0..5)
        .map(|number| format!("{{\"key\":\"k-{number}\",\"prompt\":\"stone {number}\"}}\n"))
        .collect();
    let header = r#"{"manifest":{"job":{"proof":{"count":2}}}}"#;
    let manifest = workspace.manifest("proof.jsonl", &format!("{header}\n{items}"));
    let output = workspace.run(&manifest, &[]).exits(1);
    assert!(output.contains("waits for the approval"), "{output}");
    let images = || {
        std::fs::read_dir(workspace.job().join("images"))
            .unwrap()
            .count()
    };
    assert_eq!(images(), 2);

    // Without a decision, the same command stops again.
    workspace.run(&manifest, &[]).exits(1);
    assert_eq!(images(), 2);
    let job = workspace.job();
    let approved = std::process::Command::new(env!("CARGO_BIN_EXE_darkroom"))
        .arg("approve")
        .arg(job.file_name().unwrap())
        .arg("--out")
        .arg(workspace.out())
        .status();
    assert!(approved.unwrap().success());
    workspace.run(&manifest, &[]).exits(0);
    assert_eq!(images(), 5);
}
