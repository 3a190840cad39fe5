//! Reference pictures reach Gemini once, or within the lines, and as what they are.

use std::{collections::BTreeMap, fs, path::Path};

use darkroom::{
    chain::{FUNCTION_TIMEOUT, MANIFESTS, SHARDS},
    job::{JobSettings, ShardLimits},
    ledger::ProjectLimits,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Making, World};

use super::{acknowledged, delivered, messages, next_in, state, step, wire::input_lines};

/// A picture that is too large to be sent within a line, and one that isn't.
const LARGE: &str = "fox.png";
const TINY: &str = "loafer.png";

fn picture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../events/manifests/refs")
            .join(name),
    )
    .unwrap()
}

/// A planned job of so many items with these references, and `shard` of them to a batch.
async fn planned(items: usize, refs: &[&str], shard: u32) -> World {
    let limits = ProjectLimits {
        live_batches: 100,
        enqueued_tokens: BTreeMap::new(),
        daily_usd: None,
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
    let world = World::made_with(Making {
        settings,
        limits: Some(limits),
        ..Making::default()
    })
    .unwrap();
    for (name, content) in [
        ("refs/large.png", LARGE),
        ("refs/copy.png", LARGE),
        ("refs/tiny.png", TINY),
        ("refs/wrong.jpg", TINY),
    ] {
        world.put(name, picture(content)).await.unwrap();
    }
    let item =
        |number| json!({"key": format!("stone-{number:04}"), "prompt": "a stone", "refs": refs});
    let manifest: String = (0..items)
        .map(|number| item(number).to_string() + "\n")
        .collect();
    world.put("inbox/stones.jsonl", manifest).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    world
}

/// How many pictures were uploaded as files.
fn uploads(world: &World) -> usize {
    world
        .wire
        .sent()
        .iter()
        .filter(|sent| sent.body.starts_with(b"\x89PNG"))
        .count()
}

async fn succeeded(world: &World) -> bool {
    let job = &world.jobs().unwrap()[0];
    world
        .read(&format!("{job}_SUCCESS"))
        .await
        .unwrap()
        .is_some()
}

/// The pictures in the lines that were sent, each as its part.
fn pictures(world: &World) -> Vec<Value> {
    let lines = input_lines(&world.wire.sent());
    lines
        .iter()
        .map(|line| line["request"]["contents"][0]["parts"][1].clone())
        .collect()
}

#[tokio::test]
async fn a_reference_is_uploaded_once_for_the_whole_job() {
    let world = planned(6, &["refs/large.png"], 2).await;
    assert_eq!(messages(&world, SHARDS), 3);
    world.run().await.unwrap();
    assert!(succeeded(&world).await);
    assert_eq!(uploads(&world), 1);
    let parts = pictures(&world);
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
    let world = planned(6, &["refs/large.png"], 2).await;
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    let submit = |event| submit::handler::handle(&world.cloud.deps.submit, event, deadline);
    let (one, two, three) = (
        delivered(&world, SHARDS),
        delivered(&world, SHARDS),
        delivered(&world, SHARDS),
    );
    let responses = tokio::join!(submit(one), submit(two), submit(three));
    assert_eq!(uploads(&world), 1);
    assert!(
        [responses.0, responses.1, responses.2]
            .iter()
            .any(acknowledged)
    );
    world.run().await.unwrap();
    assert!(succeeded(&world).await);
    assert_eq!((uploads(&world), world.gemini.batches_created()), (1, 3));
}

#[tokio::test]
async fn two_objects_with_the_same_bytes_are_one_upload() {
    let world = planned(2, &["refs/large.png", "refs/copy.png"], 2).await;
    assert!(
        acknowledged(&step!(&world, submit, SHARDS)),
        "a shard waited for itself"
    );
    assert_eq!(uploads(&world), 1);
}

#[tokio::test]
async fn who_dies_uploading_holds_others_up_no_longer_than_the_lease() {
    let world = planned(2, &["refs/large.png"], 2).await;
    let job = world.jobs().unwrap()[0].clone();
    let sha256: String = Sha256::digest(picture(LARGE))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let until = world.cloud.time.now() + SignedDuration::from_mins(2);
    let claim = json!({"write_id": "somebody", "claimed_until": until});
    world
        .put(&format!("{job}refs/{sha256}.json"), claim.to_string())
        .await
        .unwrap();
    let mut looks = 0;
    while !acknowledged(&step!(&world, submit, SHARDS)) {
        looks += 1;
        let waiting = state(&world).await;
        assert_eq!(
            (&waiting["phase"]["name"], &waiting["errors"]),
            (&"planned".into(), &0.into())
        );
        assert!(
            waiting["waiting"]
                .as_str()
                .unwrap()
                .contains("another shard"),
            "{waiting}"
        );
        let wait = next_in(&world, SHARDS);
        assert!(wait <= SignedDuration::from_secs(10), "{wait}");
        world
            .cloud
            .time
            .jump_to(world.cloud.time.now() + wait)
            .unwrap();
    }
    let late = world.cloud.time.now().duration_since(until);
    assert!(late < SignedDuration::from_secs(1), "{late}");
    assert_eq!((looks, uploads(&world)), (12, 1));
}

#[tokio::test]
async fn an_upload_that_fails_leaves_no_claim_behind() {
    let world = planned(2, &["refs/large.png"], 2).await;
    let mut fails = true;
    world.wire.decide(move |sent| {
        let fail = std::mem::replace(&mut fails, false);
        assert!(!fail || sent.path.contains("/upload/"), "{}", sent.path);
        fail.then(|| tests::wire::Fault::Answered(http::StatusCode::FORBIDDEN, "{}".to_owned()))
    });
    assert!(!acknowledged(&step!(&world, submit, SHARDS)));
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + next_in(&world, SHARDS))
        .unwrap();
    assert!(
        acknowledged(&step!(&world, submit, SHARDS)),
        "it waited for its own claim"
    );
    assert_eq!(uploads(&world), 1);
}

