//! The quotas of single requests, by minute and by day.

use std::num::NonZeroU32;

use gemini_sim::{Call, Scenario};
use serde_json::json;

use super::{
    service::{Reply, Service, steady},
    service_tiers::{FLEX_MODEL, generate, request},
};

const MODEL: &str = "gemini-3.1-flash-image";

/// The service starts at midnight UTC, eight hours before a Pacific day ends.
const SECONDS_TO_MIDNIGHT: i64 = 8 * 60 * 60;

fn limited(per_minute: u32, per_day: u32) -> Scenario {
    Scenario {
        requests_per_minute: NonZeroU32::new(per_minute),
        requests_per_day: NonZeroU32::new(per_day),
        ..steady()
    }
}

async fn assert_accepted(service: &Service, model: &str, tier: Option<&str>) {
    let reply = generate(service, model, tier).await;
    assert_eq!(
        reply.status,
        200,
        "{}",
        String::from_utf8_lossy(&reply.bytes)
    );
}

/// Asserts that a call exceeds the quota with this id, and is admitted after this delay.
fn assert_over_quota(reply: &Reply, id: &str, limit: &str, delay: &str) {
    let (code, status, message) = reply.error();
    assert_eq!((code, status.as_str()), (429, "RESOURCE_EXHAUSTED"));
    assert!(
        message.ends_with(&format!("Please retry in {delay}.")),
        "{message}"
    );
    let details = &reply.json()["error"]["details"];
    assert_eq!(
        details[1],
        json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                "quotaId": id,
                "quotaDimensions": {"location": "global", "model": MODEL},
                "quotaValue": limit,
            }],
        })
    );
    assert_eq!(
        details[2],
        json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    );
    assert_eq!(details.as_array().map(Vec::len), Some(3));
}

fn assert_over_minute(reply: &Reply, limit: &str, delay: &str) {
    let id = "GenerateRequestsPerMinutePerProjectPerModel";
    assert_over_quota(reply, id, limit, delay);
}

fn assert_over_day(reply: &Reply, limit: &str, delay: &str) {
    let id = "GenerateRequestsPerDayPerProjectPerModel";
    assert_over_quota(reply, id, limit, delay);
}

#[tokio::test]
async fn a_call_over_the_quota_of_a_minute_is_admitted_after_the_stated_delay() {
    let service = Service::new(limited(2, 0));
    assert_accepted(&service, MODEL, None).await;
    service.pass_seconds(10);
    assert_accepted(&service, MODEL, None).await;
    service.pass_seconds(5);
    assert_over_minute(&generate(&service, MODEL, None).await, "2", "45s");
    service.pass_seconds(44);
    assert_over_minute(&generate(&service, MODEL, None).await, "2", "1s");
    service.pass_seconds(1);
    assert_accepted(&service, MODEL, None).await;
    assert_over_minute(&generate(&service, MODEL, None).await, "2", "10s");
}

#[tokio::test]
async fn a_call_over_the_quota_of_a_day_is_admitted_at_midnight() {
    let service = Service::new(limited(0, 1));
    assert_accepted(&service, MODEL, None).await;
    assert_over_day(&generate(&service, MODEL, None).await, "1", "28800s");
    service.pass_seconds(SECONDS_TO_MIDNIGHT - 1);
    assert_over_day(&generate(&service, MODEL, None).await, "1", "1s");
    service.pass_seconds(1);
    assert_accepted(&service, MODEL, None).await;
    assert_over_day(&generate(&service, MODEL, None).await, "1", "86400s");
}

#[tokio::test]
async fn quotas_survive_a_restart() {
    let service = Service::new(limited(1, 2));
    assert_accepted(&service, MODEL, None).await;
    service.pass_seconds(20);
    let service = service.reopened(limited(1, 2));
    assert_over_minute(&generate(&service, MODEL, None).await, "1", "40s");
    service.pass_seconds(40);
    assert_accepted(&service, MODEL, None).await;
    let service = service.reopened(limited(1, 2));
    assert_over_day(&generate(&service, MODEL, None).await, "2", "28740s");
}

#[tokio::test]
async fn every_model_and_tier_has_its_own_quota() {
    let service = Service::new(limited(1, 1));
    assert_accepted(&service, MODEL, None).await;
    assert_accepted(&service, FLEX_MODEL, None).await;
    assert_accepted(&service, FLEX_MODEL, Some("flex")).await;
    for (model, tier) in [
        (MODEL, None),
        (FLEX_MODEL, None),
        (FLEX_MODEL, Some("flex")),
    ] {
        assert_eq!(generate(&service, model, tier).await.status, 429);
    }
}

#[tokio::test]
async fn refused_calls_are_free_and_do_not_count() {
    let fault = "generate-content:503:first-2".parse().unwrap();
    let service = Service::new(Scenario {
        faults: vec![fault],
        ..limited(1, 1)
    });
    for expected in [503, 503] {
        let reply = generate(&service, MODEL, None).await;
        assert_eq!(reply.status, expected);
    }
    // Invalid requests: an unknown model, a tier that the model lacks, an empty body, a missing file.
    assert_eq!(generate(&service, "no-such", None).await.status, 404);
    assert_eq!(generate(&service, MODEL, Some("flex")).await.status, 400);
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    assert_eq!(service.post(&path, &json!({})).await.status, 400);
    let missing = json!({"contents": [{"parts": [{"fileData": {"fileUri": "files/gone"}}]}]});
    assert_eq!(service.post(&path, &missing).await.status, 403);

    assert_accepted(&service, MODEL, None).await;
    let billed = service.gemini.billed().unwrap();
    for _ in 0..3 {
        assert_eq!(generate(&service, MODEL, None).await.status, 429);
    }
    assert_eq!(service.gemini.billed().unwrap(), billed);
    assert_eq!(service.gemini.requests().of(Call::GenerateContent), 10);
}

#[tokio::test]
async fn streams_count_toward_the_same_quota_and_batches_do_not() {
    let service = Service::new(limited(1, 0));
    let path = format!("/v1beta/models/{MODEL}:streamGenerateContent?alt=sse");
    assert_eq!(service.post(&path, &request(None)).await.status, 200);
    assert_over_minute(&generate(&service, MODEL, None).await, "1", "60s");
    assert_over_minute(&service.post(&path, &request(None)).await, "1", "60s");
    service.batch(MODEL, &super::service::plain_lines(3)).await;
}
