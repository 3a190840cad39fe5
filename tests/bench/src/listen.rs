//! HTTP/1.1, over TLS or plain, for a service. Sockets are read in large pieces, because slow
//! services would distort the measurement.

use std::{net::Ipv4Addr, sync::Arc};

use http::Request;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use seam::transport::{BoxError, Transport};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// The number of bytes to read from a socket at once.
const READ_BYTES: usize = 256 << 10;

/// Listens on a free port of loopback. Returns the port.
pub(crate) async fn listen(
    tls: Option<TlsAcceptor>,
    service: Arc<dyn Transport>,
) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, tls.clone(), Arc::clone(&service)));
        }
    });
    Ok(port)
}

/// Serves a connection.
async fn converse(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: Arc<dyn Transport>,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let stream = BufReader::with_capacity(READ_BYTES, stream);
    match tls {
        Some(tls) => answer(tls.accept(stream).await?, service).await,
        None => answer(stream, service).await,
    }
}

/// Responds to the requests of a connection until the client disconnects or the service fails.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<dyn Transport>,
) -> Result<(), BoxError> {
    let answer = service_fn(|request: Request<Incoming>| {
        let service = Arc::clone(&service);
        async move {
            service
                .send(request.map(|body| body.map_err(BoxError::from).boxed()))
                .await
        }
    });
    Ok(http1::Builder::new()
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(stream), answer)
        .await?)
}
