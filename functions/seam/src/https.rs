//! The production transports, over rustls: [`HttpsTransport`] for everything except large
//! downloads, which are for [`DownloadTransport`].

mod buffered;
mod download;

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt;
pub use reqwest::dns;
use reqwest::{Client, redirect, retry};
use rustls::ClientConfig;

pub use self::download::DownloadTransport;
use crate::{
    proxies::Proxies,
    tls,
    transport::{Body, BoxFuture, Transport, TransportError},
};

/// Connecting takes two or three round trips. A host that needs longer than this is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection unused for this long is closed. A frozen function resumes with dead connections,
/// and a request that is written to one of them may or may not have been received.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// The `user-agent` of every request.
const AGENT: &str = concat!("darkroom/", env!("CARGO_PKG_VERSION"));

/// A [`Transport`] over the network, by `reqwest` in HTTP/1.1.
///
/// It follows no redirect, repeats no request, keeps no cookie, decompresses nothing, and never
/// shows a URL in an error. Connecting is limited to 5 seconds; callers limit the rest. Without
/// [`HttpsTransport::new`] it uses no proxy.
///
/// The client is made for the first request, because reading the root certificates takes longer
/// than everything else at a function's start.
#[derive(Default)]
pub struct HttpsTransport {
    proxies: Proxies,
    resolver: Option<Arc<dyn dns::Resolve>>,
    /// Used instead of [`tls::config`].
    tls: Option<ClientConfig>,
    client: OnceLock<Client>,
}

/// Why no client can be made on this machine.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("the root certificates can't be read")]
    Certificates(#[source] io::Error),
    #[error("the HTTPS client can't be made")]
    Client(#[from] reqwest::Error),
}

impl HttpsTransport {
    /// A transport whose requests go through these proxies.
    pub fn new(proxies: Proxies) -> Self {
        Self {
            proxies,
            ..Self::default()
        }
    }

    /// A transport without proxies that looks names up in `resolver`. A host that is written as an
    /// IP address is not looked up.
    pub fn with_resolver(resolver: Arc<dyn dns::Resolve>) -> Self {
        Self {
            resolver: Some(resolver),
            ..Self::default()
        }
    }

    fn client(&self) -> Result<&Client, SetupError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.build()?;
        Ok(self.client.get_or_init(|| client))
    }

    fn build(&self) -> Result<Client, SetupError> {
        let tls = self.tls.clone().map_or_else(tls::config, Ok);
        let tls = tls.map_err(SetupError::Certificates)?;
        // `no_proxy` keeps `reqwest` from reading the environment.
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .user_agent(AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT);
        for proxy in self.proxies.rules()? {
            builder = builder.proxy(proxy);
        }
        if let Some(resolver) = &self.resolver {
            builder = builder.dns_resolver(Arc::clone(resolver));
        }
        Ok(builder.build()?)
    }
}

impl fmt::Debug for HttpsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsTransport")
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

impl Transport for HttpsTransport {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let client = self
                .client()
                .map_err(|error| TransportError::NeverSent(error.into()))?;
            let request = request.map(reqwest::Body::wrap).try_into();
            let request = request.map_err(failed)?;
            let response = client.execute(request).await.map_err(failed)?;
            let response = Response::<reqwest::Body>::from(response);
            Ok(response.map(|body| body.map_err(|error| error.without_url().into()).boxed()))
        })
    }
}

