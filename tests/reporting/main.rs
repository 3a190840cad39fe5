//! `report` reads each state a constant number of times, closes a job in linear time and flat
//! memory, and loses nothing, whatever the order of its messages. The speed is printed and not
//! checked.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]
#![expect(clippy::print_stdout, reason = "the speed is shown with --nocapture")]

mod blocked;
mod gallery;
mod linear;
mod merging;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sim::{
    queue::{Delivery, Outgoing},
    wire::traced,
};
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

/// How often `report` sent each request to S3, such as `GET state.json` or `PUT job.json`.
type Requests = Arc<Mutex<BTreeMap<String, u64>>>;

/// Counts the later requests of `report` to S3. They are recognized by their trace header, which
/// names all functions whose messages led to the request. Jobs that are made here have no image, so
/// `thumbs` never wakes `report`, and a trace that names `thumbs` is that of `thumbs` itself.
fn watch(cloud: &TestCloud) -> Requests {
    let requests = Requests::default();
    let counts = Arc::clone(&requests);
    cloud.aws.decide(move |head| {
        let trace = head
            .headers
            .get("x-amzn-trace-id")
            .and_then(|trace| trace.to_str().ok())
            .unwrap_or_default();
        let is_of_report = trace.contains("report:") && !trace.contains("thumbs:");
        if is_of_report && !head.headers.contains_key("x-amz-target") {
            let path = head.uri.path();
            let name = if path.contains("/results/") {
                "chunk"
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
    requests
}

/// Returns how often a request was sent.
fn count(requests: &Requests, request: &str) -> u64 {
    requests
        .lock()
        .unwrap()
        .get(request)
        .copied()
        .unwrap_or_default()
}

/// Sends the message of a function that has changed a shard.
fn notify(cloud: &TestCloud, job: &JobId, shard: ShardId) {
    let body = serde_json::to_string(&JobMessage::of_shard(job, shard)).unwrap();
    cloud
        .local
        .queues
        .send(REPORTS, Outgoing::new(body))
        .unwrap();
}

/// Sends the message of an operator or a sweep, which concerns the whole job.
fn notify_of_job(cloud: &TestCloud, job: &JobId) {
    let body = serde_json::to_string(&JobMessage::new(job)).unwrap();
    cloud
        .local
        .queues
        .send(REPORTS, Outgoing::new(body))
        .unwrap();
}

/// Receives up to ten messages of the queue `reports` as one event. Returns `None` if there are
/// none.
fn event(cloud: &TestCloud) -> Option<SqsEvent> {
    event_of(&cloud.local.queues.receive(REPORTS, 10, None).unwrap())
}

/// Receives all visible messages of the queue `reports` as one event, as Lambda does with up to
/// 1,000. Returns `None` if there are none.
fn event_of_all(cloud: &TestCloud) -> Option<SqsEvent> {
    let mut all = Vec::new();
    loop {
        let mut some = cloud.local.queues.receive(REPORTS, 10, None).unwrap();
        if some.is_empty() {
            return event_of(&all);
        }
        all.append(&mut some);
    }
}

fn event_of(deliveries: &[Delivery]) -> Option<SqsEvent> {
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

/// Passes an event to `report` and deletes the messages that it acknowledges.
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
    // The trace is how `watch` recognizes the requests of this function.
    let handled = report::handler::handle(&cloud.local.deps.report, event, deadline);
    let response = traced("Root=1;report:1".to_owned(), handled).await;
    let failed: Vec<String> = response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    for (_, handle) in handles.into_iter().filter(|(id, _)| !failed.contains(id)) {
        cloud.local.queues.delete(REPORTS, &handle).unwrap();
    }
}

/// Reads the status of a job.
async fn status(cloud: &TestCloud, job: &JobId) -> Value {
    cloud.json(&format!("jobs/{job}/job.json")).await
}

/// Returns the markers of a job.
fn markers(cloud: &TestCloud, job: &JobId) -> Vec<String> {
    let names = std::fs::read_dir(cloud.path_of(&format!("jobs/{job}"))).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('_')).collect()
}
