//! Connections to public addresses only.
//!
//! What counts is the address that is connected to, not the name that was written: a name may lead
//! elsewhere each time it is looked up. So each connection looks its name up once, and goes to one
//! of the addresses that it got and found to be public. A host that is written as an address goes
//! the same way.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
use seam::transport::{BoxError, BoxFuture};
use tokio::net::{TcpStream, lookup_host};
use tower::{service_fn, util::BoxCloneSyncService};

use super::address::is_public;

/// The one port of `https`.
const PORT: u16 = 443;

/// From an address to an open connection.
pub(super) type Connector = BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError>;

/// Names and connections, as the machine has them.
pub(super) trait Network: Send + Sync + 'static {
    /// The addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// A connection to an address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// The machine's own network.
#[derive(Debug)]
pub(super) struct System;

impl Network for System {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            Ok(lookup_host((host, PORT))
                .await?
                .map(|address| address.ip())
                .collect())
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// An address that nobody is to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Another scheme or port.
    #[error("only https on port 443 is fetched")]
    Scheme,
    /// No public address.
    #[error("its host has no public address")]
    Address,
}

/// Connects through `network`, to public addresses and port 443 alone.
pub(super) fn connector(network: Arc<dyn Network>) -> Connector {
    Connector::new(service_fn(move |uri: Uri| {
        let network = Arc::clone(&network);
        async move { connect(&*network, &uri).await.map(TokioIo::new) }
    }))
}

async fn connect(network: &dyn Network, uri: &Uri) -> Result<TcpStream, BoxError> {
    if uri.scheme() != Some(&Scheme::HTTPS) || uri.port_u16().is_some_and(|port| port != PORT) {
        return Err(Refused::Scheme.into());
    }
    let host = uri.host().unwrap_or_default();
    // An IPv6 address stands in brackets.
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let mut failed: BoxError = Refused::Address.into();
    for address in network
        .resolve(host)
        .await?
        .into_iter()
        .filter(|address| is_public(*address))
    {
        match network.connect(SocketAddr::new(address, PORT)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}
