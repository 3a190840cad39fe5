//! The simulated service under test. The requests are written by hand from the published contract.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use gemini::{
    Settings,
    key::{ApiKey, KeySource},
};
use gemini_sim::{Gemini, Scenario};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use seam::{
    clock::Clock,
    transport::{Body, Transport, TransportError, empty, full},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// 2026-11-21, in seconds.
const START: i64 = 1_795_219_200;

/// A service with its state folder and its own clock.
pub(super) struct Service {
    pub(super) gemini: Arc<Gemini>,
    folder: TempDir,
    seconds: Arc<AtomicI64>,
}

/// An answer with its complete body.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

impl Service {
    /// Creates a service in a new folder.
    pub(super) fn new(scenario: Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seconds = Arc::new(AtomicI64::new(START));
        Self {
            gemini: open(&folder, &seconds, scenario),
            folder,
            seconds,
        }
    }

    /// Creates a service whose batches take exactly 100 minutes and start after ten.
    pub(super) fn steady() -> Self {
        Self::new(steady())
    }

    /// Restarts the service with another scenario.
    pub(super) fn reopened(self, scenario: Scenario) -> Self {
        let Self {
            gemini,
            folder,
            seconds,
        } = self;
        drop(gemini);
        Self {
            gemini: open(&folder, &seconds, scenario),
            folder,
            seconds,
        }
    }

    /// Returns the product's client, connected to this service.
    pub(super) fn client(&self) -> gemini::Gemini {
        let key = KeySource::fixed(ApiKey::new("any").unwrap());
        gemini::Gemini::new(
            Settings::new(Arc::new(key)),
            Arc::clone(&self.gemini) as Arc<dyn Transport>,
        )
        .unwrap()
    }

    /// Advances the clock.
    pub(super) fn pass_minutes(&self, minutes: i64) {
        self.pass_seconds(minutes * 60);
    }

    /// Advances the clock.
    pub(super) fn pass_seconds(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Sends a request with a key, and asserts that it gets no answer.
    pub(super) async fn lose(&self, method: &str, path: &str, body: &Value) {
        let outcome = self
            .gemini
            .send(request(method, path).body(full(body.to_string())).unwrap())
            .await;
        assert!(
            matches!(outcome, Err(TransportError::Interrupted(_))),
            "{outcome:?}"
        );
    }

    /// Sends a request.
    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let (head, body) = self.gemini.send(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            status: head.status,
            headers: head.headers,
            bytes,
        }
    }

    /// Sends a request with a key, and returns the answer with an unread body.
    pub(super) async fn begin(&self, method: &str, path: &str) -> Response<Body> {
        self.gemini
            .send(request(method, path).body(empty()).unwrap())
            .await
            .unwrap()
    }

    /// Sends a request with a key and without a body.
    pub(super) async fn call(&self, method: &str, path: &str) -> Reply {
        self.send(request(method, path).body(empty()).unwrap())
            .await
    }

    /// Sends JSON with a key.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(request("POST", path).body(full(body.to_string())).unwrap())
            .await
    }

    /// Starts a resumable upload.
    pub(super) async fn start_upload(
        &self,
        size_bytes: usize,
        mime_type: &str,
        file: Value,
    ) -> Reply {
        let start = request("POST", "/upload/v1beta/files")
            .header("X-Goog-Upload-Protocol", "resumable")
            .header("X-Goog-Upload-Command", "start")
            .header("X-Goog-Upload-Header-Content-Length", size_bytes)
            .header("X-Goog-Upload-Header-Content-Type", mime_type);
        self.send(start.body(full(json!({"file": file}).to_string())).unwrap())
            .await
    }

    /// Uploads a file and returns its resource.
    pub(super) async fn upload(
        &self,
        bytes: impl Into<Bytes>,
        mime_type: &str,
        file: Value,
    ) -> Value {
        let bytes = bytes.into();
        let started = self.start_upload(bytes.len(), mime_type, file).await;
        let finished = self
            .send(chunk(
                &started.header("x-goog-upload-url"),
                "upload, finalize",
                0,
                full(bytes),
            ))
            .await;
        assert_eq!(finished.header("x-goog-upload-status"), "final");
        finished.json()["file"].take()
    }

    /// Uploads request lines and creates a batch from them.
    pub(super) async fn batch(&self, model: &str, lines: &[Value]) -> Value {
        let created = self.try_batch(model, &lines_of(lines)).await;
        assert_eq!(
            created.status,
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(&created.bytes)
        );
        created.json()
    }

    /// Uploads an input file and sends a create call for it.
    pub(super) async fn try_batch(&self, model: &str, input: &str) -> Reply {
        let file = self
            .upload(
                input.to_owned(),
                "application/jsonl",
                json!({"displayName": "in"}),
            )
            .await;
        let batch = json!({"displayName": "a batch", "inputConfig": {"fileName": file["name"]}});
        self.post(
            &format!("/v1beta/models/{model}:batchGenerateContent"),
            &json!({"batch": batch}),
        )
        .await
    }

    /// Returns a batch's `Operation`.
    pub(super) async fn get(&self, batch: &Value) -> Value {
        self.call("GET", &format!("/v1beta/{}", name(batch)))
            .await
            .json()
    }

    /// Returns the output lines of a batch that has ended.
    pub(super) async fn results(&self, batch: &Value) -> Vec<Value> {
        let text = self.output(batch).await;
        std::str::from_utf8(&text)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the output file of a batch that has ended.
    pub(super) async fn output(&self, batch: &Value) -> Bytes {
        let operation = self.get(batch).await;
        assert_eq!(
            operation["metadata"]["output"]["responsesFile"],
            format!("files/{}", output_file(batch))
        );
        let output = self.call("GET", &download_path(batch)).await;
        assert_eq!(output.status, StatusCode::OK);
        output.bytes
    }
}

impl Reply {
    /// Returns the body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// Returns a header's value.
    pub(super) fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    /// Returns the code, status and message of an error envelope.
    pub(super) fn error(&self) -> (u64, String, String) {
        let error = &self.json()["error"];
        assert_eq!(error["code"], u64::from(self.status.as_u16()));
        let text = |member: &str| error[member].as_str().unwrap().to_owned();
        (
            error["code"].as_u64().unwrap(),
            text("status"),
            text("message"),
        )
    }
}

/// Starts building a request with a key, to the service's own host.
pub(super) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://gemini.test{path}"))
        .header("x-goog-api-key", "any")
}

