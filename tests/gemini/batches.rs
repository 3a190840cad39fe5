//! Batches: creation, states, lists, cancel, delete.

use http::StatusCode;
use seam::transport::full;
use serde_json::{Value, json};

use super::service::{Service, assert_schema, line, lines_of, name, plain_lines, request, steady};

const MODEL: &str = "gemini-3.1-flash-image";

#[tokio::test]
async fn a_new_batch_is_a_pending_operation() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(3)).await;
    assert_schema("Operation", &batch);
    let metadata = &batch["metadata"];
    assert!(
        metadata["@type"]
            .as_str()
            .unwrap()
            .ends_with("GenerateContentBatch")
    );
    assert_eq!(metadata["model"], format!("models/{MODEL}"));
    assert_eq!(metadata["displayName"], "a batch");
    assert_eq!(metadata["state"], "BATCH_STATE_PENDING");
    assert_eq!(
        metadata["batchStats"],
        json!({"requestCount": "3", "pendingRequestCount": "3"})
    );
    assert_eq!(metadata["name"], batch["name"]);
    assert_eq!(batch.get("done"), None);
    assert_schema("GenerateContentBatch", &without_type(metadata));
}

#[tokio::test]
async fn a_batch_runs_and_succeeds_in_its_time() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(9)).await;
    let start = service.gemini.next_event().expect("it will start");
    service.pass_minutes(9);
    assert_eq!(
        service.get(&batch).await["metadata"]["state"],
        "BATCH_STATE_PENDING"
    );
    service.pass_minutes(1);
    assert_eq!(
        service.get(&batch).await["metadata"]["state"],
        "BATCH_STATE_RUNNING"
    );
    assert!(service.gemini.next_event().expect("it will end") > start);
    service.pass_minutes(30);
    let third =
        json!({"requestCount": "9", "successfulRequestCount": "3", "pendingRequestCount": "6"});
    assert_eq!(service.get(&batch).await["metadata"]["batchStats"], third);
    service.pass_minutes(60);

    let ended = service.get(&batch).await;
    assert_schema("Operation", &ended);
    assert_schema("GenerateContentBatch", &without_type(&ended["metadata"]));
    assert_eq!(ended["done"], true);
    assert_eq!(ended["metadata"]["state"], "BATCH_STATE_SUCCEEDED");
    assert_eq!(
        ended["metadata"]["batchStats"],
        json!({"requestCount": "9", "successfulRequestCount": "9"})
    );
    assert_eq!(
        ended["metadata"]["output"]["responsesFile"],
        ended["response"]["responsesFile"]
    );
    assert_eq!(service.gemini.next_event(), None);
}

#[tokio::test]
async fn create_takes_snake_case_and_refuses_unknown_names() {
    let service = Service::steady();
    let file = service
        .upload(lines_of(&plain_lines(1)), "application/jsonl", json!({}))
        .await;
    let path = format!("/v1/models/{MODEL}:batchGenerateContent");
    let snake = json!({"batch": {"display_name": "a", "input_config": {"file_name": file["name"]}, "priority": "3"}});
    let created = service.post(&path, &snake).await;
    assert_eq!(created.json()["metadata"]["priority"], "3");
    let unknown = json!({"batch": {"displayName": "a", "inputConfig": {"fileName": file["name"], "x": 1}, "y": 2}});
    let (code, status, message) = service.post(&path, &unknown).await.error();
    assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
    let first = "Invalid JSON payload received. Unknown name \"x\" at 'batch.input_config': Cannot find field.";
    assert!(message.starts_with(first), "{message}");
    assert!(message.contains("Unknown name \"y\" at 'batch'"));
    assert_eq!(service.gemini.batches_created(), 1);
}

#[tokio::test]
async fn all_bad_lines_are_reported_at_once() {
    let service = Service::steady();
    let mut misplaced = line("c", json!({}));
    misplaced["request"]["generationConfig"]["thinking_level"] = json!("HIGH");
    let input = [
        line("a", json!({"aspectRatio": "16:9"})).to_string(),
        "{\"key\":\"b\", ".to_owned(),
        misplaced.to_string(),
        String::new(),
        json!({"key": "d"}).to_string(),
        line("e", json!({"imageSize": "8K"})).to_string(),
        json!({"key": "f", "request": {"contents": []}}).to_string(),
        json!({"key": "g", "request": {"model": "models/x", "contents": []}}).to_string(),
    ];
    let (code, status, message) = service.try_batch(MODEL, &input.join("\n")).await.error();
    assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
    let lines: Vec<&str> = message.lines().collect();
    let column = input[2].find("\"thinking_level\"").unwrap() + 1;
    assert!(
        lines[0].starts_with("Error on line 2: invalid JSON, near column 11"),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines[1],
        format!(
            "Error on line 3: invalid JSON, near column {column}: no such field: 'thinking_level'"
        )
    );
    assert_eq!(lines[2], "Error on line 5: request is required");
    assert!(
        lines[3].starts_with("Error on line 6: Unsupported image_size '8K'"),
        "{}",
        lines[3]
    );
    assert!(
        lines[4].starts_with("Error on line 7: * GenerateContentRequest.contents"),
        "{}",
        lines[4]
    );
    assert!(lines[5].ends_with("no such field: 'model'"), "{}", lines[5]);
    assert_eq!(lines.len(), 6);
    assert_eq!(service.gemini.batches_created(), 0);
}

