//! What can go wrong with a call, named by what the caller may do about it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use seam::transport::{BoxError, TransportError};

use crate::key::KeyError;

/// Why a call has no answer. Messages are Google's words where it gave any: at most 1 KiB, without
/// control characters, without the API key and without the query of any URL.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A quota is used up (429): come back later, no sooner than `retry_after` where Google names
    /// it.
    #[error("Gemini's quota is used up ({}): {message}", quota.as_deref().unwrap_or("not named"))]
    RateLimited {
        /// How long Google asks to wait.
        retry_after: Option<SignedDuration>,
        /// The id of the quota, such as `GenerateRequestsPerMinutePerProjectPerModel`.
        quota: Option<String>,
        /// Google's words.
        message: String,
    },
    /// The project's prepaid credit is used up (429): no call succeeds before a person pays.
    #[error("the project's prepaid credit is used up: {message}")]
    PrepaymentDepleted {
        /// Google's words.
        message: String,
    },
    /// The key or its project is refused (401, 403, `API_KEY_INVALID`, a country that is not
    /// served, a project without billing), or there is no key to ask with: ask a person.
    #[error("Gemini refused the API key or its project: {message}")]
    Unauthorized {
        /// Google's words, or what is wrong with the key's place.
        message: String,
    },
    /// There is no such thing (404), or a file of that name is not ours (403, which Google answers
    /// for both).
    #[error("not found: {message}")]
    NotFound {
        /// Google's words.
        message: String,
    },
    /// The name is taken, or the thing is being changed by another (409): read it before trying
    /// again.
    #[error("in conflict with what is there: {message}")]
    Conflict {
        /// Google's words.
        message: String,
    },
    /// The request is wrong (400 and other 4xx): sent again, it usually fails again.
    #[error("the request is not valid: {message}")]
    Invalid {
        /// Google's words, or ours where the request was not sent.
        message: String,
        /// The lines of the batch's input file that Google names as wrong, counted from 1, each
        /// with its reason.
        lines: BTreeMap<u64, String>,
    },
    /// No answer, or a failure on Google's side (5xx, 408, 499): the same call may succeed later.
    /// Unless `source` is [`TransportError::NeverSent`], it may also have had its effect.
    #[error("no answer from Gemini: {message}")]
    Transient {
        /// The status and Google's words, or what happened to the connection.
        message: String,
        /// The failure of the connection, where that was it.
        source: Option<TransportError>,
    },
    /// An answer that can't be read, or a redirect, which is never followed.
    #[error("Gemini's answer can't be understood: {message}")]
    Malformed {
        /// What is wrong with it.
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
            source: None,
        }
    }

    /// A body that broke off.
    pub(super) fn broken_off(source: BoxError) -> Self {
        TransportError::Interrupted(source).into()
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        match error {
            KeyError::Unavailable { .. } => Self::Transient {
                message,
                source: Some(TransportError::NeverSent(error.into())),
            },
            // A person mends it, as a key that is not accepted.
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
            source: Some(error),
        }
    }
}

/// Why creating a batch gave no batch. The two answers are worlds apart: after
/// [`CreateError::Unknown`] a second attempt may be a second bill.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no batch: the request was refused (4xx), or no byte of it left.
    #[error("the batch was not created: {0}")]
    NotCreated(#[source] ApiError),
    /// There may be a batch: time-out, reset, a failure on Google's side, or an answer that can't
    /// be read. Look for it by its display name.
    #[error("the batch may have been created: {0}")]
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

/// Why an upload gave no file. What it leaves behind costs nothing and expires: start it again.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The bytes to upload can't be read.
    #[error("the bytes to upload can't be read: {0}")]
    Body(#[source] BoxError),
    /// The bytes are not as many as were announced: there were `actual` (or more), or Gemini stored
    /// `actual`.
    #[error("{announced} bytes were announced, but there are {actual}")]
    Length {
        /// As many as the request said.
        announced: u64,
        /// As many as were counted.
        actual: u64,
    },
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}
