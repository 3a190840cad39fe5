//! Files: resumable uploads, lists, expiry.

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use seam::transport::{Body, Transport, TransportError, empty, full};
use serde_json::json;

use super::service::{Service, assert_schema, chunk, steady};

const GRANULARITY: usize = 8 * 1024 * 1024;

/// Returns non-repeating bytes, so that a lost or doubled chunk is detected.
fn content(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn two_chunks_become_one_file() {
    let service = Service::steady();
    let bytes = content(GRANULARITY + 1234);
    let started = service
        .start_upload(
            bytes.len(),
            "application/jsonl",
            json!({"display_name": "big"}),
        )
        .await;
    assert_eq!(started.header("x-goog-upload-status"), "active");
    assert_eq!(started.header("x-goog-upload-chunk-granularity"), "8388608");
    let url = started.header("x-goog-upload-url");
    assert!(
        url.starts_with("http://gemini.test/upload/v1beta/files?upload_id="),
        "{url}"
    );

    let first = service
        .send(chunk(&url, "upload", 0, full(bytes.slice(..GRANULARITY))))
        .await;
    assert_eq!(first.header("x-goog-upload-status"), "active");
    let rest = full(bytes.slice(GRANULARITY..));
    let last = service
        .send(chunk(&url, "upload, finalize", GRANULARITY, rest))
        .await;
    assert_eq!(last.header("x-goog-upload-status"), "final");
    assert_schema("CreateFileResponse", &last.json());
    let file = last.json()["file"].take();
    assert_eq!(file["displayName"], "big");
    assert_eq!(file["sizeBytes"], bytes.len().to_string());
    assert_eq!(
        (&file["state"], &file["source"]),
        (&json!("ACTIVE"), &json!("UPLOADED"))
    );
    // base64 of the hex digest that `sha256sum` prints.
    assert_eq!(
        file["sha256Hash"],
        "ZmQxZmQ2Y2IyYjBhZGFjOTI4NTVkZDMwNWQ1ODM1YjMxZTEyMDE3N2RlYTM4NGExNTNmNmUxZjNlMDdlNDQwNA=="
    );
    let name = file["name"].as_str().unwrap();
    assert_eq!(
        service.call("GET", &format!("/v1/{name}")).await.json(),
        file
    );
}

#[tokio::test]
async fn an_upload_resumes_after_a_restart() {
    let service = Service::steady();
    let bytes = content(GRANULARITY + 10);
    let url = service
        .start_upload(bytes.len(), "text/plain", json!({}))
        .await
        .header("x-goog-upload-url");
    service
        .send(chunk(&url, "upload", 0, full(bytes.slice(..GRANULARITY))))
        .await;

    let service = service.reopened(steady());
    let asked = service.send(chunk(&url, "query", 0, empty())).await;
    assert_eq!(asked.header("x-goog-upload-status"), "active");
    assert_eq!(
        asked.header("x-goog-upload-size-received"),
        GRANULARITY.to_string()
    );
    let rest = full(bytes.slice(GRANULARITY..));
    let last = service
        .send(chunk(&url, "upload, finalize", GRANULARITY, rest))
        .await;
    assert_eq!(last.json()["file"]["sizeBytes"], bytes.len().to_string());

    // The caller can query the upload again, because it may have lost the answer.
    assert_eq!(
        service.send(chunk(&url, "query", 0, empty())).await.json(),
        last.json()
    );
}

#[tokio::test]
async fn chunks_must_be_consecutive_multiples_of_the_granularity() {
    let service = Service::steady();
    let url = service
        .start_upload(GRANULARITY, "text/plain", json!({}))
        .await
        .header("x-goog-upload-url");
    assert_eq!(
        service
            .send(chunk(&url, "upload", 5, full("hello")))
            .await
            .error()
            .0,
        400
    );
    assert_eq!(
        service
            .send(chunk(&url, "upload", 0, full("hello")))
            .await
            .error()
            .0,
        400
    );
    assert_eq!(
        service
            .send(chunk(&url, "upload, finalize", 0, full("hello")))
            .await
            .error()
            .0,
        400
    );
    let too_long = full(content(GRANULARITY + 1));
    assert_eq!(
        service
            .send(chunk(&url, "upload, finalize", 0, too_long))
            .await
            .error()
            .0,
        400
    );
    let whole = service
        .send(chunk(
            &url,
            "upload, finalize",
            0,
            full(content(GRANULARITY)),
        ))
        .await;
    assert_eq!(whole.json()["file"]["sizeBytes"], GRANULARITY.to_string());
}

#[tokio::test]
async fn a_chunk_that_breaks_off_does_not_count() {
    let service = Service::steady();
    let url = service
        .start_upload(5, "text/plain", json!({}))
        .await
        .header("x-goog-upload-url");
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"hel"))),
        Err("connection reset".into()),
    ];
    let broken: Body = StreamBody::new(stream::iter(frames)).boxed();
    let outcome = service
        .gemini
        .send(chunk(&url, "upload, finalize", 0, broken))
        .await;
    assert!(matches!(outcome, Err(TransportError::Interrupted(_))));

    let asked = service.send(chunk(&url, "query", 0, empty())).await;
    assert_eq!(asked.header("x-goog-upload-size-received"), "0");
    let whole = service
        .send(chunk(&url, "upload, finalize", 0, full("hello")))
        .await;
    assert_eq!(whole.json()["file"]["sizeBytes"], "5");
}

