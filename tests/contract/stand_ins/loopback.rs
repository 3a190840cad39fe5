//! Which requests the loopback ports answer, through real sockets.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_sdk_s3::{
    config::{BehaviorVersion, Region},
    presigning::PresigningConfig,
    primitives::ByteStream,
};
use aws_sim::{
    bucket::{Buckets, to_queues},
    credentials::Credentials,
    listen::Listener,
    queue::{QueueApi, QueueAttributes, Queues},
    signed::Signed,
    wire::Router,
};
use gemini_sim::{Gemini, Scenario};
use http::{Request, Response};
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};

const BUCKET: &str = "darkroom";

/// Counts the requests that reach the service.
struct Counting {
    service: Arc<dyn Transport>,
    through: Arc<AtomicUsize>,
}

impl Transport for Counting {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        self.through.fetch_add(1, Ordering::SeqCst);
        self.service.send(request)
    }
}

/// S3 and SQS on one port, and the simulated Gemini on another.
struct Ports {
    folder: TempDir,
    aws: u16,
    gemini: u16,
    credentials: Credentials,
    through: Arc<AtomicUsize>,
    queues: Arc<Queues>,
    _stop: watch::Sender<bool>,
    _serving: Vec<JoinHandle<()>>,
}

impl Ports {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, credentials) = (Clock::system(), Credentials::random().unwrap());
        let queues = Arc::new(Queues::open(folder.path().join("queues"), clock.clone()).unwrap());
        queues
            .create("manifests", QueueAttributes::default())
            .unwrap();
        let sink = to_queues(Arc::clone(&queues));
        let buckets =
            Buckets::open(folder.path(), clock.clone(), Vec::new(), sink, &credentials).unwrap();
        buckets.create(BUCKET).unwrap();
        let router = Router::new(
            Arc::new(buckets),
            Arc::new(QueueApi::new(Arc::clone(&queues))),
        );
        let signed = Signed::new(Arc::new(router), credentials.clone(), clock.clone());
        let gemini =
            Gemini::open(&folder.path().join("gemini"), clock, Scenario::default()).unwrap();

        let (through, stop) = (Arc::<AtomicUsize>::default(), watch::Sender::new(false));
        let (mut ports, mut serving) = (Vec::new(), Vec::new());
        for service in [Arc::new(signed) as Arc<dyn Transport>, Arc::new(gemini)] {
            let listener = Listener::bind(0).await.unwrap();
            ports.push(listener.url().rsplit(':').next().unwrap().parse().unwrap());
            let service = Arc::new(Counting {
                service,
                through: Arc::clone(&through),
            });
            serving.push(tokio::spawn(listener.serve(service, stop.subscribe())));
        }
        let [aws, gemini] = ports[..] else {
            unreachable!()
        };
        Self {
            folder,
            aws,
            gemini,
            credentials,
            through,
            queues,
            _stop: stop,
            _serving: serving,
        }
    }

    fn through(&self) -> usize {
        self.through.load(Ordering::SeqCst)
    }

    fn sdk_credentials(&self) -> aws_sdk_s3::config::Credentials {
        let (id, secret) = (
            self.credentials.access_key_id(),
            self.credentials.secret_access_key(),
        );
        aws_sdk_s3::config::Credentials::new(id, secret, None, None, "printed")
    }

    fn s3(
        &self,
        endpoint: &str,
        credentials: aws_sdk_s3::config::Credentials,
    ) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(endpoint)
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    fn sqs(&self, credentials: aws_sdk_s3::config::Credentials) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(format!("http://127.0.0.1:{}", self.aws));
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Asserts that no request has written an object or sent a message.
    fn assert_untouched(&self, what: &str) {
        assert_eq!(
            fs::read_dir(self.folder.path().join(BUCKET))
                .unwrap()
                .count(),
            0,
            "{what}: an object was written"
        );
        assert_eq!(
            self.queues.depth("manifests").unwrap().visible,
            0,
            "{what}: a message was sent"
        );
    }
}

/// Sends a request as given, with an additional header that closes the connection. Returns the
/// status and the whole answer.
async fn send(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}")),
        answer,
    )
}

