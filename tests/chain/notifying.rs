//! Events for pipelines and people: each comes to each target, once by its id, whatever fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use base64_simd::STANDARD;
use bytes::Bytes;
use cli::host::{self, StopReason, WaitMode};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, NOTIFICATIONS, REPORTS},
    events::{Outbox, TargetName},
};
use gemini_sim::Scenario;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use notify::targets::{Targets, Webhook};
use runtime::{
    aws_call::AwsCaller,
    event_targets::{EventTargets, SecretSource, WebhookTarget},
};
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError, full},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{BatchResponse, TestCloud, TestCloudBuilder, wire::FaultAction};

use super::{dies, stones, sweeping::lose};

/// The bytes of the webhook's secret.
const SECRET: &[u8; 24] = b"twenty-four secret bytes";

/// A request that a target received.
#[derive(Clone, Debug)]
struct Received {
    target: TargetName,
    /// The id of the event.
    id: String,
    /// Its type, such as `Job Accepted`.
    kind: String,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = dyn Fn(&Received) -> (u16, String) + Send + Sync;

/// A stand-in for EventBridge, SNS, SSM and the receiver of the webhook.
struct Receiver {
    received: Mutex<Vec<Received>>,
    answer: Mutex<Arc<Answer>>,
}

/// The answer of a target that accepts an event.
fn accepts(received: &Received) -> (u16, String) {
    match received.target {
        TargetName::EventBridge => {
            let answer = json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]});
            (200, answer.to_string())
        }
        TargetName::Sns => (200, "<PublishResponse/>".to_owned()),
        TargetName::Webhook => (204, String::new()),
    }
}

impl Receiver {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            received: Mutex::default(),
            answer: Mutex::new(Arc::new(accepts)),
        })
    }

    /// Lets `answer` choose the answer to each later request.
    fn answers(&self, answer: impl Fn(&Received) -> (u16, String) + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The types of the different events that a target received, in order, without those of
    /// progress: how often `job.json` shows it depends on the times of the simulated batch.
    fn kinds(&self, target: TargetName) -> Vec<String> {
        let mut ids = BTreeSet::new();
        let received = self.received().into_iter();
        received
            .filter(|received| received.target == target && received.kind != "Job Progress")
            .filter(|received| ids.insert(received.id.clone()))
            .map(|received| received.kind.trim_start_matches("Job ").to_owned())
            .collect()
    }

    /// Checks that no target received an event twice, and returns how many each has received.
    fn each_once(&self) -> BTreeMap<TargetName, usize> {
        let mut seen = BTreeSet::new();
        let mut counts = BTreeMap::new();
        for Received {
            target, id, kind, ..
        } in self.received()
        {
            assert!(seen.insert((target, id)), "{kind} came twice to {target}");
            *counts.entry(target).or_default() += 1;
        }
        counts
    }
}

/// The value of a field of a form.
fn field(form: &Bytes, name: &str) -> String {
    url::form_urlencoded::parse(form)
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_else(|| panic!("there is no {name}"))
}

