//! One call: a request that can be built again, and its answer or what went wrong with it.

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

/// The most of an answer that is held in memory, inline results excepted, which never are. A page
/// of 100 batches has some 100 KB.
const ANSWER_BYTES: usize = 16 << 20;

/// The longest silence within an answer that refuses.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A request, kept so that it can be sent a second time.
pub(super) struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    keyed: bool,
    answer_within: Option<Duration>,
}

impl Call {
    /// A request without a body that carries the API key.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            keyed: true,
            answer_within: None,
        }
    }

    /// The same request, whose answer may take this long to arrive once it has begun, as long as it
    /// doesn't stand still.
    pub(super) fn with_long_answer(self, within: Duration) -> Self {
        Self {
            answer_within: Some(within),
            ..self
        }
    }

    /// The same request without the API key.
    pub(super) fn without_key(self) -> Self {
        Self {
            keyed: false,
            ..self
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Result<Self, ApiError> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| ApiError::invalid(format!("{name} can't hold this text")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    pub(super) fn body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|_| ApiError::invalid("the request can't be written as JSON"))?;
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self.body(body.into()))
    }

    fn request(&self, key: Option<&ApiKey>) -> Result<Request<Body>, ApiError> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.url.as_str())
            .body(full(self.body.clone()))
            .map_err(|_| ApiError::invalid("the address is not a URL"))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if self.method == Method::POST {
            // Google's front end refuses a POST that does not say its length, even if that is 0.
            headers.insert(CONTENT_LENGTH, self.body.len().into());
        }
        if let Some(key) = key {
            headers.insert("x-goog-api-key", key.header());
        }
        Ok(request)
    }
}

/// A 2xx answer, all of it but the results that a batch may hold.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// What the body holds.
    ///
    /// # Errors
    /// [`ApiError::Malformed`], which says where the body is wrong, and nothing of what it holds.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // To serde a list is a struct too, its members in order: `[]` would be an answer that
        // leaves all of them out.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::malformed("not a JSON object"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let (class, line, column) = (error.classify(), error.line(), error.column());
            ApiError::malformed(format!(
                "not the JSON that was expected ({class:?} at line {line} column {column})"
            ))
        })
    }
}

impl Gemini {
    /// Sends the request once and reads the answer, within a time. Where it describes a batch, its
    /// inline results are left out.
    pub(super) async fn once(&self, call: &Call, within: Duration) -> Result<Answer, ApiError> {
        let exchange = self.with_key(call, async |key| {
            let response = in_time(within, self.respond(call, key)).await?;
            if !response.status().is_success() {
                return Err(refused(response, key).await);
            }
            let (head, body) = response.into_parts();
            Ok(Answer {
                headers: head.headers,
                body: whole(body, within).await?,
            })
        });
        // Boxed, or the types of the calls above it grow beyond what the compiler looks into.
        in_time(call.answer_within.unwrap_or(within), Box::pin(exchange)).await
    }

    /// Sends a request that changes nothing when repeated: once more, at once, if the first time
    /// was interrupted.
    pub(super) async fn again(&self, call: &Call, within: Duration) -> Result<Answer, ApiError> {
        match self.once(call, within).await {
            Err(ApiError::Transient { .. }) => self.once(call, within).await,
            outcome => outcome,
        }
    }

    /// Makes an exchange with the key to use now, and once more if that key is refused and there is
    /// another by now: a call that was refused has had no effect.
    pub(super) async fn with_key<T>(
        &self,
        call: &Call,
        exchange: impl AsyncFn(Option<&ApiKey>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        if !call.keyed {
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

    /// The head of the answer, whatever its status.
    pub(super) async fn respond(
        &self,
        call: &Call,
        key: Option<&ApiKey>,
    ) -> Result<Response<Body>, ApiError> {
        Ok(self.transport.send(call.request(key)?).await?)
    }
}

/// What an answer other than 2xx means. If its body can't be read, the status speaks alone.
pub(super) async fn refused(response: Response<Body>, key: Option<&ApiKey>) -> ApiError {
    let (head, body) = response.into_parts();
    let body = whole(body, REFUSAL_TIMEOUT).await.unwrap_or_default();
    refusal::refused(head.status, &head.headers, &body, key)
}

/// The outcome, or [`ApiError::Transient`] when it takes longer than it may.
pub(super) async fn in_time<T, E: From<ApiError>>(
    within: Duration,
    outcome: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match timeout(within, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = format!("no answer within {} s", within.as_secs());
            Err(ApiError::transient(message).into())
        }
    }
}

/// The answer's body without the results that a batch may hold: those can be gigabytes. It ends
/// with an error when nothing comes for `idle`.
async fn whole(mut body: Body, idle: Duration) -> Result<Bytes, ApiError> {
    let mut output = InlineOutput::default();
    let mut kept = Vec::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(ApiError::broken_off(error)),
            Ok(None) => return Ok(kept.into()),
            Err(_) => return Err(ApiError::transient("the answer stands still")),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        output.feed(&data, |piece| match piece {
            OutputPiece::Description(bytes) => kept.extend_from_slice(bytes),
            OutputPiece::Results(_) => {}
        });
        if kept.len() > ANSWER_BYTES {
            return Err(ApiError::malformed(format!(
                "more than {ANSWER_BYTES} bytes"
            )));
        }
    }
}
