//! Calls in the format of Google's samples and of common clients: loose JSON, streams, and token
//! counts.

use gemini_sim::Call;
use seam::transport::full;
use serde_json::{Value, json};

use super::service::{Reply, Service, assert_schema, image, jpeg_pixels, request};

const MODEL: &str = "/v1beta/models/gemini-3.1-flash-image";

async fn post_text(service: &Service, path: &str, body: &str) -> Reply {
    service
        .send(request("POST", path).body(full(body.to_owned())).unwrap())
        .await
}

#[tokio::test]
async fn bodies_in_the_format_of_googles_samples_are_accepted() {
    let service = Service::steady();
    let generate = format!("{MODEL}:generateContent");
    for body in [
        // Single quotes, names without quotes, and trailing commas.
        r#"{'contents': [{'parts': [{'text': 'it\'s "a" fox'},],},],
            generationConfig: {imageConfig: {aspectRatio: '3:2'}}}"#,
        // One value instead of a list, as in the samples of system instructions.
        r#"{"system_instruction": {"parts": {"text": "You draw."}}, "contents": {"parts": {"text": "a fox"}},
            "generation_config": {"image_config": {"aspect_ratio": "3:2"}}}"#,
        // A line break inside a string, as from a shell variable.
        r#"{"contents": [{"parts": [{"text": "a
            fox"}]}], "generationConfig": {"imageConfig": {"aspectRatio": "3:2"}}}"#,
    ] {
        let reply = post_text(&service, &generate, body).await;
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.bytes)
        );
        assert_eq!(
            jpeg_pixels(&image(&json!({"response": reply.json()}))),
            (1264, 848)
        );
    }
}

#[tokio::test]
async fn a_json_error_has_a_position_and_does_not_quote_the_text() {
    let service = Service::steady();
    let body = "{'contents': [{'parts': [{'text': 'a secret'}]}]\n 'generationConfig': {}}";
    let (code, status, message) = post_text(&service, &format!("{MODEL}:generateContent"), body)
        .await
        .error();
    assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
    assert_eq!(
        message,
        "Invalid JSON payload received. Expected , or } after key:value pair. (line 2, column 2)"
    );
}

#[tokio::test]
async fn enum_names_are_case_insensitive() {
    let service = Service::steady();
    let text_wanted = async |modalities: Value| {
        let body = json!({
            "contents": [{"parts": [{"text": "a fox"}]}],
            "generationConfig": {"responseModalities": modalities, "thinkingConfig": {"thinkingLevel": "minimal"}},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "block-none"}],
        });
        let response = service
            .post(&format!("{MODEL}:generateContent"), &body)
            .await
            .json();
        response["candidates"][0]["content"]["parts"]
            .as_array()
            .unwrap()
            .len()
            == 2
    };
    assert!(!text_wanted(json!(["Image"])).await);
    assert!(!text_wanted(json!("image")).await);
    assert!(text_wanted(json!(["text", "IMAGE"])).await);
    assert!(text_wanted(json!(["Text", "Image"])).await);

    let line = json!({"key": "a", "request": {
        "contents": [{"parts": [{"text": "a fox"}]}], "generationConfig": {"responseModalities": ["Image"]},
    }});
    service.batch("gemini-3.1-flash-image", &[line]).await;
}

#[tokio::test]
async fn input_files_must_be_standard_json() {
    let service = Service::steady();
    for line in [
        "{'key': 'a', 'request': {'contents': [{'parts': [{'text': 'a fox'}]}]}}",
        r#"{"key": "a", "request": {"contents": {"parts": {"text": "a fox"}}}}"#,
        r#"{"key": "a", "request": {"contents": [{"parts": [{"text": "a fox"}]}]},}"#,
    ] {
        let (code, _, message) = service
            .try_batch("gemini-3.1-flash-image", line)
            .await
            .error();
        assert_eq!(code, 400);
        assert!(
            message.starts_with("Error on line 1: invalid JSON"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn inline_requests_are_parsed_as_loosely_as_their_call() {
    let service = Service::steady();
    let body = "{batch: {'display_name': 'a', input_config: {requests: {requests: {
        request: {contents: {parts: {text: 'a fox'}}, generationConfig: {responseModalities: ['Image']}},
        metadata: {key: 'fox'}}}}}}";
    let created = post_text(&service, &format!("{MODEL}:batchGenerateContent"), body).await;
    assert_eq!(
        created.status,
        200,
        "{}",
        String::from_utf8_lossy(&created.bytes)
    );
    service.pass_minutes(200);
    let operation = service.get(&created.json()).await;
    let results = &operation["response"]["inlinedResponses"]["inlinedResponses"];
    assert_eq!(results[0]["metadata"], json!({"key": "fox"}));
    assert_eq!(
        results[0]["response"]["candidates"][0]["content"]["parts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_stream_of_events_has_the_whole_response_in_one_event() {
    let service = Service::steady();
    let body = json!({
        "contents": [{"parts": [{"text": "a fox"}]}],
        "generationConfig": {"imageConfig": {"imageSize": "512"}},
    });
    let reply = service
        .post(&format!("{MODEL}:streamGenerateContent?alt=sse"), &body)
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type").as_str()),
        (200, "text/event-stream")
    );
    let text = std::str::from_utf8(&reply.bytes).unwrap();
    let event = text
        .strip_prefix("data: ")
        .and_then(|rest| rest.strip_suffix("\r\n\r\n"))
        .expect("one event");
    let response: Value = serde_json::from_str(event).unwrap();
    assert_schema("GenerateContentResponse", &response);
    assert_eq!(
        jpeg_pixels(&image(&json!({"response": response}))),
        (512, 512)
    );
    assert_eq!(response["candidates"][0]["finishReason"], "STOP");
    assert_eq!(
        service.gemini.billed().unwrap(),
        2 * 500 + 747 * 60_000 + 5 * 3_000
    );
    assert_eq!(service.gemini.requests().of(Call::StreamGenerateContent), 1);

    // Errors are not events.
    let (code, _, _) = service
        .post(
            &format!("{MODEL}:streamGenerateContent?alt=sse"),
            &json!({}),
        )
        .await
        .error();
    assert_eq!(code, 400);
}