impl Transport for Receiver {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (target, id, kind) = match head.uri.host().unwrap() {
                "ssm.us-east-1.amazonaws.com" => {
                    let value = format!("whsec_{}\n", STANDARD.encode_to_string(SECRET));
                    let answer = json!({"Parameter": {"Value": value}});
                    return Ok(Response::new(full(answer.to_string())));
                }
                "events.us-east-1.amazonaws.com" => {
                    assert_eq!(head.headers["x-amz-target"], "AWSEvents.PutEvents");
                    let call: Value = serde_json::from_slice(&body).unwrap();
                    let entry = &call["Entries"][0];
                    assert_eq!(
                        (&entry["Source"], &entry["EventBusName"]),
                        (&json!("darkroom"), &json!("studio"))
                    );
                    let detail: Value =
                        serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
                    assert_eq!(entry["DetailType"], detail["type"]);
                    let id = text(&detail["id"]);
                    (TargetName::EventBridge, id, text(&detail["type"]))
                }
                "sns.us-east-1.amazonaws.com" => {
                    assert_eq!(field(&body, "TopicArn"), "arn:aws:sns:us-east-1:1:people");
                    let attribute = |number: u32| {
                        let name = format!("MessageAttributes.entry.{number}.Value.StringValue");
                        field(&body, &name)
                    };
                    (TargetName::Sns, attribute(2), attribute(1))
                }
                "hooks.example" => {
                    let payload: Value = serde_json::from_slice(&body).unwrap();
                    let data = &payload["data"];
                    assert_eq!(head.headers["webhook-id"], *data["id"].as_str().unwrap());
                    (TargetName::Webhook, text(&data["id"]), text(&data["type"]))
                }
                other => panic!("a request to {other}"),
            };
            if target != TargetName::Webhook {
                let signature = head.headers["authorization"].to_str().unwrap();
                assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=test/"));
            }
            let received = Received {
                target,
                id,
                kind,
                headers: head.headers,
                body,
            };
            let answer = Arc::clone(&self.answer.lock().unwrap());
            let (status, text) = answer(&received);
            // What is refused did not arrive.
            if (200..300).contains(&status) && !text.contains("ErrorCode") {
                self.received.lock().unwrap().push(received);
            }
            Ok(Response::builder().status(status).body(full(text)).unwrap())
        })
    }
}

/// Returns a builder of a cloud with all three targets.
fn with_targets(receiver: &Arc<Receiver>) -> TestCloudBuilder {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let aws = Arc::new(AwsCaller::new(
        Arc::clone(receiver) as _,
        config,
        Clock::system(),
    ));
    let webhook = WebhookTarget {
        url: "https://hooks.example/darkroom?token=1".parse().unwrap(),
        secret: SecretSource::Parameter("/darkroom/webhook".to_owned()),
    };
    let sender = Webhook::over(Arc::clone(receiver) as _, &webhook, &aws, Clock::system());
    let settings = EventTargets {
        bus: Some("studio".to_owned()),
        topic: Some("arn:aws:sns:us-east-1:1:people".to_owned()),
        webhook: Some(webhook),
    };
    TestCloud::builder().event_targets(Targets::new(&settings, &aws, Some(sender)))
}

/// Opens a cloud with all three targets and one dropped manifest of three images.
async fn dropped(receiver: &Arc<Receiver>) -> TestCloud {
    let cloud = with_targets(receiver).build();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud
}

/// Runs the functions one by one until the job is closed. No event is sent.
async fn close(cloud: &TestCloud) {
    assert!(cloud.plan().await.acknowledged());
    assert!(cloud.submit().await.acknowledged());
    while !cloud.poll().await.acknowledged() {
        cloud.advance_to_next(darkroom::chain::POLLS);
    }
    assert!(cloud.collect().await.acknowledged());
    while !cloud.job().has("_SUCCESS") {
        cloud.report().await;
        cloud.local.queues.make_in_flight_visible(REPORTS).unwrap();
        cloud.advance(SignedDuration::from_secs(10));
    }
}

const ALL: [TargetName; 3] = [
    TargetName::EventBridge,
    TargetName::Sns,
    TargetName::Webhook,
];

fn pending_jobs(cloud: &TestCloud) -> usize {
    let objects = cloud.objects().into_keys();
    objects.filter(|key| key.contains("stack/events/")).count()
}

#[tokio::test]
async fn each_event_of_a_job_comes_once_to_each_target() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    cloud.run().await;
    for target in ALL {
        assert_eq!(
            receiver.kinds(target),
            ["Accepted", "Completed"],
            "{target}"
        );
    }
    let counts = receiver.each_once();
    assert_eq!(pending_jobs(&cloud), 0);

    // A repeated manifest and a repeated message have no further event.
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    assert_eq!(receiver.each_once(), counts);
    assert_eq!(pending_jobs(&cloud), 0);
    let record: Outbox = serde_json::from_str(&cloud.job().text("events.json").await).unwrap();
    assert!(record.failed_at.is_none());
    assert!(
        record
            .events
            .iter()
            .any(|event| ALL.iter().all(|target| event.sent.contains_key(target)))
    );
}

