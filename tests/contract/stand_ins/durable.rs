//! Which files survive a power failure. The tests check the order of the operations on the disk,
//! and not a real disk.
//!
//! Power may fail between any two steps. Data that is not synchronized by then may be lost, or may
//! be there by chance. So a state may be on the disk from its rename on, and everything that it
//! names must be on the disk before.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use aws_sim::{
    bucket::{Buckets, to_queues},
    credentials::Credentials,
    queue::Queues,
    wire::InProcess,
};
use disk::{Disk, DiskEvent};
use seam::clock::Clock;
use tempfile::TempDir;

const BUCKET: &str = "darkroom";

/// A bucket on an observed disk.
struct ObservedBucket {
    folder: TempDir,
    events: Arc<Mutex<Vec<DiskEvent>>>,
    s3: aws_sdk_s3::Client,
}

impl ObservedBucket {
    fn on(disk: Disk) -> Self {
        let (folder, events) = (
            tempfile::tempdir().unwrap(),
            Arc::<Mutex<Vec<DiskEvent>>>::default(),
        );
        let seen = Arc::clone(&events);
        let disk = disk.with_observer(move |event| seen.lock().unwrap().push(event));
        let (clock, credentials) = (Clock::system(), Credentials::random().unwrap());
        let queues = Arc::new(Queues::open(folder.path().join("queues"), clock.clone()).unwrap());
        let buckets = Buckets::open_on(
            disk,
            folder.path(),
            clock,
            Vec::new(),
            to_queues(queues),
            &credentials,
        )
        .unwrap();
        buckets.create(BUCKET).unwrap();
        let client = InProcess::new(Arc::new(buckets), credentials);
        Self {
            s3: aws_sdk_s3::Client::from_conf(client.s3_config().build()),
            folder,
            events,
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(key)
    }

    async fn put(&self, key: &str, body: &'static [u8]) {
        self.s3
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(ByteStream::from_static(body))
            .send()
            .await
            .unwrap();
    }

    async fn create(&self, key: &str) -> String {
        let put = self
            .s3
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .if_none_match("*");
        put.body(ByteStream::from_static(b"state 1"))
            .send()
            .await
            .unwrap()
            .e_tag
            .unwrap()
    }

    async fn replace(&self, key: &str, etag: &str) -> String {
        let put = self.s3.put_object().bucket(BUCKET).key(key).if_match(etag);
        put.body(ByteStream::from_static(b"state 2, longer"))
            .send()
            .await
            .unwrap()
            .e_tag
            .unwrap()
    }

    /// Uploads an object in parts.
    async fn put_in_parts(&self, key: &str) {
        let begun = self
            .s3
            .create_multipart_upload()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        let id = begun.upload_id.unwrap();
        let part = self
            .s3
            .upload_part()
            .bucket(BUCKET)
            .key(key)
            .upload_id(&id)
            .part_number(1);
        let etag = part
            .body(ByteStream::from_static(b"a part"))
            .send()
            .await
            .unwrap()
            .e_tag;
        let part = CompletedPart::builder()
            .part_number(1)
            .set_e_tag(etag)
            .build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let complete = self
            .s3
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key(key)
            .upload_id(&id);
        complete.multipart_upload(parts).send().await.unwrap();
    }

    fn events(&self) -> Vec<DiskEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Returns all files with content and attributes of objects that were written so far and still
    /// exist.
    fn files(&self) -> Vec<PathBuf> {
        let is_of_an_object = |path: &Path| {
            let passing = ["incoming", "uploads", "queues"];
            path.exists()
                && !path
                    .components()
                    .any(|part| passing.iter().any(|name| part.as_os_str() == *name))
        };
        let named = self.events().into_iter().filter_map(|event| match event {
            DiskEvent::Written(path) | DiskEvent::Renamed { to: path, .. } => Some(path),
            DiskEvent::FileSynced(_) | DiskEvent::FolderSynced(_) => None,
        });
        named.filter(|path| is_of_an_object(path)).collect()
    }
}

/// Whether a file, its name and the folders that were created for it are on the disk after these
/// steps.
fn survives(events: &[DiskEvent], root: &Path, file: &Path) -> bool {
    let named = events.iter().rposition(|event| match event {
        DiskEvent::Written(path) | DiskEvent::Renamed { to: path, .. } => path == file,
        DiskEvent::FileSynced(_) | DiskEvent::FolderSynced(_) => false,
    });
    let Some(named) = named else { return false };
    let before = if let DiskEvent::Renamed { from, .. } = &events[named] {
        Some(from)
    } else {
        None
    };
    let has_content = events[named..]
        .iter()
        .any(|event| *event == DiskEvent::FileSynced(file.to_owned()))
        || before
            .is_some_and(|from| events[..named].contains(&DiskEvent::FileSynced(from.clone())));
    let mut folders = file
        .ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(root));
    has_content
        && folders
            .all(|folder| events[named..].contains(&DiskEvent::FolderSynced(folder.to_owned())))
}

/// Returns the files that violate the order: the state may name them, and they can be lost while
/// the state survives.
fn lost(events: &[DiskEvent], root: &Path, state: &Path, relied_on: &[PathBuf]) -> Vec<PathBuf> {
    // The state may be on the disk from this step on.
    let named = events
        .iter()
        .rposition(|event| matches!(event, DiskEvent::Renamed { to, .. } if to == state))
        .unwrap();
    let mut lost: Vec<PathBuf> = relied_on
        .iter()
        .filter(|file| !survives(&events[..named], root, file))
        .cloned()
        .collect();
    // The state's own content must be on the disk before its rename.
    let DiskEvent::Renamed { from, .. } = &events[named] else {
        unreachable!()
    };
    if !events[..named].contains(&DiskEvent::FileSynced(from.clone())) {
        lost.push(state.to_owned());
    }
    lost
}

