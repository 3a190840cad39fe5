//! Errors of S3, classified by what the caller can do.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStreamError,
};

use crate::aws::describe;

/// An S3 call that failed. It names the object's key, never its content.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// A timeout, a broken connection, or a busy or broken service: it may work later. A write may
    /// have taken effect.
    #[error("s3 {key}: {what}; it may work later")]
    Transient {
        /// The object's key.
        key: String,
        /// The error of S3 or of the connection.
        what: String,
    },
    /// Missing permissions, a missing bucket or an invalid request: it does not work until the
    /// deployment is changed.
    #[error("s3 {key}: {what}; check the bucket's name and the function's permissions")]
    Permanent {
        /// The object's key.
        key: String,
        /// The error of S3.
        what: String,
    },
    /// The object no longer has the requested version.
    #[error("s3 {key}: the object was changed in the meantime")]
    Changed {
        /// The object's key.
        key: String,
    },
}

impl BucketError {
    /// Classifies an error of the SDK.
    pub(super) fn of<E: ProvideErrorMetadata + std::error::Error>(
        key: &str,
        error: SdkError<E, HttpResponse>,
    ) -> Self {
        let key = key.to_owned();
        let status = status(&error);
        let what = describe(&error);
        match status {
            Some(412) => Self::Changed { key },
            Some(400 | 401 | 403 | 404 | 405) => Self::Permanent { key, what },
            _ if matches!(error, SdkError::ConstructionFailure(_)) => Self::Permanent { key, what },
            _ => Self::Transient { key, what },
        }
    }

    /// The error for content that could not be read to its end.
    pub(super) fn body(key: &str, error: ByteStreamError) -> Self {
        Self::Transient {
            key: key.to_owned(),
            what: format!("the connection broke while the content was read: {error}"),
        }
    }

    /// Returns none if the object is missing, and otherwise the error.
    pub(super) fn unless_missing<T, E: ProvideErrorMetadata + std::error::Error>(
        key: &str,
        error: SdkError<E, HttpResponse>,
    ) -> Result<Option<T>, Self> {
        let code = error
            .as_service_error()
            .and_then(ProvideErrorMetadata::code);
        match (status(&error), code) {
            (Some(404), code) if code != Some("NoSuchBucket") => Ok(None),
            _ => Err(Self::of(key, error)),
        }
    }
}

/// The HTTP status of the response, if there was one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|reply| reply.status().as_u16())
}
