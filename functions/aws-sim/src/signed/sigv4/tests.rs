//! Signatures of the real SDK are accepted, and any change to a signed request is refused.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError, full},
};

use super::*;
use crate::wire::InProcess;

/// Records the request of the real SDK, and returns an empty answer.
#[derive(Default)]
struct Recorder(Mutex<Option<(Parts, Vec<u8>)>>);

impl Transport for Recorder {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_err(TransportError::Interrupted)?
                .to_bytes();
            *self.0.lock().unwrap() = Some((head, body.to_vec()));
            Ok(Response::new(full("{}")))
        })
    }
}

fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").unwrap()
}

/// Returns a request that the SDK signed.
async fn signed() -> (Parts, Vec<u8>) {
    let recorder = Arc::new(Recorder::default());
    let config = InProcess::new(Arc::clone(&recorder) as _, credentials())
        .sqs_config()
        .build();
    let client = aws_sdk_sqs::Client::from_conf(config);
    let send = client
        .send_message()
        .queue_url("https://queues/000000000000/reports")
        .message_body("two  blanks, ümläut");
    let _ = send.send().await;
    recorder.0.lock().unwrap().take().unwrap()
}

fn check(head: &Parts, body: &[u8]) -> Result<(), SignatureError> {
    verify(head, body, &credentials(), Clock::system().now())
}

#[tokio::test]
async fn a_request_signed_by_the_sdk_is_accepted() {
    let (head, body) = signed().await;
    assert_eq!(check(&head, &body), Ok(()));
}

#[tokio::test]
async fn any_change_to_a_signed_request_is_detected() {
    let (head, mut body) = signed().await;
    body.push(b' ');
    assert_eq!(check(&head, &body), Err(SignatureError::Mismatch));
    body.pop();
    for (name, value) in [
        ("x-amz-target", "AmazonSQS.PurgeQueue"),
        ("host", "evil.example"),
    ] {
        let mut other = head.clone();
        other.headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(
            check(&other, &body),
            Err(SignatureError::Mismatch),
            "{name}"
        );
        // A second header of the same name is also covered by the signature.
        let mut other = head.clone();
        other.headers.append(name, HeaderValue::from_static(value));
        assert_eq!(
            check(&other, &body),
            Err(SignatureError::Mismatch),
            "{name} twice"
        );
    }
    let mut other = head.clone();
    // The signature covers the path, and a query is not allowed.
    other.uri = "/000000000000/manifests".parse().unwrap();
    assert_eq!(check(&other, &body), Err(SignatureError::Mismatch));
    other.uri = "/?Action=PurgeQueue".parse().unwrap();
    assert_eq!(check(&other, &body), Err(SignatureError::Malformed));
}

#[tokio::test]
async fn another_key_another_secret_and_another_date_are_refused() {
    let (head, body) = signed().await;
    let now = Clock::system().now();
    let with =
        |id: &str, secret: &str| verify(&head, &body, &Credentials::new(id, secret).unwrap(), now);
    assert_eq!(with("AKIDEXAMPLE", "test"), Err(SignatureError::Mismatch));
    assert_eq!(with("test", "test"), Err(SignatureError::UnknownKey));
    for minutes in [-20, 20, 24 * 60] {
        let then = now + SignedDuration::from_mins(minutes);
        assert_eq!(
            verify(&head, &body, &credentials(), then),
            Err(SignatureError::Expired),
            "{minutes}"
        );
    }
}

#[tokio::test]
async fn missing_malformed_and_incomplete_signatures_are_refused() {
    let (head, body) = signed().await;
    let original = head.headers[AUTHORIZATION].to_str().unwrap().to_owned();
    let with = |text: &str| {
        let mut other = head.clone();
        other
            .headers
            .insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        check(&other, &body)
    };
    assert_eq!(with(&original), Ok(()));
    for text in [
        "",
        "Basic dGVzdDp0ZXN0",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE",
        &original.replace("/sqs/", "/s3/"),
        &original.replace("x-amz-target", "x-amz-user-agent"),
        &original.replace("host;", ""),
        &original.replace("Signature=", "Signature=zz"),
        &format!("{original}, Signature=00"),
    ] {
        assert_eq!(with(text), Err(SignatureError::Malformed), "{text}");
    }
    let mut other = head.clone();
    other
        .headers
        .append(AUTHORIZATION, HeaderValue::from_str(&original).unwrap());
    assert_eq!(check(&other, &body), Err(SignatureError::Malformed));
    other.headers.remove(AUTHORIZATION);
    assert_eq!(check(&other, &body), Err(SignatureError::Missing));
}

#[test]
fn dates_are_parsed_in_the_form_of_the_header() {
    let date = |text| parse_date(text).map(|date| date.to_string());
    assert_eq!(
        date("20261121T090000Z").as_deref(),
        Some("2026-11-21T09:00:00Z")
    );
    for text in [
        "",
        "2026",
        "20261121T090000",
        "20261321T090000Z",
        "Sat, 21 Nov 2026 09:00:00 GMT",
    ] {
        assert_eq!(date(text), None, "{text}");
    }
}
