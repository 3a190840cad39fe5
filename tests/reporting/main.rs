//! `report` reads each state a constant number of times, closes in linear time and flat memory, and
//! loses nothing whatever the order of its messages. How fast it is is printed, not judged.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]
#![expect(
    clippy::print_stdout,
    reason = "how fast it was is shown with --nocapture"
)]

mod blocked;
mod linear;
mod made;
mod merging;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sim::queue::Outgoing;
use darkroom::{
    chain::{FUNCTION_TIMEOUT, REPORTS},
    messages::JobMessage,
    names::{JobId, ShardId},
};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use tests::{TestCloud, wire::FaultAction};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What `report` asked of S3, and how often: `GET state.json`, `PUT job.json`, and so on.
type Asked = Arc<Mutex<BTreeMap<String, u64>>>;

/// Counts at the wire what `report` asks of S3 from now on. Its own requests are told from others
/// by their trace.
fn watch(cloud: &TestCloud) -> Asked {
    let asked = Asked::default();
    let counts = Arc::clone(&asked);
    cloud.aws.decide(move |head| {
        let trace = head
            .headers
            .get("x-amzn-trace-id")
            .and_then(|trace| trace.to_str().ok())
            .unwrap_or_default();
        if trace.contains("report:") && !head.headers.contains_key("x-amz-target") {
            let path = head.uri.path();
            let name = if path.contains("/results/") {
                "part"
            } else {
                path.rsplit('/').next().unwrap_or_default()
            };
            *counts
                .lock()
                .unwrap()
                .entry(format!("{} {name}", head.method))
                .or_default() += 1;
        }
        FaultAction::Pass
    });
    asked
}

fn count(asked: &Asked, what: &str) -> u64 {
    asked.lock().unwrap().get(what).copied().unwrap_or_default()
}

/// Sends what a function sends that has changed a shard.
fn tell(cloud: &TestCloud, job: &JobId, shard: ShardId) {
    let body = serde_json::to_string(&JobMessage::of_shard(job, shard)).unwrap();
    cloud
        .local
        .queues
        .send(REPORTS, Outgoing::new(body))
        .unwrap();
}

/// Sends what a person or a sweep sends.
fn tell_of_all(cloud: &TestCloud, job: &JobId) {
    let body = serde_json::to_string(&JobMessage::new(job)).unwrap();
    cloud
        .local
        .queues
        .send(REPORTS, Outgoing::new(body))
        .unwrap();
}

/// An event with the messages that (reports) has now, ten at the most; none if it has none.
fn event(cloud: &TestCloud) -> Option<SqsEvent> {
    let deliveries = cloud.local.queues.receive(REPORTS, 10, None).unwrap();
    let records: Vec<Value> = deliveries
        .iter()
        .map(|delivery| {
            json!({
                "messageId": delivery.message_id, "receiptHandle": delivery.receipt_handle, "body": delivery.body,
                "attributes": { "ApproximateReceiveCount": delivery.receive_count.to_string() },
            })
        })
        .collect();
    (!records.is_empty()).then(|| serde_json::from_value(json!({ "Records": records })).unwrap())
}

/// Has `report` handle an event, and deletes what it has acknowledged.
async fn report(cloud: &TestCloud, event: SqsEvent) {
    let handles: BTreeMap<String, String> = event
        .records
        .iter()
        .map(|record| {
            (
                record.message_id.clone().unwrap(),
                record.receipt_handle.clone().unwrap(),
            )
        })
        .collect();
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    let response = report::handler::handle(&cloud.local.deps.report, event, deadline).await;
    let failed: Vec<String> = response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    for (_, handle) in handles.into_iter().filter(|(id, _)| !failed.contains(id)) {
        cloud.local.queues.delete(REPORTS, &handle).unwrap();
    }
}

async fn status(cloud: &TestCloud, job: &JobId) -> Value {
    cloud.json(&format!("jobs/{job}/job.json")).await
}

/// The markers that a job has.
fn markers(cloud: &TestCloud, job: &JobId) -> Vec<String> {
    let names = std::fs::read_dir(cloud.path_of(&format!("jobs/{job}"))).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('_')).collect()
}
