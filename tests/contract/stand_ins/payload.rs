//! How the payload of a written object is protected.

use std::sync::{Arc, Mutex};

use aws_sim::{credentials::Credentials, wire::InProcess};
use http::{HeaderMap, Request, Response};
use runtime::{aws, bucket::Bucket};
use seam::transport::{Body, BoxFuture, Transport, TransportError, empty};

/// The header that contains the signed hash of the payload.
const SIGNED: &str = "x-amz-content-sha256";

/// Records the headers of the last request.
#[derive(Default)]
struct Recorder(Mutex<HeaderMap>);

impl Transport for Recorder {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        *self.0.lock().unwrap() = request.headers().clone();
        Box::pin(async { Ok(Response::new(empty())) })
    }
}

/// Returns the headers of a request that writes `hello` to a bucket at `endpoint`.
async fn written(endpoint: &str) -> HeaderMap {
    let recorder = Arc::new(Recorder::default());
    let settings = InProcess::new(Arc::clone(&recorder) as _, Credentials::random().unwrap())
        .s3_config()
        .endpoint_url(endpoint);
    let client = aws_sdk_s3::Client::from_conf(aws::s3_settings(settings).build());
    Bucket::new(client, "studio")
        .put("a.txt", "text/plain", "hello")
        .await
        .unwrap();
    recorder.0.lock().unwrap().clone()
}

#[tokio::test]
async fn the_payload_is_signed_unless_tls_protects_it() {
    assert_eq!(
        written("https://s3.internal").await[SIGNED],
        "UNSIGNED-PAYLOAD"
    );
    let of_hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(written("http://s3.internal").await[SIGNED], of_hello);
}

#[tokio::test]
async fn every_object_is_written_with_its_checksum() {
    for endpoint in ["https://s3.internal", "http://s3.internal"] {
        assert_eq!(
            written(endpoint).await["x-amz-checksum-crc32"],
            "NhCmhg==",
            "{endpoint}"
        );
    }
}
