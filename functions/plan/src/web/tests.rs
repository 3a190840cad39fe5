//! Pictures from the web: which addresses are connected to, and which transfers are refused.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Mutex,
};

use http::{Response, Uri};
use seam::{
    fake_proxy::FakeProxy,
    guarded::{Lookup, PublicOnly},
    https::{
        HttpsTransport,
        dns::{Addrs, Name, Resolve, Resolving},
    },
    transport::{Body, BoxFuture},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const PUBLIC: &str = "93.184.215.14";

/// The addresses of each lookup, in this order.
#[derive(Clone)]
struct Answers(Arc<Mutex<VecDeque<Vec<IpAddr>>>>);

impl Lookup for Answers {
    async fn lookup(&self, _host: String) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.lock().unwrap().pop_front().unwrap())
    }
}

/// Records the addresses that the client would connect to, and returns the address of one listener
/// instead.
struct Stage {
    resolver: PublicOnly<Answers>,
    dialed: Arc<Mutex<Vec<SocketAddr>>>,
    listener: SocketAddr,
}

impl Resolve for Stage {
    fn resolve(&self, name: Name) -> Resolving {
        let resolving = self.resolver.resolve(name);
        let (dialed, listener) = (Arc::clone(&self.dialed), self.listener);
        Box::pin(async move {
            let resolved = resolving.await?;
            dialed.lock().unwrap().extend(resolved);
            let addresses: Addrs = Box::new(std::iter::once(listener));
            Ok(addresses)
        })
    }
}

/// The client without TLS, which changes nothing about what it connects to.
struct Plain(HttpsTransport);

impl Transport for Plain {
    fn send(
        &self,
        mut request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let uri = request.uri().to_string().replacen("https:", "http:", 1);
        *request.uri_mut() = uri.parse::<Uri>().unwrap();
        self.0.send(request)
    }
}

/// A host that answers each connection with `reply`, with the addresses that were dialed and the
/// requests that the host received.
struct Host {
    guarded: Arc<Guarded>,
    dialed: Arc<Mutex<Vec<SocketAddr>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Host {
    async fn start(reply: impl Into<Vec<u8>>, answers: &[&[&str]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = answers
            .iter()
            .map(|found| {
                found
                    .iter()
                    .map(|address| address.parse().unwrap())
                    .collect()
            })
            .collect();
        let dialed = Arc::new(Mutex::default());
        let resolver = Arc::new(Stage {
            resolver: PublicOnly(Answers(Arc::new(Mutex::new(answers)))),
            dialed: Arc::clone(&dialed),
            listener: listener.local_addr().unwrap(),
        });

        let requests = Arc::new(Mutex::new(Vec::new()));
        let (reply, received) = (reply.into(), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut request).await.unwrap() > 0
                {}
                received
                    .lock()
                    .unwrap()
                    .push(String::from_utf8(request).unwrap());
                // The client may close the connection before the whole reply is written.
                let _ = stream.write_all(&reply).await;
                if !reply.ends_with(b"...") {
                    let _ = stream.shutdown().await;
                } else {
                    std::future::pending::<()>().await;
                }
            }
        });
        let plain = Plain(HttpsTransport::with_resolver(resolver));
        Self {
            guarded: Arc::new(Guarded::over(Arc::new(plain))),
            dialed,
            requests,
        }
    }

    fn web(&self) -> Web {
        Web::over(Arc::clone(&self.guarded) as _)
    }

    fn dialed(&self) -> Vec<SocketAddr> {
        self.dialed.lock().unwrap().clone()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_request_to_a_public_host_carries_no_credentials_and_no_cookies() {
    let host = Host::start(ok("picture"), &[&[PUBLIC]]).await;
    let fetched = host
        .web()
        .fetch(&url("https://pictures.example/a%20b.png?v=1#part"), 10)
        .await
        .unwrap();
    assert_eq!(fetched, "picture");
    assert_eq!(
        host.dialed(),
        [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]
    );
    let request = host.requests()[0].to_lowercase();
    assert!(
        request.starts_with("get /a%20b.png?v=1 http/1.1\r\n"),
        "{request}"
    );
    let mut names: Vec<&str> = request
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "user-agent"]);
}

#[tokio::test]
async fn a_name_that_resolves_to_another_address_later_is_checked_again() {
    let host = Host::start(
        ok("picture"),
        &[
            &[PUBLIC],
            &["127.0.0.1"],
            &["::ffff:10.0.0.1", "fd00:ec2::254"],
        ],
    )
    .await;
    let address = url("https://rebound.example/x.png");
    host.web().fetch(&address, 10).await.unwrap();
    for _ in 0..2 {
        let refused = WebError::Refused("its host has no public address".to_owned());
        assert_eq!(host.web().fetch(&address, 10).await.unwrap_err(), refused);
    }
    let dialed = host.dialed();
    assert!(
        dialed
            .iter()
            .all(|address| address.ip().to_string() == PUBLIC)
            && dialed.len() == 1,
        "{dialed:?}"
    );
}

#[tokio::test]
async fn only_the_public_addresses_of_a_name_are_connected_to() {
    let host = Host::start(ok("picture"), &[&["169.254.169.254", "10.0.0.1", PUBLIC]]).await;
    host.web()
        .fetch(&url("https://mixed.example/x.png"), 10)
        .await
        .unwrap();
    assert_eq!(
        host.dialed(),
        [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]
    );
}

