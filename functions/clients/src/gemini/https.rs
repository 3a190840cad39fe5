//! The production transport: `reqwest` over rustls.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use reqwest::{Client, redirect, retry};

use crate::transport::{Body, BoxError, BoxFuture, Transport, TransportError};

/// Connecting takes two round trips; what takes longer than this is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence, also before the head of an answer: as long as the slowest call may take. Each call has a
/// shorter or an equal time limit of its own; this one catches what is outside of all calls.
const READ_IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// A connection unused for this long is not used again. A frozen function wakes up with dead connections, and a request
/// written to one of those may or may not have been received.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A [`Transport`] over the network. It follows no redirect, repeats no request, reads no proxy from the environment,
/// decompresses nothing, and never shows a URL in an error.
#[derive(Clone, Debug)]
pub struct ReqwestTransport(Client);

/// The machine's TLS set-up can't be used, for example because it has no root certificates.
#[derive(Debug, thiserror::Error)]
#[error("no HTTPS client can be made on this machine: {0}")]
pub struct TransportSetupError(#[source] BoxError);

impl ReqwestTransport {
    /// A transport with a connection pool of its own.
    ///
    /// # Errors
    /// [`TransportSetupError`] when TLS can't be set up.
    pub fn new() -> Result<Self, TransportSetupError> {
        Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_IDLE_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .user_agent(concat!("darkroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| TransportSetupError(error.without_url().into()))
    }
}

impl Transport for ReqwestTransport {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let request = request.map(reqwest::Body::wrap);
            let request = reqwest::Request::try_from(request).map_err(failed)?;
            let response = self.0.execute(request).await.map_err(failed)?;
            Ok(Response::from(response).map(streamed))
        })
    }
}

fn failed(error: reqwest::Error) -> TransportError {
    let before_sending = error.is_builder() || error.is_connect();
    let error = error.without_url().into();
    if before_sending { TransportError::NeverSent(error) } else { TransportError::Interrupted(error) }
}

fn streamed(body: reqwest::Body) -> Body {
    body.map_frame(|frame| frame.map_data(Bytes::from)).map_err(|error| BoxError::from(error.without_url())).boxed()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::transport::full;

    /// Answers one connection with `reply`, once the request is there, and hangs up.
    async fn host(reply: &'static [u8]) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?upload_id=canary", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"hello") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(reply).await.unwrap();
            stream.shutdown().await.unwrap();
            request
        });
        (url, served)
    }

    fn post(url: &str) -> Request<Body> {
        Request::post(url).body(full("hello")).unwrap()
    }

    fn shown(error: &TransportError) -> String {
        format!("{error} {error:?}")
    }

    #[tokio::test]
    async fn redirect_is_an_answer_and_is_not_followed() {
        let (url, served) =
            host(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nno").await;
        let response = ReqwestTransport::new().unwrap().send(post(&url)).await.unwrap();
        assert_eq!(response.status(), 302);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
        let request = String::from_utf8(served.await.unwrap()).unwrap();
        assert!(request.starts_with("POST /path?upload_id=canary HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-length: 5\r\n"), "{request}");
    }

    #[tokio::test]
    async fn lost_answer_is_interrupted_and_shows_no_url() {
        let (url, served) = host(b"").await;
        let error = ReqwestTransport::new().unwrap().send(post(&url)).await.unwrap_err();
        served.await.unwrap();
        assert!(matches!(error, TransportError::Interrupted(_)), "{}", shown(&error));
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }

    #[tokio::test]
    async fn body_cut_short_is_an_error_and_shows_no_url() {
        let (url, served) = host(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let response = ReqwestTransport::new().unwrap().send(post(&url)).await.unwrap();
        served.await.unwrap();
        let error = TransportError::Interrupted(response.into_body().collect().await.unwrap_err());
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }

    #[tokio::test]
    async fn refused_connection_was_never_sent_and_shows_no_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?upload_id=canary", listener.local_addr().unwrap());
        drop(listener);
        let error = ReqwestTransport::new().unwrap().send(post(&url)).await.unwrap_err();
        assert!(matches!(error, TransportError::NeverSent(_)), "{}", shown(&error));
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }
}
