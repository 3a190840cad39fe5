//! A proxy on loopback for tests. It records every request that it receives.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    environment::{VariableError, Variables},
    proxies::Proxies,
};

/// The reaction to one request.
pub enum Reply {
    /// Connects the client to this address, as `CONNECT` requests.
    Tunnel(SocketAddr),
    /// Sends these bytes and closes the connection.
    Response(String),
}

/// A running proxy.
pub struct FakeProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeProxy {
    /// Starts a proxy that answers each request with `reply`, given the head of the request. A body
    /// has arrived in whole before it replies.
    ///
    /// # Errors
    /// When it can't listen on a loopback port.
    pub async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::default());
        let (reply, recorded) = (Arc::new(reply), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (reply, recorded) = (Arc::clone(&reply), Arc::clone(&recorded));
                tokio::spawn(async move { serve(client, &*reply, &recorded).await });
            }
        });
        Ok(Self { address, requests })
    }

    /// Starts a proxy that refuses every request.
    ///
    /// # Errors
    /// When it can't listen on a loopback port.
    pub async fn refusing() -> io::Result<Self> {
        let refusal = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        Self::start(move |_| Reply::Response(refusal.to_owned())).await
    }

    /// The settings that send all requests to this proxy, except those to the hosts in `no_proxy`.
    ///
    /// # Errors
    /// Never: the address of a running proxy is valid.
    pub fn proxies(&self, no_proxy: &str) -> Result<Proxies, VariableError> {
        let address = format!("http://user:secret@{}", self.address);
        let variables: Variables = [
            ("HTTPS_PROXY", address.as_str()),
            ("HTTP_PROXY", &address),
            ("NO_PROXY", no_proxy),
        ]
        .into_iter()
        .collect();
        Proxies::from_variables(&variables)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request lines so far, such as `CONNECT a.example:443 HTTP/1.1`.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves one request of a connection.
async fn serve(
    mut client: TcpStream,
    reply: &(impl Fn(&str) -> Reply + ?Sized),
    recorded: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut received = Vec::new();
    let end = loop {
        if client.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    recorded
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(line);

    match reply(&head) {
        Reply::Tunnel(address) => {
            let mut server = TcpStream::connect(address).await?;
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Reply::Response(response) => {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse().ok())?
            });
            let whole = end + 4 + length.unwrap_or(0_usize);
            while received.len() < whole && client.read_buf(&mut received).await? > 0 {}
            client.write_all(response.as_bytes()).await?;
            client.shutdown().await?;
        }
    }
    Ok(())
}
