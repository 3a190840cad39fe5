//! The memory use of a large job.

use std::{
    fs,
    io::{self, Write},
    process::Stdio,
    thread,
    time::Duration,
};

use super::{Workspace, keys};

/// Returns the peak memory use of a run of `items` items, in MiB.
fn peak_of(items: usize) -> u64 {
    let workspace = Workspace::new();
    let lines: Vec<String> = (0..items)
        .map(|number| format!(r#"{{"key":"item-{number:05}","prompt":"stone number {number}","image_size":"512"}}"#))
        .collect();
    let manifest = workspace.manifest("stones.jsonl", &lines.join("\n"));
    // The smallest possible images, because only their number matters here.
    let more = [
        "--default-model",
        "gemini-3.1-flash-image",
        "--allow-retired-models",
    ];
    let mut process = workspace
        .command(&manifest, &more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", process.id());
    let mut peak = 0;
    let code = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(status) = process.try_wait().unwrap() {
            break status.code();
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, Some(0));
    let results = workspace.lines("results.jsonl");
    assert_eq!(results.len(), items);
    assert!(keys(&results).is_sorted());
    let shards = fs::read_dir(workspace.job().join("shards"))
        .unwrap()
        .count();
    assert_eq!(shards, items.div_ceil(1_000));
    peak >> 10
}

#[test]
fn memory_use_does_not_grow_from_500_to_5_000_items() {
    let (small, large) = (peak_of(500), peak_of(5_000));
    // Written to standard error directly, because the test runner hides the output of tests that
    // pass.
    let _ = writeln!(
        io::stderr(),
        "peak memory: {small} MiB for 500 items, {large} MiB for 5,000 items in five shards"
    );
    assert!(
        large < small + 48,
        "{large} MiB for 5,000 items, {small} MiB for 500"
    );
}
