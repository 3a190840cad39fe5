//! The service tiers of single requests: which models have them, what they cost, and how answers
//! state them.

use std::num::NonZeroU32;

use gemini_sim::{BillByLane, Scenario};
use serde_json::{Value, json};

use super::service::{Reply, Service, assert_schema, lines_of, plain_lines, steady};

/// The only model with flex.
pub(super) const FLEX_MODEL: &str = "gemini-3-pro-image";

/// Returns a request for an image at a tier, or without a tier.
pub(super) fn request(tier: Option<&str>) -> Value {
    let mut request = json!({
        "contents": [{"parts": [{"text": "a fox"}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    });
    if let Some(tier) = tier {
        request["serviceTier"] = Value::from(tier);
    }
    request
}

/// Sends a single request for an image.
pub(super) async fn generate(service: &Service, model: &str, tier: Option<&str>) -> Reply {
    let path = format!("/v1beta/models/{model}:generateContent");
    service.post(&path, &request(tier)).await
}

/// Asserts the tier that an answer states in its header and in its usage.
fn assert_served_at(reply: &Reply, response: &Value, tier: &str) {
    assert_eq!(reply.header("x-gemini-service-tier"), tier);
    assert_eq!(response["usageMetadata"]["serviceTier"], tier);
    assert_schema("GenerateContentResponse", response);
}

#[tokio::test]
async fn an_answer_states_its_tier_and_flex_costs_half() {
    let service = Service::steady();
    let mut bills = Vec::new();
    for (tier, served) in [
        (None, "standard"),
        (Some("unspecified"), "standard"),
        (Some("standard"), "standard"),
        (Some("flex"), "flex"),
        (Some("FLEX"), "flex"),
    ] {
        let before = service.gemini.billed().unwrap();
        let reply = generate(&service, FLEX_MODEL, tier).await;
        assert_eq!(reply.status, 200);
        let response = reply.json();
        assert_served_at(&reply, &response, served);

        // The number of thinking tokens varies from call to call.
        let usage = &response["usageMetadata"];
        let standard = usage["promptTokenCount"].as_u64().unwrap() * 2_000
            + usage["thoughtsTokenCount"].as_u64().unwrap() * 12_000
            + 1120 * 120_000;
        bills.push((service.gemini.billed().unwrap() - before, standard));
    }
    for (billed, standard) in &bills[..3] {
        assert_eq!(billed, standard);
    }
    for (billed, standard) in &bills[3..] {
        assert_eq!(*billed, standard / 2);
    }
}

#[tokio::test]
async fn the_name_of_the_tier_may_be_in_snake_case() {
    let service = Service::steady();
    let mut body = request(None);
    body["service_tier"] = json!("flex");
    let path = format!("/v1beta/models/{FLEX_MODEL}:generateContent");
    let reply = service.post(&path, &body).await;
    assert_served_at(&reply, &reply.json(), "flex");
}

#[tokio::test]
async fn streams_state_their_tier_too() {
    let service = Service::steady();
    let path = format!("/v1beta/models/{FLEX_MODEL}:streamGenerateContent");
    let reply = service.post(&path, &request(Some("flex"))).await;
    assert_served_at(&reply, &reply.json()[0], "flex");
    let events = service
        .post(&format!("{path}?alt=sse"), &request(Some("flex")))
        .await;
    assert_eq!(events.header("x-gemini-service-tier"), "flex");
}

#[tokio::test]
async fn a_tier_that_the_model_lacks_is_rejected() {
    let service = Service::steady();
    for (model, tier) in [
        ("gemini-nano-banana-2.1", "flex"),
        ("gemini-3.1-flash-image", "flex"),
        ("gemini-3.1-flash-lite-image", "flex"),
        ("gemini-3.1-flash-image", "priority"),
        (FLEX_MODEL, "priority"),
    ] {
        let reply = generate(&service, model, Some(tier)).await;
        let (code, status, message) = reply.error();
        assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
        assert_eq!(
            message,
            format!("Service tier {tier} is not supported for models/{model}.")
        );
        assert_eq!(reply.header("x-gemini-service-tier"), "");
    }
    let (code, _, message) = generate(&service, FLEX_MODEL, Some("cheap")).await.error();
    assert_eq!(code, 400);
    assert!(message.contains("'service_tier'"), "{message}");
    assert_eq!(service.gemini.billed().unwrap(), 0);
}

#[tokio::test]
async fn request_lines_have_no_tier() {
    let service = Service::steady();
    for name in ["serviceTier", "service_tier"] {
        let mut lines = plain_lines(2);
        lines[1]["request"][name] = json!("flex");
        let (code, _, message) = service
            .try_batch("gemini-3.1-flash-image", &lines_of(&lines))
            .await
            .error();
        assert_eq!(code, 400);
        assert!(
            message.starts_with("Error on line 2: invalid JSON")
                && message.ends_with(&format!("no such field: '{name}'")),
            "{message}"
        );
    }
    assert_eq!(service.gemini.batches_created(), 0);
}

#[tokio::test]
async fn the_bill_is_divided_by_lane_and_survives_a_restart() {
    let service = Service::steady();
    assert_eq!(
        service.gemini.billed_by_lane().unwrap(),
        BillByLane::default()
    );
    generate(&service, FLEX_MODEL, None).await;
    let interactive = service.gemini.billed().unwrap();
    generate(&service, FLEX_MODEL, Some("flex")).await;
    let flex = service.gemini.billed().unwrap() - interactive;
    service
        .batch("gemini-3.1-flash-image", &plain_lines(2))
        .await;
    service.pass_minutes(200);
    let batch = service.gemini.billed().unwrap() - interactive - flex;
    assert!(interactive > 0 && flex > 0 && batch > 0);

    let expected = BillByLane {
        batch_nanodollars: batch,
        flex_nanodollars: flex,
        interactive_nanodollars: interactive,
    };
    assert_eq!(service.gemini.billed_by_lane().unwrap(), expected);
    let service = service.reopened(steady());
    assert_eq!(service.gemini.billed_by_lane().unwrap(), expected);
    assert_eq!(service.gemini.billed().unwrap(), expected.nanodollars());
}

#[tokio::test]
async fn flex_without_capacity_is_unavailable_and_free() {
    let service = Service::new(Scenario {
        flex_capacity_percent: 0,
        ..steady()
    });
    for _ in 0..3 {
        let reply = generate(&service, FLEX_MODEL, Some("flex")).await;
        let (code, status, message) = reply.error();
        assert_eq!((code, status.as_str()), (503, "UNAVAILABLE"));
        assert_eq!(message, "The model is overloaded. Please try again later.");
    }
    assert_eq!(service.gemini.billed().unwrap(), 0);
    assert_eq!(generate(&service, FLEX_MODEL, None).await.status, 200);
    assert_eq!(
        generate(&service, "gemini-3.1-flash-image", None)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn capacity_is_drawn_from_the_seed_for_each_call() {
    let statuses = async |seed| {
        let service = Service::new(Scenario {
            seed,
            flex_capacity_percent: 50,
            ..steady()
        });
        let mut statuses = Vec::new();
        for _ in 0..12 {
            let reply = generate(&service, FLEX_MODEL, Some("flex")).await;
            statuses.push(reply.status.as_u16());
        }
        statuses
    };
    let first = statuses(1).await;
    assert!(
        first.contains(&200) && first.contains(&503),
        "{first:?} is drawn"
    );
    assert_eq!(statuses(1).await, first);
    assert_ne!(statuses(2).await, first);
}

#[tokio::test]
async fn calls_without_capacity_do_not_count_toward_quotas() {
    let limited = |flex_capacity_percent| Scenario {
        flex_capacity_percent,
        requests_per_day: NonZeroU32::new(1),
        ..steady()
    };
    let service = Service::new(limited(0));
    for _ in 0..2 {
        let reply = generate(&service, FLEX_MODEL, Some("flex")).await;
        assert_eq!(reply.status, 503);
    }
    let service = service.reopened(limited(100));
    let reply = generate(&service, FLEX_MODEL, Some("flex")).await;
    assert_eq!(reply.status, 200);

    // A call over the quota does not reach the model.
    let service = service.reopened(limited(0));
    let reply = generate(&service, FLEX_MODEL, Some("flex")).await;
    assert_eq!(reply.status, 429);
}
