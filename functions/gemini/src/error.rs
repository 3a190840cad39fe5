//! The errors of calls, divided by what the caller can do about them.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use seam::transport::{BoxError, TransportError};

use crate::key::KeyError;

/// Why a call failed. A message is Google's own where its response contains one: at most 1 KiB,
/// without control characters, without the API key and without the query of any URL.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A quota is exhausted (429). Retry later, and not before `retry_after` if Google specifies
    /// it.
    #[error("Gemini's quota is exhausted ({}): {message}", quota.as_deref().unwrap_or("not named"))]
    RateLimited {
        /// The wait that Google requests.
        retry_after: Option<SignedDuration>,
        /// The ID of the quota, such as `GenerateRequestsPerMinutePerProjectPerModel`.
        quota: Option<String>,
        /// Google's message.
        message: String,
    },
    /// The project's prepaid credit is exhausted (429). No call succeeds until an operator adds
    /// credit.
    #[error("prepaid credit exhausted: {message}")]
    PrepaymentDepleted {
        /// Google's message.
        message: String,
    },
    /// The key or its project is rejected (401, 403, `API_KEY_INVALID`, a country that is not
    /// served, a project without billing), or no key can be read. An operator must act.
    #[error("Gemini rejected the API key or its project: {message}")]
    Unauthorized {
        /// Google's message, or what is wrong with the parameter that holds the key.
        message: String,
    },
    /// The batch or file does not exist (404), or a file of that name belongs to another project
    /// (403; Google returns that status for missing files too).
    #[error("not found: {message}")]
    NotFound {
        /// Google's message.
        message: String,
    },
    /// The name exists already, or another request is changing the same resource (409). Read it
    /// before you retry.
    #[error("conflict with the current state: {message}")]
    Conflict {
        /// Google's message.
        message: String,
    },
    /// The request is invalid (400 and other 4xx). A retry usually fails as well.
    #[error("invalid request: {message}")]
    Invalid {
        /// Google's message, or this client's if the request was not sent.
        message: String,
        /// The invalid lines of the batch's input file that Google names, counted from 1, each with
        /// its reason.
        lines: BTreeMap<u64, String>,
    },
    /// No response, or a failure on Google's side (5xx, 408, 499). The same call may succeed later.
    /// Unless `source` is [`TransportError::NeverSent`], it may also have had its effect.
    #[error("no usable response from Gemini: {message}")]
    Transient {
        /// The status and Google's message, or what happened to the connection.
        message: String,
        /// The HTTP status, if Gemini has answered.
        status: Option<u16>,
        /// The failure of the connection, if that is the cause.
        source: Option<TransportError>,
    },
    /// A response that can't be parsed, or a redirect, which is never followed.
    #[error("unexpected response from Gemini: {message}")]
    Malformed {
        /// What is wrong with the response.
        message: String,
    },
}

impl ApiError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
            lines: BTreeMap::new(),
        }
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed {
            message: message.into(),
        }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self::Transient {
            message: message.into(),
            status: None,
            source: None,
        }
    }

    /// A response whose body ended with an error.
    pub(super) fn body_interrupted(source: BoxError) -> Self {
        TransportError::Interrupted(source).into()
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        match error {
            KeyError::Unavailable { .. } => Self::Transient {
                message,
                status: None,
                source: Some(TransportError::NeverSent(error.into())),
            },
            // An operator must act, as after the rejection of a key.
            KeyError::NotFound(_) | KeyError::Denied(_) | KeyError::Malformed { .. } => {
                Self::Unauthorized { message }
            }
        }
    }
}

impl From<TransportError> for ApiError {
    fn from(error: TransportError) -> Self {
        let message = match &error {
            TransportError::NeverSent(_) => "the request was not sent",
            TransportError::Interrupted(_) => "the connection was interrupted",
        };
        Self::Transient {
            message: message.to_owned(),
            status: None,
            source: Some(error),
        }
    }
}

/// Why a create call returned no batch. The variants must not be confused: after
/// [`CreateError::Unknown`], a second call may create a second batch, which is billed as well.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no batch: the request was rejected (4xx) or never sent.
    #[error("the batch was not created")]
    NotCreated(#[source] ApiError),
    /// There may be a batch: a time-out, a reset, a failure on Google's side, or a response that
    /// can't be parsed. Search for it by its display name.
    #[error("the batch may have been created")]
    Unknown(#[source] ApiError),
}

impl From<ApiError> for CreateError {
    fn from(error: ApiError) -> Self {
        match &error {
            ApiError::RateLimited { .. }
            | ApiError::PrepaymentDepleted { .. }
            | ApiError::Unauthorized { .. }
            | ApiError::NotFound { .. }
            | ApiError::Conflict { .. }
            | ApiError::Invalid { .. }
            | ApiError::Transient {
                source: Some(TransportError::NeverSent(_)),
                ..
            } => Self::NotCreated(error),
            ApiError::Transient {
                source: Some(TransportError::Interrupted(_)) | None,
                ..
            }
            | ApiError::Malformed { .. } => Self::Unknown(error),
        }
    }
}

/// Why a synchronous call returned no answer. The variants must not be confused: after
/// [`GenerateError::Unknown`], Gemini may have charged for an image.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing was generated: the request was rejected (4xx) or never sent.
    #[error(transparent)]
    NotMade(ApiError),
    /// Nothing was generated, because Gemini has no capacity at the moment (503).
    #[error(transparent)]
    NoCapacity(ApiError),
    /// The image may have been generated: a time-out, a reset, a failure on Google's side, or a
    /// response that can't be parsed.
    #[error(transparent)]
    Unknown(ApiError),
}

impl From<ApiError> for GenerateError {
    fn from(error: ApiError) -> Self {
        if let ApiError::Transient {
            status: Some(503), ..
        } = error
        {
            return Self::NoCapacity(error);
        }
        match CreateError::from(error) {
            CreateError::NotCreated(error) => Self::NotMade(error),
            CreateError::Unknown(error) => Self::Unknown(error),
        }
    }
}

/// Why an upload produced no file. The incomplete upload is free and expires, so it can be
/// repeated.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The bytes to upload can't be read.
    #[error("the bytes to upload can't be read: {0}")]
    Body(BoxError),
    /// The number of bytes differs from the announced one: the stream contains `actual` bytes or
    /// more, or Gemini stored `actual` bytes.
    #[error("expected {announced} bytes, found {actual}")]
    Length {
        /// The number in the request.
        announced: u64,
        /// The number that was counted.
        actual: u64,
    },
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}
