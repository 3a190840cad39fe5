//! A shard waits for days with the same message, which is redelivered hundreds of times. Sending a
//! new message instead would end after 16 hops, which is where Lambda stops recursive loops.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
};

use aws_sim::queue::Depth;
use cli::{
    cloud::{Cloud, CloudConfig, INTERNAL},
    host::{self, StopReason, WaitMode},
    time::Time,
};
use darkroom::settings::PollBackoff;
use darkroom::{
    chain::{CHAIN, POLLS},
    names::{JobId, ShardId},
    state::Shard,
};
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Gemini as SimulatedGemini, Scenario, Selector};
use http::{Request, Response};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use seam::{
    rng::Rng,
    transport::{Body, BoxFuture, Transport, TransportError, full},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::wire::Wire;

use super::stones;

/// A connection to SQS that counts the requests of the functions and can replace redeliveries by
/// new messages.
struct Watch {
    behind: Arc<dyn Transport>,
    /// The operations on the queue `polls`, in order.
    on_polls: Arc<Mutex<Vec<String>>>,
    /// Whether a message of `polls` is sent again and deleted instead of being redelivered. This is
    /// the design that the product avoids.
    resends: bool,
    /// The body of the last message sent to `polls`.
    body: Mutex<String>,
}

impl Watch {
    async fn call(
        &self,
        head: &http::request::Parts,
        operation: &str,
        body: &Value,
    ) -> Response<Body> {
        let mut request = Request::from_parts(head.clone(), full(body.to_string()));
        let target = format!("AmazonSQS.{operation}").parse().unwrap();
        request.headers_mut().insert("x-amz-target", target);
        self.on_polls.lock().unwrap().push(operation.to_owned());
        self.behind.send(request).await.unwrap()
    }
}

impl Transport for Watch {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let target = request
            .headers()
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        let Some(operation) = target
            .and_then(|target| target.strip_prefix("AmazonSQS."))
            .map(str::to_owned)
        else {
            return self.behind.send(request);
        };
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let bytes = body
                .collect()
                .await
                .map_err(TransportError::NeverSent)?
                .to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            if !body["QueueUrl"].as_str().unwrap().ends_with("/polls") {
                return self
                    .behind
                    .send(Request::from_parts(head, full(bytes)))
                    .await;
            }
            if operation == "SendMessage" {
                *self.body.lock().unwrap() = body["MessageBody"].as_str().unwrap().to_owned();
            }
            if operation == "ChangeMessageVisibility" && self.resends {
                let again = json!({
                    "QueueUrl": body["QueueUrl"],
                    "MessageBody": *self.body.lock().unwrap(),
                    "DelaySeconds": body["VisibilityTimeout"],
                });
                assert_eq!(self.call(&head, "SendMessage", &again).await.status(), 200);
                let done =
                    json!({ "QueueUrl": body["QueueUrl"], "ReceiptHandle": body["ReceiptHandle"] });
                return Ok(self.call(&head, "DeleteMessage", &done).await);
            }
            Ok(self.call(&head, &operation, &body).await)
        })
    }
}

/// A chain whose batches never end and are polled every five minutes.
struct Days {
    _folder: TempDir,
    cloud: Arc<Cloud>,
    wire: Arc<Wire>,
    on_polls: Arc<Mutex<Vec<String>>>,
    resends: bool,
}

impl Days {
    fn new(resends: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let time = Time::frozen("2026-11-21T09:00:00Z".parse().unwrap());
        let stuck = BatchOutcomeRule {
            which: Selector::Percent(100),
            outcome: BatchOutcome::StuckRunning,
        };
        let scenario = Scenario {
            batch_outcomes: vec![stuck],
            ..Scenario::default()
        };
        let state = folder.path().join(INTERNAL).join("gemini");
        let wire = Arc::new(Wire::new(Arc::new(
            SimulatedGemini::open(&state, time.clock(), scenario).unwrap(),
        )));
        let key = Arc::new(KeySource::fixed(ApiKey::new("canary-1234").unwrap()));
        let client = Gemini::new(gemini::Settings::new(key), Arc::clone(&wire) as _).unwrap();
        let waits = PollBackoff::from_seconds(300, 300).unwrap();
        let setup = CloudConfig {
            waits,
            rng: Rng::seeded(1),
            ..CloudConfig::default()
        };
        // A message that was stopped as a recursive loop stays stopped.
        let setup = CloudConfig {
            sweep_every: setup.sweep_every.filter(|_| !resends),
            ..setup
        };
        let on_polls = Arc::default();
        let watch = |behind| {
            let on_polls = Arc::clone(&on_polls);
            Arc::new(Watch {
                behind,
                on_polls,
                resends,
                body: Mutex::default(),
            }) as Arc<dyn Transport>
        };
        let cloud = Arc::new(Cloud::open_with(folder.path(), time, client, setup, watch).unwrap());
        Self {
            _folder: folder,
            cloud,
            wire,
            on_polls,
            resends,
        }
    }

