//! One HTTP exchange as a service: a request in, a response out.
//!
//! The Gemini client sends its requests through a [`Transport`]: the network in production, and a
//! stand-in in the same process in tests and on the local host. The stand-ins for S3 and SQS are
//! transports too, so one fault injector works in front of any of them.

use std::{future::Future, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};

/// An error of a body or a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body, in either direction.
pub type Body = BoxBody<Bytes, BoxError>;

/// A boxed future, as object-safe traits need.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A service that answers an HTTP request with a response.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and returns the head of the response, whose body follows as a stream.
    ///
    /// # Errors
    /// [`TransportError::NeverSent`] when the request can't have had an effect, and
    /// [`TransportError::Interrupted`] when it may have had one.
    fn send(&self, request: Request<Body>)
    -> BoxFuture<'_, Result<Response<Body>, TransportError>>;
}

/// Why an exchange has no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No byte of the request was sent, so it had no effect: the lookup of the name, the
    /// connection, the tunnel of a proxy or the TLS handshake failed.
    #[error("the request was not sent")]
    NeverSent(#[source] BoxError),
    /// The request may have been received: a time-out or a reset after its first byte.
    #[error("the request was interrupted, and its effect is unknown")]
    Interrupted(#[source] BoxError),
}

/// Why the bytes of a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// The body has more bytes than are allowed.
    #[error("the body is too large")]
    TooLarge,
    /// The body ended early.
    #[error("the body was interrupted")]
    Interrupted(#[source] BoxError),
}

/// Returns the bytes of a body that has at most `max_bytes` bytes. There is no time limit.
///
/// # Errors
/// [`ReadBodyError`].
pub async fn read_body(mut body: Body, max_bytes: u64) -> Result<Bytes, ReadBodyError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadBodyError::Interrupted)?.into_data() else {
            continue;
        };
        if (bytes.len() + data.len()) as u64 > max_bytes {
            return Err(ReadBodyError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// A body with these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body without bytes.
pub fn empty() -> Body {
    full(Bytes::new())
}