#[tokio::test]
async fn a_tiny_reference_is_sent_within_the_line_as_what_it_is() {
    for name in ["refs/tiny.png", "refs/wrong.jpg"] {
        let world = planned(2, &[name], 2).await;
        world.run().await.unwrap();
        assert!(succeeded(&world).await);
        assert_eq!(uploads(&world), 0);
        let data = base64_simd::STANDARD.encode_to_string(picture(TINY));
        assert_eq!(
            pictures(&world),
            [(); 2].map(|()| json!({"inlineData": {"mimeType": "image/png", "data": data}}))
        );
    }
}

#[tokio::test]
async fn pictures_within_lines_do_not_make_the_input_file_long() {
    // 2,200 uses of 15,708 bytes of base64 are more than 32 MiB.
    let world = planned(2_200, &["refs/tiny.png"], 10_000).await;
    assert!(acknowledged(&step!(&world, submit, SHARDS)));
    assert_eq!(uploads(&world), 1);
    assert!(
        pictures(&world)
            .iter()
            .all(|part| part["fileData"]["fileUri"].is_string())
    );
}

#[tokio::test]
async fn no_other_object_of_the_bucket_can_be_named() {
    let world = World::new().unwrap();
    for key in [
        "jobs/other/images/a.png",
        "stack/a.png",
        "inbox/folder/a.png",
        "secret.png",
    ] {
        world.put(key, picture(TINY)).await.unwrap();
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
    world.put("inbox/stones.jsonl", manifest).await.unwrap();
    world.run().await.unwrap();
    let job = world
        .jobs()
        .unwrap()
        .into_iter()
        .find(|job| job.contains("stones"))
        .unwrap();
    let validation = world
        .read(&format!("{job}validation.csv"))
        .await
        .unwrap()
        .unwrap();
    let errors = validation
        .lines()
        .filter(|line| line.contains(",error,bad_reference,") && line.contains("refs/"));
    assert_eq!(errors.count(), 2 * tries.len(), "{validation}");
    assert_eq!(world.gemini.batches_created(), 0);
}