#[tokio::test]
async fn a_stream_without_events_is_a_list_also_for_errors() {
    let service = Service::steady();
    let path = format!("{MODEL}:streamGenerateContent");
    let body = json!({"contents": [{"parts": [{"text": "a fox"}]}]});
    let reply = service.post(&path, &body).await;
    assert_eq!(
        reply.header("content-type"),
        "application/json; charset=UTF-8"
    );
    let responses = reply.json();
    assert_eq!(responses.as_array().map(Vec::len), Some(1));
    assert_schema("GenerateContentResponse", &responses[0]);

    let refused = service.post(&path, &json!({})).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()[0]["error"]["code"]),
        (400, &json!(400))
    );
    let unknown = service
        .post("/v1beta/models/no-such:streamGenerateContent", &body)
        .await;
    assert_eq!(
        (
            unknown.status.as_u16(),
            &unknown.json()[0]["error"]["status"]
        ),
        (404, &json!("NOT_FOUND"))
    );
}

#[tokio::test]
async fn counted_tokens_equal_the_billed_ones() {
    let service = Service::steady();
    let file = service.upload("x", "image/png", json!({})).await;
    let contents =
        json!([{"parts": [{"text": "a red fox"}, {"fileData": {"fileUri": file["uri"]}}]}]);
    let count = format!("{MODEL}:countTokens");
    let counted = service
        .post(&count, &json!({"contents": contents}))
        .await
        .json();
    assert_schema("CountTokensResponse", &counted);
    assert_eq!(counted["totalTokens"], 3 + 258);
    let whole = json!({"generateContentRequest": {
        "model": "models/gemini-3.1-flash-image",
        "contents": contents,
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }});
    assert_eq!(service.post(&count, &whole).await.json(), counted);
    assert_eq!(service.gemini.billed().unwrap(), 0);

    let response = service
        .post(
            &format!("{MODEL}:generateContent"),
            &json!({"contents": contents}),
        )
        .await
        .json();
    assert_eq!(
        response["usageMetadata"]["promptTokenCount"],
        counted["totalTokens"]
    );
    assert_eq!(
        response["usageMetadata"]["promptTokensDetails"],
        counted["promptTokensDetails"]
    );
}

#[tokio::test]
async fn invalid_token_counts_are_rejected_with_a_reason() {
    let service = Service::steady();
    let contents = json!([{"parts": [{"text": "a fox"}]}]);
    let count = async |body: Value| {
        service
            .post(&format!("{MODEL}:countTokens"), &body)
            .await
            .error()
    };
    for (body, expected) in [
        (json!({}), "contents is not specified"),
        (json!({"contents": []}), "contents is not specified"),
        (
            json!({"generateContentRequest": {"contents": contents}}),
            "* CountTokensRequest.generate_content_request.model: model is not specified",
        ),
        (
            json!({"contents": contents, "generateContentRequest": {"model": "m"}}),
            "exclude each other",
        ),
        (
            json!({"generationConfig": {}}),
            "Unknown name \"generationConfig\"",
        ),
    ] {
        let (code, _, message) = count(body).await;
        assert_eq!(code, 400);
        assert!(message.contains(expected), "{message}");
    }
    let gone = json!({"contents": [{"parts": [{"fileData": {"fileUri": "https://h/v1beta/files/gone"}}]}]});
    assert_eq!(count(gone).await.0, 403);
    let unknown = service
        .post("/v1beta/models/no-such:countTokens", &json!({}))
        .await
        .error();
    assert!(
        unknown.2.contains("not supported for countTokens"),
        "{}",
        unknown.2
    );
}