    async fn run(&self) {
        self.cloud
            .bucket
            .put(
                "inbox/stones.jsonl",
                "application/jsonl",
                stones(12).into_bytes(),
            )
            .await
            .unwrap();
        let stopped = host::run(&self.cloud, WaitMode::Jump, pending(), async || {
            if self.resends {
                self.forget_driver().await;
            }
            Ok(false)
        });
        assert_eq!(stopped.await.unwrap(), StopReason::Idle);
    }

    /// Removes the drivers from all states, because the poller that sends itself accepts any
    /// message.
    async fn forget_driver(&self) {
        let states = &self.cloud.deps.poll.states;
        let folder = std::fs::read_dir(self.cloud.path_of("jobs"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let job = JobId::new(folder.file_name().into_string().unwrap());
        if let Some(stored) = states.read(&job, ShardId::first(0)).await.unwrap() {
            let next = Shard {
                driver: None,
                ..stored.shard.clone()
            };
            states.swap(&stored, next).await.unwrap();
        }
    }

    /// Returns how often each batch was polled.
    fn polls(&self) -> Vec<usize> {
        let mut polls = BTreeMap::new();
        let asked = self
            .wire
            .sent()
            .into_iter()
            .filter(|sent| sent.method == "GET" && sent.path.contains("/batches/"));
        for sent in asked {
            *polls.entry(sent.path).or_default() += 1;
        }
        polls.into_values().collect()
    }

    /// Counts the operations of this name on `polls`.
    fn count(&self, operation: &str) -> usize {
        self.on_polls
            .lock()
            .unwrap()
            .iter()
            .filter(|made| *made == operation)
            .count()
    }

    fn dead_letters(&self) -> Vec<(&'static str, Depth)> {
        let depth = |queue: &str| self.cloud.queues.depth(queue).unwrap();
        let all = CHAIN
            .iter()
            .map(|source| (source.queue, depth(&source.dead_letters())));
        all.filter(|(_, depth)| *depth != Depth::default())
            .collect()
    }
}

/// A batch is cancelled after 46 hours, so 96 hours have more than one round, and the message of
/// each round waits for its batch.
#[tokio::test]
async fn five_hundred_polls_over_days_need_one_message_a_batch() {
    let days = Days::new(false);
    days.run().await;
    let polls = days.polls();
    assert!(
        polls.len() >= 3 && polls.iter().all(|polls| *polls >= 500),
        "{polls:?}"
    );
    assert!(
        days.cloud.time.jumped() >= SignedDuration::from_hours(96),
        "{}",
        days.cloud.time.jumped()
    );
    // `submit` sends one message for each batch. After each poll but the last, it is redelivered.
    assert_eq!(days.count("SendMessage"), polls.len());
    assert_eq!(
        days.count("ChangeMessageVisibility"),
        polls.iter().sum::<usize>() - polls.len()
    );
    assert_eq!(
        days.count("SendMessageBatch") + days.count("DeleteMessage"),
        0
    );
    assert_eq!(days.dead_letters(), []);
    let job = std::fs::read_dir(days.cloud.path_of("jobs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let results = std::fs::read_to_string(job.join("results.jsonl")).unwrap();
    assert_eq!(results.lines().count(), 12);
    assert!(
        job.join("_PARTIAL").exists(),
        "what the batches had done until they were cancelled is kept"
    );
}

#[tokio::test]
async fn a_poller_that_sends_itself_is_stopped_after_sixteen_hops() {
    let days = Days::new(true);
    days.run().await;
    assert_eq!(days.polls(), [16]);
    // `submit` sent one message and each poll sent another. The last one invoked no function.
    assert_eq!(
        (days.count("SendMessage"), days.count("DeleteMessage")),
        (17, 16)
    );
    assert_eq!(
        days.dead_letters(),
        [(
            POLLS,
            Depth {
                visible: 1,
                ..Depth::default()
            }
        )]
    );
    assert!(days.cloud.time.jumped() < SignedDuration::from_hours(3));
    let dead = days
        .cloud
        .queues
        .receive("polls-dead", 1, None)
        .unwrap()
        .remove(0);
    assert!(
        dead.trace_header
            .unwrap()
            .ends_with(";Lineage=plan:1|poll:16|submit:1")
    );
}
