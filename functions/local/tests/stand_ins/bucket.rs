//! Single objects.

use std::fs;

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode, Delete, MetadataDirective, ObjectIdentifier},
};
use jiff::Timestamp;
use local::bucket::NotificationRule;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{BUCKET, World, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_simultaneous_creators_wins() {
    let world = World::new();
    for key in ["state.json", "odd//state.json"] {
        let mut creators = JoinSet::new();
        for number in 0..32 {
            let put = world.s3.put_object().bucket(BUCKET).key(key).if_none_match("*");
            creators.spawn(put.body(format!("creator {number}").into_bytes().into()).send());
        }
        let outcomes = creators.join_all().await;
        let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1);
        let etag = winners[0].e_tag().unwrap().to_owned();
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_eq!(refusal(outcome), ("PreconditionFailed".to_owned(), 412));
        }
        let head = world.s3.head_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(head.e_tag(), Some(etag.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_simultaneous_successors_wins() {
    let world = World::new();
    let etag = world.put("state.json", b"first").await;
    let mut successors = JoinSet::new();
    for number in 0..32 {
        let put = world.s3.put_object().bucket(BUCKET).key("state.json").if_match(&etag);
        successors.spawn(put.body(format!("successor {number}").into_bytes().into()).send());
    }
    let outcomes = successors.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn condition_on_another_object_fails_and_on_none_finds_no_key() {
    let world = World::new();
    let put =
        |etag: &str| world.s3.put_object().bucket(BUCKET).key("a").if_match(etag).body(b"new".to_vec().into()).send();
    assert_eq!(refusal(put("\"0123\"").await), ("NoSuchKey".to_owned(), 404));
    let stale = world.put("a", b"one").await;
    let fresh = world.put("a", b"two").await;
    assert_eq!(refusal(put(&stale).await), ("PreconditionFailed".to_owned(), 412));
    assert_eq!(world.read("a").await, b"two");
    put(&fresh).await.unwrap();
    assert_eq!(world.read("a").await, b"new");
}

#[tokio::test]
async fn condition_holds_for_content_changed_by_hand() {
    let world = World::new();
    let etag = world.put("a", b"ours").await;
    fs::write(world.path("a"), b"theirs").unwrap();
    let put = world.s3.put_object().bucket(BUCKET).key("a").if_match(etag).body(b"new".to_vec().into()).send().await;
    assert_eq!(refusal(put), ("PreconditionFailed".to_owned(), 412));
    let head = world.s3.head_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!(head.e_tag(), Some("\"ce97a90ef59e9c768263754682f68bd6\""));
}

#[tokio::test]
async fn file_put_there_by_hand_is_an_object() {
    let world = World::new();
    fs::create_dir_all(world.path("inbox")).unwrap();
    fs::write(world.path("inbox/by hand.txt"), b"hello").unwrap();
    let got = world.s3.get_object().bucket(BUCKET).key("inbox/by hand.txt").send().await.unwrap();
    assert_eq!(got.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(got.content_type(), Some("binary/octet-stream"));
    assert_eq!(world.keys().await, ["inbox/by hand.txt"]);
    world.s3.delete_object().bucket(BUCKET).key("inbox/by hand.txt").send().await.unwrap();
    assert!(!world.path("inbox").exists(), "an empty folder is taken away");
    assert!(world.path("").exists(), "the bucket is not");
}

#[tokio::test]
async fn ranges_are_answered_in_part() {
    let world = World::new();
    let body: Vec<u8> = (0..600_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    world.s3.put_object().bucket(BUCKET).key("a").body(body.clone().into()).send().await.unwrap();
    let get = |range: &str| world.s3.get_object().bucket(BUCKET).key("a").range(range).send();
    for (range, from, to) in
        [("bytes=10-19", 10, 20), ("bytes=599990-", 599_990, 600_000), ("bytes=-5", 599_995, 600_000)]
    {
        let got = get(range).await.unwrap();
        assert_eq!(got.content_range(), Some(format!("bytes {from}-{}/600000", to - 1).as_str()));
        assert_eq!(got.content_length(), Some((to - from) as i64));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), body[from..to], "{range}");
    }
    assert_eq!(refusal(get("bytes=600000-").await), ("InvalidRange".to_owned(), 416));
    assert_eq!(world.read("a").await, body);
}

#[tokio::test]
async fn what_the_reader_has_is_not_sent_again() {
    let world = World::new();
    let etag = world.put("a", b"one").await;
    let get = || world.s3.get_object().bucket(BUCKET).key("a");
    assert_eq!(refusal(get().if_none_match(&etag).send().await).1, 304);
    assert_eq!(refusal(get().if_match("\"0123\"").send().await), ("PreconditionFailed".to_owned(), 412));
    assert!(get().if_match(&etag).send().await.is_ok());
    let head = world.s3.head_object().bucket(BUCKET).key("a").if_none_match(&etag).send().await;
    assert_eq!(refusal(head).1, 304);
}

#[tokio::test]
async fn missing_object_and_missing_bucket_are_told_apart() {
    let world = World::new();
    let get = |bucket: &str| world.s3.get_object().bucket(bucket).key("a").send();
    assert!(get(BUCKET).await.unwrap_err().into_service_error().is_no_such_key());
    assert_eq!(refusal(get("elsewhere").await), ("NoSuchBucket".to_owned(), 404));
    let head = world.s3.head_object().bucket(BUCKET).key("a").send().await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    let put = world.s3.put_object().bucket("elsewhere").key("a").send().await;
    assert_eq!(refusal(put), ("NoSuchBucket".to_owned(), 404));
    assert!(world.s3.head_bucket().bucket("elsewhere").send().await.unwrap_err().into_service_error().is_not_found());
    world.s3.create_bucket().bucket("elsewhere").send().await.unwrap();
    world.s3.head_bucket().bucket("elsewhere").send().await.unwrap();
}

#[tokio::test]
async fn what_the_uploader_says_is_there_after_a_restart() {
    let world = World::new();
    let put = world.s3.put_object().bucket(BUCKET).key("a.png").body(b"png".to_vec().into());
    let put = put.content_type("image/png").content_disposition("inline; filename=\"a.png\"").cache_control("no-store");
    let put = put.metadata("job", "cats-0123").metadata("request-key", "a b").send().await.unwrap();
    assert!(put.version_id().is_none());
    world.pass(3_600);

    let world = world.reopen();
    let got =
        world.s3.get_object().bucket(BUCKET).key("a.png").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.checksum_crc32(), put.checksum_crc32());
    assert!(got.checksum_crc32().is_some());
    assert_eq!(got.content_type(), Some("image/png"));
    assert_eq!(got.content_disposition(), Some("inline; filename=\"a.png\""));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.metadata().unwrap()["request-key"], "a b");
    assert_eq!(got.metadata().unwrap()["job"], "cats-0123");
    assert_eq!(got.last_modified().unwrap().secs(), 1_800_000_000, "dated by the clock that was passed in");
    assert!(got.version_id().is_none());
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"png");
    assert_eq!(fs::read(world.path("a.png")).unwrap(), b"png");
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1, "nothing lies beside an object");
}

