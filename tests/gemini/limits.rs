//! Limits on what is live: batches, and input tokens for each model.

use gemini_sim::Scenario;
use serde_json::{Value, json};

use super::service::{Reply, Service, line, lines_of, name, steady};

const MODEL: &str = "gemini-3.1-flash-image";

/// The input tokens of one of the [`lines`]: "a picture of k0".
const LINE_TOKENS: u64 = 4;

/// Returns lines that every model accepts.
fn lines(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| line(&format!("k{n}"), json!({})))
        .collect()
}

async fn create(service: &Service, model: &str, count: usize) -> Reply {
    service.try_batch(model, &lines_of(&lines(count))).await
}

/// As captured on batch creation, the error names neither the quota nor a time to wait.
fn assert_over_quota(refused: &Reply) {
    let (code, status, _) = refused.error();
    assert_eq!((code, status.as_str()), (429, "RESOURCE_EXHAUSTED"));
    let details = &refused.json()["error"]["details"];
    assert_eq!(details.as_array().unwrap().len(), 1);
    assert_eq!(details[0]["@type"], "type.googleapis.com/google.rpc.Help");
}

#[tokio::test]
async fn the_hundred_and_first_live_batch_is_over_quota() {
    let service = Service::steady();
    for _ in 0..100 {
        service.batch(MODEL, &lines(1)).await;
    }
    assert_over_quota(&create(&service, MODEL, 1).await);
    service.pass_minutes(100);
    service.batch(MODEL, &lines(1)).await;
}

#[tokio::test]
async fn the_limit_of_live_batches_is_configurable_and_spans_all_models() {
    let service = Service::new(Scenario {
        live_batches: 2,
        ..steady()
    });
    service.batch(MODEL, &lines(1)).await;
    service.batch("gemini-3-pro-image", &lines(1)).await;
    assert_over_quota(&create(&service, MODEL, 1).await);
    assert_eq!(service.gemini.batches_created(), 2);
}

#[tokio::test]
async fn input_tokens_of_live_batches_are_limited() {
    let service = Service::new(Scenario {
        enqueued_tokens: Some(10 * LINE_TOKENS),
        ..steady()
    });
    assert_over_quota(&create(&service, MODEL, 11).await);
    let first = service.batch(MODEL, &lines(7)).await;
    assert_over_quota(&create(&service, MODEL, 4).await);
    service.batch(MODEL, &lines(3)).await;
    assert_over_quota(&create(&service, MODEL, 1).await);
    assert_eq!(service.gemini.batches_created(), 2);

    service
        .call("POST", &format!("/v1beta/{}:cancel", name(&first)))
        .await;
    service.batch(MODEL, &lines(7)).await;
    service.pass_minutes(100);
    service.batch(MODEL, &lines(10)).await;
}

#[tokio::test]
async fn token_limits_are_per_model_and_count_failing_requests() {
    let limited = Scenario {
        enqueued_tokens: Some(LINE_TOKENS),
        internal_error_percent: 100,
        ..steady()
    };
    let service = Service::new(limited.clone());
    service.batch(MODEL, &lines(1)).await;
    service.batch("gemini-3-pro-image", &lines(1)).await;
    let service = service.reopened(limited);
    assert_over_quota(&create(&service, MODEL, 1).await);
}