#[tokio::test]
async fn an_event_is_valid_by_its_schema_and_says_what_the_job_is() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    cloud.run().await;
    let schema = include_bytes!("../../events/schema/event.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_slice(schema).unwrap()).unwrap();
    let summary = cloud.job().json("summary.json").await;
    let mut completed = 0;
    for received in receiver.received() {
        if received.target != TargetName::Webhook {
            continue;
        }
        let payload: Value = serde_json::from_slice(&received.body).unwrap();
        let data = &payload["data"];
        let faults: Vec<_> = schema.iter_errors(data).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{data}: {faults:?}");
        assert_eq!(data["job"], cloud.job().id().as_str());
        if payload["type"] == "job.completed" {
            completed += 1;
            assert_eq!(data["counts"], summary["counts"]);
            assert_eq!(data["links"], summary["links"]);
            assert_eq!(data["cost"]["actual_usd"], summary["cost"]["actual_usd"]);
        }
    }
    assert_eq!(completed, 1);
}

#[tokio::test]
async fn an_event_about_the_job_of_a_tenant_has_its_labels() {
    let receiver = Receiver::new();
    let cloud = with_targets(&receiver).build();
    let folders = r#"folder = [{ path = "inbox/acme/**", notify = ["a@acme.example", "acme"] }]"#;
    cloud.put("stack/folders.toml", folders.to_owned()).await;
    cloud.put("inbox/acme/stones.jsonl", stones(3)).await;
    cloud.run().await;
    let labels = json!(["a@acme.example", "acme"]);
    for received in receiver.received() {
        match received.target {
            TargetName::Sns => {
                let attribute = |part: &str| {
                    field(&received.body, &format!("MessageAttributes.entry.4.{part}"))
                };
                assert_eq!(attribute("Name"), "notify");
                assert_eq!(attribute("Value.DataType"), "String.Array");
                assert_eq!(attribute("Value.StringValue"), labels.to_string());
            }
            TargetName::Webhook => {
                let payload: Value = serde_json::from_slice(&received.body).unwrap();
                let tenant = json!({"path": "inbox/acme/**", "notify": labels});
                assert_eq!(payload["data"]["tenant"], tenant);
            }
            TargetName::EventBridge => {}
        }
    }
    assert_eq!(receiver.kinds(TargetName::Sns), ["Accepted", "Completed"]);
}

#[tokio::test]
async fn a_message_about_a_job_that_was_deleted_is_acknowledged() {
    let receiver = Receiver::new();
    let cloud = with_targets(&receiver).build();
    let event = include_bytes!("../../events/notifications.json");
    let event = serde_json::from_slice(event).unwrap();
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    let deps = &cloud.local.deps.notify;
    let answer = notify::handler::handle(deps, event, deadline).await;
    assert!(answer.acknowledged() && receiver.received().is_empty());
    assert!(cloud.objects().is_empty());
}

#[tokio::test]
async fn a_stack_without_a_target_does_no_work() {
    let cloud = TestCloud::new();
    cloud.put("inbox/stones.jsonl", stones(3)).await;
    close(&cloud).await;
    assert_eq!(cloud.messages(NOTIFICATIONS), 0);
    cloud.run().await;
    assert!(
        cloud
            .objects()
            .keys()
            .all(|key| !key.contains("stack/events/") && !key.ends_with("/events.json"))
    );
}

#[tokio::test]
async fn a_rejected_manifest_has_one_event_and_a_corrected_one_is_accepted() {
    let receiver = Receiver::new();
    let cloud = with_targets(&receiver).build();
    for _ in 0..2 {
        cloud.put("inbox/stones.jsonl", "{\"key\":\"a\"}\n").await;
        cloud.run().await;
    }
    assert_eq!(receiver.kinds(TargetName::Sns), ["Rejected"]);
    assert_eq!(pending_jobs(&cloud), 0);
    let message = &receiver.received()[1];
    assert!(field(&message.body, "Subject").contains("rejected, 1 error"));
    assert!(field(&message.body, "Message").contains("validation.csv"));

    cloud.put("inbox/stones.jsonl", stones(3)).await;
    cloud.run().await;
    assert_eq!(
        receiver.kinds(TargetName::Sns),
        ["Rejected", "Accepted", "Completed"]
    );
    receiver.each_once();
}

