//! Single objects and their files.

use std::fs;

use aws_sdk_s3::types::{
    ChecksumMode, CompletedMultipartUpload, CompletedPart, NotificationConfiguration,
    ObjectLockLegalHoldStatus, Tag, Tagging,
};
use aws_sim::bucket::NotificationRule;
use jiff::Timestamp;
use serde_json::Value;

use super::{BUCKET, StandIns, refusal};

#[tokio::test]
async fn a_condition_applies_to_content_changed_by_hand() {
    let stand_ins = StandIns::new();
    let etag = stand_ins.put("a", b"ours").await;
    fs::write(stand_ins.path("a"), b"theirs").unwrap();
    let put = stand_ins
        .s3
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .if_match(etag)
        .body(b"new".to_vec().into())
        .send()
        .await;
    assert_eq!(refusal(put), ("PreconditionFailed".to_owned(), 412));
    let head = stand_ins
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
async fn a_file_added_by_hand_is_an_object() {
    let stand_ins = StandIns::new();
    fs::create_dir_all(stand_ins.path("inbox")).unwrap();
    fs::write(stand_ins.path("inbox/by hand.txt"), b"hello").unwrap();
    let got = stand_ins
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("inbox/by hand.txt")
        .send()
        .await
        .unwrap();
    assert_eq!(got.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(got.content_type(), Some("binary/octet-stream"));
    assert_eq!(stand_ins.keys().await, ["inbox/by hand.txt"]);
    stand_ins
        .s3
        .delete_object()
        .bucket(BUCKET)
        .key("inbox/by hand.txt")
        .send()
        .await
        .unwrap();
    assert!(
        !stand_ins.path("inbox").exists(),
        "an empty folder is removed"
    );
    assert!(stand_ins.path("").exists(), "the bucket is not removed");
}

#[tokio::test]
async fn the_description_of_an_upload_survives_a_restart() {
    let stand_ins = StandIns::new();
    let put = stand_ins
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
    stand_ins.advance(3_600);

    let stand_ins = stand_ins.reopen();
    let got = stand_ins
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
        "dated by the injected clock"
    );
    assert!(got.version_id().is_none());
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"png");
    assert_eq!(fs::read(stand_ins.path("a.png")).unwrap(), b"png");
    assert_eq!(
        fs::read_dir(stand_ins.path("")).unwrap().count(),
        1,
        "there is no other file next to an object"
    );
}

#[tokio::test]
async fn a_wrong_checksum_leaves_no_file() {
    let stand_ins = StandIns::new();
    let put = || {
        stand_ins
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .body(b"123456789".to_vec().into())
    };
    let wrong = put().checksum_crc64_nvme("AAAAAAAAAAA=").send().await;
    assert_eq!(refusal(wrong), ("BadDigest".to_owned(), 400));
    assert_eq!(fs::read_dir(stand_ins.path("")).unwrap().count(), 0);
    let incoming = stand_ins.folder.path().join("buckets/.darkroom/incoming");
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
    put()
        .checksum_crc64_nvme("rosUhgp5mIg=")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_part_named_like_a_path_is_refused() {
    let stand_ins = StandIns::new();
    let begun = stand_ins
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
    let complete = stand_ins
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

/// A caller that requests such a feature relies on it, so it must not be ignored silently.
#[tokio::test]
async fn customer_keys_locks_and_tags_are_refused() {
    let stand_ins = StandIns::new();
    let put = || {
        stand_ins
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
    assert!(stand_ins.keys().await.is_empty());
    // The same features are refused for a new bucket, a read and tags.
    let vault = stand_ins
        .s3
        .create_bucket()
        .bucket("vault")
        .object_lock_enabled_for_bucket(true)
        .send()
        .await;
    assert_eq!(refusal(vault), not_implemented);
    stand_ins.put("a", b"x").await;
    let read = stand_ins
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
        stand_ins
            .s3
            .put_object_tagging()
            .bucket(BUCKET)
            .key("a")
            .tagging(tagging)
            .send()
    };
    assert_eq!(refusal(tagged(vec![tag]).await), not_implemented);
    // Some clients send an empty set of tags, which asks for nothing.
    tagged(Vec::new()).await.unwrap();
}

/// Streaming clients send `aws-chunked`, which describes the transfer rather than the object.
#[tokio::test]
async fn the_transfer_encoding_is_not_stored() {
    let stand_ins = StandIns::new();
    for (sent, stored) in [
        ("aws-chunked", None),
        ("aws-chunked,gzip", Some("gzip")),
        ("gzip", Some("gzip")),
    ] {
        let put = stand_ins
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .content_encoding(sent);
        put.body(b"x".to_vec().into()).send().await.unwrap();
        let head = stand_ins
            .s3
            .head_object()
            .bucket(BUCKET)
            .key("a")
            .send()
            .await
            .unwrap();
        assert_eq!(head.content_encoding(), stored, "{sent}");
    }
}

#[tokio::test]
async fn part_sizes_survive_a_restart() {
    let stand_ins = StandIns::new();
    let begun = stand_ins
        .s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("big")
        .send()
        .await
        .unwrap();
    let upload = begun.upload_id().unwrap();
    let part = stand_ins
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
        let complete = stand_ins
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
        "different from the completed parts"
    );
    let stand_ins = stand_ins.reopen();
    let head = stand_ins
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
async fn a_rule_applies_until_the_configuration_is_replaced() {
    let rule = NotificationRule {
        bucket: BUCKET.to_owned(),
        events: "s3:ObjectCreated:*".to_owned(),
        prefix: "inbox/".to_owned(),
        suffix: String::new(),
        queue: "manifests".to_owned(),
    };
    let stand_ins = StandIns::with_rules(vec![rule.clone()]);
    let notifications =
        |stand_ins: &StandIns| stand_ins.queues.receive("manifests", 10, None).unwrap();
    stand_ins.put("inbox/a", b"{}").await;
    let body: Value = serde_json::from_str(&notifications(&stand_ins)[0].body).unwrap();
    let at: Timestamp = body["Records"][0]["eventTime"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(at.as_second(), 1_800_000_000, "dated by the injected clock");

    // The rule also applies after a restart, and the API reports it.
    let stand_ins = stand_ins.reopen_with(vec![rule.clone()]);
    stand_ins.put("inbox/b", b"{}").await;
    assert_eq!(notifications(&stand_ins).len(), 1);
    let described = stand_ins
        .s3
        .get_bucket_notification_configuration()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(described.queue_configurations().len(), 1);
    // A configuration that was replaced through the API takes precedence after a restart.
    let empty = NotificationConfiguration::builder().build();
    let put = stand_ins
        .s3
        .put_bucket_notification_configuration()
        .bucket(BUCKET)
        .notification_configuration(empty);
    put.send().await.unwrap();
    let stand_ins = stand_ins.reopen_with(vec![rule]);
    stand_ins.put("inbox/c", b"{}").await;
    assert!(notifications(&stand_ins).is_empty());
}
