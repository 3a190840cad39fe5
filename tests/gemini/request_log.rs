//! The log of requests, with which a test finds out what was sent, and how often.

use gemini_sim::{LoggedCall, LoggedRequest, LoggedTier, Scenario};
use jiff::Timestamp;
use seam::transport::{Transport, full};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    service::{self, Reply, Service, plain_lines, steady},
    service_tiers::FLEX_MODEL,
};

const MODEL: &str = "gemini-3.1-flash-image";

/// The request of a line, with white space and an escape that parsing would not preserve.
const REQUEST: &str =
    r#"{"contents" : [{"parts": [{"text": "a f\u006fx"}]}], "generationConfig":{}}"#;

fn logging() -> Scenario {
    Scenario {
        log_batch_lines: true,
        ..steady()
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Sends a body to a method of a model.
async fn send(service: &Service, model: &str, method: &str, body: &str) -> Reply {
    let request = service::request("POST", &format!("/v1beta/models/{model}:{method}"));
    service
        .send(request.body(full(body.to_owned())).unwrap())
        .await
}

/// Returns what the log has about each request, except the time and the hash.
fn summary(log: &[LoggedRequest]) -> Vec<(LoggedCall, &str, LoggedTier, u16)> {
    log.iter()
        .map(|entry| (entry.call, entry.model.as_str(), entry.tier, entry.status))
        .collect()
}

#[tokio::test]
async fn a_request_alone_has_the_hash_of_its_line_in_a_batch() {
    let service = Service::new(logging());
    let input = format!(
        "{{\"key\":\"fox\", \"request\": {REQUEST} }}\n\n{{\"request\":{REQUEST},\"key\":\"again\"}}"
    );
    assert_eq!(service.try_batch(MODEL, &input).await.status, 200);
    service.pass_minutes(1);
    let reply = send(&service, MODEL, "generateContent", REQUEST).await;
    assert_eq!(reply.status, 200);

    let log = service.gemini.request_log().unwrap();
    let (line, single) = (LoggedCall::BatchLine, LoggedCall::GenerateContent);
    assert_eq!(
        summary(&log),
        [
            (line, MODEL, LoggedTier::Batch, 200),
            (line, MODEL, LoggedTier::Batch, 200),
            (single, MODEL, LoggedTier::Standard, 200),
        ]
    );
    let keys: Vec<_> = log.iter().map(|entry| entry.key.as_deref()).collect();
    assert_eq!(keys, [Some("fox"), Some("again"), None]);
    assert!(
        log.iter()
            .all(|entry| entry.request_sha256 == hash(REQUEST))
    );
    let times: Vec<Timestamp> = log.iter().map(|entry| entry.at).collect();
    assert_eq!(times[0], times[1]);
    assert_eq!(times[2].duration_since(times[0]).as_secs(), 60);
}

#[tokio::test]
async fn the_whole_body_of_a_call_is_hashed_with_its_tier() {
    let service = Service::steady();
    let body = r#"{ 'contents': [{'parts': [{'text': 'a fox'}]}], 'service_tier': 'FLEX' }"#;
    assert_eq!(
        send(&service, FLEX_MODEL, "generateContent", body)
            .await
            .status,
        200
    );
    let log = service.gemini.request_log().unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].tier, LoggedTier::Flex);
    assert_eq!(log[0].request_sha256, hash(body));
}