#[tokio::test]
async fn wrong_checksum_leaves_no_object() {
    let world = World::new();
    let put = || world.s3.put_object().bucket(BUCKET).key("a").body(b"123456789".to_vec().into());
    let wrong = [
        put().checksum_crc32("AAAAAA==").send().await,
        put().checksum_crc64_nvme("AAAAAAAAAAA=").send().await,
        put().checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").send().await,
        put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await,
    ];
    for outcome in wrong {
        assert_eq!(refusal(outcome), ("BadDigest".to_owned(), 400));
    }
    assert!(world.keys().await.is_empty());
    let incoming = world.folder.path().join("buckets/.darkroom/incoming");
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);

    put().checksum_crc64_nvme("rosUhgp5mIg=").send().await.unwrap();
    put().content_md5("JfnnlDI7RTiF9RgfG2JNCw==").send().await.unwrap();
}

#[tokio::test]
async fn streamed_body_is_checked_by_its_trailer() {
    let world = World::new();
    let source = world.folder.path().join("source");
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    fs::write(&source, &body).unwrap();
    for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc64Nvme, ChecksumAlgorithm::Sha256] {
        let stream = ByteStream::from_path(&source).await.unwrap();
        let put = world.s3.put_object().bucket(BUCKET).key("a").checksum_algorithm(algorithm).body(stream);
        put.send().await.unwrap();
        assert_eq!(world.read("a").await, body);
    }
}

