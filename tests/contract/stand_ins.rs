//! The properties of the stand-ins beyond the services' contract: their files, what a restart
//! finds, durability, injected time and the loopback listener. Most tests use the real SDK clients.

mod bucket;
mod durable;
mod key;
mod listing;
mod loopback;
mod payload;
mod queue;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sim::{
    bucket::{Buckets, NotificationRule, to_queues},
    credentials::Credentials,
    queue::{QueueApi, QueueAttributes, Queues},
    wire::{InProcess, Router},
};
use jiff::Timestamp;
use seam::clock::Clock;
use tempfile::TempDir;

/// The bucket in every test.
const BUCKET: &str = "darkroom";

/// Both stand-ins over one folder, with clients.
struct StandIns {
    folder: TempDir,
    /// Seconds since the epoch.
    now: Arc<AtomicI64>,
    queues: Arc<Queues>,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
}

impl StandIns {
    fn new() -> Self {
        Self::with_rules(Vec::new())
    }

    fn with_rules(rules: Vec<NotificationRule>) -> Self {
        Self::open(
            tempfile::tempdir().unwrap(),
            Arc::new(AtomicI64::new(1_800_000_000)),
            rules,
        )
    }

    /// Reopens the same folder at the same time, as a new process does.
    fn reopen(self) -> Self {
        self.reopen_with(Vec::new())
    }

    fn reopen_with(self, rules: Vec<NotificationRule>) -> Self {
        let Self { folder, now, .. } = self;
        Self::open(folder, now, rules)
    }

    fn open(folder: TempDir, now: Arc<AtomicI64>, rules: Vec<NotificationRule>) -> Self {
        let time = Arc::clone(&now);
        let clock =
            Clock::from_fn(move || Timestamp::from_second(time.load(Ordering::SeqCst)).unwrap());
        let queues = Arc::new(Queues::open(folder.path().join("queues"), clock.clone()).unwrap());
        for rule in &rules {
            queues
                .create(&rule.queue, QueueAttributes::default())
                .unwrap();
        }
        let (sink, credentials) = (
            to_queues(Arc::clone(&queues)),
            Credentials::random().unwrap(),
        );
        let buckets = Buckets::open(
            folder.path().join("buckets"),
            clock,
            rules,
            sink,
            &credentials,
        )
        .unwrap();
        buckets.create(BUCKET).unwrap();
        let router = Router::new(
            Arc::new(buckets),
            Arc::new(QueueApi::new(Arc::clone(&queues))),
        );
        let client = InProcess::new(Arc::new(router), credentials);
        let s3 = aws_sdk_s3::Client::from_conf(client.s3_config().build());
        let sqs = aws_sdk_sqs::Client::from_conf(client.sqs_config().build());
        Self {
            folder,
            now,
            queues,
            s3,
            sqs,
        }
    }

    fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
        self.queues.notify_waiters();
    }

    /// Returns the path of an object's file.
    fn path(&self, key: &str) -> std::path::PathBuf {
        self.folder.path().join("buckets").join(BUCKET).join(key)
    }

    /// Lists the keys of all objects.
    async fn keys(&self) -> Vec<String> {
        let listed = self
            .s3
            .list_objects_v2()
            .bucket(BUCKET)
            .send()
            .await
            .unwrap();
        listed
            .contents()
            .iter()
            .map(|object| object.key().unwrap().to_owned())
            .collect()
    }

    async fn put(&self, key: &str, body: &'static [u8]) -> String {
        let put = self
            .s3
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(body.to_vec().into())
            .send()
            .await
            .unwrap();
        put.e_tag().unwrap().to_owned()
    }

    async fn read(&self, key: &str) -> Vec<u8> {
        let got = self
            .s3
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        got.body.collect().await.unwrap().to_vec()
    }
}

/// Returns the code and the status of a refusal.
fn refusal<T: std::fmt::Debug, E>(
    outcome: Result<T, aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> (String, u16)
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let error = outcome.unwrap_err();
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    (error.code().unwrap_or_default().to_owned(), status)
}