#[tokio::test]
async fn requests_from_web_pages_reach_no_service() {
    let ports = Ports::open().await;
    for port in [ports.aws, ports.gemini] {
        let (other, own_host) = (port.wrapping_add(1), format!("Host: 127.0.0.1:{port}"));
        let get = "GET /darkroom?list-type=2 HTTP/1.1";
        for request in [
            // DNS rebinding: the name in the address bar resolves to this address.
            format!("{get}\r\nHost: evil.example:{port}\r\n\r\n"),
            format!("{get}\r\nHost: evil.example\r\n\r\n"),
            format!("{get}\r\nHost: EVIL.EXAMPLE:{port}\r\n\r\n"),
            format!("{get}\r\nHost: localhost.evil.example:{port}\r\n\r\n"),
            format!("{get}\r\nHost: 127.0.0.1:{other}\r\n\r\n"),
            format!("{get}\r\nHost: 127.0.0.1\r\n\r\n"),
            format!("{get}\r\nHost: [::2]:{port}\r\n\r\n"),
            format!("{get}\r\nHost: 0.0.0.0:{port}\r\n\r\n"),
            format!("{get}\r\nHost:\r\n\r\n"),
            // No `Host` header, and more than one.
            "GET /darkroom HTTP/1.0\r\n\r\n".to_owned(),
            format!("{get}\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nHost: evil.example:{port}\r\n\r\n"),
            format!("{get}\r\nHost: evil.example:{port}\r\n{own_host}\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\n{own_host}\r\n\r\n"),
            // The request target names another host than the header.
            format!("GET http://evil.example/darkroom HTTP/1.1\r\n{own_host}\r\n\r\n"),
            format!("GET http://evil.example:{port}/darkroom HTTP/1.1\r\n{own_host}\r\n\r\n"),
            format!("GET http://127.0.0.1:{port}/darkroom HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            format!("GET http://evil@127.0.0.1:{port}/darkroom HTTP/1.1\r\n{own_host}\r\n\r\n"),
            // A page of another origin, as the browser reports it.
            format!("{get}\r\n{own_host}\r\nOrigin: https://evil.example\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nOrigin: null\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nOrigin: http://127.0.0.1:{other}\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nOrigin: https://127.0.0.1:{port}\r\n\r\n"),
            format!(
                "{get}\r\n{own_host}\r\nOrigin: http://127.0.0.1:{port}\r\nOrigin: https://evil.example\r\n\r\n"
            ),
            format!("{get}\r\n{own_host}\r\nSec-Fetch-Site: cross-site\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nSec-Fetch-Site: same-site\r\n\r\n"),
            format!(
                "{get}\r\n{own_host}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n\r\n"
            ),
            // The preflight request of a browser, for everything that a form can't send.
            format!(
                "OPTIONS /darkroom/inbox/a.csv HTTP/1.1\r\n{own_host}\r\nOrigin: https://evil.example\r\n\
                 Access-Control-Request-Method: PUT\r\n\r\n"
            ),
            format!(
                "OPTIONS /darkroom/inbox/a.csv HTTP/1.1\r\n{own_host}\r\nOrigin: http://127.0.0.1:{port}\r\n\
                 Access-Control-Request-Method: PUT\r\n\r\n"
            ),
            format!("OPTIONS * HTTP/1.1\r\n{own_host}\r\n\r\n"),
        ] {
            let (status, answer) = send(port, &request).await;
            assert_eq!((status, ports.through()), (403, 0), "{request}: {answer}");
            assert!(
                answer.contains("Refused: ") && answer.contains("text/plain"),
                "{answer}"
            );
            assert!(
                !answer.to_lowercase().contains("access-control"),
                "{answer}"
            );
        }
    }
    ports.assert_untouched("a web page");
}

#[tokio::test]
async fn requests_to_every_name_of_the_port_reach_the_service() {
    let ports = Ports::open().await;
    for (number, port) in [ports.aws, ports.gemini].into_iter().enumerate() {
        let get = "GET /v1beta/batches?pageSize=1 HTTP/1.1";
        let hosts = [
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "[::1]",
            "darkroom.localhost",
        ];
        let mut requests: Vec<String> = hosts
            .iter()
            .map(|host| format!("{get}\r\nHost: {host}:{port}\r\n\r\n"))
            .collect();
        let own_host = format!("Host: 127.0.0.1:{port}");
        requests.extend([
            format!("GET http://localhost:{port}/v1beta/batches HTTP/1.1\r\n{own_host}\r\n\r\n"),
            format!("GET /v1beta/batches HTTP/1.0\r\n{own_host}\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nOrigin: http://localhost:{port}\r\nSec-Fetch-Site: same-origin\r\n\r\n"),
            format!("{get}\r\n{own_host}\r\nSec-Fetch-Site: none\r\n\r\n"),
        ]);
        for request in &requests {
            let before = ports.through();
            let (status, answer) = send(port, request).await;
            assert_eq!(ports.through(), before + 1, "{request}: {answer}");
            assert!(!answer.contains("Refused: "), "{request}: {answer}");
            // S3 requires a signature. The simulated Gemini requires a key, and accepts any.
            assert!(status == 403 || number == 1, "{request}: {status}");
        }
    }
}

/// The client receives the refusal although its body was not read.
#[tokio::test]
async fn a_large_upload_to_another_host_is_refused_unread() {
    let ports = Ports::open().await;
    let head = format!(
        "PUT /darkroom/a HTTP/1.1\r\nHost: evil.example:{}\r\nContent-Length: 100\r\n\r\n",
        ports.aws
    );
    let (status, _) = send(ports.aws, &format!("{head}{}", "x".repeat(100))).await;
    assert_eq!((status, ports.through()), (403, 0));
    ports.assert_untouched("an upload");
}

#[tokio::test]
async fn requests_without_the_folders_key_are_refused() {
    let ports = Ports::open().await;
    let own_host = format!("Host: 127.0.0.1:{}", ports.aws);
    let sqs = "x-amz-target: AmazonSQS.SendMessage\r\nContent-Type: application/x-amz-json-1.0";
    let message = r#"{"QueueUrl":"http://x/000000000000/manifests","MessageBody":"{}"}"#;
    let length = format!("Content-Length: {}", message.len());
    let forged = "Authorization: AWS4-HMAC-SHA256 Credential=test/20261121/us-east-1/sqs/aws4_request, \
                  SignedHeaders=host;x-amz-date;x-amz-target, Signature=00";
    for request in [
        format!("GET / HTTP/1.1\r\n{own_host}\r\n\r\n"),
        format!("GET /darkroom?list-type=2 HTTP/1.1\r\n{own_host}\r\n\r\n"),
        format!("PUT /darkroom/inbox/a.csv HTTP/1.1\r\n{own_host}\r\nContent-Length: 3\r\n\r\na,b"),
        format!(
            "PUT /inbox/a.csv HTTP/1.1\r\nHost: darkroom.localhost:{}\r\nContent-Length: 1\r\n\r\na",
            ports.aws
        ),
        format!("DELETE /darkroom/a HTTP/1.1\r\n{own_host}\r\n\r\n"),
        format!("POST /darkroom?delete HTTP/1.1\r\n{own_host}\r\nContent-Length: 0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{own_host}\r\n{sqs}\r\n{length}\r\n\r\n{message}"),
        format!(
            "POST / HTTP/1.1\r\n{own_host}\r\n{sqs}\r\n{forged}\r\nx-amz-date: 20261121T000000Z\r\n{length}\r\n\r\n{message}"
        ),
        format!(
            "POST /?Action=PurgeQueue HTTP/1.1\r\n{own_host}\r\n{sqs}\r\n{length}\r\n\r\n{message}"
        ),
    ] {
        let (status, answer) = send(ports.aws, &request).await;
        assert_eq!(status, 403, "{request}: {answer}");
    }
    // The pair that every S3 emulator accepts, and the right id with a wrong secret.
    let known = || aws_sdk_s3::config::Credentials::new("test", "test", None, None, "test");
    let guessed = || {
        aws_sdk_s3::config::Credentials::new(
            ports.credentials.access_key_id(),
            "test",
            None,
            None,
            "test",
        )
    };
    for credentials in [known(), guessed()] {
        let endpoint = format!("http://127.0.0.1:{}", ports.aws);
        let s3 = ports.s3(&endpoint, credentials.clone());
        let put = s3
            .put_object()
            .bucket(BUCKET)
            .key("inbox/a.csv")
            .body(ByteStream::from_static(b"a"));
        assert_eq!(
            put.send()
                .await
                .unwrap_err()
                .raw_response()
                .unwrap()
                .status()
                .as_u16(),
            403
        );
        let sqs = ports.sqs(credentials);
        let sent = sqs
            .send_message()
            .queue_url("http://x/000000000000/manifests")
            .message_body("{}")
            .send()
            .await;
        assert_eq!(
            sent.unwrap_err().raw_response().unwrap().status().as_u16(),
            403
        );
    }
    ports.assert_untouched("without the key");
}

#[tokio::test]
async fn signed_forms_are_refused() {
    let ports = Ports::open().await;
    let own_host = format!("Host: 127.0.0.1:{}", ports.aws);
    for kind in [
        "multipart/form-data; boundary=b",
        "application/x-www-form-urlencoded",
        "text/plain",
        "Text/Plain",
    ] {
        let head = format!(
            "POST /darkroom HTTP/1.1\r\n{own_host}\r\nContent-Type: {kind}\r\nContent-Length: 4\r\n\r\n--b-"
        );
        let (status, answer) = send(ports.aws, &head).await;
        assert!(
            status == 403 && answer.contains("forms are not accepted"),
            "{kind}: {answer}"
        );
    }
    ports.assert_untouched("a form");
}

#[tokio::test]
async fn clients_with_the_folders_key_are_served_under_every_name() {
    let ports = Ports::open().await;
    for (number, host) in ["127.0.0.1", "localhost"].into_iter().enumerate() {
        let s3 = ports.s3(
            &format!("http://{host}:{}", ports.aws),
            ports.sdk_credentials(),
        );
        let key = format!("inbox/{number}.txt");
        let put = s3
            .put_object()
            .bucket(BUCKET)
            .key(&key)
            .content_type("text/plain");
        put.body(ByteStream::from_static(b"hello"))
            .send()
            .await
            .unwrap();
        let got = s3
            .get_object()
            .bucket(BUCKET)
            .key(&key)
            .send()
            .await
            .unwrap();
        assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
        // A large text file is uploaded in parts, and the first request is a POST with the file's
        // content type.
        let begin = s3
            .create_multipart_upload()
            .bucket(BUCKET)
            .key("notes.txt")
            .content_type("text/plain");
        begin.send().await.unwrap();
    }
    // SQS answers on the same port.
    let sqs = ports.sqs(ports.sdk_credentials());
    let url = sqs
        .get_queue_url()
        .queue_name("manifests")
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap();
    sqs.send_message()
        .queue_url(&url)
        .message_body("{}")
        .send()
        .await
        .unwrap();
    let received = sqs.receive_message().queue_url(&url).send().await.unwrap();
    assert_eq!(received.messages().len(), 1);
}

/// s3cmd signs for the region `US` until it receives the right one.
#[tokio::test]
async fn any_region_is_served_and_a_malformed_one_is_corrected() {
    let ports = Ports::open().await;
    let s3 = ports.s3(
        &format!("http://127.0.0.1:{}", ports.aws),
        ports.sdk_credentials(),
    );
    let of_region = |region: &'static str| {
        aws_sdk_s3::Client::from_conf(s3.config().to_builder().region(Region::new(region)).build())
    };
    of_region("eu-central-1")
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let refused = of_region("US").list_buckets().send().await.unwrap_err();
    let answer = refused.raw_response().unwrap();
    let body = String::from_utf8_lossy(answer.body().bytes().unwrap()).into_owned();
    assert_eq!(answer.status().as_u16(), 400);
    assert!(
        body.contains("<Code>AuthorizationHeaderMalformed</Code>")
            && body.contains("<Region>us-east-1</Region>")
    );
}