#[tokio::test]
async fn a_job_without_all_images_is_partial() {
    let receiver = Receiver::new();
    let scenario = Scenario {
        seed: 7,
        refuse_percent: 40,
        ..Scenario::default()
    };
    let cloud = with_targets(&receiver).scenario(scenario).build();
    cloud.put("inbox/stones.jsonl", stones(20)).await;
    cloud.run().await;
    assert!(cloud.job().has("_PARTIAL"));
    for target in ALL {
        assert_eq!(receiver.kinds(target), ["Accepted", "Partial"], "{target}");
    }
    receiver.each_once();
}

#[tokio::test]
async fn a_proof_is_held_once_and_its_job_continues_after_the_approval() {
    let receiver = Receiver::new();
    let cloud = with_targets(&receiver).build();
    let items: Vec<Value> = (0..6)
        .map(|number| json!({"key": format!("k-{number}"), "prompt": "x"}))
        .collect();
    let manifest = json!({"job": {"proof": {"count": 2, "hold": true}}, "items": items});
    cloud.put("inbox/stones.json", manifest.to_string()).await;
    let held = || receiver.kinds(TargetName::Sns).contains(&"Held".to_owned());
    let stopped = host::run(&cloud.local, WaitMode::Jump, pending(), async || Ok(held()));
    assert_eq!(stopped.await.unwrap(), StopReason::ConditionMet);
    let message = receiver.received().pop().unwrap();
    assert_eq!(message.kind, "Job Held");

    cloud.job().request("approve").await;
    cloud.run().await;
    for target in ALL {
        let kinds = receiver.kinds(target);
        assert_eq!(kinds, ["Accepted", "Held", "Completed"], "{target}");
    }
    receiver.each_once();
}

