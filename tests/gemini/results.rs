//! Results: output files, inline responses, errors.

use gemini_sim::Scenario;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::service::{
    Service, assert_schema, download_path, image, jpeg_pixels, line, output_file, plain_lines,
    steady,
};

const MODEL: &str = "gemini-3.1-flash-image";

/// Runs a batch of this many plain lines to its end, and returns the service and the output lines.
pub(super) async fn done(scenario: Scenario, count: usize) -> (Service, Vec<Value>) {
    let service = Service::new(scenario);
    let batch = service.batch(MODEL, &plain_lines(count)).await;
    service.pass_minutes(100);
    let lines = service.results(&batch).await;
    (service, lines)
}

#[tokio::test]
async fn downloads_are_identical() {
    let scenario = Scenario {
        thoughts_percent: 50,
        shuffle: true,
        repeated_percent: 30,
        ..steady()
    };
    let service = Service::new(scenario);
    let batch = service.batch(MODEL, &plain_lines(6)).await;
    service.pass_minutes(100);
    let file = service.get(&batch).await["metadata"]["output"]["responsesFile"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = service
        .call("GET", &format!("/v1beta/{file}:download?alt=media"))
        .await
        .bytes;
    let service = service.reopened(Scenario {
        seed: 9,
        ..Scenario::default()
    });
    for path in [
        format!("/v1/{file}"),
        format!("/download/v1beta/{file}"),
        format!("/download/v1/{file}"),
    ] {
        let again = service
            .call("GET", &format!("{path}:download?alt=media"))
            .await;
        assert_eq!(again.status, 200);
        assert!(again.bytes == first);
    }
}

#[tokio::test]
async fn every_request_has_one_line_that_fits_the_schema() {
    let (_, lines) = done(steady(), 12).await;
    let keys: Vec<&str> = lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, (0..12).map(|n| format!("k{n}")).collect::<Vec<_>>());
    for line in &lines {
        assert_schema("BatchOutputLine", line);
        assert_eq!(line["response"]["candidates"][0]["finishReason"], "STOP");
        assert_eq!(line["response"]["modelVersion"], MODEL);
        let usage = &line["response"]["usageMetadata"];
        assert_eq!(
            usage["candidatesTokensDetails"],
            json!([{"modality": "IMAGE", "tokenCount": 747}])
        );
        assert_eq!(usage["promptTokenCount"], 4);
    }
    let key_first = |line: &&Value| line.as_object().unwrap().keys().next().unwrap() == "key";
    let first = lines.iter().filter(key_first).count();
    assert!(
        (1..12).contains(&first),
        "the order of members should vary, {first} of 12 begin with the key"
    );
}

#[tokio::test]
async fn images_have_the_pixels_of_ratio_and_size() {
    let service = Service::steady();
    let cases = [
        (json!({}), (1024, 1024)),
        (json!({"aspectRatio": "16:9"}), (1376, 768)),
        (
            json!({"aspectRatio": "21:9", "imageSize": "2K"}),
            (3168, 1344),
        ),
        (
            json!({"aspect_ratio": "4:5", "image_size": "512"}),
            (464, 576),
        ),
        (json!({"aspectRatio": "1:8"}), (384, 3072)),
    ];
    let lines: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(n, case)| line(&n.to_string(), case.0.clone()))
        .collect();
    let batch = service.batch("gemini-3.1-flash-image", &lines).await;
    service.pass_minutes(100);
    for line in service.results(&batch).await {
        let case = &cases[line["key"].as_str().unwrap().parse::<usize>().unwrap()];
        let jpeg = image(&line);
        assert_eq!(jpeg_pixels(&jpeg), case.1);
        assert!(jpeg.starts_with(b"\xff\xd8\xff") && jpeg.ends_with(b"\xff\xd9"));
    }
}

#[tokio::test]
async fn images_can_have_fewer_pixels_and_more_bytes_than_usual() {
    let scenario = Scenario {
        image_side: Some(64),
        image_bytes: Some(100_000),
        ..Scenario::default()
    };
    let service = Service::new(scenario);
    let wide = line("wide", json!({"aspectRatio": "16:9", "imageSize": "2K"}));
    let batch = service.batch("gemini-3.1-flash-image", &[wide]).await;
    service.pass_minutes(100);
    let result = &service.results(&batch).await[0];
    let jpeg = image(result);
    assert_eq!((jpeg_pixels(&jpeg), jpeg.len()), ((64, 35), 100_000));
    // The request is billed as requested.
    let usage = &result["response"]["usageMetadata"]["candidatesTokensDetails"];
    assert_eq!(usage[0]["tokenCount"], 1680, "{usage}");
}

#[tokio::test]
async fn internal_errors_are_error_lines_and_counted_as_failed() {
    let service = Service::new(Scenario {
        internal_error_percent: 50,
        ..steady()
    });
    let batch = service.batch(MODEL, &plain_lines(20)).await;
    service.pass_minutes(100);
    let lines = service.results(&batch).await;
    let errors: Vec<&Value> = lines.iter().filter_map(|line| line.get("error")).collect();
    assert!((1..20).contains(&errors.len()));
    assert!(
        errors
            .iter()
            .all(|error| error["code"] == 13 && error.get("status").is_none())
    );
    let stats = service.get(&batch).await["metadata"]["batchStats"].clone();
    assert_eq!(stats["failedRequestCount"], errors.len().to_string());
    assert_eq!(
        stats["successfulRequestCount"],
        (20 - errors.len()).to_string()
    );
}

#[tokio::test]
async fn shuffled_lines_keep_their_keys() {
    let (_, lines) = done(
        Scenario {
            shuffle: true,
            ..steady()
        },
        10,
    )
    .await;
    let mut keys: Vec<&str> = lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    let sorted: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    assert_ne!(keys, sorted);
    keys.sort_unstable();
    assert_eq!(keys, sorted);
}

