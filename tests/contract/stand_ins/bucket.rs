//! Single objects.

use std::fs;

use aws_sdk_s3::types::{
    ChecksumMode, CompletedMultipartUpload, CompletedPart, NotificationConfiguration,
    ObjectLockLegalHoldStatus, Tag, Tagging,
};
use aws_sim::bucket::NotificationRule;
use jiff::Timestamp;
use serde_json::Value;

use super::{BUCKET, World, refusal};

#[tokio::test]
async fn condition_holds_for_content_changed_by_hand() {
    let world = World::new();
    let etag = world.put("a", b"ours").await;
    fs::write(world.path("a"), b"theirs").unwrap();
    let put = world
        .s3
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .if_match(etag)
        .body(b"new".to_vec().into())
        .send()
        .await;
    assert_eq!(refusal(put), ("PreconditionFailed".to_owned(), 412));
    let head = world
        .s3
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(head.e_tag(), Some("\"ce97a90ef59e9c768263754682f68bd6\""));
}

#[tokio::test]
async fn file_put_there_by_hand_is_an_object() {
    let world = World::new();
    fs::create_dir_all(world.path("inbox")).unwrap();
    fs::write(world.path("inbox/by hand.txt"), b"hello").unwrap();
    let got = world
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("inbox/by hand.txt")
        .send()
        .await
        .unwrap();
    assert_eq!(got.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(got.content_type(), Some("binary/octet-stream"));
    assert_eq!(world.keys().await, ["inbox/by hand.txt"]);
    world
        .s3
        .delete_object()
        .bucket(BUCKET)
        .key("inbox/by hand.txt")
        .send()
        .await
        .unwrap();
    assert!(
        !world.path("inbox").exists(),
        "an empty folder is taken away"
    );
    assert!(world.path("").exists(), "the bucket is not");
}

#[tokio::test]
async fn what_the_uploader_says_is_there_after_a_restart() {
    let world = World::new();
    let put = world
        .s3
        .put_object()
        .bucket(BUCKET)
        .key("a.png")
        .body(b"png".to_vec().into());
    let put = put
        .content_type("image/png")
        .content_disposition("inline; filename=\"a.png\"")
        .cache_control("no-store");
    let put = put
        .metadata("job", "cats-0123")
        .metadata("request-key", "a b")
        .send()
        .await
        .unwrap();
    assert!(put.version_id().is_none());
    world.pass(3_600);

    let world = world.reopen();
    let got = world
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("a.png")
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.checksum_crc32(), put.checksum_crc32());
    assert!(got.checksum_crc32().is_some());
    assert_eq!(got.content_type(), Some("image/png"));
    assert_eq!(
        got.content_disposition(),
        Some("inline; filename=\"a.png\"")
    );
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.metadata().unwrap()["request-key"], "a b");
    assert_eq!(got.metadata().unwrap()["job"], "cats-0123");
    assert_eq!(
        got.last_modified().unwrap().secs(),
        1_800_000_000,
        "dated by the clock that was passed in"
    );
    assert!(got.version_id().is_none());
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"png");
    assert_eq!(fs::read(world.path("a.png")).unwrap(), b"png");
    assert_eq!(
        fs::read_dir(world.path("")).unwrap().count(),
        1,
        "nothing lies beside an object"
    );
}

#[tokio::test]
async fn wrong_checksum_leaves_no_file() {
    let world = World::new();
    let put = || {
        world
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .body(b"123456789".to_vec().into())
    };
    let wrong = put().checksum_crc64_nvme("AAAAAAAAAAA=").send().await;
    assert_eq!(refusal(wrong), ("BadDigest".to_owned(), 400));
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 0);
    let incoming = world.folder.path().join("buckets/.darkroom/incoming");
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
    put()
        .checksum_crc64_nvme("rosUhgp5mIg=")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn part_named_like_a_path_is_no_part() {
    let world = World::new();
    let begun = world
        .s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("big")
        .send()
        .await
        .unwrap();
    let part = CompletedPart::builder()
        .part_number(1)
        .e_tag("\"../../etc/passwd\"")
        .build();
    let complete = world
        .s3
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("big")
        .upload_id(begun.upload_id().unwrap());
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    assert_eq!(
        refusal(complete.multipart_upload(parts).send().await),
        ("InvalidPart".to_owned(), 400)
    );
}

