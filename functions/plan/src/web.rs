//! Pictures fetched from the web, for manifests whose references are `https://` addresses.
//!
//! Whoever may drop a manifest says what is fetched, and a function can reach more than they can.
//! So only public addresses are connected to, by `https` and on its own port; no redirect is
//! followed; nothing goes along that proves who asks: no credentials, no cookies, no proxy of the
//! environment; and bytes and time are bounded.

mod address;
mod guarded;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, USER_AGENT},
};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::Connect},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::crypto::aws_lc_rs::default_provider;
use seam::transport::{Body, BoxError, BoxFuture, Transport, TransportError, empty};
use tokio::time::timeout;
use url::{Position, Url};

use self::guarded::{Connector, Refused, System};

/// The longest a whole picture may take.
const TIME: Duration = Duration::from_secs(30);
/// A connection unused for this long is not used again: a frozen function wakes up with dead ones.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// What we call ourselves.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("darkroom/", env!("CARGO_PKG_VERSION")));

/// Fetches pictures.
#[derive(Clone)]
pub struct Web {
    transport: Arc<dyn Transport>,
    time: Duration,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

/// Why a picture was not fetched. No URL is in it: one may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// It is never fetched: another scheme or port, credentials, or no public address.
    #[error("{0}")]
    Refused(String),
    /// The host sends elsewhere, and that is not followed.
    #[error("its host sends on to another address (status {0}), and redirects are not followed")]
    Redirected(u16),
    /// There is nothing.
    #[error("its host has no such thing (status {0})")]
    Missing(u16),
    /// The host wants to know who asks, or refuses otherwise.
    #[error("its host refuses it (status {0})")]
    Forbidden(u16),
    /// It has more bytes than it may.
    #[error("it has more than {most} bytes")]
    TooLarge {
        /// The most it may have.
        most: u64,
    },
    /// It may work later: no connection, a host that is broken or busy, no whole answer in time.
    #[error("{0}")]
    Unreachable(String),
}

impl Web {
    /// Over the machine's network.
    pub fn over_https() -> Self {
        Self::over(Arc::new(Guarded::default()))
    }

    /// Over a stand-in.
    pub fn over(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            time: TIME,
        }
    }

    /// Fetches what is at `url`, of `most` bytes at the most. What it is must be told by its bytes.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn fetch(&self, url: &Url, most: u64) -> Result<Bytes, WebError> {
        if url.scheme() != "https" || url.port().is_some() {
            return Err(WebError::Refused(Refused::Scheme.to_string()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebError::Refused(
                "it holds a user's name or password".to_owned(),
            ));
        }
        let late = || WebError::Unreachable(format!("it did not come within {:?}", self.time));
        timeout(self.time, self.exchange(url, most))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, url: &Url, most: u64) -> Result<Bytes, WebError> {
        let request = Request::get(&url[..Position::AfterQuery])
            .header(ACCEPT, HeaderValue::from_static("image/*"))
            .header(USER_AGENT, AGENT)
            .body(empty())
            .map_err(|_| WebError::Refused("it is no address that can be asked for".to_owned()))?;
        let response = self
            .transport
            .send(request)
            .await
            .map_err(|error| failed(&error))?;
        check(response.status())?;
        let too_large = Err(WebError::TooLarge { most });
        let length = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > most) {
            return too_large;
        }
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| WebError::Unreachable("it broke off".to_owned()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if (bytes.len() + data.len()) as u64 > most {
                return too_large;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }
}

fn check(status: StatusCode) -> Result<(), WebError> {
    let code = status.as_u16();
    match code {
        200 => Ok(()),
        300..=399 => Err(WebError::Redirected(code)),
        404 | 410 => Err(WebError::Missing(code)),
        408 | 425 | 429 | 500..=599 => Err(WebError::Unreachable(format!(
            "its host answers with status {code}"
        ))),
        400..=499 => Err(WebError::Forbidden(code)),
        _ => Err(WebError::Unreachable(format!(
            "its host answers with status {code}, which says nothing"
        ))),
    }
}

/// Refused by us, or not answered.
fn failed(error: &TransportError) -> WebError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return WebError::Refused(refused.to_string());
        }
        cause = error.source();
    }
    WebError::Unreachable(match error {
        TransportError::NeverSent(_) => "its host can't be reached".to_owned(),
        TransportError::Interrupted(_) => "its host hung up".to_owned(),
    })
}

/// TLS over connections to public addresses. Made when it is first needed, as reading the root
/// certificates takes long.
#[derive(Debug, Default)]
struct Guarded(OnceLock<Client<HttpsConnector<Connector>, Body>>);

impl Guarded {
    fn client(&self) -> io::Result<&Client<HttpsConnector<Connector>, Body>> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(default_provider())?;
        let tls = tls
            .https_only()
            .enable_http1()
            .wrap_connector(guarded::connector(Arc::new(System)));
        Ok(self.0.get_or_init(|| client_over(tls)))
    }
}

impl Transport for Guarded {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let client = self
                .client()
                .map_err(|error| TransportError::NeverSent(error.into()))?;
            ask(client, request).await
        })
    }
}

fn client_over<C: Connect + Clone>(connector: C) -> Client<C, Body> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector)
}

async fn ask<C: Connect + Clone + Send + Sync + 'static>(
    client: &Client<C, Body>,
    request: Request<Body>,
) -> Result<Response<Body>, TransportError> {
    let response = client.request(request).await.map_err(|error| {
        if error.is_connect() {
            TransportError::NeverSent(error.into())
        } else {
            TransportError::Interrupted(error.into())
        }
    })?;
    Ok(response.map(|body| body.map_err(BoxError::from).boxed()))
}
