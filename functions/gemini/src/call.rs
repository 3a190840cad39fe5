//! One call of the API: a request that can be built more than once, and its response or error.

use std::time::Duration;

use bytes::Bytes;
use darkroom::results::{InlineOutput, OutputPiece};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use seam::transport::{Body, full};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use url::Url;

use super::{Gemini, error::ApiError, refusal};
use crate::key::ApiKey;

/// The maximum size of a response in memory. Inline results do not count, because they are never
/// kept. A page of 100 batches has about 100 KB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long the body of a rejection may pause.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A request, in a form that can be sent more than once.
pub(super) struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    needs_key: bool,
    response_timeout: Option<Duration>,
}

impl Call {
    /// A request with the API key and without a body.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            needs_key: true,
            response_timeout: None,
        }
    }

    /// The same request with a longer limit for the whole response, as long as its body does not
    /// stall.
    pub(super) fn with_long_response(self, within: Duration) -> Self {
        Self {
            response_timeout: Some(within),
            ..self
        }
    }

    /// The same request without the API key.
    pub(super) fn without_key(self) -> Self {
        Self {
            needs_key: false,
            ..self
        }
    }

    /// The same request with a header.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] when a header can't contain the value.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Result<Self, ApiError> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| ApiError::invalid(format!("{name} can't contain this text")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// The same request with a body.
    pub(super) fn body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// The same request with a JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|_| ApiError::invalid("the request can't be serialized as JSON"))?;
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self.body(body.into()))
    }

    /// Builds the request.
    pub(super) fn request(&self, key: Option<&ApiKey>) -> Result<Request<Body>, ApiError> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.url.as_str())
            .body(full(self.body.clone()))
            .map_err(|_| ApiError::invalid("the address is not a URL"))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if self.method == Method::POST {
            // Google's front end rejects a POST without a length, even if the length is 0.
            headers.insert(CONTENT_LENGTH, self.body.len().into());
        }
        if let Some(key) = key {
            headers.insert("x-goog-api-key", key.header());
        }
        Ok(request)
    }
}

/// A response with status 2xx, without the results that a batch may contain.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ApiError::Malformed`], with the position of the problem and without any of the content.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // Serde also reads a struct from a list of its members: `[]` would be a response that omits
        // all of them.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::malformed("not a JSON object"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let (class, line, column) = (error.classify(), error.line(), error.column());
            ApiError::malformed(format!(
                "unexpected JSON ({class:?} at line {line} column {column})"
            ))
        })
    }
}

impl Gemini {
    /// Sends the request once and reads the response. The inline results of a batch are dropped.
    ///
    /// # Errors
    /// [`ApiError::Transient`] when the response takes longer than `within`, and the error of a
    /// response with another status than 2xx.
    pub(super) async fn send_once(
        &self,
        call: &Call,
        within: Duration,
    ) -> Result<Answer, ApiError> {
        let exchange = self.with_key(call, async |key| {
            let request = call.request(key)?;
            let response = with_timeout(within, async {
                Ok::<_, ApiError>(self.transport.send(request).await?)
            })
            .await?;
            if !response.status().is_success() {
                return Err(refusal_of(response, key).await);
            }
            let (head, body) = response.into_parts();
            Ok(Answer {
                headers: head.headers,
                body: read_body(body, within).await?,
            })
        });
        // Without the box, the types of the calling futures exceed the compiler's recursion limit.
        with_timeout(call.response_timeout.unwrap_or(within), Box::pin(exchange)).await
    }

    /// Sends an idempotent request, and repeats it once, without a pause, if it fails temporarily.
    pub(super) async fn send_with_retry(
        &self,
        call: &Call,
        within: Duration,
    ) -> Result<Answer, ApiError> {
        match self.send_once(call, within).await {
            Err(ApiError::Transient { .. }) => self.send_once(call, within).await,
            outcome => outcome,
        }
    }

    /// Runs an exchange with the current key. If Gemini rejects that key and the store has a new
    /// one, runs it again with the new key: a rejected call had no effect.
    pub(super) async fn with_key<T>(
        &self,
        call: &Call,
        exchange: impl AsyncFn(Option<&ApiKey>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        if !call.needs_key {
            return exchange(None).await;
        }
        let key = self.key.key().await?;
        match exchange(Some(&key)).await {
            Err(refusal @ ApiError::Unauthorized { .. }) => {
                match self.key.refresh_after_rejection(&key).await {
                    Some(other) => exchange(Some(&other)).await,
                    None => Err(refusal),
                }
            }
            outcome => outcome,
        }
    }
}

/// The error for a response with another status than 2xx. If its body can't be read, only the
/// status counts.
pub(super) async fn refusal_of(response: Response<Body>, key: Option<&ApiKey>) -> ApiError {
    let (head, body) = response.into_parts();
    let body = read_body(body, REFUSAL_TIMEOUT).await.unwrap_or_default();
    refusal::from_response(head.status, &head.headers, &body, key)
}

/// The outcome, or [`ApiError::Transient`] if it takes longer than `within`.
pub(super) async fn with_timeout<T, E: From<ApiError>>(
    within: Duration,
    outcome: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match timeout(within, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = format!("no response within {} s", within.as_secs());
            Err(ApiError::transient(message).into())
        }
    }
}

/// Reads a body without the results that a batch may contain, which can be gigabytes. It is an
/// error if nothing arrives for `idle`.
async fn read_body(mut body: Body, idle: Duration) -> Result<Bytes, ApiError> {
    let mut output = InlineOutput::default();
    let mut kept = Vec::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(ApiError::body_interrupted(error)),
            Ok(None) => return Ok(kept.into()),
            Err(_) => return Err(ApiError::transient("the response stalled")),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        output.feed(&data, |piece| match piece {
            OutputPiece::Description(bytes) => kept.extend_from_slice(bytes),
            OutputPiece::Results(_) => {}
        });
        if kept.len() > MAX_ANSWER_BYTES {
            return Err(ApiError::malformed(format!(
                "more than {MAX_ANSWER_BYTES} bytes"
            )));
        }
    }
}
