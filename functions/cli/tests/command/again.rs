//! The same command again.

use super::{Place, samples};

#[test]
fn the_same_command_again_asks_nothing_and_changes_nothing() {
    let place = Place::new();
    let manifest = samples().join("characters.jsonl");
    place.run(&manifest, &[]).exits(0);
    let (bucket, gemini) = (
        place.snapshot("darkroom"),
        place.snapshot(".darkroom/gemini"),
    );
    assert!(!bucket.is_empty() && !gemini.is_empty());

    let said = place.run(&manifest, &[]).exits(0);
    assert!(said.contains("is already complete"), "{said}");
    assert_eq!(place.snapshot("darkroom"), bucket);
    // Its counters are there too: no request was counted.
    assert_eq!(place.snapshot(".darkroom/gemini"), gemini);
}

#[test]
fn another_setting_is_another_job() {
    let place = Place::new();
    let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    place.run(&manifest, &[]).exits(0);
    place.run(&manifest, &["--max-rounds", "1"]).exits(0);
    assert_eq!(
        std::fs::read_dir(place.out().join("darkroom/jobs"))
            .unwrap()
            .count(),
        2
    );
}

#[test]
fn a_renamed_copy_is_refused_and_the_job_is_named() {
    let place = Place::new();
    let text = r#"{"key":"a","prompt":"a stone"}"#;
    place.run(&place.manifest("one.jsonl", text), &[]).exits(0);
    let first = place.job();
    let name = first.file_name().unwrap().to_str().unwrap();
    let copy = place.manifest("copy.jsonl", text);
    let said = place.run(&copy, &[]).exits(2);
    assert!(
        said.contains("same_content") && said.contains(name) && said.contains("inbox/one.jsonl"),
        "{said}"
    );
    assert_eq!(place.batches().len(), 1);
    place.run(&copy, &["--metadata", "run=2"]).exits(0);
    assert_eq!(place.batches().len(), 2);
}

#[test]
fn a_dry_run_buys_nothing_and_leaves_the_folder_free() {
    let place = Place::new();
    let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let said = place.run(&manifest, &["--dry-run"]).exits(0);
    assert!(
        said.contains("Nothing was bought") && place.batches().is_empty(),
        "{said}"
    );
    assert!(
        place.job().join("_DRY_RUN").exists() && !place.out().join(".darkroom/gemini-is").exists()
    );
    place.run(&manifest, &[]).exits(0);
    assert_eq!(place.batches().len(), 1);
}

#[test]
fn a_temporary_file_is_not_run() {
    let place = Place::new();
    for name in ["one.jsonl.part", "~$one.jsonl", ".one.jsonl.swp"] {
        let manifest = place.manifest(name, r#"{"key":"a","prompt":"a stone"}"#);
        let said = place.run(&manifest, &[]).exits(64);
        assert!(said.contains("temporary file"), "{said}");
    }
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let place = Place::new();
    let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    std::fs::create_dir_all(place.out().join(".darkroom")).unwrap();
    let held = std::fs::File::create(place.out().join(".darkroom/lock")).unwrap();
    held.lock().unwrap();
    let said = place.run(&manifest, &[]).exits(3);
    assert!(said.contains("another process"), "{said}");
}
