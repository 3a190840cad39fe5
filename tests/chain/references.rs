//! Each reference image is uploaded to Gemini once or sent within its line, with its true type.

use std::{collections::BTreeMap, fs, path::Path};

use darkroom::{
    chain::{FUNCTION_TIMEOUT, SHARDS},
    job::{JobSettings, ShardLimits},
    ledger::{FolderCaps, ProjectLimits},
    settings::MaxLiveBatches,
    status::ShardPhase,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{BatchResponse, TestCloud};

use super::{state, wire::input_lines};

/// An image that is too large to be sent within a line, and one that is not.
const LARGE: &str = "fox.png";
const TINY: &str = "loafer.png";

/// Reads a sample image.
fn image(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../events/manifests/refs")
            .join(name),
    )
    .unwrap()
}

/// Opens a cloud with a planned job of `items` images with these references, `shard` in each shard.
async fn planned(items: usize, refs: &[&str], shard: u32) -> TestCloud {
    let limits = ProjectLimits {
        live_batches: MaxLiveBatches::default(),
        enqueued_tokens: BTreeMap::new(),
        daily_usd: None,
        folders: FolderCaps::default(),
    };
    let shard = ShardLimits {
        requests: shard,
        tokens: u64::MAX,
        response_bytes: u64::MAX,
        ..ShardLimits::default()
    };
    let settings = JobSettings {
        shard,
        ..JobSettings::default()
    };
    let cloud = TestCloud::builder()
        .settings(settings)
        .limits(limits)
        .build();
    for (name, content) in [
        ("refs/large.png", LARGE),
        ("refs/copy.png", LARGE),
        ("refs/tiny.png", TINY),
        ("refs/wrong.jpg", TINY),
    ] {
        cloud.put(name, image(content)).await;
    }
    let item =
        |number| json!({"key": format!("stone-{number:04}"), "prompt": "a stone", "refs": refs});
    let manifest: String = (0..items)
        .map(|number| item(number).to_string() + "\n")
        .collect();
    cloud.put("inbox/stones.jsonl", manifest).await;
    assert!(cloud.plan().await.acknowledged());
    cloud
}

/// Counts the images that were uploaded as files.
fn uploads(cloud: &TestCloud) -> usize {
    cloud
        .wire
        .sent()
        .iter()
        .filter(|sent| sent.body.starts_with(b"\x89PNG"))
        .count()
}

/// Returns the part with the image of each request line that was sent.
fn image_parts(cloud: &TestCloud) -> Vec<Value> {
    let lines = input_lines(&cloud.wire.sent());
    lines
        .iter()
        .map(|line| line["request"]["contents"][0]["parts"][1].clone())
        .collect()
}

#[tokio::test]
async fn a_reference_is_uploaded_once_for_the_whole_job() {
    let cloud = planned(6, &["refs/large.png"], 2).await;
    assert_eq!(cloud.messages(SHARDS), 3);
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!(uploads(&cloud), 1);
    let parts = image_parts(&cloud);
    assert_eq!(parts.len(), 6);
    assert!(
        parts
            .iter()
            .all(|part| *part == parts[0] && part["fileData"]["mimeType"] == "image/png"),
        "{parts:?}"
    );
}

#[tokio::test]
async fn shards_that_start_at_the_same_moment_upload_a_reference_once() {
    let cloud = planned(6, &["refs/large.png"], 2).await;
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    let submit = |event| submit::handler::handle(&cloud.local.deps.submit, event, deadline);
    let (one, two, three) = (
        cloud.deliver(SHARDS),
        cloud.deliver(SHARDS),
        cloud.deliver(SHARDS),
    );
    let responses = tokio::join!(submit(one), submit(two), submit(three));
    assert_eq!(uploads(&cloud), 1);
    assert!(
        [responses.0, responses.1, responses.2]
            .iter()
            .any(|response| response.acknowledged())
    );
    cloud.run().await;
    assert!(cloud.job().has("_SUCCESS"));
    assert_eq!((uploads(&cloud), cloud.gemini.batches_created()), (1, 3));
}

#[tokio::test]
async fn two_objects_with_the_same_bytes_are_uploaded_once() {
    let cloud = planned(2, &["refs/large.png", "refs/copy.png"], 2).await;
    assert!(
        cloud.submit().await.acknowledged(),
        "a shard waited for itself"
    );
    assert_eq!(uploads(&cloud), 1);
}

