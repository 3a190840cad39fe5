//! An intercepted request, with its whole body.

use bytes::Bytes;
use darkroom::object_keys;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use seam::transport::{Body, TransportError, full};
use serde_json::Value;

/// The service that a request is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// Objects.
    S3,
    /// Messages.
    Sqs,
    /// Files and batches.
    Gemini,
    /// Events.
    Webhook,
}

/// A request with its whole body. It can be sent more than once.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) service: Service,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Sent {
    /// Reads a request. `outside` is its service, unless that is S3 or SQS.
    ///
    /// # Errors
    /// Returns an error if its body is interrupted. Nothing is sent then.
    pub(crate) async fn read(
        request: Request<Body>,
        outside: Option<Service>,
    ) -> Result<Self, TransportError> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map_err(TransportError::Interrupted)?
            .to_bytes();
        let service = match (outside, head.headers.contains_key("x-amz-target")) {
            (Some(outside), _) => outside,
            (None, true) => Service::Sqs,
            (None, false) => Service::S3,
        };
        Ok(Self {
            service,
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
        })
    }

    /// Returns the request, to be sent.
    pub(crate) fn request(&self) -> Request<Body> {
        let mut request = Request::new(full(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Describes it, without upload ids and random names, so that the same step has the same
    /// description in every simulation.
    pub(crate) fn what(&self) -> String {
        match self.service {
            Service::S3 => format!(
                "S3 {} {}{}",
                self.method,
                self.key().unwrap_or_default(),
                self.condition()
            ),
            Service::Sqs => {
                let target = self.header("x-amz-target").unwrap_or_default();
                let call = target.rsplit('.').next().unwrap_or_default();
                let url = self.json()["QueueUrl"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                format!("SQS {call} {}", url.rsplit('/').next().unwrap_or_default())
            }
            Service::Webhook => {
                let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
                format!("Webhook {} {kind}", self.method)
            }
            Service::Gemini => {
                let drawn = |segment: &str| segment.len() >= 12 && !segment.contains("gemini");
                let segments = self.uri.path().split('/').skip(1).map(|segment| {
                    let (id, verb) = segment
                        .split_once(':')
                        .map_or((segment, ""), |(id, verb)| (id, verb));
                    let colon = if verb.is_empty() { "" } else { ":" };
                    if drawn(id) {
                        format!("*{colon}{verb}")
                    } else {
                        segment.to_owned()
                    }
                });
                let path: Vec<String> = segments.collect();
                let goes_on = self
                    .uri
                    .query()
                    .is_some_and(|query| query.contains("upload_id"));
                format!(
                    "Gemini {} {}{}",
                    self.method,
                    path.join("/"),
                    if goes_on { " (its bytes)" } else { "" }
                )
            }
        }
    }

    /// Whether it changes anything at its service.
    pub(crate) fn has_effect(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD
    }

    /// Whether it is a conditional write to S3.
    pub(crate) fn is_conditional_put(&self) -> bool {
        self.service == Service::S3
            && self.method == Method::PUT
            && (self.headers.contains_key("if-match") || self.headers.contains_key("if-none-match"))
    }

    /// Whether it stores a thumbnail.
    pub(crate) fn writes_a_thumbnail(&self) -> bool {
        self.method == Method::PUT && self.key().is_some_and(|key| key.contains("/thumbs/"))
    }

    /// Whether it requests a page of the list of batches.
    pub(crate) fn is_list(&self) -> bool {
        self.service == Service::Gemini
            && self.method == Method::GET
            && self.uri.path().ends_with("/batches")
    }

    /// Whether it requests the state of a batch.
    pub(crate) fn asks_for_a_batch(&self) -> bool {
        self.service == Service::Gemini
            && self.method == Method::GET
            && self.uri.path().contains("/batches/")
    }

    /// Returns the batch that it cancels, as `batches/<id>`.
    pub(crate) fn cancels(&self) -> Option<String> {
        let path = self.uri.path().strip_suffix(":cancel")?;
        let id = path.rsplit('/').next()?;
        (self.service == Service::Gemini).then(|| format!("batches/{id}"))
    }

    /// Returns the display name of the batch that it creates.
    pub(crate) fn display_name(&self) -> Option<String> {
        let name = self.json()["batch"]["displayName"]
            .as_str()
            .map(str::to_owned);
        name.filter(|_| self.creates_a_batch())
    }

    /// Whether it creates a batch.
    pub(crate) fn creates_a_batch(&self) -> bool {
        self.service == Service::Gemini && self.uri.path().ends_with(":batchGenerateContent")
    }

    /// Whether it requests an image in a synchronous call.
    pub(crate) fn is_call(&self) -> bool {
        self.service == Service::Gemini && self.uri.path().ends_with(":generateContent")
    }

    /// Returns the file name of the output that it downloads.
    pub(crate) fn downloads(&self) -> Option<&str> {
        let path = self.uri.path().strip_suffix(":download")?;
        (self.service == Service::Gemini)
            .then(|| path.rsplit('/').next())
            .flatten()
    }

    /// Returns the key of its S3 object.
    pub(crate) fn key(&self) -> Option<&str> {
        if self.service != Service::S3 {
            return None;
        }
        self.uri
            .path()
            .trim_start_matches('/')
            .split_once('/')
            .map(|(_, key)| key)
    }

    /// Returns the shard state that it writes.
    pub(crate) fn state(&self) -> Option<Value> {
        let is_state = self.method == Method::PUT
            && self.key().is_some_and(|key| key.ends_with("/state.json"));
        is_state.then(|| self.json())
    }

    /// Returns the ledger that it writes.
    pub(crate) fn ledger(&self) -> Option<Value> {
        let is_ledger =
            self.method == Method::PUT && self.key().is_some_and(|key| key == object_keys::LEDGER);
        is_ledger.then(|| self.json())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn condition(&self) -> String {
        match (
            self.header("if-match"),
            self.header("if-none-match"),
            self.state(),
        ) {
            (Some(_), _, Some(state)) => format!(
                " ({} if unchanged)",
                state["phase"]["name"].as_str().unwrap_or("?")
            ),
            (_, Some(_), Some(state)) => format!(
                " ({} if new)",
                state["phase"]["name"].as_str().unwrap_or("?")
            ),
            (Some(_), ..) => " (if unchanged)".to_owned(),
            (_, Some(_), _) => " (if new)".to_owned(),
            (None, None, _) => String::new(),
        }
    }
}

impl Whole {
    /// Reads a response.
    ///
    /// # Errors
    /// Returns an error if its body is interrupted.
    pub(crate) async fn read(response: Response<Body>) -> Result<Self, TransportError> {
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(TransportError::Interrupted)?
            .to_bytes();
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Returns the response, with a body that `body` may truncate.
    pub(crate) fn response(self, body: impl FnOnce(Bytes) -> Body) -> Response<Body> {
        let mut response = Response::new(body(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// Returns a response with a status and an empty body.
    pub(crate) fn bare(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}
