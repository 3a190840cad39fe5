//! The simulated Gemini API against its published contract.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its harness too"
)]

mod answers;
mod bad_lines;
mod batch_outcomes;
mod batches;
mod client;
mod conversations;
mod deleted_input;
mod faults;
mod files;
mod interactive;
mod limits;
mod outages;
mod outputs;
mod quotas;
mod request_log;
mod request_outcomes;
mod results;
mod service;
mod service_tiers;
mod shapes;
mod whole_uploads;

use gemini_sim::{Call, Scenario};
use seam::transport::empty;
use serde_json::json;

use self::service::Service;

#[tokio::test]
async fn a_request_without_key_is_forbidden() {
    let service = Service::steady();
    let without = http::Request::builder().uri("http://gemini.test/v1beta/files");
    let reply = service.send(without.body(empty()).unwrap()).await;
    let (code, status, message) = reply.error();
    assert_eq!((code, status.as_str()), (403, "PERMISSION_DENIED"));
    assert!(message.starts_with("Method doesn't allow unregistered callers"));

    let in_query = http::Request::builder().uri("http://gemini.test/v1/files?key=any");
    assert_eq!(
        service.send(in_query.body(empty()).unwrap()).await.status,
        200
    );
    let empty_key = http::Request::builder()
        .uri("http://gemini.test/v1/files")
        .header("x-goog-api-key", "");
    assert_eq!(
        service.send(empty_key.body(empty()).unwrap()).await.status,
        403
    );
}

#[tokio::test]
async fn models_are_listed_with_their_methods() {
    let service = Service::steady();
    let page = service
        .call("GET", "/v1beta/models?pageSize=2")
        .await
        .json();
    service::assert_schema("ListModelsResponse", &page);
    let token = page["nextPageToken"].as_str().expect("more models");
    let rest = service
        .call("GET", &format!("/v1/models?pageSize=100&pageToken={token}"))
        .await
        .json();
    service::assert_schema("ListModelsResponse", &rest);
    let all: Vec<_> = [page, rest]
        .iter()
        .flat_map(|page| page["models"].as_array().unwrap().clone())
        .collect();
    assert!(
        all.iter()
            .any(|model| model["name"] == "models/gemini-nano-banana-2.1")
    );
    for model in &all {
        assert!(
            model["supportedGenerationMethods"]
                .as_array()
                .unwrap()
                .contains(&json!("batchGenerateContent"))
        );
        let one = service
            .call(
                "GET",
                &format!("/v1beta/{}", model["name"].as_str().unwrap()),
            )
            .await
            .json();
        assert_eq!(&one, model);
    }
}

#[tokio::test]
async fn unknown_and_retired_models_are_not_found_with_the_reason() {
    let service = Service::steady();
    let create = |model: &str| format!("/v1beta/models/{model}:batchGenerateContent");
    let (code, _, message) = service.post(&create("no-such"), &json!({})).await.error();
    assert_eq!(code, 404);
    assert!(
        message.starts_with("models/no-such is not found for API version v1beta"),
        "{message}"
    );
    assert!(message.contains("not supported for batchGenerateContent"));
    let (code, _, message) = service
        .post(&create("gemini-2.5-flash-image"), &json!({}))
        .await
        .error();
    assert_eq!(code, 404);
    assert!(
        message.contains("no longer available")
            && message.contains("models/gemini-nano-banana-2.1")
    );
}

#[tokio::test]
async fn a_single_request_is_answered_at_once_and_billed_in_full() {
    let service = Service::steady();
    let body = json!({
        "contents": [{"parts": [{"text": "a fox"}]}],
        "generation_config": {"response_modalities": ["IMAGE"], "imageConfig": {"aspect_ratio": "3:2"}},
    });
    let reply = service
        .post(
            "/v1beta/models/gemini-3.1-flash-image:generateContent",
            &body,
        )
        .await;
    assert_eq!(reply.status, 200);
    let response = reply.json();
    service::assert_schema("GenerateContentResponse", &response);
    assert_eq!(response["modelVersion"], "gemini-3.1-flash-image");
    assert_eq!(
        service::jpeg_pixels(&service::image(&json!({"response": response}))),
        (1264, 848)
    );
    assert_eq!(service.gemini.billed().unwrap(), 2 * 500 + 1120 * 60_000);
}

#[tokio::test]
async fn a_failing_single_request_is_a_server_error_and_free() {
    let service = Service::new(Scenario {
        internal_error_percent: 100,
        ..service::steady()
    });
    let body = json!({"contents": [{"parts": [{"text": "a fox"}]}]});
    let reply = service
        .post(
            "/v1beta/models/gemini-3.1-flash-image:generateContent",
            &body,
        )
        .await;
    assert_eq!(reply.error().0, 500);
    assert_eq!(service.gemini.billed().unwrap(), 0);
}

#[tokio::test]
async fn invalid_settings_of_a_single_request_are_reported() {
    let service = Service::steady();
    let path = "/v1beta/models/gemini-3-pro-image:generateContent";
    let with =
        |config| json!({"contents": [{"parts": [{"text": "a fox"}]}], "generationConfig": config});
    for (config, expected) in [
        (
            json!({"thinkingLevel": "HIGH"}),
            "Unknown name \"thinkingLevel\" at 'generation_config'",
        ),
        (
            json!({"imageConfig": {"outputMimeType": "image/png"}}),
            "Unknown name \"outputMimeType\"",
        ),
        (
            json!({"imageConfig": {"aspectRatio": "1:4"}}),
            "Aspect ratio 1:4 is not supported for this model",
        ),
        (
            json!({"responseFormat": {"image": {"aspectRatio": "16:9"}}}),
            "'generation_config.response_format.image.aspect_ratio'",
        ),
        (
            json!({"responseFormat": {"image": {"delivery": "URI"}}}),
            "delivery",
        ),
        (
            json!({"candidateCount": 2}),
            "Multiple candidates is not enabled for this model",
        ),
        (
            json!({"responseModalities": ["PICTURE"]}),
            "response_modalities",
        ),
    ] {
        let (code, status, message) = service.post(path, &with(config)).await.error();
        assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_kind_whatever_the_answer() {
    let service = Service::steady();
    service.call("GET", "/v1beta/files").await;
    service.call("GET", "/v1beta/files/none").await;
    service.call("GET", "/v1beta/nothing").await;
    let requests = service.gemini.requests();
    assert_eq!(requests.total(), 3);
    assert_eq!(
        (
            requests.of(Call::ListFiles),
            requests.of(Call::GetFile),
            requests.of(Call::Unknown)
        ),
        (1, 1, 1)
    );
    assert_eq!(requests.of(Call::CreateBatch), 0);
    assert_eq!(service.gemini.batches_created(), 0);
}
