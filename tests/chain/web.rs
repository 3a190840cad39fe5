//! References by web address are copied once, when the manifest is checked, or rejected.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use darkroom::{
    chain::SHARDS,
    job::{HttpsReferences, JobSettings},
};
use http::{Request, Response};
use plan::web::Web;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};
use serde_json::json;
use tests::{BatchResponse, TestCloud};

use super::wire::input_lines;

/// A web host: its response, and the addresses that were requested.
#[derive(Default)]
struct Host {
    answer: Mutex<(u16, Vec<u8>)>,
    requested: Mutex<Vec<String>>,
}

impl Host {
    fn answers(&self, status: u16, body: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn requests(&self) -> usize {
        self.requested.lock().unwrap().len()
    }
}

impl Transport for Host {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        self.requested
            .lock()
            .unwrap()
            .push(request.uri().to_string());
        let (status, body) = self.answer.lock().unwrap().clone();
        Box::pin(async move { Ok(Response::builder().status(status).body(full(body)).unwrap()) })
    }
}

/// Reads a sample image.
fn image(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../events/manifests/refs")
            .join(name),
    )
    .unwrap()
}

/// Opens a cloud with a web host that serves an image, and drops a manifest with two items that
/// refer to it.
async fn test_cloud(https_references: HttpsReferences) -> (TestCloud, Arc<Host>) {
    let host = Arc::new(Host::default());
    host.answers(200, image("fox.png"));
    let settings = JobSettings {
        https_references,
        ..JobSettings::default()
    };
    let web = Web::over(Arc::clone(&host) as _);
    let cloud = TestCloud::builder().settings(settings).web(web).build();
    drop_manifest(&cloud).await;
    (cloud, host)
}

/// Drops the manifest with two items that refer to the same address.
async fn drop_manifest(cloud: &TestCloud) {
    let item = |key| json!({"key": key, "prompt": "a fox", "refs": ["https://pictures.example/fox?size=2"]});
    cloud
        .put(
            "inbox/foxes.jsonl",
            format!("{}\n{}\n", item("one"), item("two")),
        )
        .await;
}

#[tokio::test]
async fn a_web_address_is_fetched_once_and_its_checked_copy_is_sent() {
    let (cloud, host) = test_cloud(HttpsReferences::Allow).await;
    assert!(cloud.plan().await.acknowledged());
    host.answers(200, image("loafer.png"));
    cloud.run().await;
    assert_eq!(
        *host.requested.lock().unwrap(),
        ["https://pictures.example/fox?size=2"]
    );
    let job = &cloud.jobs()[0];
    assert!(cloud.exists(&format!("{job}_SUCCESS")));
    for line in cloud.lines(&format!("{job}plan.jsonl")).await {
        let copy = line["refs"][0]
            .as_str()
            .unwrap()
            .strip_prefix("s3://darkroom/")
            .unwrap();
        assert!(
            copy.starts_with(&format!("{job}refs/")) && copy.ends_with(".png"),
            "{copy}"
        );
        assert_eq!(
            cloud.local.bucket.read(copy).await.unwrap().unwrap().bytes,
            image("fox.png")
        );
        // Another job may not use the copy, so the retry manifest keeps the address.
        assert_eq!(
            line["retry"]["refs"],
            json!(["https://pictures.example/fox?size=2"])
        );
    }
    let sent = input_lines(&cloud.wire.sent());
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(
        |line| line["request"]["contents"][0]["parts"][1]["fileData"]["mimeType"] == "image/png"
    ));
    assert!(
        sent.iter()
            .all(|line| !line.to_string().contains("pictures.example"))
    );
    let sizes: Vec<usize> = cloud
        .wire
        .sent()
        .iter()
        .filter(|s| s.body.starts_with(b"\x89PNG"))
        .map(|s| s.body.len())
        .collect();
    assert_eq!(sizes, [image("fox.png").len()]);
}

#[tokio::test]
async fn a_job_that_is_planned_again_has_the_same_images() {
    let (cloud, host) = test_cloud(HttpsReferences::Allow).await;
    assert!(cloud.plan().await.acknowledged());
    let job = cloud.jobs()[0].clone();
    let plan = cloud.read(&format!("{job}plan.jsonl")).await;
    // The first planning was killed before its last write.
    cloud
        .local
        .bucket
        .delete(&format!("{job}job.json"))
        .await
        .unwrap();
    host.answers(404, "");
    drop_manifest(&cloud).await;
    assert!(cloud.plan().await.acknowledged());
    assert_eq!(cloud.read(&format!("{job}plan.jsonl")).await, plan);
    assert_eq!((host.requests(), cloud.jobs().len()), (1, 1));
}

#[tokio::test]
async fn nothing_is_fetched_unless_fetching_is_enabled() {
    let (cloud, host) = test_cloud(HttpsReferences::Refuse).await;
    cloud.run().await;
    let validation = cloud.job().text("validation.csv").await;
    assert!(
        validation.contains("fetching those is not enabled"),
        "{validation}"
    );
    assert_eq!((host.requests(), cloud.gemini.batches_created()), (0, 0));
}

#[tokio::test]
async fn an_unusable_reference_is_reported_with_its_line_and_fetched_again_at_the_next_drop() {
    let (cloud, host) = test_cloud(HttpsReferences::Allow).await;
    for (status, body, code, asked) in [
        (404, Vec::new(), "missing_reference", 1),
        (403, Vec::new(), "forbidden_reference", 1),
        (302, Vec::new(), "bad_reference", 1),
        (200, b"<svg/>".to_vec(), "bad_reference", 1),
        (200, vec![0; (20 << 20) + 1], "large_reference", 1),
        (503, Vec::new(), "unreachable_reference", 3),
    ] {
        let before = host.requests();
        host.answers(status, body);
        drop_manifest(&cloud).await;
        cloud.run().await;
        let job = &cloud.jobs()[0];
        let validation = cloud.text(&format!("{job}validation.csv")).await;
        assert!(
            validation
                .lines()
                .nth(1)
                .unwrap()
                .starts_with(&format!("1,one,error,{code},")),
            "{validation}"
        );
        assert_eq!(
            validation.lines().count(),
            2,
            "one problem for each address: {validation}"
        );
        let plans = if before == 0 { 2 } else { 1 };
        assert_eq!(host.requests() - before, asked * plans, "{status}");
    }
    assert_eq!(cloud.messages(SHARDS), 0);
    host.answers(200, image("fox.png"));
    drop_manifest(&cloud).await;
    cloud.run().await;
    let job = &cloud.jobs()[0];
    assert!(cloud.exists(&format!("{job}_SUCCESS")));
}
