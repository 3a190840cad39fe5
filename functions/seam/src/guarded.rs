//! Connections to public addresses only.
//!
//! A name can resolve to a different address at each lookup. Checking a name first and connecting
//! to it later would leave a gap between the two, so the check is in the lookup of the connection
//! itself: [`PublicOnly`] returns no address that is not public. A host that is written as an IP
//! address is not looked up, so [`Guarded`] checks it before it sends the request.
//!
//! A proxy looks names up itself, and these checks cannot reach it. For a request that goes through
//! a proxy, [`Guarded`] still refuses IP addresses that are not public and names that mean this
//! machine. Everything else is for the proxy to filter.

mod address;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Request, Response, Uri};
use tokio::net::lookup_host;
use url::{Host, Url};

use self::address::is_public;
use crate::{
    https::{
        HttpsTransport,
        dns::{Addrs, Name, Resolve, Resolving},
    },
    proxies::Proxies,
    transport::{Body, BoxFuture, Transport, TransportError},
};

/// The only port that is connected to.
const PORT: u16 = 443;

/// An address that is never connected to.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another scheme or port.
    #[error("only https on port 443 is fetched")]
    Scheme,
    /// No public address.
    #[error("its host has no public address")]
    Address,
}

/// Sends requests to public hosts, and to proxies where the operator configured some.
pub struct Guarded {
    /// Connects to public addresses.
    direct: Arc<dyn Transport>,
    /// Connects to proxies. It has its own client, because a proxy may have a private address.
    proxied: Arc<dyn Transport>,
    proxies: Proxies,
}

impl Guarded {
    /// The machine's own network, behind these proxies.
    pub fn new(proxies: Proxies) -> Self {
        let resolver = Arc::new(PublicOnly(System));
        Self {
            direct: Arc::new(HttpsTransport::with_resolver(resolver)),
            proxied: Arc::new(HttpsTransport::new(proxies.clone())),
            proxies,
        }
    }

    /// The same checks in front of a stand-in for the direct connections.
    pub fn over(direct: Arc<dyn Transport>) -> Self {
        Self {
            direct,
            ..Self::new(Proxies::default())
        }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

impl Transport for Guarded {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let is_proxied = self.proxies.intercept(request.uri());
        if let Err(refused) = check(request.uri(), is_proxied) {
            return Box::pin(async { Err(TransportError::NeverSent(refused.into())) });
        }
        if is_proxied {
            self.proxied.send(request)
        } else {
            self.direct.send(request)
        }
    }
}

/// Refuses what is wrong by the address alone.
fn check(uri: &Uri, is_proxied: bool) -> Result<(), Refused> {
    // The client parses the address in the same way, which accepts several notations of an IPv4
    // address.
    let url = Url::parse(&uri.to_string()).map_err(|_| Refused::Address)?;
    if url.scheme() != "https" || url.port().is_some() {
        return Err(Refused::Scheme);
    }
    let is_allowed = match url.host() {
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        Some(Host::Domain(name)) => !is_proxied || !is_local_name(name),
        None => false,
    };
    is_allowed.then_some(()).ok_or(Refused::Address)
}

/// Whether a name means this machine, or one in its local network, by RFC 6761, RFC 6762 and
/// ICANN's reservation of `.internal`, or is a single label, which only a local network resolves.
fn is_local_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.rsplit_once('.') {
        Some((_, suffix)) => matches!(suffix, "localhost" | "local" | "internal"),
        None => true,
    }
}

/// Finds the addresses of a name.
pub trait Lookup: Clone + Send + Sync + 'static {
    /// All addresses of `host`, public or not.
    fn lookup(&self, host: String) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The machine's own resolver.
#[derive(Clone)]
struct System;

impl Lookup for System {
    async fn lookup(&self, host: String) -> io::Result<Vec<IpAddr>> {
        let found = lookup_host((host, PORT)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// A resolver that returns public addresses only.
pub struct PublicOnly<L>(pub L);

impl<L: Lookup> Resolve for PublicOnly<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.0.clone();
        Box::pin(async move {
            let found = lookup.lookup(name.as_str().to_owned()).await?;
            let public: Vec<_> = found
                .into_iter()
                .filter(|address| is_public(*address))
                .map(|address| SocketAddr::new(address, PORT))
                .collect();
            if public.is_empty() {
                return Err(Refused::Address.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_a_local_network_resolves_are_refused_behind_a_proxy() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "printer.local",
            "metadata.google.internal",
            "intranet",
        ] {
            let uri: Uri = format!("https://{host}/x.png").parse().unwrap();
            assert!(check(&uri, true).is_err(), "{host}");
            assert!(check(&uri, false).is_ok(), "{host}: its lookup decides");
        }
        for host in ["pictures.example", "internal.example", "8.8.8.8"] {
            let uri: Uri = format!("https://{host}/x.png").parse().unwrap();
            assert!(check(&uri, true).is_ok(), "{host}");
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_refused_behind_a_proxy_too() {
        for host in ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"] {
            let uri: Uri = format!("https://{host}/x.png").parse().unwrap();
            assert!(check(&uri, true).is_err(), "{host}");
            assert!(check(&uri, false).is_err(), "{host}");
        }
    }
}
