//! What callers of S3 and SQS rely on, asked through the real SDK clients, which are all that is
//! known here.
//!
//! Without an environment our stand-ins answer, in process and by the real clock. With
//! `CONTRACT_ENDPOINT` (`http://127.0.0.1:4566`) whatever is there answers: software that nobody
//! here wrote judges the suite, and so the stand-ins. Where it is known to differ from AWS stands
//! in `contract/differences.rs`.
//!
//! Every test makes its own bucket and queues, so tests run side by side and against a service in
//! use. PollBackoff are real but short, and long polls: nothing depends on how fast an answer comes.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod batch;
mod condition;
mod differences;
mod listing;
mod message;
mod notification;
mod object;
mod queue;
mod redrive;
mod stand_ins;
mod upload;
mod visibility;

use std::{fmt::Debug, sync::Arc};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::ChecksumMode,
};
use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName as System, QueueAttributeName as Attribute,
};
use aws_sim::{
    bucket::{Buckets, to_queues},
    queue::{QueueApi, Queues},
    wire::{InProcess, REGION, Router},
};
use seam::{clock::Clock, environment::Variables, rng::Rng};
use tempfile::TempDir;

use self::differences::Difference;

/// What a call that was not refused has said.
const ACCEPTED: &str = "accepted";

/// The longest wait for something that surely comes, in seconds: the longest poll there is.
const PATIENCE: i32 = 20;

/// Both services, and a bucket of this test's own.
struct World {
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    bucket: String,
    /// Where our stand-ins keep things; none if somebody else answers.
    ours: Option<TempDir>,
}

impl World {
    async fn new() -> Self {
        let bucket = fresh("bucket");
        let world = match Variables::from_env().optional("CONTRACT_ENDPOINT") {
            Some(endpoint) => Self {
                s3: s3(&endpoint),
                sqs: sqs(&endpoint),
                bucket,
                ours: None,
            },
            None => {
                let folder = tempfile::tempdir().unwrap();
                let client = stand_ins(&folder);
                let s3 = aws_sdk_s3::Client::from_conf(client.s3_config().build());
                let sqs = aws_sdk_sqs::Client::from_conf(client.sqs_config().build());
                Self {
                    s3,
                    sqs,
                    bucket,
                    ours: Some(folder),
                }
            }
        };
        world
            .s3
            .create_bucket()
            .bucket(&world.bucket)
            .send()
            .await
            .unwrap();
        world
    }

    /// Whether the service says what AWS does; for one that is known to say something else, whether
    /// it still does.
    #[expect(
        clippy::print_stdout,
        reason = "tests/ministack makes a list of these lines"
    )]
    fn judge(&self, difference: Difference, said: &str) {
        let Difference { rule, aws, instead } = difference;
        if self.ours.is_some() {
            return assert_eq!(said, aws, "{rule}");
        }
        assert_eq!(said, instead, "{rule}: no longer as differences.rs has it");
        println!("differs: {rule}: {instead}; AWS: {aws}");
    }

    async fn put(&self, key: &str, body: &[u8]) -> String {
        let put = self
            .s3
            .put_object()
            .bucket(&self.bucket)
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
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .unwrap();
        got.body.collect().await.unwrap().to_vec()
    }

    /// The checksums of an object: CRC32 and SHA-256.
    async fn checksums(&self, key: &str) -> (Option<String>, Option<String>) {
        let head = self
            .s3
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled);
        let head = head.send().await.unwrap();
        (head.checksum_crc32, head.checksum_sha256)
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self
            .s3
            .list_objects_v2()
            .bucket(&self.bucket)
            .send()
            .await
            .unwrap();
        listed
            .contents()
            .iter()
            .map(|object| object.key().unwrap().to_owned())
            .collect()
    }

    /// A queue of this test's own, by its URL.
    async fn queue(&self, attributes: &[(Attribute, &str)]) -> String {
        let create = self.sqs.create_queue().queue_name(fresh("queue"));
        let create = attributes.iter().fold(create, |create, (name, value)| {
            create.attributes(name.clone(), *value)
        });
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn arn(&self, url: &str) -> String {
        let described = self
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(Attribute::QueueArn);
        described
            .send()
            .await
            .unwrap()
            .attributes
            .unwrap()
            .remove(&Attribute::QueueArn)
            .unwrap()
    }

    async fn send(&self, url: &str, body: &str) -> String {
        self.sqs
            .send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await
            .unwrap()
            .message_id
            .unwrap()
    }

    /// What can be received within so many seconds.
    async fn receive(&self, url: &str, wait: i32) -> Vec<Message> {
        let receive = self
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .wait_time_seconds(wait);
        receive
            .message_system_attribute_names(System::All)
            .send()
            .await
            .unwrap()
            .messages
            .unwrap_or_default()
    }

    /// The one message that comes sooner or later.
    async fn receive_one(&self, url: &str) -> Message {
        let mut messages = self.receive(url, PATIENCE).await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    /// All of so many messages: one receive need not bring them all.
    async fn receive_all(&self, url: &str, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let more = self.receive(url, PATIENCE).await;
            assert!(
                !more.is_empty(),
                "{} of {count} messages came",
                messages.len()
            );
            messages.extend(more);
        }
        assert_eq!(messages.len(), count);
        messages
    }
}

/// Our services, from a folder.
fn stand_ins(folder: &TempDir) -> InProcess {
    let clock = Clock::system();
    let queues = Arc::new(Queues::open(folder.path().join("queues"), clock.clone()).unwrap());
    let sink = to_queues(Arc::clone(&queues));
    let credentials = aws_sim::credentials::Credentials::random().unwrap();
    let buckets = Buckets::open(
        folder.path().join("buckets"),
        clock,
        Vec::new(),
        sink,
        &credentials,
    )
    .unwrap();
    InProcess::new(
        Arc::new(Router::new(
            Arc::new(buckets),
            Arc::new(QueueApi::new(queues)),
        )),
        credentials,
    )
}

fn s3(endpoint: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION));
    let config = config.credentials_provider(Credentials::new("test", "test", None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.endpoint_url(endpoint).force_path_style(true).build())
}

fn sqs(endpoint: &str) -> aws_sdk_sqs::Client {
    use aws_sdk_sqs::config::{BehaviorVersion, Builder, Credentials, Region};
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION));
    let config = config.credentials_provider(Credentials::new("test", "test", None, None, "test"));
    aws_sdk_sqs::Client::from_conf(config.endpoint_url(endpoint).build())
}

/// A name that nothing has yet.
fn fresh(kind: &str) -> String {
    format!("contract-{kind}-{}", Rng::system().id())
}

/// What a call came to: `accepted`, or status and code of the refusal, as `412 PreconditionFailed`.
fn said<T: Debug, E: ProvideErrorMetadata + Debug>(
    outcome: Result<T, SdkError<E, HttpResponse>>,
) -> String {
    let Err(error) = outcome else {
        return ACCEPTED.to_owned();
    };
    let status = error
        .raw_response()
        .unwrap_or_else(|| panic!("no answer: {error:?}"))
        .status()
        .as_u16();
    format!("{status} {}", error.code().unwrap_or_default())
        .trim_end()
        .to_owned()
}

fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap()
}

/// A system attribute that is a number.
fn number(message: &Message, name: System) -> i64 {
    message.attributes().unwrap()[&name].parse().unwrap()
}

fn receive_count(message: &Message) -> i64 {
    number(message, System::ApproximateReceiveCount)
}
