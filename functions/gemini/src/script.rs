//! A transport for tests: it notes what it is sent and answers from a script.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};
use serde_json::Value;

use super::{Gemini, Settings};
use crate::key::{ApiKey, KeySource};

/// The API key of every test. It must be seen nowhere but in its header.
pub(super) const CANARY: &str = "canary-key-1234";

/// A request as the other side sees it.
pub(super) struct Seen {
    pub(super) head: Parts,
    pub(super) body: Bytes,
}

impl Seen {
    /// `GET /v1beta/batches?pageSize=100`
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

/// The other side: what it was sent, and how it answers.
pub(super) struct Script {
    seen: Mutex<Vec<Arc<Seen>>>,
    #[expect(clippy::type_complexity, reason = "one closure, named by its field")]
    answer: Mutex<Box<dyn FnMut(&Seen) -> Reply + Send>>,
}

impl Script {
    pub(super) fn new(answer: impl FnMut(&Seen) -> Reply + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
        })
    }

    /// Gives these replies, in this order; one request more than there are replies is a failed
    /// test.
    pub(super) fn replies(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let mut replies: std::collections::VecDeque<_> = replies.into_iter().collect();
        Self::new(move |seen| {
            replies
                .pop_front()
                .unwrap_or_else(|| panic!("not in the script: {}", seen.line()))
        })
    }

    pub(super) fn seen(&self) -> Vec<Arc<Seen>> {
        self.seen.lock().unwrap().clone()
    }

    /// The first line of every request.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.line()).collect()
    }
}

impl Transport for Script {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            assert!(
                !format!("{head:?}").contains(CANARY),
                "the key shows in {head:?}"
            );
            let body = body.collect().await.unwrap().to_bytes();
            let seen = Arc::new(Seen { head, body });
            self.seen.lock().unwrap().push(Arc::clone(&seen));
            (self.answer.lock().unwrap())(&seen)
        })
    }
}

/// A client of Google's own address that talks to the script.
pub(super) fn client(script: &Arc<Script>) -> Gemini {
    let key = KeySource::fixed(ApiKey::new(CANARY).unwrap());
    let transport: Arc<dyn Transport> = Arc::<Script>::clone(script);
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

/// The error and all its sources, in both ways of showing them.
pub(super) fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

/// Fails unless `body` is what `tests/gemini.schema.json` says a `definition` is.
pub(super) fn assert_valid(definition: &str, body: &Value) {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/gemini.schema.json"
    ));
    let mut schema: Value = serde_json::from_str(text).unwrap();
    schema["$ref"] = format!("#/$defs/{definition}").into();
    let validator = jsonschema::validator_for(&schema).unwrap();
    if let Err(error) = validator.validate(body) {
        panic!("{body} is no {definition}: {error}");
    }
}