/// A request that can't be built, a name that is not found, a connection that is refused, and a
/// proxy or TLS handshake that fails all come before the first byte of a request.
fn failed(error: reqwest::Error) -> TransportError {
    let was_never_sent = error.is_builder() || error.is_connect();
    let error = error.without_url().into();
    if was_never_sent {
        TransportError::NeverSent(error)
    } else {
        TransportError::Interrupted(error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::{
        RootCertStore, ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::{
        fake_proxy::{FakeProxy, Reply},
        transport::full,
    };

    /// Answers one connection with `reply` after the request has arrived, and closes it.
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
    async fn a_redirect_is_returned_and_not_followed() {
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
    async fn a_lost_response_is_interrupted_and_shows_no_url() {
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
    async fn an_incomplete_body_is_an_error_and_shows_no_url() {
        let (url, served) = host(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let response = HttpsTransport::default().send(post(&url)).await.unwrap();
        served.await.unwrap();
        let error = TransportError::Interrupted(response.into_body().collect().await.unwrap_err());
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
    }

    #[tokio::test]
    async fn a_refused_connection_is_never_sent_and_shows_no_url() {
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
    /// A TLS server for `a.example` and `localhost` that answers every request with `hello`, and
    /// the configuration of a client that trusts it.
    async fn tls_server() -> (SocketAddr, ClientConfig) {
        let identity =
            rcgen::generate_simple_self_signed(["a.example".to_owned(), "localhost".to_owned()])
                .unwrap();
        let certificate = identity.cert.der().clone();
        let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = Vec::new();
                while !request.ends_with(b"hello") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                let reply =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                stream.write_all(reply).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        (address, client)
    }

    /// Both transports, with these proxies.
    fn transports(proxies: Proxies, tls: &ClientConfig) -> [Box<dyn Transport>; 2] {
        let download = DownloadTransport::with_tls(proxies.clone(), tls.clone());
        let https = HttpsTransport {
            tls: Some(tls.clone()),
            ..HttpsTransport::new(proxies)
        };
        [Box::new(https), Box::new(download)]
    }

    #[tokio::test]
    async fn an_https_request_is_tunneled_through_the_proxy() {
        let (server, tls) = tls_server().await;
        let proxy = FakeProxy::start(move |head| {
            let head = head.to_lowercase();
            assert!(head.contains("\r\nproxy-authorization: basic "), "{head}");
            Reply::Tunnel(server)
        })
        .await
        .unwrap();
        for transport in transports(proxy.proxies("").unwrap(), &tls) {
            let response = transport.send(post("https://a.example/")).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "hello");
        }
        assert_eq!(proxy.requests(), ["CONNECT a.example:443 HTTP/1.1"; 2]);
    }

    #[tokio::test]
    async fn an_http_request_is_sent_to_the_proxy() {
        let proxy = FakeProxy::refusing().await.unwrap();
        let (_, tls) = tls_server().await;
        for transport in transports(proxy.proxies("").unwrap(), &tls) {
            let response = transport.send(post("http://a.example/x")).await.unwrap();
            assert_eq!(response.status(), 502);
        }
        assert_eq!(proxy.requests(), ["POST http://a.example/x HTTP/1.1"; 2]);
    }

    #[tokio::test]
    async fn a_request_that_the_proxy_refuses_to_tunnel_is_never_sent() {
        let (_, tls) = tls_server().await;
        let proxy = FakeProxy::refusing().await.unwrap();
        for transport in transports(proxy.proxies("").unwrap(), &tls) {
            let request = post("https://a.example/?upload_id=canary");
            let error = transport.send(request).await.unwrap_err();
            assert!(
                matches!(error, TransportError::NeverSent(_)),
                "{}",
                shown(&error)
            );
            assert!(!shown(&error).contains("canary"), "{}", shown(&error));
        }
    }

    #[tokio::test]
    async fn a_failed_tls_handshake_is_never_sent() {
        let (server, _) = tls_server().await;
        let (_, other_tls) = tls_server().await;
        let proxy = FakeProxy::start(move |_| Reply::Tunnel(server))
            .await
            .unwrap();
        for (proxies, url) in [
            (proxy.proxies("").unwrap(), "https://a.example/".to_owned()),
            (Proxies::default(), format!("https://{server}/")),
        ] {
            for transport in transports(proxies, &other_tls) {
                let error = transport.send(post(&url)).await.unwrap_err();
                assert!(
                    matches!(error, TransportError::NeverSent(_)),
                    "{}",
                    shown(&error)
                );
            }
        }
    }

    #[tokio::test]
    async fn without_the_setting_and_for_excluded_hosts_no_request_reaches_the_proxy() {
        let (server, tls) = tls_server().await;
        let proxy = FakeProxy::refusing().await.unwrap();
        for proxies in [Proxies::default(), proxy.proxies("localhost").unwrap()] {
            for transport in transports(proxies, &tls) {
                let url = format!("https://localhost:{}/", server.port());
                let response = transport.send(post(&url)).await.unwrap();
                assert_eq!(response.status(), 200);
            }
        }
        assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
    }
}
