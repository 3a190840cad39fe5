//! The cost of files that survive a power failure. This measures the disk and is run by hand:
//! `cargo test --release -p tests --test chain durability -- --ignored --nocapture`
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use disk::{Disk, DiskEvent};
use serde_json::json;
use tests::TestCloud;

/// Prints how long a job takes from the upload of its manifest to its marker.
async fn measure(name: &str, disk: Disk, upload: impl AsyncFn(&TestCloud)) {
    let (files, folders) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (of_files, of_folders) = (Arc::clone(&files), Arc::clone(&folders));
    let is_durable = disk.is_durable();
    let disk = disk.with_observer(move |event| match event {
        DiskEvent::FileSynced(_) => drop(of_files.fetch_add(1, Ordering::Relaxed)),
        DiskEvent::FolderSynced(_) => drop(of_folders.fetch_add(1, Ordering::Relaxed)),
        DiskEvent::Written(_) | DiskEvent::Renamed { .. } => {}
    });
    let cloud = TestCloud::builder().disk(disk).build();
    upload(&cloud).await;
    let started = Instant::now();
    cloud.run().await;
    let seconds = started.elapsed().as_secs_f64();
    assert!(cloud.job().has("_SUCCESS"));
    println!(
        "{name:<22} {:<8} {seconds:>7.2} s, {} files and {} folders synchronized",
        if is_durable { "durable" } else { "fast" },
        files.load(Ordering::Relaxed),
        folders.load(Ordering::Relaxed),
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures the disk"]
async fn measure_durable_files() {
    for disk in [Disk::fast, Disk::durable, Disk::fast, Disk::durable] {
        measure("catalog.csv", disk(), async |cloud| {
            cloud.put_sample("catalog.csv").await
        })
        .await;
    }
    let item = |number| {
        json!({ "key": format!("stone-{number:04}"), "prompt": "a stone" }).to_string() + "\n"
    };
    let manifest: String = (0..1_000).map(item).collect();
    for disk in [Disk::fast, Disk::durable] {
        measure("1,000 images", disk(), async |cloud| {
            cloud.put("inbox/stones.jsonl", manifest.as_str()).await;
        })
        .await;
    }
}
