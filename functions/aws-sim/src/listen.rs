//! Serves a stand-in on a loopback port, for clients that need a socket: HTTP/1.1, without TLS.
//!
//! Requests from web pages in a browser are refused before anything else is examined.

mod guard;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use seam::transport::{BoxError, Transport};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
};

use self::guard::Guard;
pub(crate) use self::guard::forbidden;

/// How long active exchanges may take after the service was stopped.
const GRACE: Duration = Duration::from_secs(5);

/// The pause after a failed accept, for example when too many files are open.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How much of an unread body is read and discarded, in bytes.
const MAX_DISCARDED_BYTES: usize = 1 << 20;

/// A loopback port. Connections can be made once it exists, and wait until [`Listener::serve`]
/// answers them.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// The same port of `::1`, which some clients use exclusively for `localhost` and
    /// `<bucket>.localhost`. None on machines without IPv6, and if another program uses the port.
    ipv6: Option<TcpListener>,
    port: u16,
}

impl Listener {
    /// Binds a port of 127.0.0.1, and of `::1` if possible. Port 0 selects any free port.
    ///
    /// # Errors
    /// Returns the operating system's error if the port is in use.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = socket.local_addr()?.port();
        let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
        Ok(Self { socket, ipv6, port })
    }

    /// Returns the base URL, such as `http://127.0.0.1:9000`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Serves requests with `service` until `stopped` is true or its sender is dropped. Active
    /// exchanges may then complete within a grace period of a few seconds.
    ///
    /// If the service fails to answer, the connection is closed without an answer.
    pub async fn serve(self, service: Arc<dyn Transport>, stopped: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut stop_signal = stopped.clone();
        loop {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Ok(stream) => {
                        let guard = Guard { port: self.port };
                        connections.spawn(serve_connection(stream, guard, Arc::clone(&service), stopped.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
                },
                Some(_) = connections.join_next() => {}
                () = wait_until_stopped(&mut stop_signal) => break,
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        // Dropping the set aborts the connections that take longer.
        let _ = tokio::time::timeout(GRACE, all).await;
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<TcpStream> {
        let accepted = match &self.ipv6 {
            Some(ipv6) => tokio::select! {
                accepted = self.socket.accept() => accepted,
                accepted = ipv6.accept() => accepted,
            },
            None => self.socket.accept().await,
        };
        accepted.map(|(stream, _)| stream)
    }
}

/// Serves all exchanges of one connection.
async fn serve_connection(
    stream: TcpStream,
    guard: Guard,
    service: Arc<dyn Transport>,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are short and the client waits for them, so they are sent without delay.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request: hyper::Request<Incoming>| async {
        let (returned, unread) = oneshot::channel();
        let request = request.map(|body| {
            ReturnableBody {
                body: Some(body),
                returned: Some(returned),
            }
            .map_err(BoxError::from)
            .boxed()
        });
        // The guard runs before the service, which never receives a refused request.
        let answer = match guard.refuse(&request) {
            Some(refusal) => {
                drop(request);
                Ok(refusal)
            }
            None => service.send(request).await,
        };
        if let Ok(body) = unread.await {
            discard(body).await;
        }
        answer
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // The client notices a connection that breaks or stays unanswered, so the error is dropped.
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = wait_until_stopped(&mut stopped) => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A request's body that is returned for draining when the service drops it.
struct ReturnableBody {
    body: Option<Incoming>,
    returned: Option<oneshot::Sender<Incoming>>,
}

impl Body for ReturnableBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.body
            .as_mut()
            .map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ReturnableBody {
    fn drop(&mut self) {
        if let (Some(body), Some(returned)) = (self.body.take(), self.returned.take()) {
            // The receiver is gone if the connection has closed.
            let _ = returned.send(body);
        }
    }
}

/// Reads the rest of a body that the service did not read. Otherwise the connection would be
/// closed, possibly before its client notices, and the client's next request on it would be lost. A
/// large rest is not worth reading.
async fn discard(mut body: Incoming) {
    let mut budget = MAX_DISCARDED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = budget.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
            break;
        };
        budget = rest;
    }
}

/// Waits until `stopped` is true or its sender is dropped.
pub async fn wait_until_stopped(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::{Request, Response};
    use seam::transport::{Body, BoxFuture, TransportError, full};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;

    /// Returns the request's path after a notification, and fails for `/lost`.
    struct PathEcho(Arc<Notify>);

    impl Transport for PathEcho {
        fn send(
            &self,
            request: Request<Body>,
        ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
            Box::pin(async move {
                self.0.notified().await;
                match request.uri().path() {
                    "/lost" => Err(TransportError::Interrupted("lost".into())),
                    path => Ok(Response::new(full(path.to_owned()))),
                }
            })
        }
    }

    struct Served {
        let_go: Arc<Notify>,
        stop: watch::Sender<bool>,
        stream: TcpStream,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn served() -> Served {
        let listener = Listener::bind(0).await.unwrap();
        let stream = TcpStream::connect(("127.0.0.1", listener.port))
            .await
            .unwrap();
        let (let_go, stop) = (Arc::new(Notify::new()), watch::Sender::new(false));
        let serving =
            tokio::spawn(listener.serve(Arc::new(PathEcho(Arc::clone(&let_go))), stop.subscribe()));
        Served {
            let_go,
            stop,
            stream,
            serving,
        }
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        let host = stream.peer_addr().unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_failed_answer_closes_the_connection() {
        let mut served = served().await;
        ask(&mut served.stream, "/lost").await;
        served.let_go.notify_one();
        let mut answer = Vec::new();
        served.stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test]
    async fn an_active_exchange_completes_before_the_service_stops() {
        let mut served = served().await;
        ask(&mut served.stream, "/slow").await;
        let mut answer = vec![0; 4096];
        tokio::task::yield_now().await;
        served.stop.send_replace(true);
        served.let_go.notify_one();
        let read = served.stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("/slow"),
            "{answer}"
        );
        served.serving.await.unwrap();
    }

    #[tokio::test]
    async fn an_unread_body_keeps_the_connection_usable() {
        let mut served = served().await;
        let host = served.stream.peer_addr().unwrap();
        let head = format!("POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\n");
        served.stream.write_all(head.as_bytes()).await.unwrap();
        served.let_go.notify_one();
        // The service answers before the body arrives.
        while served.let_go.notified().now_or_never().is_some() {
            served.let_go.notify_one();
            tokio::task::yield_now().await;
        }
        served.stream.write_all(b"xyz").await.unwrap();
        let mut answer = vec![0; 4096];
        assert!(served.stream.read(&mut answer).await.unwrap() > 0);
        ask(&mut served.stream, "/b").await;
        served.let_go.notify_one();
        let read = served.stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).ends_with("/b"));
    }

    #[tokio::test]
    async fn both_loopback_addresses_are_served_if_available() {
        let listener = Listener::bind(0).await.unwrap();
        let (has_both, port) = (listener.ipv6.is_some(), listener.port);
        let (let_go, stop) = (Arc::new(Notify::new()), watch::Sender::new(false));
        let serving =
            tokio::spawn(listener.serve(Arc::new(PathEcho(Arc::clone(&let_go))), stop.subscribe()));
        for address in ["127.0.0.1", "::1"]
            .into_iter()
            .take(if has_both { 2 } else { 1 })
        {
            let mut stream = TcpStream::connect((address, port)).await.unwrap();
            stream
                .write_all(format!("GET /a HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let_go.notify_one();
            let mut answer = vec![0; 4096];
            let read = stream.read(&mut answer).await.unwrap();
            assert!(
                String::from_utf8_lossy(&answer[..read]).ends_with("/a"),
                "{address}"
            );
        }
        stop.send_replace(true);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused() {
        let first = Listener::bind(0).await.unwrap();
        assert_eq!(
            Listener::bind(first.port).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(first.url(), format!("http://127.0.0.1:{}", first.port));
    }
}