#[tokio::test]
async fn an_upload_that_died_delays_others_no_longer_than_its_lease() {
    let cloud = planned(2, &["refs/large.png"], 2).await;
    let job = cloud.jobs()[0].clone();
    let sha256: String = Sha256::digest(image(LARGE))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let until = cloud.now() + SignedDuration::from_mins(2);
    let claim = json!({"write_id": "another", "claimed_until": until});
    cloud
        .put(&format!("{job}refs/{sha256}.json"), claim.to_string())
        .await;
    let mut looks = 0;
    while !cloud.submit().await.acknowledged() {
        looks += 1;
        let waiting = state(&cloud).await;
        assert_eq!(waiting.errors, 0);
        assert_eq!(ShardPhase::from(&waiting.phase), ShardPhase::Planned);
        let reason = waiting.waiting.unwrap();
        assert!(reason.contains("another shard"), "{reason}");
        let wait = cloud.next_in(SHARDS);
        assert!(wait <= SignedDuration::from_secs(10), "{wait}");
        cloud.advance(wait);
    }
    let late = cloud.now().duration_since(until);
    assert!(late < SignedDuration::from_secs(1), "{late}");
    assert_eq!((looks, uploads(&cloud)), (12, 1));
}

#[tokio::test]
async fn an_upload_that_fails_leaves_no_claim_behind() {
    let cloud = planned(2, &["refs/large.png"], 2).await;
    let mut fails = true;
    cloud.wire.decide(move |sent| {
        let fail = std::mem::replace(&mut fails, false);
        assert!(!fail || sent.path.contains("/upload/"), "{}", sent.path);
        fail.then(|| tests::wire::Fault::Answered(http::StatusCode::FORBIDDEN, "{}".to_owned()))
    });
    assert!(!cloud.submit().await.acknowledged());
    cloud.advance_to_next(SHARDS);
    assert!(
        cloud.submit().await.acknowledged(),
        "it waited for its own claim"
    );
    assert_eq!(uploads(&cloud), 1);
}

#[tokio::test]
async fn a_tiny_reference_is_sent_within_the_line_with_its_true_type() {
    for name in ["refs/tiny.png", "refs/wrong.jpg"] {
        let cloud = planned(2, &[name], 2).await;
        cloud.run().await;
        assert!(cloud.job().has("_SUCCESS"));
        assert_eq!(uploads(&cloud), 0);
        let data = base64_simd::STANDARD.encode_to_string(image(TINY));
        assert_eq!(
            image_parts(&cloud),
            [(); 2].map(|()| json!({"inlineData": {"mimeType": "image/png", "data": data}}))
        );
    }
}

#[tokio::test]
async fn many_uses_of_a_tiny_reference_are_uploaded_once() {
    // 2,200 uses of 15,708 bytes of base64 are more than 32 MiB.
    let cloud = planned(2_200, &["refs/tiny.png"], 10_000).await;
    assert!(cloud.submit().await.acknowledged());
    assert_eq!(uploads(&cloud), 1);
    assert!(
        image_parts(&cloud)
            .iter()
            .all(|part| part["fileData"]["fileUri"].is_string())
    );
}

#[tokio::test]
async fn objects_outside_the_folder_of_references_are_rejected() {
    let cloud = TestCloud::new();
    for key in [
        "jobs/other/images/a.png",
        "stack/a.png",
        "inbox/folder/a.png",
        "secret.png",
    ] {
        cloud.put(key, image(TINY)).await;
    }
    let tries = [
        "jobs/other/images/a.png",
        "s3://darkroom/jobs/other/images/a.png",
        "s3://DARKROOM/jobs/other/images/a.png",
        "stack/a.png",
        "inbox/folder/a.png",
        "secret.png",
        "refs/../secret.png",
        "refs/..%2fsecret.png",
        "refs/%2e%2e/secret.png",
        "refs//../secret.png",
        "refs//secret.png",
    ];
    let friendly = tries
        .iter()
        .map(|refers| json!({"key": refers, "prompt": "x", "refs": [refers]}));
    let native = tries.iter().map(|refers| {
        let parts =
            json!([{"text": "x"}, {"fileData": {"mimeType": "image/png", "fileUri": refers}}]);
        json!({"key": format!("native {refers}"), "request": {"contents": [{"parts": parts}]}})
    });
    let manifest: String = friendly
        .chain(native)
        .map(|item| item.to_string() + "\n")
        .collect();
    cloud.put("inbox/stones.jsonl", manifest).await;
    cloud.run().await;
    let job = cloud
        .jobs()
        .into_iter()
        .find(|job| job.contains("stones"))
        .unwrap();
    let validation = cloud.text(&format!("{job}validation.csv")).await;
    let errors = validation
        .lines()
        .filter(|line| line.contains(",error,bad_reference,") && line.contains("refs/"));
    assert_eq!(errors.count(), 2 * tries.len(), "{validation}");
    assert_eq!(cloud.gemini.batches_created(), 0);
}
