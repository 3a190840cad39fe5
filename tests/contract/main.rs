//! The behavior of S3 and SQS that callers rely on. The tests use only the real SDK clients.
//!
//! By default the tests run against our stand-ins, in process and by the real clock. With
//! `CONTRACT_ENDPOINT` (`http://127.0.0.1:4566`) they run against the service at that address, so
//! that an independent implementation verifies the suite, and the stand-ins with it.
//! `contract/differences.rs` lists where that service is known to differ from AWS. The module
//! `stand_ins` tests what goes beyond the services' contract; `tests/ministack` skips it.
//!
//! Every test creates its own bucket and queues, so tests can run in parallel and against a service
//! that is in use. Waits are real but short, and polls are long: no test depends on how fast an
//! answer arrives.

#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

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

/// The outcome of a call that was not refused.
const ACCEPTED: &str = "accepted";

/// How long to wait for a message that must arrive, in seconds: the longest poll that SQS allows.
const MAX_WAIT: i32 = 20;

/// Clients of both services, and a bucket that belongs to this test.
struct Services {
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    bucket: String,
    /// The folder of our stand-ins; none for an external service.
    folder: Option<TempDir>,
}

impl Services {
    async fn new() -> Self {
        let bucket = fresh("bucket");
        let services = match Variables::from_env().optional("CONTRACT_ENDPOINT") {
            Some(endpoint) => Self {
                s3: s3(&endpoint),
                sqs: sqs(&endpoint),
                bucket,
                folder: None,
            },
            None => {
                let folder = tempfile::tempdir().unwrap();
                let client = in_process(&folder);
                let s3 = aws_sdk_s3::Client::from_conf(client.s3_config().build());
                let sqs = aws_sdk_sqs::Client::from_conf(client.sqs_config().build());
                Self {
                    s3,
                    sqs,
                    bucket,
                    folder: Some(folder),
                }
            }
        };
        services
            .s3
            .create_bucket()
            .bucket(&services.bucket)
            .send()
            .await
            .unwrap();
        services
    }

    /// Checks that the stand-ins behave like AWS, or that the external service still differs from
    /// AWS as recorded.
    #[expect(clippy::print_stdout, reason = "tests/ministack lists these lines")]
    fn check(&self, difference: Difference, observed: &str) {
        let Difference {
            rule,
            aws,
            ministack,
        } = difference;
        if self.folder.is_some() {
            return assert_eq!(observed, aws, "{rule}");
        }
        assert_eq!(
            observed, ministack,
            "{rule}: no longer as recorded in differences.rs"
        );
        println!("differs: {rule}: {ministack}; AWS: {aws}");
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

    /// Returns the CRC32 and the SHA-256 of an object.
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

    /// Creates a queue for this test and returns its URL.
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

    /// Receives the messages that arrive within `wait` seconds.
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

    /// Waits for exactly one message.
    async fn receive_one(&self, url: &str) -> Message {
        let mut messages = self.receive(url, MAX_WAIT).await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    /// Receives exactly `count` messages. One receive may return only some of them.
    async fn receive_all(&self, url: &str, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let more = self.receive(url, MAX_WAIT).await;
            assert!(
                !more.is_empty(),
                "{} of {count} messages arrived",
                messages.len()
            );
            messages.extend(more);
        }
        assert_eq!(messages.len(), count);
        messages
    }
}

/// Opens our stand-ins in a folder.
fn in_process(folder: &TempDir) -> InProcess {
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

/// Returns an unused name.
fn fresh(kind: &str) -> String {
    format!("contract-{kind}-{}", Rng::system().id())
}

/// Returns the outcome of a call: `accepted`, or the status and code of the refusal, such as `412
/// PreconditionFailed`.
fn outcome_of<T: Debug, E: ProvideErrorMetadata + Debug>(
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

/// Returns a numeric system attribute.
fn number(message: &Message, name: System) -> i64 {
    message.attributes().unwrap()[&name].parse().unwrap()
}

fn receive_count(message: &Message) -> i64 {
    number(message, System::ApproximateReceiveCount)
}
