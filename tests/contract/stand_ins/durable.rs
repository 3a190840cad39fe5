//! What survives the end of the power, by the order in which the disk is written: not by the disk
//! itself.
//!
//! A power cut may come between any two steps. What was not synchronized by then may be lost, or be
//! there by chance. So a state may be on the disk from the moment on in which it has its name, and
//! all that it names must be there before.

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

/// A bucket on a disk that is watched.
struct Watched {
    folder: TempDir,
    events: Arc<Mutex<Vec<DiskEvent>>>,
    s3: aws_sdk_s3::Client,
}

impl Watched {
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

    /// An object that is uploaded in parts.
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

    /// All files of objects and what is known of them, as far as they were written by now and are
    /// still there.
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

/// Whether a file, its name, and the folders that were made for it are on the disk after these
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

/// What is wrong with the order: files that a state could name, and that are lost while the state
/// is there.
fn lost(events: &[DiskEvent], root: &Path, state: &Path, relied_on: &[PathBuf]) -> Vec<PathBuf> {
    // From this step on the state may be there.
    let named = events
        .iter()
        .rposition(|event| matches!(event, DiskEvent::Renamed { to, .. } if to == state))
        .unwrap();
    let mut lost: Vec<PathBuf> = relied_on
        .iter()
        .filter(|file| !survives(&events[..named], root, file))
        .cloned()
        .collect();
    // And its own content must be there before its name is.
    let DiskEvent::Renamed { from, .. } = &events[named] else {
        unreachable!()
    };
    if !events[..named].contains(&DiskEvent::FileSynced(from.clone())) {
        lost.push(state.to_owned());
    }
    lost
}

/// Writes what a collector writes, and more. Answers with what is lost at each state.
async fn collect(disk: Disk) -> (Watched, Vec<PathBuf>) {
    let watched = Watched::on(disk);
    let (root, state) = (
        watched.folder.path().to_owned(),
        watched.path("jobs/a/shards/0000/state.json"),
    );
    watched.put("jobs/a/plan.jsonl", b"plan").await;
    watched
        .put("jobs/a/shards/0000/request.jsonl", b"requests")
        .await;
    let relied_on = watched.files();
    let mut etag = watched.create("jobs/a/shards/0000/state.json").await;
    let mut all_lost = lost(&watched.events(), &root, &state, &relied_on);
    for round in 0..3 {
        for number in 0..40 {
            watched
                .put(&format!("jobs/a/images/{round}/{number}.jpg"), b"image")
                .await;
        }
        // A key that can't be a path, an object in parts, and one that is written again.
        watched.put("jobs/a/images//strange", b"image").await;
        watched.put_in_parts("jobs/a/results.jsonl").await;
        watched
            .put("jobs/a/shards/0000/results/1.jsonl", b"part")
            .await;
        let relied_on = watched.files();
        etag = watched
            .replace("jobs/a/shards/0000/state.json", &etag)
            .await;
        let events = watched.events();
        all_lost.extend(lost(&events, &root, &state, &relied_on));
        // Once the writer has its answer, the state itself is there.
        all_lost.extend(
            watched
                .files()
                .into_iter()
                .filter(|file| !survives(&events, &root, file)),
        );
    }
    (watched, all_lost)
}

#[tokio::test]
async fn all_that_a_state_names_is_on_the_disk_before_the_state_is() {
    let (watched, lost) = collect(Disk::durable()).await;
    assert_eq!(lost, Vec::<PathBuf>::new());
    assert!(watched.files().len() > 100);
}

#[tokio::test]
async fn without_synchronizing_everything_may_be_lost() {
    let (watched, lost) = collect(Disk::fast()).await;
    assert!(lost.len() > 100, "{lost:?}");
    assert!(
        watched
            .events()
            .iter()
            .all(|event| !matches!(event, DiskEvent::FileSynced(_) | DiskEvent::FolderSynced(_)))
    );
}

/// The judge of these tests finds a state that has its name one step too early.
#[tokio::test]
async fn a_state_that_is_named_too_early_is_noticed() {
    let watched = Watched::on(Disk::durable());
    let (root, state) = (watched.folder.path().to_owned(), watched.path("state.json"));
    watched.put("image.jpg", b"image").await;
    let relied_on = watched.files();
    watched.create("state.json").await;
    let events = watched.events();
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
            "not noticed at {early}: {broken:?}"
        );
    }
}

/// Several write at the same time. One whose files are being synchronized for another's state waits
/// for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn states_that_are_written_at_once_rely_on_nothing_that_is_not_there() {
    let watched = Arc::new(Watched::on(Disk::durable()));
    let writers = (0..8).map(|writer| {
        let watched = Arc::clone(&watched);
        tokio::spawn(async move {
            let mut relied_on = Vec::new();
            for round in 0..6 {
                for number in 0..5 {
                    let key = format!("jobs/{writer}/images/{round}-{number}.jpg");
                    watched.put(&key, b"image").await;
                    relied_on.push(watched.path(&key));
                }
                let state = format!("jobs/{writer}/shards/{round:04}/state.json");
                watched.create(&state).await;
                let lost = lost(
                    &watched.events(),
                    watched.folder.path(),
                    &watched.path(&state),
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

/// More files than may wait are synchronized before any state comes.
#[tokio::test]
async fn what_waits_for_a_state_is_bounded() {
    let watched = Watched::on(Disk::durable());
    for number in 0..300 {
        watched.put(&format!("refs/{number}"), b"picture").await;
    }
    let synced = watched
        .events()
        .iter()
        .filter(|event| matches!(event, DiskEvent::FileSynced(_)))
        .count();
    assert!((500..600).contains(&synced), "{synced}");
}

/// An object that takes the place of another is never empty, though no condition is given.
#[tokio::test]
async fn an_object_that_is_replaced_is_whole_before_it_has_the_name() {
    let watched = Watched::on(Disk::durable());
    watched.put("job.json", b"old").await;
    watched.put("job.json", b"new").await;
    let events = watched.events();
    let path = watched.path("job.json");
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
