//! The same command again.

use super::{Place, samples};

#[test]
fn the_same_command_again_asks_nothing_and_changes_nothing() {
    let place = Place::new();
    let manifest = samples().join("characters.jsonl");
    place.run(&manifest, &[]).exits(0);
    let (bucket, gemini) = (place.snapshot("darkroom"), place.snapshot(".darkroom/gemini"));
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
    assert_eq!(std::fs::read_dir(place.out().join("darkroom/jobs")).unwrap().count(), 2);
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