/// Who asks for it relies on it: what can't be carried out must not be left out silently.
#[tokio::test]
async fn encryption_with_own_keys_locks_and_tags_are_refused() {
    let world = World::new();
    let put = || {
        world
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .body(b"x".to_vec().into())
    };
    let (key, md5) = (
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "hRasmdxgYDKV3nvbahU1MA==",
    );
    let keyed = put()
        .sse_customer_algorithm("AES256")
        .sse_customer_key(key)
        .sse_customer_key_md5(md5);
    let locked = put().object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
    let not_implemented = ("NotImplemented".to_owned(), 501);
    for refused in [keyed.send().await, locked.send().await] {
        assert_eq!(refusal(refused), not_implemented);
    }
    assert!(world.keys().await.is_empty());
    let vault = world
        .s3
        .create_bucket()
        .bucket("vault")
        .object_lock_enabled_for_bucket(true)
        .send()
        .await;
    assert_eq!(refusal(vault), not_implemented);
    world.put("a", b"x").await;
    let read = world
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("a")
        .sse_customer_algorithm("AES256");
    let read = read
        .sse_customer_key(key)
        .sse_customer_key_md5(md5)
        .send()
        .await;
    assert_eq!(refusal(read), not_implemented);
    let tag = Tag::builder().key("k").value("v").build().unwrap();
    let tagged = |tags: Vec<Tag>| {
        let tagging = Tagging::builder().set_tag_set(Some(tags)).build().unwrap();
        world
            .s3
            .put_object_tagging()
            .bucket(BUCKET)
            .key("a")
            .tagging(tagging)
            .send()
    };
    assert_eq!(refusal(tagged(vec![tag]).await), not_implemented);
    tagged(Vec::new()).await.unwrap();
}

/// Clients that stream say `aws-chunked`, which is about the transfer and not about the object.
#[tokio::test]
async fn encoding_of_the_transfer_is_not_of_the_object() {
    let world = World::new();
    for (sent, kept) in [
        ("aws-chunked", None),
        ("aws-chunked,gzip", Some("gzip")),
        ("gzip", Some("gzip")),
    ] {
        let put = world
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .content_encoding(sent);
        put.body(b"x".to_vec().into()).send().await.unwrap();
        let head = world
            .s3
            .head_object()
            .bucket(BUCKET)
            .key("a")
            .send()
            .await
            .unwrap();
        assert_eq!(head.content_encoding(), kept, "{sent}");
    }
}

#[tokio::test]
async fn sizes_of_parts_are_there_after_a_restart() {
    let world = World::new();
    let begun = world
        .s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("big")
        .send()
        .await
        .unwrap();
    let upload = begun.upload_id().unwrap();
    let part = world
        .s3
        .upload_part()
        .bucket(BUCKET)
        .key("big")
        .upload_id(upload)
        .part_number(1);
    let part = part
        .body(b"all of it".to_vec().into())
        .send()
        .await
        .unwrap();
    let complete = |number: i32| {
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag.clone())
            .build();
        let complete = world
            .s3
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key("big")
            .upload_id(upload);
        complete
            .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
            .send()
    };
    complete(1).await.unwrap();
    assert_eq!(
        refusal(complete(2).await),
        ("NoSuchUpload".to_owned(), 404),
        "not what was completed"
    );
    let world = world.reopen();
    let head = world
        .s3
        .head_object()
        .bucket(BUCKET)
        .key("big")
        .part_number(1)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.parts_count(), head.content_length()),
        (Some(1), Some(9))
    );
}

#[tokio::test]
async fn rule_holds_until_the_bucket_is_given_another_configuration() {
    let rule = NotificationRule {
        bucket: BUCKET.to_owned(),
        events: "s3:ObjectCreated:*".to_owned(),
        prefix: "inbox/".to_owned(),
        suffix: String::new(),
        queue: "manifests".to_owned(),
    };
    let world = World::with_rules(vec![rule.clone()]);
    let told = |world: &World| world.queues.receive("manifests", 10, None).unwrap();
    world.put("inbox/a", b"{}").await;
    let body: Value = serde_json::from_str(&told(&world)[0].body).unwrap();
    let at: Timestamp = body["Records"][0]["eventTime"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        at.as_second(),
        1_800_000_000,
        "dated by the clock that was passed in"
    );

    let world = world.reopen_with(vec![rule.clone()]);
    world.put("inbox/b", b"{}").await;
    assert_eq!(told(&world).len(), 1);
    let described = world
        .s3
        .get_bucket_notification_configuration()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(described.queue_configurations().len(), 1);
    let nobody = NotificationConfiguration::builder().build();
    let put = world
        .s3
        .put_bucket_notification_configuration()
        .bucket(BUCKET)
        .notification_configuration(nobody);
    put.send().await.unwrap();
    let world = world.reopen_with(vec![rule]);
    world.put("inbox/c", b"{}").await;
    assert!(told(&world).is_empty());
}
