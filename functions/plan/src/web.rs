//! Reference pictures from the web, for manifests whose references are `https://` addresses.
//!
//! The author of a manifest chooses what is fetched, and a function can reach more than its author.
//! Therefore a fetch is restricted:
//!
//! - Only `https` on port 443, and only public IP addresses. The address is checked when the
//!   connection is made; see [`seam::guarded`].
//! - No redirect is followed.
//! - The request carries no credentials and no cookies.
//! - The size and the time are limited.
//!
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` apply. A proxy resolves the names of the hosts behind
//! it, so only IP addresses and local names can be checked here. An operator who configures a proxy
//! chooses what it may reach, and must keep it from reaching private networks.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH},
};
use seam::{
    guarded::{Guarded, Refused},
    proxies::Proxies,
    transport::{ReadBodyError, Transport, TransportError, empty, read_body},
};
use tokio::time::timeout;
use url::{Position, Url};

/// How long one picture may take, from the look-up of its host to its last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches pictures.
#[derive(Clone)]
pub struct Web {
    transport: Arc<dyn Transport>,
    timeout: Duration,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why a picture was not fetched. It contains no URL, because a URL may contain a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The address is not allowed: another scheme or port, credentials, or no public IP address.
    #[error("{0}")]
    Refused(String),
    /// The host answers with a redirect, which is not followed.
    #[error("its host redirects to another address (status {0}), and redirects are not followed")]
    Redirected(u16),
    /// The host has no such picture.
    #[error("its host does not have it (status {0})")]
    Missing(u16),
    /// The host requires credentials, or rejects the request for another reason.
    #[error("its host refuses it (status {0})")]
    Forbidden(u16),
    /// The picture exceeds the limit.
    #[error("it has more than {max_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max_bytes: u64,
    },
    /// A later attempt may succeed: no connection, a host that fails or is busy, or no complete
    /// response in time.
    #[error("{0}")]
    Unreachable(String),
}

impl Web {
    /// Fetches over the machine's network, through these proxies.
    pub fn over_https(proxies: Proxies) -> Self {
        Self::over(Arc::new(Guarded::new(proxies)))
    }

    /// Fetches through `transport`, without the checks of IP addresses.
    pub fn over(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            timeout: FETCH_TIMEOUT,
        }
    }

    /// Fetches the content of `url`, at most `max_bytes` long. The host's content type is ignored.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn fetch(&self, url: &Url, max_bytes: u64) -> Result<Bytes, WebError> {
        if url.scheme() != "https" || url.port().is_some() {
            return Err(WebError::Refused(Refused::Scheme.to_string()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebError::Refused(
                "its address contains a user name or a password".to_owned(),
            ));
        }
        let timed_out =
            || WebError::Unreachable(format!("it did not arrive within {:?}", self.timeout));
        timeout(self.timeout, self.exchange(url, max_bytes))
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    async fn exchange(&self, url: &Url, max_bytes: u64) -> Result<Bytes, WebError> {
        // The fragment of an address is not sent to its host.
        let request = Request::get(&url[..Position::AfterQuery])
            .header(ACCEPT, HeaderValue::from_static("image/*"))
            .body(empty())
            .map_err(|_| WebError::Refused("its address is not valid".to_owned()))?;
        let response = self
            .transport
            .send(request)
            .await
            .map_err(|error| failed(&error))?;
        check(response.status())?;

        // A body that is announced as too large is not read at all.
        let too_large = Err(WebError::TooLarge { max_bytes });
        let length = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > max_bytes) {
            return too_large;
        }

        // The announced length may be missing or wrong, so the bytes are counted as well.
        match read_body(response.into_body(), max_bytes).await {
            Ok(bytes) => Ok(bytes),
            Err(ReadBodyError::TooLarge) => too_large,
            Err(ReadBodyError::Interrupted(_)) => Err(WebError::Unreachable(
                "its host broke off the transfer".to_owned(),
            )),
        }
    }
}

/// Accepts status 200 and sorts the others by what the author of the manifest can do.
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
            "its host answers with the unexpected status {code}"
        ))),
    }
}

/// Translates a request without a response. A refusal of the address is somewhere in the chain of
/// sources, below those of the HTTP client.
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
        TransportError::Interrupted(_) => "its host closed the connection".to_owned(),
    })
}
