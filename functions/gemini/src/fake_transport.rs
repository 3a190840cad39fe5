//! A transport for tests. It records requests and returns prepared replies.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};
use serde_json::Value;

use super::{Gemini, Settings};
use crate::key::{ApiKey, KeySource};

/// The API key of every test. It must appear nowhere but in its header.
pub(super) const CANARY: &str = "canary-key-1234";

/// A request as the server receives it.
pub(super) struct RecordedRequest {
    pub(super) head: Parts,
    pub(super) body: Bytes,
}

impl RecordedRequest {
    /// Method and path, such as `GET /v1beta/batches?pageSize=100`.
    pub(super) fn line(&self) -> String {
        let path = self
            .head
            .uri
            .path_and_query()
            .map_or("", |path| path.as_str());
        format!("{} {path}", self.head.method)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) type Reply = Result<Response<Body>, TransportError>;

/// The server: the requests that it received, and its replies.
pub(super) struct FakeTransport {
    requests: Mutex<Vec<Arc<RecordedRequest>>>,
    #[expect(clippy::type_complexity, reason = "one closure, named by its field")]
    answer: Mutex<Box<dyn FnMut(&RecordedRequest) -> Reply + Send>>,
}

impl FakeTransport {
    /// A server that replies with `answer` to each request.
    pub(super) fn new(answer: impl FnMut(&RecordedRequest) -> Reply + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            requests: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
        })
    }

    /// A server that returns these replies in this order. A request without a reply fails the test.
    pub(super) fn replies(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let mut replies: std::collections::VecDeque<_> = replies.into_iter().collect();
        Self::new(move |request| {
            replies
                .pop_front()
                .unwrap_or_else(|| panic!("no reply for {}", request.line()))
        })
    }

    pub(super) fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.requests.lock().unwrap().clone()
    }

    /// Method and path of every request.
    pub(super) fn lines(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request.line())
            .collect()
    }
}

impl Transport for FakeTransport {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            assert!(
                !format!("{head:?}").contains(CANARY),
                "the key is visible in {head:?}"
            );
            let body = body.collect().await.unwrap().to_bytes();
            let request = Arc::new(RecordedRequest { head, body });
            self.requests.lock().unwrap().push(Arc::clone(&request));
            (self.answer.lock().unwrap())(&request)
        })
    }
}

/// A client that is configured for Google's address and sends its requests to the fake.
pub(super) fn client(fake: &Arc<FakeTransport>) -> Gemini {
    let key = KeySource::fixed(ApiKey::new(CANARY).unwrap());
    let transport: Arc<dyn Transport> = Arc::<FakeTransport>::clone(fake);
    Gemini::new(Settings::new(Arc::new(key)), transport).unwrap()
}

pub(super) fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Ok(Response::builder().status(status).body(full(body)).unwrap())
}

pub(super) fn json(status: u16, body: &Value) -> Reply {
    reply(status, body.to_string())
}

pub(super) fn never_sent() -> Reply {
    Err(TransportError::NeverSent("refused".into()))
}

pub(super) fn interrupted() -> Reply {
    Err(TransportError::Interrupted("reset".into()))
}

/// The error and all its sources, formatted with `Display` and `Debug`.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

/// Fails unless `body` is valid for a `definition` of `tests/gemini.schema.json`.
pub(super) fn assert_valid(definition: &str, body: &Value) {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/gemini.schema.json"
    ));
    let mut schema: Value = serde_json::from_str(text).unwrap();
    schema["$ref"] = format!("#/$defs/{definition}").into();
    let validator = jsonschema::validator_for(&schema).unwrap();
    if let Err(error) = validator.validate(body) {
        panic!("{body} is not a valid {definition}: {error}");
    }
}
