//! What went wrong with the bucket, by what the caller may do.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStreamError,
};

use crate::aws::describe;

/// An S3 call that failed. It names the object's key, never its content.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It may work later: a time-out, an interrupted connection, a busy or broken service. A write
    /// may have happened.
    #[error("s3 {key}: {what}; it may work later")]
    Transient {
        /// The object's key.
        key: String,
        /// What S3 or the connection said.
        what: String,
    },
    /// It will not work before somebody changes something: permissions, a missing bucket, a refused
    /// request.
    #[error("s3 {key}: {what}; check the bucket's name and the function's permissions")]
    Permanent {
        /// The object's key.
        key: String,
        /// What S3 said.
        what: String,
    },
    /// The object isn't the version that was asked for any more.
    #[error("s3 {key}: the object was changed meanwhile")]
    Changed {
        /// The object's key.
        key: String,
    },
}

impl BucketError {
    /// Classes an SDK error.
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

    /// A body that broke off while it was read.
    pub(super) fn body(key: &str, error: ByteStreamError) -> Self {
        Self::Transient {
            key: key.to_owned(),
            what: format!("the content broke off: {error}"),
        }
    }

    /// None for a missing object, else the error.
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

/// The answer's HTTP status, if there was an answer.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|reply| reply.status().as_u16())
}