#[tokio::test]
async fn the_output_file_can_only_be_downloaded() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    let id = output_file(&batch);
    assert_eq!(id.len(), 42);
    let early = service
        .call("GET", &format!("/v1beta/files/{id}:download?alt=media"))
        .await;
    assert_eq!(early.error().0, 403);
    service.pass_minutes(100);
    assert_eq!(
        service
            .call("GET", &format!("/v1beta/files/{id}:download?alt=media"))
            .await
            .status,
        200
    );
    for method in ["GET", "DELETE"] {
        let (code, _, message) = service
            .call(method, &format!("/v1beta/files/{id}"))
            .await
            .error();
        assert_eq!(code, 400);
        assert!(
            message.contains("cannot be more than 40 characters"),
            "{message}"
        );
    }
    let weeks_later = 6 * 7 * 24 * 60;
    service.pass_minutes(weeks_later - 1);
    assert_eq!(
        service
            .call("GET", &format!("/v1beta/files/{id}:download?alt=media"))
            .await
            .status,
        200
    );
    service.pass_minutes(1);
    assert_eq!(
        service
            .call("GET", &format!("/v1beta/files/{id}:download?alt=media"))
            .await
            .error()
            .0,
        404
    );
    let file = service
        .upload("a", "text/plain", json!({"name": "files/mine"}))
        .await;
    assert_eq!(file["name"], "files/mine");
    assert_eq!(
        service
            .call("GET", "/v1beta/files/mine:download?alt=media")
            .await
            .error()
            .0,
        400
    );
}

#[tokio::test]
async fn the_input_may_be_deleted_after_the_batch_is_created() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(2)).await;
    let input = batch["metadata"]["inputConfig"]["fileName"]
        .as_str()
        .unwrap();
    service.call("DELETE", &format!("/v1beta/{input}")).await;
    service.pass_minutes(100);
    assert_eq!(service.results(&batch).await.len(), 2);
}

#[tokio::test]
async fn a_reference_determines_the_ratio_and_a_missing_one_fails() {
    let service = Service::steady();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x07\x80\0\0\x04\x38\x08\x02".as_slice();
    let wide = service
        .upload(png, "image/png", json!({"displayName": "wide.png"}))
        .await;
    let refer = |key: &str, uri: &Value| {
        let part = json!({"fileData": {"mimeType": "image/png", "fileUri": uri}});
        json!({"key": key, "request": {"contents": [{"parts": [{"text": "like this"}, part]}]}})
    };
    let gone = json!("http://gemini.test/v1beta/files/gone");
    let batch = service
        .batch(MODEL, &[refer("wide", &wide["uri"]), refer("gone", &gone)])
        .await;
    service.pass_minutes(100);
    let lines = service.results(&batch).await;
    assert_eq!(jpeg_pixels(&image(&lines[0])), (1376, 768));
    let prompt = &lines[0]["response"]["usageMetadata"]["promptTokensDetails"];
    assert_eq!(prompt[1], json!({"modality": "IMAGE", "tokenCount": 258}));
    assert_eq!(lines[1]["error"]["code"], 7);
    assert!(
        lines[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("File gone or it may not exist")
    );
}

#[tokio::test]
async fn inline_results_are_in_the_operation_but_not_in_lists() {
    let service = Service::steady();
    let request = |key: &str| {
        let contents = json!([{"parts": [{"text": key}], "role": "user"}]);
        json!({"request": {"contents": contents}, "metadata": {"key": key}})
    };
    let body = json!({"batch": {"displayName": "inl", "inputConfig": {"requests": {"requests": [
        request("x1"), request("x2"),
    ]}}, "webhookConfig": {"uris": ["https://example.test/h"], "user_metadata": {"a": "b"}}}});
    let created = service
        .post(
            &format!("/v1beta/models/{MODEL}:batchGenerateContent"),
            &body,
        )
        .await
        .json();
    service.pass_minutes(100);
    let ended = service.get(&created).await;
    let inlined = &ended["response"]["inlinedResponses"];
    assert_eq!(&ended["metadata"]["output"]["inlinedResponses"], inlined);
    assert_schema("InlinedResponses", inlined);
    let responses = inlined["inlinedResponses"].as_array().unwrap();
    assert_eq!(responses.len(), 2);
    assert_eq!(responses[0]["metadata"], json!({"key": "x1"}));
    assert_eq!(jpeg_pixels(&image(&responses[1])), (1024, 1024));
    let listed = service
        .call("GET", "/v1beta/batches?pageSize=1")
        .await
        .json();
    assert_eq!(listed["operations"][0]["metadata"].get("output"), None);
}

#[tokio::test]
async fn batches_and_their_results_survive_a_restart() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(3)).await;
    service.pass_minutes(55);
    let half = service.get(&batch).await;
    let service = service.reopened(Scenario {
        refuse_percent: 100,
        ..Scenario::default()
    });
    assert_eq!(service.get(&batch).await, half);
    service.pass_minutes(45);
    let lines = service.results(&batch).await;
    assert!(
        lines
            .iter()
            .all(|line| jpeg_pixels(&image(line)) == (512, 512))
    );
    assert_eq!(
        service.gemini.billed().unwrap(),
        3 * (4 * 500 + 747 * 60_000) / 2
    );
}

#[tokio::test]
async fn a_download_arrives_line_by_line() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(500)).await;
    service.pass_minutes(100);
    let mut body = service
        .begin("GET", &download_path(&batch))
        .await
        .into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.ends_with(b"\n"));
    let line: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(line["key"], "k0");
}
