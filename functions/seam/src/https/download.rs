//! The transport for downloads of gigabytes: `hyper` with a read buffer between TCP and TLS.
//!
//! `reqwest` makes its connections itself and has no place for that buffer. ADR 6 has the cost of
//! both.

use std::{fmt, sync::OnceLock};

use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT, uri::Scheme};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client, Error,
        connect::{HttpConnector, proxy::Tunnel},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tower::{ServiceExt, service_fn, timeout::Timeout, util::BoxCloneSyncService};

use super::{AGENT, CONNECT_TIMEOUT, HttpsTransport, POOL_IDLE_TIMEOUT, buffered::Buffered};
use crate::{
    proxies::Proxies,
    tls,
    transport::{Body, BoxError, BoxFuture, Transport, TransportError},
};

/// A connection to a host, through TLS to a proxy if the proxy's address is `https`.
type Hop = MaybeHttpsStream<Buffered>;
/// Opens connections, with TLS to the host.
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<Hop>, BoxError>;

/// A [`Transport`] for large responses, with the same behavior as [`HttpsTransport`].
///
/// Requests to `http` addresses, such as those of a simulated service, go through an
/// [`HttpsTransport`].
pub struct DownloadTransport {
    proxies: Proxies,
    /// Used instead of [`tls::config`].
    tls: Option<ClientConfig>,
    client: OnceLock<Client<Connector, Body>>,
    unencrypted: HttpsTransport,
}

impl DownloadTransport {
    /// A transport whose requests go through these proxies.
    pub fn new(proxies: Proxies) -> Self {
        Self {
            unencrypted: HttpsTransport::new(proxies.clone()),
            proxies,
            tls: None,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<&Client<Connector, Body>, BoxError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let tls = self.tls.clone().map_or_else(tls::config, Ok)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector(tls, self.proxies.clone()));
        Ok(self.client.get_or_init(|| client))
    }

    #[cfg(test)]
    pub(super) fn with_tls(proxies: Proxies, tls: ClientConfig) -> Self {
        Self {
            tls: Some(tls),
            ..Self::new(proxies)
        }
    }
}

/// Connects to hosts directly or through a tunnel of their proxy.
fn connector(tls: ClientConfig, proxies: Proxies) -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tcp = tcp.map_response(Buffered::new);

    let to_proxy = HttpsConnector::from((tcp.clone(), tls.clone()));
    let hop = service_fn(move |uri: Uri| {
        let (tcp, to_proxy) = (tcp.clone(), to_proxy.clone());
        let proxy = proxies.intercepted(&uri);
        async move {
            let Some(proxy) = proxy else {
                let stream = tcp.oneshot(uri).await.map_err(BoxError::from)?;
                return Ok(MaybeHttpsStream::Http(stream));
            };
            let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
            if let Some(credentials) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(credentials.clone());
            }
            tunnel.oneshot(uri).await.map_err(BoxError::from)
        }
    });

    // The name in the host's certificate is that of the request, on either way.
    let mut tls = HttpsConnector::from((hop, tls));
    tls.enforce_https();
    Connector::new(Timeout::new(tls, CONNECT_TIMEOUT))
}

impl fmt::Debug for DownloadTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadTransport")
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

impl Transport for DownloadTransport {
    fn send(
        &self,
        mut request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        if request.uri().scheme() != Some(&Scheme::HTTPS) {
            return self.unencrypted.send(request);
        }
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Box::pin(async move {
            let client = self.client().map_err(TransportError::NeverSent)?;
            let response = client.request(request).await.map_err(failed)?;
            Ok(response.map(|body| body.map_err(BoxError::from).boxed()))
        })
    }
}

/// The failure of a connection, of its tunnel or of its TLS handshake comes before the first byte
/// of a request.
fn failed(error: Error) -> TransportError {
    if error.is_connect() {
        TransportError::NeverSent(error.into())
    } else {
        TransportError::Interrupted(error.into())
    }
}
