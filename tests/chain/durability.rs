//! What it costs that states survive the end of the power. A measurement of the disk, run by hand:
//! `cargo test --release -p tests --test durability -- --ignored --nocapture`
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]
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
use tests::{Making, World};

/// How long a job takes from the upload of its manifest to its marker.
async fn measure(what: &str, disk: Disk, upload: impl AsyncFn(&World)) {
    let (files, folders) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (of_files, of_folders) = (Arc::clone(&files), Arc::clone(&folders));
    let is_durable = disk.is_durable();
    let disk = disk.with_observer(move |event| match event {
        DiskEvent::FileSynced(_) => drop(of_files.fetch_add(1, Ordering::Relaxed)),
        DiskEvent::FolderSynced(_) => drop(of_folders.fetch_add(1, Ordering::Relaxed)),
        DiskEvent::Written(_) | DiskEvent::Renamed { .. } => {}
    });
    let world = World::made_with(Making {
        disk,
        ..Making::default()
    })
    .unwrap();
    upload(&world).await;
    let started = Instant::now();
    world.run().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let job = world.jobs().unwrap().remove(0);
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    println!(
        "{what:<22} {:<8} {seconds:>7.2} s, {} files and {} folders synchronized",
        if is_durable { "durable" } else { "fast" },
        files.load(Ordering::Relaxed),
        folders.load(Ordering::Relaxed),
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures the disk"]
async fn what_durable_states_cost() {
    for disk in [Disk::fast, Disk::durable, Disk::fast, Disk::durable] {
        measure("catalog.csv", disk(), async |world| {
            world.put_sample("catalog.csv").await.unwrap()
        })
        .await;
    }
    let item = |number| {
        json!({ "key": format!("stone-{number:04}"), "prompt": "a stone" }).to_string() + "\n"
    };
    let manifest: String = (0..1_000).map(item).collect();
    for disk in [Disk::fast, Disk::durable] {
        measure("1,000 images", disk(), async |world| {
            world
                .put("inbox/stones.jsonl", manifest.as_str())
                .await
                .unwrap();
        })
        .await;
    }
}