/// A client without path style names the bucket in the host. A presigned link needs no header.
#[tokio::test]
async fn virtual_hosts_and_presigned_links_are_served() {
    let ports = Ports::open().await;
    let endpoint = format!("http://localhost:{}", ports.aws);
    let s3 = ports.s3(&endpoint, ports.sdk_credentials());
    s3.put_object()
        .bucket(BUCKET)
        .key("a.txt")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    for is_path_style in [true, false] {
        let config = s3
            .config()
            .to_builder()
            .force_path_style(is_path_style)
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let expires = PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
        let link = client
            .get_object()
            .bucket(BUCKET)
            .key("a.txt")
            .presigned(expires)
            .await
            .unwrap();
        let (host, target) = link
            .uri()
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        assert_eq!(
            host.starts_with("darkroom.localhost"),
            !is_path_style,
            "{host}"
        );
        let (status, answer) = send(
            ports.aws,
            &format!("GET /{target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        )
        .await;
        assert!(
            status == 200 && answer.ends_with("hello"),
            "{host}: {answer}"
        );
        let link = client.put_object().bucket(BUCKET).key("inbox/b.txt");
        let link = link
            .presigned(PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap());
        let link = link.await.unwrap();
        let (_, path) = link
            .uri()
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        let put = format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nhere");
        let (status, answer) = send(ports.aws, &put).await;
        assert_eq!(status, 200, "{host}: {answer}");
        assert_eq!(
            fs::read(ports.folder.path().join(BUCKET).join("inbox/b.txt")).unwrap(),
            b"here"
        );
        // A changed signature invalidates the link.
        let forged = target.replace("X-Amz-Signature=", "X-Amz-Signature=0");
        let (status, _) = send(
            ports.aws,
            &format!("GET /{forged} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        )
        .await;
        assert!(status == 403 || status == 400, "{host}: {status}");
    }
}
