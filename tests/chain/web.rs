//! References that are web addresses: copied once, while the manifest is checked, or refused.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use darkroom::{
    chain::{MANIFESTS, SHARDS},
    job::{HttpsReferences, JobSettings},
};
use http::{Request, Response};
use plan::web::Web;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};
use serde_json::json;
use tests::{Making, World};

use super::{acknowledged, messages, step, wire::input_lines};

/// What one host answers, and how often it was asked.
#[derive(Default)]
struct Host {
    answer: Mutex<(u16, Vec<u8>)>,
    asked: Mutex<Vec<String>>,
}

impl Host {
    fn answers(&self, status: u16, body: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Transport for Host {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        let (status, body) = self.answer.lock().unwrap().clone();
        Box::pin(async move { Ok(Response::builder().status(status).body(full(body)).unwrap()) })
    }
}

fn picture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../events/manifests/refs")
            .join(name),
    )
    .unwrap()
}

/// A world with a host that serves a picture, and a manifest in the inbox of two items that refer
/// to it.
async fn world(https_references: HttpsReferences) -> (World, Arc<Host>) {
    let host = Arc::new(Host::default());
    host.answers(200, picture("fox.png"));
    let settings = JobSettings {
        https_references,
        ..JobSettings::default()
    };
    let web = Some(Web::over(Arc::clone(&host) as _));
    let world = World::made_with(Making {
        settings,
        web,
        ..Making::default()
    })
    .unwrap();
    drop_manifest(&world).await;
    (world, host)
}

async fn drop_manifest(world: &World) {
    let item = |key| json!({"key": key, "prompt": "a fox", "refs": ["https://pictures.example/fox?size=2"]});
    world
        .put(
            "inbox/foxes.jsonl",
            format!("{}\n{}\n", item("one"), item("two")),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_web_address_is_fetched_once_and_what_was_checked_is_what_is_sent() {
    let (world, host) = world(HttpsReferences::Allow).await;
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    host.answers(200, picture("loafer.png"));
    world.run().await.unwrap();
    assert_eq!(
        *host.asked.lock().unwrap(),
        ["https://pictures.example/fox?size=2"]
    );
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
    for line in world.lines(&format!("{job}plan.jsonl")).await.unwrap() {
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
            world.cloud.bucket.read(copy).await.unwrap().unwrap().bytes,
            picture("fox.png")
        );
        // Another job has no right to this one's copy.
        assert_eq!(
            line["retry"]["refs"],
            json!(["https://pictures.example/fox?size=2"])
        );
    }
    let sent = input_lines(&world.wire.sent());
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(
        |line| line["request"]["contents"][0]["parts"][1]["fileData"]["mimeType"] == "image/png"
    ));
    assert!(
        sent.iter()
            .all(|line| !line.to_string().contains("pictures.example"))
    );
    let sizes: Vec<usize> = world
        .wire
        .sent()
        .iter()
        .filter(|s| s.body.starts_with(b"\x89PNG"))
        .map(|s| s.body.len())
        .collect();
    assert_eq!(sizes, [picture("fox.png").len()]);
}

#[tokio::test]
async fn a_job_that_is_planned_again_has_the_same_pictures() {
    let (world, host) = world(HttpsReferences::Allow).await;
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    let job = world.jobs().unwrap()[0].clone();
    let plan = world.read(&format!("{job}plan.jsonl")).await.unwrap();
    // As if it had been killed before the last write.
    world
        .cloud
        .bucket
        .delete(&format!("{job}job.json"))
        .await
        .unwrap();
    host.answers(404, "");
    drop_manifest(&world).await;
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    assert_eq!(world.read(&format!("{job}plan.jsonl")).await.unwrap(), plan);
    assert_eq!((host.asked(), world.jobs().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn without_the_switch_nothing_is_fetched_and_the_person_is_told() {
    let (world, host) = world(HttpsReferences::Refuse).await;
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    let validation = world
        .read(&format!("{job}validation.csv"))
        .await
        .unwrap()
        .unwrap();
    assert!(
        validation.contains("fetching those is not enabled"),
        "{validation}"
    );
    assert_eq!((host.asked(), world.gemini.batches_created()), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_used_is_a_problem_with_a_line_and_is_asked_for_again_at_the_next_drop() {
    let (world, host) = world(HttpsReferences::Allow).await;
    for (status, body, code, asked) in [
        (404, Vec::new(), "missing_reference", 1),
        (403, Vec::new(), "forbidden_reference", 1),
        (302, Vec::new(), "bad_reference", 1),
        (200, b"<svg/>".to_vec(), "bad_reference", 1),
        (200, vec![0; (20 << 20) + 1], "large_reference", 1),
        (503, Vec::new(), "unreachable_reference", 3),
    ] {
        let before = host.asked();
        host.answers(status, body);
        drop_manifest(&world).await;
        world.run().await.unwrap();
        let job = &world.jobs().unwrap()[0];
        let validation = world
            .read(&format!("{job}validation.csv"))
            .await
            .unwrap()
            .unwrap();
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
        assert_eq!(host.asked() - before, asked * plans, "{status}");
    }
    assert_eq!(messages(&world, SHARDS), 0);
    host.answers(200, picture("fox.png"));
    drop_manifest(&world).await;
    world.run().await.unwrap();
    let job = &world.jobs().unwrap()[0];
    assert!(
        world
            .read(&format!("{job}_SUCCESS"))
            .await
            .unwrap()
            .is_some()
    );
}
