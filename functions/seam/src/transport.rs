//! One HTTP exchange as a service: request in, response out.
//!
//! The Gemini client talks through a [`Transport`]: `hyper` in production, a stand-in mounted in
//! process in tests and in the local host. The stand-ins for S3 and SQS have the same shape, so one
//! fault injector can sit before any.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};

/// Any error of a body or a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body, in either direction.
pub type Body = BoxBody<Bytes, BoxError>;

/// A boxed future, as object-safe traits need.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request → response service.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and answers with the response's head; its body streams after.
    ///
    /// # Errors
    /// [`TransportError::NeverSent`] when the request can't have had an effect,
    /// [`TransportError::Interrupted`] when it may have.
    fn send(&self, request: Request<Body>)
    -> BoxFuture<'_, Result<Response<Body>, TransportError>>;
}

/// Why an exchange gave no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No byte of the request left (name look-up, connect, TLS): it had no effect.
    #[error("not sent: {0}")]
    NeverSent(#[source] BoxError),
    /// The request may have been received: a time-out or a reset after sending began.
    #[error("interrupted, the effect is unknown: {0}")]
    Interrupted(#[source] BoxError),
}

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body without bytes.
pub fn empty() -> Body {
    full(Bytes::new())
}