#[tokio::test]
async fn a_missing_input_file_is_forbidden() {
    let service = Service::steady();
    let body = json!({"batch": {"displayName": "a", "inputConfig": {"fileName": "files/gone"}}});
    let reply = service
        .post(
            &format!("/v1beta/models/{MODEL}:batchGenerateContent"),
            &body,
        )
        .await;
    assert_eq!(reply.error().0, 403);
}

#[tokio::test]
async fn batches_are_listed_newest_first_in_pages() {
    let service = Service::steady();
    assert_eq!(
        service
            .call("GET", "/v1beta/batches?pageSize=5")
            .await
            .json(),
        json!({})
    );
    let mut created = Vec::new();
    for _ in 0..3 {
        created.push(service.batch(MODEL, &plain_lines(1)).await["name"].take());
    }
    let page = service
        .call("GET", "/v1beta/batches?pageSize=2")
        .await
        .json();
    assert_schema("ListOperationsResponse", &page);
    assert_eq!(
        (
            &page["operations"][0]["name"],
            &page["operations"][1]["name"]
        ),
        (&created[2], &created[1])
    );
    let token = page["nextPageToken"].as_str().unwrap();
    service.batch(MODEL, &plain_lines(1)).await;
    let rest = service
        .call(
            "GET",
            &format!("/v1beta/batches?pageSize=2&pageToken={token}"),
        )
        .await
        .json();
    assert_eq!(rest["operations"].as_array().unwrap().len(), 1);
    assert_eq!(rest["operations"][0]["name"], created[0]);
    assert_eq!(rest.get("nextPageToken"), None);
}

#[tokio::test]
async fn a_list_without_page_size_is_always_empty() {
    let service = Service::steady();
    service.batch(MODEL, &plain_lines(1)).await;
    assert_eq!(
        service.call("GET", "/v1beta/batches").await.json(),
        json!({})
    );
}

#[tokio::test]
async fn an_update_changes_name_and_priority() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    let patch = |mask: &str| {
        let path = format!(
            "/v1beta/{}:updateGenerateContentBatch?updateMask={mask}",
            name(&batch)
        );
        let body = json!({"display_name": "renamed", "priority": "-2"});
        request("PATCH", &path)
            .body(full(body.to_string()))
            .unwrap()
    };
    let updated = service.send(patch("displayName,priority")).await.json();
    assert_schema("GenerateContentBatch", &updated);
    assert_eq!(
        (&updated["displayName"], &updated["priority"]),
        (&json!("renamed"), &json!("-2"))
    );
    assert_eq!(
        service.get(&batch).await["metadata"]["displayName"],
        "renamed"
    );
    assert_eq!(service.send(patch("state")).await.error().0, 400);
}

#[tokio::test]
async fn a_deleted_batch_is_not_found_but_stays_billed() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(2)).await;
    service.pass_minutes(100);
    let billed = service.gemini.billed().unwrap();
    assert_eq!(
        billed,
        2 * (4 * 500 + 747 * 60_000) / 2,
        "two prompts, two images, half price"
    );
    let path = format!("/v1beta/{}", name(&batch));
    assert_eq!(service.call("DELETE", &path).await.json(), json!({}));
    let (code, status, message) = service.call("GET", &path).await.error();
    assert_eq!(
        (code, status.as_str(), message.as_str()),
        (404, "NOT_FOUND", "Requested entity was not found.")
    );
    assert_eq!(
        service.call("POST", &format!("{path}:cancel")).await.status,
        StatusCode::NOT_FOUND
    );
    let service = service.reopened(steady());
    assert_eq!(service.gemini.billed().unwrap(), billed);
    assert_eq!(service.gemini.batches_created(), 1);
}

fn without_type(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    metadata.as_object_mut().unwrap().remove("@type");
    metadata
}
