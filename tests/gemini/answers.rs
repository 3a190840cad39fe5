//! How a fault or an outage answers calls: errors about keys, projects and countries, HTML pages,
//! empty answers, and no answer.

use std::{sync::Arc, time::Duration};

use aws_sim::listen::Listener;
use gemini_sim::Call;
use seam::transport::{Transport, TransportError, empty, full};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use super::{
    faults::{CREATE, create_body, faults},
    service::{Reply, Service, download_path, request},
};

/// Returns the answer to a call with this fault.
async fn answer(name: &str) -> Reply {
    let service = Service::new(faults(&[&format!("get-batch:{name}:1")]));
    let reply = service.call("GET", "/v1beta/batches/b").await;
    assert_eq!(service.gemini.requests().of(Call::GetBatch), 1);
    reply
}

/// Returns the type of each detail, without its package.
fn kinds(error: &Value) -> Vec<String> {
    let details = error["error"]["details"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    details
        .iter()
        .map(|detail| {
            detail["@type"]
                .as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn errors_have_the_captured_status_message_and_details() {
    for (name, code, status, message, details) in [
        (
            "400",
            400,
            "INVALID_ARGUMENT",
            "Unsupported MIME type: jsonl",
            &[][..],
        ),
        (
            "key-invalid",
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            &["ErrorInfo"],
        ),
        (
            "country",
            400,
            "FAILED_PRECONDITION",
            "User location is not supported for the API use.",
            &[],
        ),
        (
            "401",
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2",
            &[],
        ),
        (
            "403",
            403,
            "PERMISSION_DENIED",
            "The caller does not have permission",
            &[],
        ),
        (
            "api-disabled",
            403,
            "PERMISSION_DENIED",
            "Generative Language API has not been used in project 123456789012 before or it is disabled. Enable it by",
            &["ErrorInfo", "LocalizedMessage", "Help"],
        ),
        (
            "404",
            404,
            "NOT_FOUND",
            "Requested entity was not found.",
            &[],
        ),
        (
            "429-forever",
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota",
            &["Help", "QuotaFailure", "RetryInfo"],
        ),
        (
            "504",
            504,
            "DEADLINE_EXCEEDED",
            "Deadline expired before operation could complete.",
            &[],
        ),
    ] {
        let reply = answer(name).await;
        let (actual_code, actual_status, actual_message) = reply.error();
        assert_eq!(
            (actual_code, actual_status.as_str()),
            (code, status),
            "{name}"
        );
        assert!(
            actual_message.starts_with(message),
            "{name}: {actual_message}"
        );
        assert_eq!(kinds(&reply.json()), details, "{name}");
    }
}

#[tokio::test]
async fn error_details_name_the_remedy() {
    let disabled = answer("api-disabled").await.json();
    let reason = &disabled["error"]["details"][0];
    assert_eq!(
        (&reason["reason"], &reason["domain"]),
        (&json!("SERVICE_DISABLED"), &json!("googleapis.com"))
    );
    assert_eq!(
        reason["metadata"]["service"],
        "generativelanguage.googleapis.com"
    );
    let link = disabled["error"]["details"][2]["links"][0]["url"]
        .as_str()
        .unwrap();
    assert!(
        disabled["error"]["message"]
            .as_str()
            .unwrap()
            .contains(link)
    );
    let key = answer("key-invalid").await.json();
    assert_eq!(key["error"]["details"][0]["reason"], "API_KEY_INVALID");
    let forever = answer("429-forever").await.json();
    assert_eq!(
        forever["error"]["details"][2]["retryDelay"],
        "1000000000000s"
    );
}

#[tokio::test]
async fn proxy_pages_are_html() {
    for (name, status, title) in [
        ("html", 502, "502 Bad Gateway"),
        ("408", 408, "Error 408 (Request Timeout)!!1"),
    ] {
        let page = answer(name).await;
        assert_eq!(
            (page.status.as_u16(), page.header("content-type").as_str()),
            (status, "text/html; charset=UTF-8")
        );
        let text = std::str::from_utf8(&page.bytes).unwrap();
        assert!(text.contains(&format!("<title>{title}</title>")), "{text}");
        assert!(serde_json::from_slice::<Value>(&page.bytes).is_err());
    }
}

#[tokio::test]
async fn an_empty_answer_is_sent_after_the_call_takes_effect() {
    let service = Service::new(faults(&[
        "create-batch:empty:1",
        "download:empty:1",
        "start-upload:empty:2",
    ]));
    let create_body = create_body(&service).await;
    let created = service.post(CREATE, &create_body).await;
    assert_eq!(
        (
            created.status.as_u16(),
            created.bytes.len(),
            created.headers.len()
        ),
        (200, 0, 0)
    );
    assert_eq!(service.gemini.batches_created(), 1);
    let batch = service
        .call("GET", "/v1beta/batches?pageSize=1")
        .await
        .json()["operations"][0]
        .take();
    service.pass_minutes(100);
    let download = download_path(&batch);
    let nothing = service.call("GET", &download).await;
    assert_eq!((nothing.status.as_u16(), nothing.bytes.len()), (200, 0));
    assert!(!service.call("GET", &download).await.bytes.is_empty());
    // The start of this upload returned no URL.
    assert_eq!(
        service
            .start_upload(5, "text/plain", json!({}))
            .await
            .header("x-goog-upload-url"),
        ""
    );
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_call_waits_for_its_caller_and_has_no_effect() {
    let service = Service::new(faults(&["create-batch:timeout:1"]));
    let create_body = create_body(&service).await;
    let body = full(create_body.to_string());
    let call = service
        .gemini
        .send(request("POST", CREATE).body(body).unwrap());
    assert!(
        tokio::time::timeout(Duration::from_secs(20 * 60), call)
            .await
            .is_err()
    );
    assert_eq!(service.gemini.requests().of(Call::CreateBatch), 1);
    assert_eq!(service.gemini.batches_created(), 0);
    assert_eq!(service.post(CREATE, &create_body).await.status, 200);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_unanswered_callers() {
    let service = Service::new(faults(&["any:timeout:100%"]));
    let listener = Listener::bind(0).await.unwrap();
    let address = listener.url().replace("http://", "");
    let stop = watch::Sender::new(false);
    let serving = tokio::spawn(listener.serve(
        Arc::clone(&service.gemini) as Arc<dyn Transport>,
        stop.subscribe(),
    ));
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request =
        format!("GET /v1beta/models HTTP/1.1\r\nHost: {address}\r\nx-goog-api-key: any\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    while service.gemini.requests().total() == 0 {
        tokio::task::yield_now().await;
    }
    let begin = std::time::Instant::now();
    service.gemini.hang_up();
    stop.send_replace(true);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    serving.await.unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "a shutdown waits up to five seconds for open exchanges"
    );
}

#[tokio::test]
async fn a_closed_connection_ends_an_unanswered_call() {
    let service = Service::new(faults(&["any:timeout:100%"]));
    let listener = Listener::bind(0).await.unwrap();
    let address = listener.url().replace("http://", "");
    let stop = watch::Sender::new(false);
    let serving = tokio::spawn(listener.serve(
        Arc::clone(&service.gemini) as Arc<dyn Transport>,
        stop.subscribe(),
    ));
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let path = "/v1beta/models/m:batchGenerateContent";
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    while service.gemini.requests().total() == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    let begin = std::time::Instant::now();
    // The service does not hang up here, so only the caller's end of the connection can end the
    // exchange.
    stop.send_replace(true);
    serving.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_fault_takes_precedence_over_a_missing_key() {
    let service = Service::new(faults(&["any:503:1"]));
    let without_key = || {
        http::Request::builder()
            .uri("http://gemini.test/v1beta/files")
            .body(empty())
            .unwrap()
    };
    assert_eq!(service.send(without_key()).await.status, 503);
    assert_eq!(service.send(without_key()).await.status, 403);
}

#[tokio::test]
async fn after_hanging_up_no_caller_waits() {
    let service = Service::new(faults(&["any:timeout:1"]));
    service.gemini.hang_up();
    let outcome = service
        .gemini
        .send(request("GET", "/v1beta/files").body(empty()).unwrap())
        .await;
    assert!(
        matches!(outcome, Err(TransportError::Interrupted(_))),
        "{outcome:?}"
    );
    assert_eq!(service.call("GET", "/v1beta/files").await.status, 200);
}
