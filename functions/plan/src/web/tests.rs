use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Mutex,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{guarded::Network, *};

const PUBLIC: &str = "93.184.215.14";

/// Answers names with what each look-up should find, and leads every connection to one listener.
struct Stage {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    dialled: Mutex<Vec<SocketAddr>>,
    listener: SocketAddr,
}

impl Network for Stage {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.answers.lock().unwrap().pop_front().unwrap(),
        };
        Box::pin(async move { Ok(found) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialled.lock().unwrap().push(address);
        Box::pin(TcpStream::connect(self.listener))
    }
}

/// The client without TLS: what a connection leads to is the same.
struct Plain(Client<Connector, Body>);

impl Transport for Plain {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(ask(&self.0, request))
    }
}

/// A host that answers each connection with `reply`, and the requests it got.
async fn host(
    reply: impl Into<Vec<u8>>,
    answers: &[&[&str]],
) -> (Web, Arc<Stage>, Arc<Mutex<Vec<String>>>) {
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
    let (answers, dialled) = (Mutex::new(answers), Mutex::default());
    let stage = Arc::new(Stage {
        answers,
        dialled,
        listener: listener.local_addr().unwrap(),
    });
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (reply, seen) = (reply.into(), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n")
                && stream.read_buf(&mut request).await.unwrap() > 0
            {}
            seen.lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            // Who has heard enough hangs up.
            let _ = stream.write_all(&reply).await;
            if !reply.ends_with(b"...") {
                let _ = stream.shutdown().await;
            } else {
                std::future::pending::<()>().await;
            }
        }
    });
    let web = Web::over(Arc::new(Plain(client_over(guarded::connector(
        Arc::clone(&stage) as Arc<dyn Network>,
    )))));
    (web, stage, requests)
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
async fn a_public_host_is_asked_without_anything_that_proves_who_asks() {
    let (web, stage, requests) = host(ok("picture"), &[&[PUBLIC]]).await;
    let fetched = web
        .fetch(&url("https://pictures.example/a%20b.png?v=1#part"), 10)
        .await
        .unwrap();
    assert_eq!(fetched, "picture");
    assert_eq!(
        *stage.dialled.lock().unwrap(),
        [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]
    );
    let request = requests.lock().unwrap()[0].to_lowercase();
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
async fn a_name_that_is_bound_anew_between_two_looks_leads_nowhere() {
    let (web, stage, _) = host(
        ok("picture"),
        &[
            &[PUBLIC],
            &["127.0.0.1"],
            &["::ffff:10.0.0.1", "fd00:ec2::254"],
        ],
    )
    .await;
    let address = url("https://rebound.example/x.png");
    web.fetch(&address, 10).await.unwrap();
    for _ in 0..2 {
        let refused = WebError::Refused("its host has no public address".to_owned());
        assert_eq!(web.fetch(&address, 10).await.unwrap_err(), refused);
    }
    let dialled = stage.dialled.lock().unwrap();
    assert!(
        dialled
            .iter()
            .all(|address| address.ip().to_string() == PUBLIC)
            && dialled.len() == 1,
        "{dialled:?}"
    );
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_public_address_is_connected_to() {
    let (web, stage, _) = host(ok("picture"), &[&["169.254.169.254", "10.0.0.1", PUBLIC]]).await;
    web.fetch(&url("https://mixed.example/x.png"), 10)
        .await
        .unwrap();
    assert_eq!(
        *stage.dialled.lock().unwrap(),
        [SocketAddr::new(PUBLIC.parse().unwrap(), 443)]
    );
}

#[tokio::test]
async fn an_address_in_place_of_a_name_is_refused_as_well_however_it_is_written() {
    let (web, stage, _) = host(ok("secret"), &[]).await;
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
        let error = web.fetch(&url(text), 10).await.unwrap_err();
        assert_eq!(
            error,
            WebError::Refused("its host has no public address".to_owned()),
            "{text}"
        );
    }
    assert!(stage.dialled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn no_other_scheme_or_port_and_no_credentials_are_sent() {
    let (web, stage, _) = host(ok("secret"), &[]).await;
    for text in [
        "http://pictures.example/x.png",
        "https://pictures.example:8443/x.png",
        "https://user:pw@pictures.example/x.png",
        "https://user@pictures.example/x.png",
        "file:///etc/passwd",
    ] {
        let error = web.fetch(&url(text), 10).await.unwrap_err();
        assert!(
            matches!(&error, WebError::Refused(_)) && !error.to_string().contains("pw"),
            "{text}: {error}"
        );
    }
    assert!(stage.dialled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_connection_itself_refuses_another_scheme_or_port() {
    let (_, stage, _) = host(ok("secret"), &[]).await;
    let client = client_over(guarded::connector(Arc::clone(&stage) as Arc<dyn Network>));
    for text in [
        "http://pictures.example/x.png",
        "https://pictures.example:9001/x.png",
    ] {
        let error = ask(&client, Request::get(text).body(empty()).unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            failed(&error),
            WebError::Refused("only https on port 443 is fetched".to_owned()),
            "{text}"
        );
    }
    assert!(stage.dialled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\n\r\n";
    let (web, stage, requests) = host(reply, &[&[PUBLIC]]).await;
    let error = web
        .fetch(&url("https://pictures.example/x.png"), 10)
        .await
        .unwrap_err();
    assert_eq!(error, WebError::Redirected(302));
    assert_eq!(
        (
            stage.dialled.lock().unwrap().len(),
            requests.lock().unwrap().len()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn too_many_bytes_are_not_read_whether_announced_or_not() {
    let unannounced = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345678901";
    // The announced body never comes: nobody waits for it.
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n...";
    for reply in [unannounced, announced] {
        let (web, _, _) = host(reply, &[&[PUBLIC]]).await;
        let error = web
            .fetch(&url("https://pictures.example/x.png"), 10)
            .await
            .unwrap_err();
        assert_eq!(error, WebError::TooLarge { most: 10 });
    }
}

#[tokio::test]
async fn a_host_that_trickles_is_left_in_time() {
    let (web, _, _) = host(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n...",
        &[&[PUBLIC]],
    )
    .await;
    let web = Web {
        time: Duration::from_millis(50),
        ..web
    };
    let error = web
        .fetch(&url("https://pictures.example/x.png"), 10)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        WebError::Unreachable("it did not come within 50ms".to_owned())
    );
}

#[tokio::test]
async fn what_breaks_off_is_no_picture() {
    let (web, _, _) = host(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        &[&[PUBLIC]],
    )
    .await;
    let error = web
        .fetch(&url("https://pictures.example/x.png?signature=canary"), 10)
        .await
        .unwrap_err();
    assert!(matches!(&error, WebError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn a_status_tells_what_a_person_may_do() {
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
        let (web, _, _) = host(
            format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"),
            &[&[PUBLIC]],
        )
        .await;
        assert_eq!(
            web.fetch(&url("https://pictures.example/x.png"), 10)
                .await
                .unwrap_err(),
            expected
        );
    }
}