#[tokio::test]
async fn a_file_name_is_kept_and_unique() {
    let service = Service::steady();
    let file = service
        .upload("a", "text/plain", json!({"name": "files/my-file"}))
        .await;
    assert_eq!(file["name"], "files/my-file");
    let again = service
        .start_upload(1, "text/plain", json!({"name": "files/my-file"}))
        .await;
    assert_eq!(again.error().0, 409);
    let wrong = service
        .start_upload(1, "text/plain", json!({"name": "files/My_File"}))
        .await;
    assert_eq!(wrong.error().0, 400);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_rejected_before_it_is_sent() {
    let service = Service::steady();
    let large = service
        .start_upload(2 * 1024 * 1024 * 1024 + 1, "text/plain", json!({}))
        .await;
    assert_eq!(large.error().0, 400);
}

#[tokio::test]
async fn the_storage_limit_includes_unfinished_uploads() {
    let two_gigabytes = 2 * 1024 * 1024 * 1024;
    let service = Service::steady();
    for _ in 0..9 {
        assert_eq!(
            service
                .start_upload(two_gigabytes, "text/plain", json!({}))
                .await
                .status,
            200
        );
    }
    let small = service
        .start_upload(5, "text/plain", json!({}))
        .await
        .header("x-goog-upload-url");
    let service = service.reopened(steady());
    let (code, status, _) = service
        .start_upload(two_gigabytes, "text/plain", json!({}))
        .await
        .error();
    assert_eq!((code, status.as_str()), (429, "RESOURCE_EXHAUSTED"));
    assert_eq!(
        service
            .start_upload(two_gigabytes - 5, "text/plain", json!({}))
            .await
            .status,
        200
    );
    // The storage is full to the byte, and the end of an upload needs no additional space.
    let last = service
        .send(chunk(&small, "upload, finalize", 0, full("hello")))
        .await;
    assert_eq!(last.json()["file"]["sizeBytes"], "5");
    assert_eq!(
        service
            .start_upload(1, "text/plain", json!({}))
            .await
            .status,
        429
    );
    service.pass_minutes(48 * 60);
    assert_eq!(
        service
            .start_upload(two_gigabytes, "text/plain", json!({}))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_announced_mime_type_is_kept() {
    let service = Service::steady();
    for mime_type in ["jsonl", "application/jsonl", "text/plain"] {
        let file = service
            .upload(
                "{}",
                mime_type,
                json!({"mime_type": "image/png", "size_bytes": "2"}),
            )
            .await;
        assert_eq!(file["mimeType"], mime_type);
    }
}

#[tokio::test]
async fn files_are_listed_newest_first_in_pages() {
    let service = Service::steady();
    assert_eq!(service.call("GET", "/v1beta/files").await.json(), json!({}));
    for name in ["files/one", "files/two", "files/three"] {
        service
            .upload("a", "text/plain", json!({"name": name}))
            .await;
    }
    let page = service.call("GET", "/v1beta/files?pageSize=2").await.json();
    assert_schema("ListFilesResponse", &page);
    assert_eq!(
        (&page["files"][0]["name"], &page["files"][1]["name"]),
        (&json!("files/three"), &json!("files/two"))
    );
    let token = page["nextPageToken"].as_str().unwrap();
    let page = service
        .call(
            "GET",
            &format!("/v1beta/files?pageSize=2&pageToken={token}"),
        )
        .await
        .json();
    assert_eq!(page["files"][0]["name"], "files/one");
    assert_eq!(page.get("nextPageToken"), None);
}

#[tokio::test]
async fn a_missing_file_is_forbidden() {
    let service = Service::steady();
    service
        .upload("a", "text/plain", json!({"name": "files/deleted"}))
        .await;
    service
        .upload("a", "text/plain", json!({"name": "files/expired"}))
        .await;
    assert_eq!(
        service.call("DELETE", "/v1beta/files/deleted").await.json(),
        json!({})
    );
    service.pass_minutes(48 * 60 - 1);
    assert_eq!(
        service.call("GET", "/v1beta/files/expired").await.status,
        200
    );
    service.pass_minutes(1);
    for path in [
        "/v1beta/files/deleted",
        "/v1beta/files/expired",
        "/v1beta/files/never-was",
    ] {
        let (code, status, message) = service.call("GET", path).await.error();
        assert_eq!((code, status.as_str()), (403, "PERMISSION_DENIED"));
        assert!(message.ends_with("or it may not exist."), "{message}");
    }
    assert_eq!(service.call("GET", "/v1beta/files").await.json(), json!({}));
}

#[tokio::test]
async fn files_and_counts_survive_a_restart() {
    let service = Service::steady();
    let file = service
        .upload("hello", "text/plain", json!({"name": "files/kept"}))
        .await;
    let requests = service.gemini.requests();
    let service = service.reopened(steady());
    assert_eq!(service.gemini.requests(), requests);
    assert_eq!(service.call("GET", "/v1beta/files/kept").await.json(), file);
}