#[tokio::test]
async fn a_private_ip_address_is_refused_in_every_notation() {
    let host = Host::start(ok("secret"), &[]).await;
    for text in [
        "https://127.0.0.1/x.png",
        "https://2130706433/x.png",
        "https://0x7f.1/x.png",
        "https://169.254.169.254/latest/meta-data/",
        "https://169.254.100.1/2018-06-01/runtime/invocation/next",
        "https://[::1]/x.png",
        "https://[::ffff:169.254.169.254]/x.png",
        "https://[64:ff9b::a9fe:a9fe]/x.png",
        "https://[2002:7f00:1::]/x.png",
        "https://0.0.0.0/x.png",
    ] {
        let error = host.web().fetch(&url(text), 10).await.unwrap_err();
        assert_eq!(
            error,
            WebError::Refused("its host has no public address".to_owned()),
            "{text}"
        );
    }
    assert!(host.dialed().is_empty());
}

#[tokio::test]
async fn another_scheme_or_port_or_credentials_are_refused() {
    let host = Host::start(ok("secret"), &[]).await;
    for text in [
        "http://pictures.example/x.png",
        "https://pictures.example:8443/x.png",
        "https://user:pw@pictures.example/x.png",
        "https://user@pictures.example/x.png",
        "file:///etc/passwd",
    ] {
        let error = host.web().fetch(&url(text), 10).await.unwrap_err();
        assert!(
            matches!(&error, WebError::Refused(_)) && !error.to_string().contains("pw"),
            "{text}: {error}"
        );
    }
    assert!(host.dialed().is_empty());
}

#[tokio::test]
async fn the_transport_itself_refuses_another_scheme_or_port() {
    let host = Host::start(ok("secret"), &[]).await;
    for text in [
        "http://pictures.example/x.png",
        "https://pictures.example:9001/x.png",
    ] {
        let error = host
            .guarded
            .send(Request::get(text).body(empty()).unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            failed(&error),
            WebError::Refused("only https on port 443 is fetched".to_owned()),
            "{text}"
        );
    }
    assert!(host.dialed().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\n\r\n";
    let host = Host::start(reply, &[&[PUBLIC]]).await;
    let error = host
        .web()
        .fetch(&url("https://pictures.example/x.png"), 10)
        .await
        .unwrap_err();
    assert_eq!(error, WebError::Redirected(302));
    assert_eq!((host.dialed().len(), host.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let unannounced = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345678901";
    // The announced body never arrives, and the client does not wait for it.
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n...";
    for reply in [unannounced, announced] {
        let host = Host::start(reply, &[&[PUBLIC]]).await;
        let error = host
            .web()
            .fetch(&url("https://pictures.example/x.png"), 10)
            .await
            .unwrap_err();
        assert_eq!(error, WebError::TooLarge { max_bytes: 10 });
    }
}

#[tokio::test]
async fn a_stalled_transfer_ends_at_the_time_limit() {
    let host = Host::start(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n...",
        &[&[PUBLIC]],
    )
    .await;
    let web = Web {
        timeout: Duration::from_millis(50),
        ..host.web()
    };
    let error = web
        .fetch(&url("https://pictures.example/x.png"), 10)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        WebError::Unreachable("it did not arrive within 50ms".to_owned())
    );
}

#[tokio::test]
async fn an_incomplete_transfer_is_an_error() {
    let host = Host::start(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        &[&[PUBLIC]],
    )
    .await;
    let error = host
        .web()
        .fetch(&url("https://pictures.example/x.png?signature=canary"), 10)
        .await
        .unwrap_err();
    assert!(matches!(&error, WebError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn each_status_maps_to_its_error() {
    for (status, expected) in [
        (404, WebError::Missing(404)),
        (410, WebError::Missing(410)),
        (401, WebError::Forbidden(401)),
        (403, WebError::Forbidden(403)),
        (
            429,
            WebError::Unreachable("its host answers with status 429".to_owned()),
        ),
        (
            503,
            WebError::Unreachable("its host answers with status 503".to_owned()),
        ),
    ] {
        let host = Host::start(
            format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"),
            &[&[PUBLIC]],
        )
        .await;
        assert_eq!(
            host.web()
                .fetch(&url("https://pictures.example/x.png"), 10)
                .await
                .unwrap_err(),
            expected
        );
    }
}

#[tokio::test]
async fn a_fetch_goes_through_the_proxy() {
    let proxy = FakeProxy::refusing().await.unwrap();
    let web = Web::over_https(proxy.proxies("").unwrap());
    let error = web
        .fetch(&url("https://pictures.example/x.png"), 10)
        .await
        .unwrap_err();
    assert!(matches!(error, WebError::Unreachable(_)), "{error:?}");
    assert_eq!(proxy.requests(), ["CONNECT pictures.example:443 HTTP/1.1"]);
}

#[tokio::test]
async fn without_the_setting_and_for_excluded_hosts_the_proxy_receives_nothing() {
    let proxy = FakeProxy::refusing().await.unwrap();
    for proxies in [Proxies::default(), proxy.proxies("localhost").unwrap()] {
        // The lookup of this host returns loopback addresses only.
        let error = Web::over_https(proxies)
            .fetch(&url("https://localhost/x.png"), 10)
            .await
            .unwrap_err();
        let refused = WebError::Refused("its host has no public address".to_owned());
        assert_eq!(error, refused);
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
}

#[tokio::test]
async fn a_private_address_or_a_local_name_is_not_fetched_through_the_proxy() {
    let proxy = FakeProxy::refusing().await.unwrap();
    let web = Web::over_https(proxy.proxies("").unwrap());
    for text in [
        "https://127.0.0.1/x.png",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/x.png",
        "https://localhost/x.png",
        "https://metadata.google.internal/x.png",
    ] {
        let error = web.fetch(&url(text), 10).await.unwrap_err();
        let refused = WebError::Refused("its host has no public address".to_owned());
        assert_eq!(error, refused, "{text}");
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
}
