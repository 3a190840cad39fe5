//! Faults of single calls: errors, lost requests and answers, slow and broken bodies.

use gemini_sim::{Call, Scenario};
use http_body_util::BodyExt;
use seam::transport::{Transport, empty, full};
use serde_json::{Value, json};

use super::service::{Service, chunk, download_path, lines_of, name, plain_lines, request, steady};

const MODEL: &str = "gemini-3.1-flash-image";
/// The path that creates batches.
pub(super) const CREATE: &str = "/v1beta/models/gemini-3.1-flash-image:batchGenerateContent";

fn faulty(rules: &[&str]) -> Service {
    Service::new(faults(rules))
}

/// The scenario of a steady service with these faults.
pub(super) fn faults(rules: &[&str]) -> Scenario {
    Scenario {
        faults: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        ..steady()
    }
}

/// Uploads an input file and returns the body that creates a batch from it.
pub(super) async fn create_body(service: &Service) -> Value {
    let file = service
        .upload(lines_of(&plain_lines(2)), "application/jsonl", json!({}))
        .await;
    json!({"batch": {"displayName": "a batch", "inputConfig": {"fileName": file["name"]}}})
}

#[tokio::test]
async fn errors_have_the_captured_bodies() {
    let service = faulty(&[
        "create-batch:429:1",
        "create-batch:429-minute:2",
        "create-batch:429-day:3",
        "create-batch:429-prepaid:4",
        "create-batch:500:5",
        "create-batch:503:6",
    ]);
    let create_body = create_body(&service).await;
    let mut replies = Vec::new();
    for _ in 0..6 {
        let reply = service.post(CREATE, &create_body).await;
        let (code, status, message) = reply.error();
        let details = reply.json()["error"]["details"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        replies.push((code, status, message, details));
    }
    let kinds = |details: &[Value]| {
        let kind = |detail: &Value| {
            detail["@type"]
                .as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
                .to_owned()
        };
        details.iter().map(kind).collect::<Vec<_>>()
    };
    let codes: Vec<_> = replies
        .iter()
        .map(|(code, status, ..)| (*code, status.as_str()))
        .collect();
    let exhausted = (429, "RESOURCE_EXHAUSTED");
    assert_eq!(
        codes,
        [
            exhausted,
            exhausted,
            exhausted,
            exhausted,
            (500, "INTERNAL"),
            (503, "UNAVAILABLE")
        ]
    );
    assert_eq!(kinds(&replies[0].3), ["Help"]);
    assert!(
        replies[0]
            .2
            .starts_with("You exceeded your current quota, please check your plan")
    );
    assert_eq!(kinds(&replies[1].3), ["Help", "QuotaFailure", "RetryInfo"]);
    assert!(replies[1].2.ends_with("Please retry in 34.28s."));
    assert_eq!(
        replies[1].3[1]["violations"][0]["quotaId"],
        "GenerateRequestsPerMinutePerProjectPerModel"
    );
    assert_eq!(replies[1].3[2]["retryDelay"], "34s");
    assert_eq!(kinds(&replies[2].3), ["Help", "QuotaFailure"]);
    assert!(
        replies[2].3[1]["violations"][0]["quotaId"]
            .as_str()
            .unwrap()
            .contains("PerDay")
    );
    assert!(
        replies[3]
            .2
            .starts_with("Your prepayment credits are depleted")
            && replies[3].3.is_empty()
    );

    assert_eq!(service.gemini.batches_created(), 0);
    assert_eq!(
        service.gemini.requests().of(Call::CreateBatch),
        6,
        "failed calls are counted"
    );
    assert_eq!(
        service.post(CREATE, &create_body).await.status,
        200,
        "the seventh call succeeds"
    );
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_reply_has_its_full_effect() {
    let service = faulty(&["create-batch:lost-request:1", "create-batch:lost-reply:2"]);
    let create_body = create_body(&service).await;
    service.lose("POST", CREATE, &create_body).await;
    assert_eq!(service.gemini.batches_created(), 0);
    service.lose("POST", CREATE, &create_body).await;
    assert_eq!(service.gemini.batches_created(), 1);
    assert_eq!(service.gemini.requests().of(Call::CreateBatch), 2);
    let list = service
        .call("GET", "/v1beta/batches?pageSize=9")
        .await
        .json();
    assert_eq!(list["operations"][0]["metadata"]["displayName"], "a batch");
}

#[tokio::test]
async fn a_lost_reply_to_an_upload_leaves_the_file() {
    let service = faulty(&["continue-upload:lost-reply:1"]);
    let started = service
        .start_upload(5, "text/plain", json!({"name": "files/mine"}))
        .await;
    let url = started.header("x-goog-upload-url");
    let whole = chunk(&url, "upload, finalize", 0, full("hello"));
    assert_eq!(service.call("GET", "/v1beta/files/mine").await.status, 403);
    assert!(service.gemini.send(whole).await.is_err());
    assert_eq!(
        service.call("GET", "/v1beta/files/mine").await.json()["sizeBytes"],
        "5"
    );
    assert_eq!(
        service
            .send(chunk(&url, "query", 0, empty()))
            .await
            .header("x-goog-upload-status"),
        "final"
    );
}

#[tokio::test]
async fn a_lost_reply_to_a_cancel_or_a_delete_has_its_effect() {
    let service = faulty(&[
        "cancel-batch:lost-reply:1",
        "delete-batch:lost-reply:1",
        "delete-batch:lost-request:2",
    ]);
    let create_body = create_body(&service).await;
    let (one, two) = (
        service.post(CREATE, &create_body).await.json(),
        service.post(CREATE, &create_body).await.json(),
    );
    service
        .lose(
            "POST",
            &format!("/v1beta/{}:cancel", name(&one)),
            &json!({}),
        )
        .await;
    assert_eq!(
        service.get(&one).await["metadata"]["state"],
        "BATCH_STATE_CANCELLED"
    );
    service
        .lose("DELETE", &format!("/v1beta/{}", name(&one)), &json!({}))
        .await;
    assert_eq!(
        service
            .call("GET", &format!("/v1beta/{}", name(&one)))
            .await
            .status,
        404
    );
    service
        .lose("DELETE", &format!("/v1beta/{}", name(&two)), &json!({}))
        .await;
    assert_eq!(
        service
            .call("GET", &format!("/v1beta/{}", name(&two)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_cut_download_is_a_prefix_followed_by_an_error() {
    let service = faulty(&["download:cut:first-1"]);
    let batch = service.batch(MODEL, &plain_lines(4)).await;
    service.pass_minutes(100);
    let response = service.begin("GET", &download_path(&batch)).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut received = Vec::new();
    let error = loop {
        match body.frame().await.expect("an end with an error") {
            Ok(frame) => received.extend_from_slice(&frame.into_data().unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("reset"), "{error}");
    assert!(body.frame().await.is_none());
    let whole = service.output(&batch).await;
    assert!(whole.starts_with(&received) && received.len() < whole.len());
    assert_eq!(
        received.iter().filter(|byte| **byte == b'\n').count(),
        1,
        "the body ends in the second line"
    );
    assert!(!received.ends_with(b"\n"));
}

#[tokio::test]
async fn a_cut_answer_of_another_call_breaks_off() {
    let service = faulty(&["any:cut:100%"]);
    let body = service
        .begin("GET", "/v1beta/models?pageSize=2")
        .await
        .into_body();
    assert!(body.collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_has_the_same_content() {
    let service = faulty(&["get-file:slow:2"]);
    service
        .upload("hello", "text/plain", json!({"name": "files/mine"}))
        .await;
    let quick = service.call("GET", "/v1beta/files/mine").await.json();
    let begin = tokio::time::Instant::now();
    assert_eq!(
        service.call("GET", "/v1beta/files/mine").await.json(),
        quick
    );
    assert!(!begin.elapsed().is_zero());
}

#[tokio::test]
async fn the_seed_determines_a_share_of_calls() {
    let mut drawn = Vec::new();
    for seed in [1, 1, 2] {
        let service = Service::new(Scenario {
            seed,
            ..faults(&["any:503:30%"])
        });
        let mut codes = Vec::new();
        for n in 0..40 {
            let service = &service;
            let path = if n % 2 == 0 {
                "/v1beta/models"
            } else {
                "/v1beta/files"
            };
            codes.push(service.call("GET", path).await.status.as_u16());
        }
        assert_eq!(service.gemini.requests().total(), 40);
        drawn.push(codes);
    }
    assert_eq!(drawn[0], drawn[1]);
    assert_ne!(drawn[0], drawn[2]);
    let failed = drawn[0].iter().filter(|code| **code == 503).count();
    assert!((4..=22).contains(&failed), "{failed} of 40");
}

#[tokio::test]
async fn ordinals_of_calls_continue_after_a_restart() {
    let rules = ["list-files:500:first-2"];
    let service = faulty(&rules);
    let list = async |service: &Service| {
        let asked = request("GET", "/v1beta/files").body(empty()).unwrap();
        service.send(asked).await.status.as_u16()
    };
    assert_eq!(list(&service).await, 500);
    assert_eq!(service.call("GET", "/v1beta/models").await.status, 200);
    let service = service.reopened(faults(&rules));
    assert_eq!(list(&service).await, 500);
    assert_eq!(list(&service).await, 200);
}
