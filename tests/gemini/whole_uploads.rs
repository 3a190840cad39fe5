//! Files that arrive in one request: the protocols `multipart` and `raw`.

use bytes::Bytes;
use futures_util::stream;
use gemini_sim::Call;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use seam::transport::{Body, Transport, TransportError, full};
use serde_json::json;

use super::service::{Service, assert_schema, request, steady};

const UPLOAD: &str = "/upload/v1beta/files";

fn multipart(metadata: &str, content: &[u8]) -> Body {
    let mut body = b"--xyz\r\nContent-Type: application/json; charset=utf-8\r\n\r\n".to_vec();
    body.extend_from_slice(metadata.as_bytes());
    body.extend_from_slice(b"\r\n--xyz\r\nContent-Type: image/png\r\n\r\n");
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--xyz--");
    full(body)
}

fn related(path: &str) -> http::request::Builder {
    request("POST", path).header("Content-Type", "multipart/related; boundary=xyz")
}

fn png() -> &'static [u8] {
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x03\0\0\0\x04\0\x08\x02\0\0\0\r\n--xy\xff"
}

#[tokio::test]
async fn a_multipart_upload_has_a_description_and_a_file() {
    let service = Service::steady();
    let by_header = related(UPLOAD).header("X-Goog-Upload-Protocol", "multipart");
    let metadata = "{'file': {'display_name': 'A cat', 'name': 'files/my-cat'}}";
    let reply = service
        .send(by_header.body(multipart(metadata, png())).unwrap())
        .await;
    assert_eq!(reply.header("x-goog-upload-status"), "final");
    assert_schema("CreateFileResponse", &reply.json());
    let file = reply.json()["file"].take();
    assert_eq!(
        (&file["name"], &file["displayName"]),
        (&json!("files/my-cat"), &json!("A cat"))
    );
    assert_eq!(
        (&file["mimeType"], &file["sizeBytes"]),
        (&json!("image/png"), &json!(png().len().to_string()))
    );
    assert_eq!(
        (&file["state"], &file["source"]),
        (&json!("ACTIVE"), &json!("UPLOADED"))
    );
    assert_eq!(
        service.call("GET", "/v1beta/files/my-cat").await.json(),
        file
    );

    let by_query = related(&format!("{UPLOAD}?uploadType=multipart"));
    let reply = service
        .send(by_query.body(multipart("{}", b"")).unwrap())
        .await;
    assert_eq!(reply.json()["file"]["sizeBytes"], "0");
    assert_eq!(service.gemini.requests().of(Call::StartUpload), 2);

    // The dimensions of the file are known, so the image takes its ratio.
    let body = json!({"contents": [{"parts": [{"text": "this"}, {"fileData": {"fileUri": file["uri"]}}]}]});
    let response = service
        .post("/v1beta/models/gemini-3-pro-image:generateContent", &body)
        .await
        .json();
    let picture = super::service::image(&json!({"response": response}));
    assert_eq!(super::service::jpeg_pixels(&picture), (896, 1200));
}

#[tokio::test]
async fn a_raw_upload_is_the_file_alone() {
    let service = Service::steady();
    let named = request("POST", UPLOAD)
        .header("X-Goog-Upload-Protocol", "raw")
        .header("Content-Type", "image/png");
    let file = service.send(named.body(full(png())).unwrap()).await.json()["file"].take();
    assert_eq!(
        (&file["mimeType"], &file["sizeBytes"]),
        (&json!("image/png"), &json!(png().len().to_string()))
    );
    assert_eq!(file.get("displayName"), None);

    let unnamed = request("POST", UPLOAD).header("Content-Type", "text/plain");
    let file = service
        .send(unnamed.body(full("{not json")).unwrap())
        .await
        .json()["file"]
        .take();
    assert_eq!(
        (&file["mimeType"], &file["sizeBytes"]),
        (&json!("text/plain"), &json!("9"))
    );

    let announced = request("POST", UPLOAD)
        .header("X-Goog-Upload-Protocol", "raw")
        .header("X-Goog-Upload-Header-Content-Type", "application/jsonl")
        .header("Content-Type", "application/octet-stream");
    let line = json!({"key": "a", "request": {"contents": [{"parts": [{"text": "a fox"}]}]}});
    let file = service
        .send(announced.body(full(format!("{line}\n"))).unwrap())
        .await
        .json()["file"]
        .take();
    assert_eq!(file["mimeType"], "application/jsonl");
    let batch = json!({"batch": {"displayName": "raw", "inputConfig": {"fileName": file["name"]}}});
    assert_eq!(
        service
            .post(
                "/v1beta/models/gemini-3-pro-image:batchGenerateContent",
                &batch
            )
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn whole_uploads_are_validated_like_resumable_ones() {
    let service = Service::steady();
    let upload = async |metadata: &str| {
        let request = related(UPLOAD).header("X-Goog-Upload-Protocol", "multipart");
        service
            .send(request.body(multipart(metadata, b"x")).unwrap())
            .await
    };
    assert_eq!(
        upload(r#"{"file": {"name": "files/taken"}}"#).await.status,
        200
    );
    assert_eq!(
        upload(r#"{"file": {"name": "files/taken"}}"#)
            .await
            .error()
            .0,
        409
    );
    for wrong in [
        "",
        "{",
        r#"{"displayName": "a"}"#,
        r#"{"file": {"name": "files/My_File"}}"#,
    ] {
        assert_eq!(upload(wrong).await.error().0, 400, "{wrong}");
    }
    let typeless = request("POST", UPLOAD).header("X-Goog-Upload-Protocol", "multipart");
    assert_eq!(
        service
            .send(typeless.body(full("x")).unwrap())
            .await
            .error()
            .0,
        400
    );
    let unknown = request("POST", UPLOAD).header("X-Goog-Upload-Protocol", "carrier-pigeon");
    assert_eq!(
        service
            .send(unknown.body(full("x")).unwrap())
            .await
            .error()
            .0,
        400
    );
    let keyless = Request::builder()
        .method("POST")
        .uri(format!("http://gemini.test{UPLOAD}"));
    assert_eq!(
        service
            .send(keyless.body(full("x")).unwrap())
            .await
            .error()
            .0,
        403
    );
    let listed = service.call("GET", "/v1beta/files").await.json();
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_whole_upload_that_breaks_off_leaves_nothing() {
    let service = Service::steady();
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"hel"))),
        Err("connection reset".into()),
    ];
    let broken: Body = StreamBody::new(stream::iter(frames)).boxed();
    let request = request("POST", UPLOAD)
        .header("X-Goog-Upload-Protocol", "raw")
        .body(broken)
        .unwrap();
    assert!(matches!(
        service.gemini.send(request).await,
        Err(TransportError::Interrupted(_))
    ));
    let service = service.reopened(steady());
    assert_eq!(service.call("GET", "/v1beta/files").await.json(), json!({}));
}

#[tokio::test]
async fn a_whole_upload_survives_a_restart() {
    let service = Service::steady();
    let raw = request("POST", UPLOAD).header("Content-Type", "text/plain");
    let file = service.send(raw.body(full("hello")).unwrap()).await.json()["file"].take();
    let service = service.reopened(steady());
    let path = format!("/v1beta/{}", file["name"].as_str().unwrap());
    assert_eq!(service.call("GET", &path).await.json(), file);
    assert_eq!(service.call("DELETE", &path).await.json(), json!({}));
}
