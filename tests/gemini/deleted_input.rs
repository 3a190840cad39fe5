//! Input files that are deleted: before the batch is created, and while it is live.

use gemini_sim::{DeletingInput, Scenario};
use serde_json::{Value, json};

use super::service::{Reply, Service, assert_schema, download_path, lines_of, plain_lines, steady};

const CREATE: &str = "/v1beta/models/gemini-3.1-flash-image:batchGenerateContent";

fn failing() -> Scenario {
    Scenario {
        deleting_input: DeletingInput::Fails,
        ..steady()
    }
}

async fn upload(service: &Service) -> String {
    let file = service
        .upload(lines_of(&plain_lines(2)), "application/jsonl", json!({}))
        .await;
    file["name"].as_str().unwrap().to_owned()
}

async fn create(service: &Service, file: &str) -> Reply {
    service
        .post(
            CREATE,
            &json!({"batch": {"displayName": "a batch", "inputConfig": {"fileName": file}}}),
        )
        .await
}

async fn delete(service: &Service, file: &str) {
    assert_eq!(
        service
            .call("DELETE", &format!("/v1beta/{file}"))
            .await
            .json(),
        json!({})
    );
}

fn state(operation: &Value) -> &str {
    operation["metadata"]["state"].as_str().unwrap()
}

#[tokio::test]
async fn a_deleted_file_is_no_input() {
    for scenario in [steady(), failing()] {
        let service = Service::new(scenario);
        let file = upload(&service).await;
        delete(&service, &file).await;
        let (code, status, _) = create(&service, &file).await.error();
        assert_eq!((code, status.as_str()), (403, "PERMISSION_DENIED"));
        assert_eq!(service.gemini.batches_created(), 0);
    }
}

#[tokio::test]
async fn a_live_batch_survives_the_deletion_of_its_input_if_harmless() {
    let service = Service::steady();
    let file = upload(&service).await;
    let batch = create(&service, &file).await.json();
    delete(&service, &file).await;
    service.pass_minutes(100);
    assert_eq!(service.results(&batch).await.len(), 2);
}

#[tokio::test]
async fn a_live_batch_fails_when_its_input_is_deleted_if_configured() {
    for minutes in [5, 60] {
        let service = Service::new(failing());
        let (file, other) = (upload(&service).await, upload(&service).await);
        let (batch, spared) = (
            create(&service, &file).await.json(),
            create(&service, &other).await.json(),
        );
        service.pass_minutes(minutes);
        delete(&service, &file).await;
        let service = service.reopened(steady());
        let failed = service.get(&batch).await;
        assert_schema("Operation", &failed);
        assert_eq!(
            (state(&failed), &failed["done"], &failed["error"]["code"]),
            ("BATCH_STATE_FAILED", &json!(true), &json!(13))
        );
        assert_eq!(
            service.call("GET", &download_path(&batch)).await.error().0,
            403
        );
        service.pass_minutes(100);
        assert_eq!(service.get(&batch).await, failed, "after {minutes} minutes");
        assert_eq!(service.results(&spared).await.len(), 2);
        let alone = Service::steady();
        create(&alone, &upload(&alone).await).await;
        alone.pass_minutes(100);
        assert_eq!(
            service.gemini.billed().unwrap(),
            alone.gemini.billed().unwrap(),
            "a failed batch costs nothing"
        );
    }
}

#[tokio::test]
async fn an_ended_batch_does_not_need_its_input() {
    let service = Service::new(failing());
    let file = upload(&service).await;
    let batch = create(&service, &file).await.json();
    service.pass_minutes(100);
    let ended = service.get(&batch).await;
    delete(&service, &file).await;
    assert_eq!(service.get(&batch).await, ended);
    assert_eq!(service.results(&batch).await.len(), 2);
}

#[tokio::test]
async fn a_batch_outlives_its_input_file() {
    let service = Service::steady();
    let file = upload(&service).await;
    let batch = create(&service, &file).await.json();
    service.pass_minutes(48 * 60 - 1);
    assert_eq!(create(&service, &file).await.status, 200);
    service.pass_minutes(1);
    assert_eq!(create(&service, &file).await.error().0, 403);
    assert_eq!(
        service
            .call("GET", &format!("/v1beta/{file}"))
            .await
            .error()
            .0,
        403
    );
    assert_eq!(service.results(&batch).await.len(), 2);
}