#[tokio::test]
async fn every_answered_call_has_its_status() {
    let faults = [
        "generate-content:429-minute:1",
        "generate-content:html:2",
        "generate-content:lost-reply:3",
        "generate-content:lost-request:4",
    ];
    let service = Service::new(Scenario {
        faults: faults.map(|rule| rule.parse().unwrap()).to_vec(),
        flex_capacity_percent: 0,
        ..steady()
    });
    let flex = r#"{"contents": [{"parts": [{"text": "a fox"}]}], "serviceTier": "flex"}"#;
    for status in [429, 502] {
        let reply = send(&service, FLEX_MODEL, "generateContent", flex).await;
        assert_eq!(reply.status, status);
    }
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let body: Value = serde_json::from_str(REQUEST).unwrap();
    service.lose("POST", &path, &body).await;
    service.lose("POST", &path, &body).await;
    for (model, method, body, status) in [
        (FLEX_MODEL, "generateContent", flex, 503),
        (MODEL, "generateContent", flex, 400),
        (MODEL, "generateContent", "{'contents'", 400),
        ("no-such", "generateContent", REQUEST, 404),
        (MODEL, "streamGenerateContent", REQUEST, 200),
    ] {
        assert_eq!(send(&service, model, method, body).await.status, status);
    }
    let without_key = http::Request::builder()
        .method("POST")
        .uri(format!("http://gemini.test{path}"));
    let refused = service
        .gemini
        .send(without_key.body(full(REQUEST)).unwrap())
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);

    let log = service.gemini.request_log().unwrap();
    let (single, stream) = (
        LoggedCall::GenerateContent,
        LoggedCall::StreamGenerateContent,
    );
    assert_eq!(
        summary(&log),
        [
            (single, FLEX_MODEL, LoggedTier::Flex, 429),
            (single, FLEX_MODEL, LoggedTier::Flex, 502),
            (single, MODEL, LoggedTier::Standard, 200),
            (single, FLEX_MODEL, LoggedTier::Flex, 503),
            (single, MODEL, LoggedTier::Flex, 400),
            (single, MODEL, LoggedTier::Standard, 400),
            (single, "no-such", LoggedTier::Standard, 404),
            (stream, MODEL, LoggedTier::Standard, 200),
        ]
    );
    assert_eq!(log[0].request_sha256, hash(flex));
}

#[tokio::test]
async fn only_created_batches_are_logged_and_only_if_enabled() {
    let service = Service::new(logging());
    let lines = service::lines_of(&plain_lines(2));
    let refused = service.try_batch(MODEL, &format!("{lines}{{}}\n")).await;
    assert_eq!(refused.status, 400);
    assert_eq!(service.gemini.request_log().unwrap(), []);
    assert_eq!(service.try_batch(MODEL, &lines).await.status, 200);
    assert_eq!(service.gemini.request_log().unwrap().len(), 2);

    let service = service.reopened(steady());
    assert_eq!(service.try_batch(MODEL, &lines).await.status, 200);
    let log = service.gemini.request_log().unwrap();
    assert_eq!(log.len(), 2, "the log survives a restart");
    let keys: Vec<_> = log.iter().map(|entry| entry.key.as_deref()).collect();
    assert_eq!(keys, [Some("k0"), Some("k1")]);
}

#[tokio::test]
async fn inline_requests_are_logged_as_they_are_stored() {
    let service = Service::new(logging());
    let requests = json!([
        {"request": {"contents": [{"parts": [{"text": "a fox"}]}]}, "metadata": {"key": "fox"}},
        {"request": {"contents": [{"parts": [{"text": "a cat"}]}]}},
    ]);
    let batch =
        json!({"displayName": "a batch", "inputConfig": {"requests": {"requests": requests}}});
    let path = format!("/v1beta/models/{MODEL}:batchGenerateContent");
    let created = service.post(&path, &json!({"batch": batch})).await;
    assert_eq!(created.status, 200);

    let log = service.gemini.request_log().unwrap();
    let keys: Vec<_> = log.iter().map(|entry| entry.key.as_deref()).collect();
    assert_eq!(keys, [Some("fox"), None]);
    let hashes: Vec<_> = log.iter().map(|entry| &entry.request_sha256).collect();
    let stored = |n: usize| hash(&requests[n]["request"].to_string());
    assert_eq!(hashes, [&stored(0), &stored(1)]);
}

#[tokio::test]
async fn the_log_of_a_large_batch_is_complete_and_in_order() {
    let service = Service::new(logging());
    service.batch(MODEL, &plain_lines(3_000)).await;
    let log = service.gemini.request_log().unwrap();
    let keys = log.iter().filter_map(|entry| entry.key.clone());
    assert!(keys.eq((0..3_000).map(|n| format!("k{n}"))));
}
