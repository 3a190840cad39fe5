//! Every kind of call honors the proxies in the settings.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use darkroom::names::FileName;
use futures_util::{TryStreamExt, stream};
use gemini::{
    Gemini, Settings, UploadRequest,
    key::{ApiKey, KeySource},
};
use seam::{
    fake_proxy::{FakeProxy, Reply},
    proxies::Proxies,
};

/// Gemini at this address, behind these proxies.
fn gemini(base_url: &str, proxies: Proxies) -> Gemini {
    let key = KeySource::fixed(ApiKey::new("key").unwrap());
    Gemini::over_https(Settings {
        base_url: base_url.to_owned(),
        proxies,
        ..Settings::new(Arc::new(key))
    })
    .unwrap()
}

/// A server that plays both the proxy and Gemini: it answers a list, an upload and a download.
async fn server() -> FakeProxy {
    FakeProxy::start(|head| {
        let host = head
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or_default();
        let (headers, body) = if head.contains("x-goog-upload-command: start") {
            let url = format!("http://{host}/upload/chunks");
            (format!("x-goog-upload-url: {url}\r\n"), "{}")
        } else if head.contains("x-goog-upload-command: upload, finalize") {
            (
                "x-goog-upload-status: final\r\n".to_owned(),
                r#"{"file":{"name":"files/1","sizeBytes":"3"}}"#,
            )
        } else if head.contains(":download") {
            (String::new(), "abc")
        } else {
            (String::new(), "{}")
        };
        Reply::Response(format!(
            "HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
    })
    .await
    .unwrap()
}

/// Makes a call, an upload of one chunk and a download, which must all succeed.
async fn make_each_call(gemini: &Gemini) {
    assert!(gemini.batches().await.unwrap().is_empty());
    let request = UploadRequest {
        display_name: "d".to_owned(),
        mime_type: "text/plain".to_owned(),
        size_bytes: 3,
        name: None,
    };
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"abc"))]);
    gemini.upload(request, body).await.unwrap();
    let download = gemini.download(&FileName::new("files/1"), 0).await.unwrap();
    let bytes = download
        .body
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .concat();
    assert_eq!(bytes, b"abc");
}

/// The request lines of [`make_each_call`], with this in front of each path.
fn lines(origin: &str) -> [String; 4] {
    [
        "GET {}/v1beta/batches?pageSize=100 HTTP/1.1",
        "POST {}/upload/v1beta/files HTTP/1.1",
        "POST {}/upload/chunks HTTP/1.1",
        "GET {}/v1beta/files/1:download?alt=media HTTP/1.1",
    ]
    .map(|line| line.replace("{}", origin))
}

#[tokio::test]
async fn every_call_to_an_http_address_goes_through_the_proxy() {
    let proxy = server().await;
    let gemini = gemini("http://gemini.example", proxy.proxies("").unwrap());
    make_each_call(&gemini).await;
    assert_eq!(proxy.requests(), lines("http://gemini.example"));
}

#[tokio::test]
async fn every_call_to_an_https_address_asks_the_proxy_for_a_tunnel() {
    let proxy = FakeProxy::refusing().await.unwrap();
    let gemini = gemini("https://gemini.example", proxy.proxies("").unwrap());
    // Each call makes two attempts.
    gemini.batches().await.unwrap_err();
    assert_eq!(proxy.requests().len(), 2);
    let file = FileName::new("files/1");
    gemini.download(&file, 0).await.unwrap_err();
    assert_eq!(proxy.requests().len(), 4);
    let request = UploadRequest {
        display_name: "d".to_owned(),
        mime_type: "text/plain".to_owned(),
        size_bytes: 0,
        name: None,
    };
    let body = stream::empty::<Result<Bytes, Infallible>>();
    gemini.upload(request, body).await.unwrap_err();
    assert_eq!(proxy.requests(), ["CONNECT gemini.example:443 HTTP/1.1"; 6]);
}

#[tokio::test]
async fn without_the_setting_and_for_excluded_hosts_the_proxy_receives_nothing() {
    let proxy = FakeProxy::refusing().await.unwrap();
    for proxies in [Proxies::default(), proxy.proxies("127.0.0.1").unwrap()] {
        let server = server().await;
        let gemini = gemini(&format!("http://{}", server.address()), proxies);
        make_each_call(&gemini).await;
        assert_eq!(server.requests(), lines(""));
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
}