/// `control` releases what follows a proof that has succeeded, so no person is asked.
#[tokio::test]
async fn what_follows_its_proof_by_itself_is_not_announced_as_held() {
    let receiver = Receiver::new();
    let cloud = with_targets(&receiver).build();
    let items: Vec<Value> = (0..6)
        .map(|number| json!({"key": format!("k-{number}"), "prompt": "x"}))
        .collect();
    let manifest = json!({"job": {"proof": {"count": 2, "hold": false}}, "items": items});
    cloud.put("inbox/stones.json", manifest.to_string()).await;
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    for target in ALL {
        assert_eq!(
            receiver.kinds(target),
            ["Accepted", "Completed"],
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_job_that_is_canceled_before_it_is_planned_has_its_event() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    // The id of the job is known from a dry look at another cloud with the same manifest.
    let twin = TestCloud::new();
    twin.put("inbox/stones.jsonl", stones(3)).await;
    assert!(twin.plan().await.acknowledged());
    let job = twin.job().id();
    cloud.put(&format!("control/{job}/cancel"), "").await;
    cloud.run().await;
    assert!(cloud.job().has("_CANCELLED"));
    for target in ALL {
        assert_eq!(receiver.kinds(target), ["Cancelled"], "{target}");
    }
    assert_eq!(pending_jobs(&cloud), 0);
}

/// `report` is killed after it has written the marker and before it has sent the message.
#[tokio::test]
async fn a_kill_between_the_marker_and_the_message_loses_no_event() {
    for at_the_message in [false, true] {
        let receiver = Receiver::new();
        let cloud = dropped(&receiver).await;
        assert!(cloud.plan().await.acknowledged());
        assert!(cloud.submit().await.acknowledged());
        while !cloud.poll().await.acknowledged() {
            cloud.advance_to_next(darkroom::chain::POLLS);
        }
        assert!(cloud.collect().await.acknowledged());
        lose(&cloud, NOTIFICATIONS);
        cloud.local.queues.make_in_flight_visible(REPORTS).unwrap();
        cloud.advance(SignedDuration::from_mins(10));
        let list = format!("/stack/events/{}", cloud.job().id());
        let marker = cloud.path_of(&cloud.job().key("_SUCCESS"));
        cloud.aws.decide(move |head| {
            let sends = head
                .headers
                .get("x-amz-target")
                .is_some_and(|target| target == "AmazonSQS.SendMessage");
            let is_announcing = match at_the_message {
                true => sends,
                false => head.uri.path().ends_with(&list),
            };
            if marker.exists() && is_announcing {
                FaultAction::Die
            } else {
                FaultAction::Pass
            }
        });
        let (event, deps) = (cloud.deliver(REPORTS), cloud.local.deps.report.clone());
        let deadline = cloud.now() + FUNCTION_TIMEOUT;
        dies(async move { report::handler::handle(&deps, event, deadline).await }).await;
        cloud.aws.decide(|_| FaultAction::Pass);
        assert!(cloud.job().has("_SUCCESS") && receiver.received().is_empty());

        cloud.run().await;
        for target in ALL {
            assert_eq!(
                receiver.kinds(target),
                ["Accepted", "Completed"],
                "{target}"
            );
        }
        receiver.each_once();
    }
}

#[tokio::test]
async fn a_sweep_sends_the_events_whose_messages_were_lost() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    close(&cloud).await;
    lose(&cloud, NOTIFICATIONS);
    assert!(receiver.received().is_empty());
    assert_eq!(
        (cloud.messages(NOTIFICATIONS), pending_jobs(&cloud)),
        (0, 1)
    );

    cloud.sweep().await;
    cloud.run().await;
    for target in ALL {
        assert_eq!(
            receiver.kinds(target),
            ["Accepted", "Completed"],
            "{target}"
        );
    }
    assert_eq!(pending_jobs(&cloud), 0);
    cloud.sweep().await;
    assert_eq!(cloud.messages(NOTIFICATIONS), 0);
}

/// Whether a request writes the record of events.
fn writes_the_record(head: &http::request::Parts) -> bool {
    head.method == "PUT" && head.uri.path().ends_with("/events.json")
}

#[tokio::test]
async fn a_kill_between_an_event_and_its_record_repeats_it_with_the_same_id() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    assert!(cloud.plan().await.acknowledged());
    let sent = Arc::clone(&receiver);
    cloud.aws.decide(move |head| {
        if writes_the_record(head) && !sent.received().is_empty() {
            FaultAction::Die
        } else {
            FaultAction::Pass
        }
    });
    let (event, deps) = (
        cloud.deliver(NOTIFICATIONS),
        cloud.local.deps.notify.clone(),
    );
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    dies(async move { notify::handler::handle(&deps, event, deadline).await }).await;
    cloud.aws.decide(|_| FaultAction::Pass);
    let again = || async {
        let queues = &cloud.local.queues;
        queues.make_in_flight_visible(NOTIFICATIONS).unwrap();
        cloud.notify().await.acknowledged()
    };
    // Another invocation can't know that the owner of the claim was killed before its lease ends.
    assert!(!again().await);
    assert_eq!(receiver.received().len(), 3);

    cloud.advance(FUNCTION_TIMEOUT);
    assert!(again().await);
    let received = receiver.received();
    let ids: BTreeSet<String> = received
        .iter()
        .map(|received| received.id.clone())
        .collect();
    assert_eq!((received.len(), ids.len()), (6, 1));
}

/// Two messages about a job are often handled at the same time, such as those of its acceptance and
/// of its first hold.
#[tokio::test]
async fn two_invocations_at_the_same_time_send_an_event_once() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    assert!(cloud.plan().await.acknowledged());
    let one = cloud.deliver(NOTIFICATIONS);
    cloud.sweep().await;
    let other = cloud.deliver(NOTIFICATIONS);
    let (deps, deadline) = (&cloud.local.deps.notify, cloud.now() + FUNCTION_TIMEOUT);
    let (one, other) = tokio::join!(
        notify::handler::handle(deps, one, deadline),
        notify::handler::handle(deps, other, deadline),
    );
    assert!(one.acknowledged() || other.acknowledged());
    assert_eq!(
        receiver.each_once().into_values().collect::<Vec<_>>(),
        [1; 3]
    );

    // The message of the other one returns, and there is nothing left to send.
    cloud.run().await;
    receiver.each_once();
    assert_eq!(pending_jobs(&cloud), 0);
}