/// Builds a request to an upload's URL. It carries no key.
pub(super) fn chunk(url: &str, command: &str, offset: usize, body: Body) -> Request<Body> {
    let request = Request::builder()
        .method("POST")
        .uri(url)
        .header("X-Goog-Upload-Command", command);
    request
        .header("X-Goog-Upload-Offset", offset)
        .body(body)
        .unwrap()
}

/// Returns one request line.
pub(super) fn line(key: &str, image_config: Value) -> Value {
    json!({"key": key, "request": {
        "contents": [{"role": "user", "parts": [{"text": format!("a picture of {key}")}]}],
        "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": image_config},
    }})
}

/// Returns the request lines `k0`, `k1`, … for small images, which are drawn quickly.
pub(super) fn plain_lines(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| line(&format!("k{n}"), json!({"imageSize": "512"})))
        .collect()
}

/// Returns request lines as a file.
pub(super) fn lines_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns the name of a batch.
pub(super) fn name(batch: &Value) -> &str {
    batch["name"].as_str().unwrap()
}

/// Returns the id of a batch's output file.
pub(super) fn output_file(batch: &Value) -> String {
    name(batch).replace("batches/", "batch-")
}

/// Returns the path to download a batch's output file.
pub(super) fn download_path(batch: &Value) -> String {
    format!("/v1beta/files/{}:download?alt=media", output_file(batch))
}

/// A scenario whose batches take exactly 100 minutes and start after ten.
pub(super) fn steady() -> Scenario {
    Scenario {
        shortest_batch_seconds: 6_000,
        longest_batch_seconds: 6_000,
        ..Scenario::default()
    }
}

/// Returns the image in a response's last part, which is labelled as JPEG.
pub(super) fn image(line: &Value) -> Vec<u8> {
    let parts = line["response"]["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap();
    let data = &parts.last().unwrap()["inlineData"];
    assert_eq!(data["mimeType"], "image/jpeg");
    base64_simd::STANDARD
        .decode_to_vec(data["data"].as_str().unwrap())
        .unwrap()
}

/// Returns the width and height in a baseline JPEG's frame header.
pub(super) fn jpeg_pixels(jpeg: &[u8]) -> (u16, u16) {
    let frame = jpeg
        .windows(2)
        .position(|bytes| bytes == [0xff, 0xc0])
        .expect("a frame header");
    let number = |at: usize| u16::from_be_bytes([jpeg[frame + at], jpeg[frame + at + 1]]);
    (number(7), number(5))
}

/// Asserts that a body conforms to Google's schema.
pub(super) fn assert_schema(definition: &str, body: &Value) {
    let mut schema: Value = serde_json::from_str(include_str!("../gemini.schema.json")).unwrap();
    schema["$ref"] = Value::from(format!("#/$defs/{definition}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(body)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{definition}: {errors:?}");
}

fn open(folder: &TempDir, seconds: &Arc<AtomicI64>, scenario: Scenario) -> Arc<Gemini> {
    let seconds = Arc::clone(seconds);
    let clock =
        Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap());
    Arc::new(Gemini::open(folder.path(), clock, scenario).unwrap())
}