/// Writes the objects of a collector and several special cases. Returns the files that can be lost
/// at each state.
async fn collect(disk: Disk) -> (ObservedBucket, Vec<PathBuf>) {
    let observed = ObservedBucket::on(disk);
    let (root, state) = (
        observed.folder.path().to_owned(),
        observed.path("jobs/a/shards/0000/state.json"),
    );
    observed.put("jobs/a/plan.jsonl", b"plan").await;
    observed
        .put("jobs/a/shards/0000/request.jsonl", b"requests")
        .await;
    let relied_on = observed.files();
    let mut etag = observed.create("jobs/a/shards/0000/state.json").await;
    let mut all_lost = lost(&observed.events(), &root, &state, &relied_on);
    for round in 0..3 {
        for number in 0..40 {
            observed
                .put(&format!("jobs/a/images/{round}/{number}.jpg"), b"image")
                .await;
        }
        // A key that is not a valid path, an object in parts, and one that is written repeatedly.
        observed.put("jobs/a/images//strange", b"image").await;
        observed.put_in_parts("jobs/a/results.jsonl").await;
        observed
            .put("jobs/a/shards/0000/results/1.jsonl", b"part")
            .await;
        let relied_on = observed.files();
        etag = observed
            .replace("jobs/a/shards/0000/state.json", &etag)
            .await;
        let events = observed.events();
        all_lost.extend(lost(&events, &root, &state, &relied_on));
        // After the answer to the writer, the state itself must be on the disk.
        all_lost.extend(
            observed
                .files()
                .into_iter()
                .filter(|file| !survives(&events, &root, file)),
        );
    }
    (observed, all_lost)
}

#[tokio::test]
async fn everything_a_state_names_is_on_the_disk_before_the_state() {
    let (observed, lost) = collect(Disk::durable()).await;
    assert_eq!(lost, Vec::<PathBuf>::new());
    assert!(observed.files().len() > 100);
}

#[tokio::test]
async fn a_fast_disk_may_lose_everything() {
    let (observed, lost) = collect(Disk::fast()).await;
    assert!(lost.len() > 100, "{lost:?}");
    assert!(
        observed
            .events()
            .iter()
            .all(|event| !matches!(event, DiskEvent::FileSynced(_) | DiskEvent::FolderSynced(_)))
    );
}

/// The check in these tests detects a state that is renamed one step too early.
#[tokio::test]
async fn a_state_renamed_too_early_is_detected() {
    let observed = ObservedBucket::on(Disk::durable());
    let (root, state) = (
        observed.folder.path().to_owned(),
        observed.path("state.json"),
    );
    observed.put("image.jpg", b"image").await;
    let relied_on = observed.files();
    observed.create("state.json").await;
    let events = observed.events();
    assert_eq!(
        lost(&events, &root, &state, &relied_on),
        Vec::<PathBuf>::new()
    );
    let named = events
        .iter()
        .position(|event| matches!(event, DiskEvent::Renamed { to, .. } if *to == state))
        .unwrap();
    let synced: Vec<usize> = (0..named)
        .filter(|at| matches!(events[*at], DiskEvent::FileSynced(_)))
        .collect();
    assert!(synced.len() >= 3, "{events:?}");
    for early in synced {
        let mut broken = events.clone();
        let rename = broken.remove(named);
        broken.insert(early, rename);
        assert!(
            !lost(&broken, &root, &state, &relied_on).is_empty(),
            "not detected at {early}: {broken:?}"
        );
    }
}

/// Several writers run at the same time. A writer must wait if its files are being synchronized for
/// the state of another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_states_rely_only_on_synchronized_files() {
    let observed = Arc::new(ObservedBucket::on(Disk::durable()));
    let writers = (0..8).map(|writer| {
        let observed = Arc::clone(&observed);
        tokio::spawn(async move {
            let mut relied_on = Vec::new();
            for round in 0..6 {
                for number in 0..5 {
                    let key = format!("jobs/{writer}/images/{round}-{number}.jpg");
                    observed.put(&key, b"image").await;
                    relied_on.push(observed.path(&key));
                }
                let state = format!("jobs/{writer}/shards/{round:04}/state.json");
                observed.create(&state).await;
                let lost = lost(
                    &observed.events(),
                    observed.folder.path(),
                    &observed.path(&state),
                    &relied_on,
                );
                assert_eq!(lost, Vec::<PathBuf>::new(), "{state}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// At the limit, files are synchronized before the next state is written.
#[tokio::test]
async fn the_number_of_unsynchronized_files_is_bounded() {
    let observed = ObservedBucket::on(Disk::durable());
    for number in 0..300 {
        observed.put(&format!("refs/{number}"), b"picture").await;
    }
    let synced = observed
        .events()
        .iter()
        .filter(|event| matches!(event, DiskEvent::FileSynced(_)))
        .count();
    assert!((500..600).contains(&synced), "{synced}");
}

/// An object that replaces another one is never empty, even without a condition.
#[tokio::test]
async fn a_replacement_is_synchronized_before_its_rename() {
    let observed = ObservedBucket::on(Disk::durable());
    observed.put("job.json", b"old").await;
    observed.put("job.json", b"new").await;
    let events = observed.events();
    let path = observed.path("job.json");
    let named = events
        .iter()
        .rposition(|event| matches!(event, DiskEvent::Renamed { to, .. } if *to == path))
        .unwrap();
    let DiskEvent::Renamed { from, .. } = &events[named] else {
        unreachable!()
    };
    assert!(
        events[..named].contains(&DiskEvent::FileSynced(from.clone())),
        "{events:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"new");
}
