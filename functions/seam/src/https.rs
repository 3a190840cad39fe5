//! The production transport: `hyper` over rustls.

mod buffered;

use std::{io, sync::OnceLock, time::Duration};

use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{ServiceExt, timeout::Timeout, util::BoxCloneSyncService};

use self::buffered::Buffered;
use crate::transport::{Body, BoxError, BoxFuture, Transport, TransportError};

/// Connecting takes two round trips; what takes longer than this is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection unused for this long is not used again. A frozen function wakes up with dead
/// connections, and a request written to one of those may or may not have been received.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// What we call ourselves.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("darkroom/", env!("CARGO_PKG_VERSION")));

/// From an address to an open connection.
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<Buffered>, BoxError>;

/// A [`Transport`] over the network. It follows no redirect, repeats no request, uses no proxy,
/// decompresses nothing, and never shows a URL in an error. Each call has a time limit of its own;
/// this one has none but for connecting.
///
/// Reading the root certificates takes longer than all else at a function's start, so it is left
/// until they are needed.
#[derive(Clone, Debug, Default)]
pub struct HttpsTransport(OnceLock<Client<Connector, Body>>);

/// The machine's TLS set-up can't be used, for example because it has no root certificates.
#[derive(Debug, thiserror::Error)]
#[error("no HTTPS client can be made on this machine: {0}")]
struct SetupError(#[source] io::Error);

impl HttpsTransport {
    fn client(&self) -> Result<&Client<Connector, Body>, SetupError> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector().map_err(SetupError)?);
        Ok(self.0.get_or_init(|| client))
    }
}

/// TLS with the machine's root certificates, or those that `SSL_CERT_FILE` names; HTTP/1.1 alone.
fn connector() -> io::Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp.map_response(Buffered::new));
    Ok(Connector::new(Timeout::new(tls, CONNECT_TIMEOUT)))
}

impl Transport for HttpsTransport {
    fn send(
        &self,
        mut request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        request.headers_mut().insert(USER_AGENT, AGENT);
        Box::pin(async move {
            let client = self
                .client()
                .map_err(|error| TransportError::NeverSent(error.into()))?;
            let response = client.request(request).await.map_err(failed)?;
            Ok(response.map(|body| body.map_err(BoxError::from).boxed()))
        })
    }
}

fn failed(error: Error) -> TransportError {
    if error.is_connect() {
        TransportError::NeverSent(error.into())
    } else {
        TransportError::Interrupted(error.into())
    }
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
        let url = format!(
            "http://{}/path?upload_id=canary",
            listener.local_addr().unwrap()
        );
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
        let (url, served) = host(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nno",
        )
        .await;
        let response = HttpsTransport::default().send(post(&url)).await.unwrap();
        assert_eq!(response.status(), 302);
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "no"
        );
        let request = String::from_utf8(served.await.unwrap()).unwrap();
        assert!(
            request.starts_with("POST /path?upload_id=canary HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("content-length: 5\r\n"), "{request}");
    }

    #[tokio::test]
    async fn lost_answer_is_interrupted_and_shows_no_url() {
        let (url, served) = host(b"").await;
        let error = HttpsTransport::default()
            .send(post(&url))
            .await
            .unwrap_err();
        served.await.unwrap();
        assert!(
            matches!(error, TransportError::Interrupted(_)),
            "{}",
            shown(&error)
        );
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }

    #[tokio::test]
    async fn body_cut_short_is_an_error_and_shows_no_url() {
        let (url, served) = host(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let response = HttpsTransport::default().send(post(&url)).await.unwrap();
        served.await.unwrap();
        let error = TransportError::Interrupted(response.into_body().collect().await.unwrap_err());
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }

    #[tokio::test]
    async fn refused_connection_was_never_sent_and_shows_no_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/?upload_id=canary",
            listener.local_addr().unwrap()
        );
        drop(listener);
        let error = HttpsTransport::default()
            .send(post(&url))
            .await
            .unwrap_err();
        assert!(
            matches!(error, TransportError::NeverSent(_)),
            "{}",
            shown(&error)
        );
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }
}