#[tokio::test]
async fn an_entry_that_the_bus_refuses_is_sent_again() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    receiver.answers(|received| match received.target {
        TargetName::EventBridge => {
            let entries = json!([{"ErrorCode": "InternalFailure", "ErrorMessage": "no"}]);
            let answer = json!({"FailedEntryCount": 1, "Entries": entries});
            (200, answer.to_string())
        }
        _ => accepts(received),
    });
    assert!(cloud.plan().await.acknowledged());
    assert!(!cloud.notify().await.acknowledged());
    // The other targets got the event nevertheless.
    assert_eq!(receiver.kinds(TargetName::Webhook), ["Accepted"]);
    assert!(receiver.kinds(TargetName::EventBridge).is_empty());

    receiver.answers(accepts);
    cloud.run().await;
    for target in ALL {
        assert_eq!(
            receiver.kinds(target),
            ["Accepted", "Completed"],
            "{target}"
        );
    }
    receiver.each_once();
}

/// HMAC-SHA256 by its definition (RFC 2104), for a key that is shorter than a block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (padded, byte) in block.iter_mut().zip(key) {
            *padded ^= byte;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text);
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner.finalize());
    outer.finalize().into()
}

#[tokio::test]
async fn a_webhook_is_signed_over_its_id_its_time_and_its_body() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    cloud.run().await;
    let webhooks: Vec<Received> = receiver
        .received()
        .into_iter()
        .filter(|received| received.target == TargetName::Webhook)
        .collect();
    assert!(webhooks.len() >= 2);
    for Received { headers, body, .. } in webhooks {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(&body);
        let expected = format!("v1,{}", STANDARD.encode_to_string(hmac(SECRET, &signed)));
        assert_eq!(header("webhook-signature"), expected);
        assert_eq!(header("content-type"), "application/json");
        let sent = Timestamp::from_second(timestamp.parse().unwrap()).unwrap();
        assert!(sent > Timestamp::UNIX_EPOCH);
    }
}

#[tokio::test]
async fn a_webhook_is_repeated_until_it_succeeds_and_a_redirect_is_no_success() {
    for refusal in [500, 410, 302] {
        let receiver = Receiver::new();
        let cloud = dropped(&receiver).await;
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&attempts);
        receiver.answers(move |received| {
            if received.target != TargetName::Webhook {
                return accepts(received);
            }
            let mut seen = seen.lock().unwrap();
            seen.push(received.id.clone());
            let count = seen.iter().filter(|id| **id == received.id).count();
            match count {
                1..=3 => (refusal, String::new()),
                _ => accepts(received),
            }
        });
        cloud.run().await;
        assert_eq!(
            receiver.kinds(TargetName::Webhook),
            ["Accepted", "Completed"],
            "{refusal}"
        );
        receiver.each_once();
        assert!(attempts.lock().unwrap().len() >= 8);
        assert_eq!(cloud.messages(&format!("{NOTIFICATIONS}-dead")), 0);
    }
}

#[tokio::test]
async fn a_webhook_that_never_succeeds_ends_as_a_dead_letter_and_a_sweep_tries_it_again() {
    let receiver = Receiver::new();
    let cloud = dropped(&receiver).await;
    receiver.answers(|received| match received.target {
        TargetName::Webhook => (503, String::new()),
        _ => accepts(received),
    });
    cloud.run().await;
    let dead = format!("{NOTIFICATIONS}-dead");
    let letters = cloud.messages(&dead);
    assert!(letters >= 1);
    assert!(receiver.kinds(TargetName::Webhook).is_empty());
    assert_eq!(receiver.kinds(TargetName::Sns), ["Accepted", "Completed"]);

    // A sweep at a time at which a message is being retried adds none.
    cloud.sweep().await;
    assert_eq!(cloud.messages(NOTIFICATIONS), 0);
    cloud.advance(SignedDuration::from_hours(2));
    receiver.answers(accepts);
    cloud.sweep().await;
    cloud.run().await;
    assert_eq!(
        receiver.kinds(TargetName::Webhook),
        ["Accepted", "Completed"]
    );
    receiver.each_once();
    assert_eq!((cloud.messages(&dead), pending_jobs(&cloud)), (letters, 0));
}
