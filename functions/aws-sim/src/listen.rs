//! A stand-in on a loopback port, for clients that need a socket: HTTP/1.1, without TLS.
//!
//! Requests that a web page makes in a browser are refused before anything else is looked at.

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

/// How long exchanges under way may take when the service is ended.
const GRACE: Duration = Duration::from_secs(5);

/// How long to leave it when no connection can be accepted, as when there are too many.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How much of a body that nobody wants is read.
const DISCARDED_BYTES: usize = 1 << 20;

/// A loopback port. Connections wait from the moment it is there; [`Listener::serve`] answers them.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// The same port of `::1`, which some clients try alone for `localhost` and
    /// `<bucket>.localhost`. There is none on machines without IPv6, and where another program has
    /// it.
    also: Option<TcpListener>,
    port: u16,
}

impl Listener {
    /// Takes a port of 127.0.0.1, and if it can that of `::1`; any free one for port 0.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = socket.local_addr()?.port();
        let also = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
        Ok(Self { socket, also, port })
    }

    /// The base URL, e.g. `http://127.0.0.1:9000`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Has `service` answer, until `stopped` is true or gone; exchanges that are under way then may
    /// end.
    ///
    /// Where the service gives no answer, the connection is closed without one.
    pub async fn serve(self, service: Arc<dyn Transport>, stopped: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut told = stopped.clone();
        loop {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Ok(stream) => {
                        let guard = Guard { port: self.port };
                        connections.spawn(exchange(stream, guard, Arc::clone(&service), stopped.clone()));
                    }
                    Err(_) => tokio::time::sleep(EXHAUSTED).await,
                },
                Some(_) = connections.join_next() => {}
                () = is_stopped(&mut told) => break,
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        // What takes longer is cut off as the set is dropped.
        let _ = tokio::time::timeout(GRACE, all).await;
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<TcpStream> {
        let accepted = match &self.also {
            Some(also) => tokio::select! {
                accepted = self.socket.accept() => accepted,
                accepted = also.accept() => accepted,
            },
            None => self.socket.accept().await,
        };
        accepted.map(|(stream, _)| stream)
    }
}

/// All exchanges of one connection.
async fn exchange(
    stream: TcpStream,
    guard: Guard,
    service: Arc<dyn Transport>,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are short, and somebody waits for them.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request: hyper::Request<Incoming>| async {
        let (left, unread) = oneshot::channel();
        let request = request.map(|body| {
            Lent {
                body: Some(body),
                left: Some(left),
            }
            .map_err(BoxError::from)
            .boxed()
        });
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
    // A connection that breaks off, or is not answered, is the caller's to notice.
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = is_stopped(&mut stopped) => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A request's body that comes back when the service has done with it.
struct Lent {
    body: Option<Incoming>,
    left: Option<oneshot::Sender<Incoming>>,
}

impl Body for Lent {
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

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(left)) = (self.body.take(), self.left.take()) {
            // Nobody waits for it once the connection is gone.
            let _ = left.send(body);
        }
    }
}

/// Reads what a service left of a body that it refused: else the connection would be closed,
/// perhaps before its client knows, who would then lose the next request on it. A large rest is not
/// worth it.
async fn discard(mut body: Incoming) {
    let mut left = DISCARDED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
            break;
        };
        left = rest;
    }
}

/// PollBackoff until `stopped` is true or gone.
pub async fn is_stopped(stopped: &mut watch::Receiver<bool>) {
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

    /// Answers with the request's path once it is let go, and not at all to `/lost`.
    struct Paths(Arc<Notify>);

    impl Transport for Paths {
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
            tokio::spawn(listener.serve(Arc::new(Paths(Arc::clone(&let_go))), stop.subscribe()));
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
    async fn answer_that_is_lost_closes_the_connection_without_one() {
        let mut served = served().await;
        ask(&mut served.stream, "/lost").await;
        served.let_go.notify_one();
        let mut answer = Vec::new();
        served.stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test]
    async fn exchange_under_way_ends_before_the_service_does() {
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
    async fn body_that_nobody_read_does_not_cost_the_connection() {
        let mut served = served().await;
        let host = served.stream.peer_addr().unwrap();
        let head = format!("POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\n");
        served.stream.write_all(head.as_bytes()).await.unwrap();
        served.let_go.notify_one();
        // The answer is decided before the body comes.
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
    async fn both_loopback_addresses_are_served_where_there_are_two() {
        let listener = Listener::bind(0).await.unwrap();
        let (has_both, port) = (listener.also.is_some(), listener.port);
        let (let_go, stop) = (Arc::new(Notify::new()), watch::Sender::new(false));
        let serving =
            tokio::spawn(listener.serve(Arc::new(Paths(Arc::clone(&let_go))), stop.subscribe()));
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
    async fn port_in_use_is_refused() {
        let first = Listener::bind(0).await.unwrap();
        assert_eq!(
            Listener::bind(first.port).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(first.url(), format!("http://127.0.0.1:{}", first.port));
    }
}