#[tokio::test]
async fn copy_takes_bytes_and_description_or_another_description() {
    let world = World::new();
    let put = world.s3.put_object().bucket(BUCKET).key("a b+c").body(b"one".to_vec().into());
    let put = put.content_type("image/png").metadata("k", "v").send().await.unwrap();
    let copy = |to: &str| world.s3.copy_object().copy_source(format!("{BUCKET}/a%20b%2Bc")).bucket(BUCKET).key(to);
    let copied = copy("same").send().await.unwrap();
    assert_eq!(copied.copy_object_result().unwrap().e_tag(), put.e_tag());
    let same = world.s3.get_object().bucket(BUCKET).key("same").send().await.unwrap();
    assert_eq!((same.content_type(), same.metadata().unwrap()["k"].as_str()), (Some("image/png"), "v"));
    assert_eq!(same.body.collect().await.unwrap().to_vec(), b"one");

    let replace = copy("other").metadata_directive(MetadataDirective::Replace).content_type("image/webp");
    replace.send().await.unwrap();
    let other = world.s3.head_object().bucket(BUCKET).key("other").send().await.unwrap();
    assert_eq!((other.content_type(), other.metadata().unwrap().len()), (Some("image/webp"), 0));
    assert_eq!(refusal(copy("a b+c").send().await), ("InvalidRequest".to_owned(), 400));
    assert_eq!(
        refusal(copy("x").copy_source_if_match("\"0123\"").send().await),
        ("PreconditionFailed".to_owned(), 412)
    );
}

#[tokio::test]
async fn deleting_what_is_not_there_is_no_error() {
    let world = World::new();
    for key in ["a", "b/c", "odd//key"] {
        world.put(key, b"x").await;
    }
    world.s3.delete_object().bucket(BUCKET).key("a").send().await.unwrap();
    world.s3.delete_object().bucket(BUCKET).key("a").send().await.unwrap();
    let objects = ["b/c", "odd//key", "never"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.to_vec())).build().unwrap();
    let deleted = world.s3.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(deleted.deleted().len(), 3);
    assert!(world.keys().await.is_empty());
}

#[tokio::test]
async fn put_and_copy_are_told_to_the_queue_that_a_rule_names() {
    let rule = |prefix: &str, suffix: &str, queue: &str| NotificationRule {
        bucket: BUCKET.to_owned(),
        events: "s3:ObjectCreated:*".to_owned(),
        prefix: prefix.to_owned(),
        suffix: suffix.to_owned(),
        queue: queue.to_owned(),
    };
    let world = World::with_rules(vec![rule("inbox/", ".json", "manifests"), rule("control/", "", "controls")]);
    let etag = world.put("inbox/my cats+dogs é.json", b"{}").await;
    for silent in ["inbox/readme.txt", "jobs/a.json", "inbox.json"] {
        world.put(silent, b"{}").await;
    }
    let source = format!("{BUCKET}/jobs/a.json");
    world.s3.copy_object().copy_source(source).bucket(BUCKET).key("control/a/cancel").send().await.unwrap();

    let told = |queue: &str| {
        let deliveries = world.queues.receive(queue, 10, None).unwrap();
        let records = deliveries
            .iter()
            .map(|delivery| serde_json::from_str::<Value>(&delivery.body).unwrap()["Records"][0].take());
        records.collect::<Vec<_>>()
    };
    let manifests = told("manifests");
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0]["eventName"], "ObjectCreated:Put");
    let at: Timestamp = manifests[0]["eventTime"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_second(), 1_800_000_000);
    let object = &manifests[0]["s3"]["object"];
    assert_eq!(object["key"], "inbox/my+cats%2Bdogs+%C3%A9.json");
    assert_eq!(object["size"], 2);
    assert_eq!(format!("\"{}\"", object["eTag"].as_str().unwrap()), etag);
    let controls = told("controls");
    assert_eq!(controls.len(), 1);
    assert_eq!(controls[0]["eventName"], "ObjectCreated:Copy");
    assert!(controls[0]["s3"]["object"]["sequencer"].as_str() > object["sequencer"].as_str());
}

#[tokio::test]
async fn refused_write_is_not_told() {
    let rule = NotificationRule {
        bucket: BUCKET.to_owned(),
        events: "s3:ObjectCreated:Put".to_owned(),
        prefix: String::new(),
        suffix: String::new(),
        queue: "manifests".to_owned(),
    };
    let world = World::with_rules(vec![rule]);
    world.put("a", b"one").await;
    let put = || world.s3.put_object().bucket(BUCKET).key("a").body(b"two".to_vec().into());
    assert!(put().if_none_match("*").send().await.is_err());
    assert!(put().checksum_crc32("AAAAAA==").send().await.is_err());
    assert_eq!(world.queues.depth("manifests").unwrap().visible, 1);
}
