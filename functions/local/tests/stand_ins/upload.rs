//! Multipart uploads.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart};
use local::bucket::NotificationRule;

use super::{BUCKET, World, refusal};

/// The least size of a part that is not the last.
const PART: usize = 5 * 1024 * 1024;

/// The MD5 of the MD5s of [`content`]'s two parts.
const ETAG: &str = "\"b7cd6aa33250a2357c98cb90dfe6a9c3-2\"";

fn content() -> (Vec<u8>, Vec<u8>) {
    (vec![b'a'; PART], b"the rest".to_vec())
}

impl World {
    async fn part(&self, upload: &str, number: i32, body: Vec<u8>) -> CompletedPart {
        let part = self.s3.upload_part().bucket(BUCKET).key("big").upload_id(upload).part_number(number);
        let part = part.body(body.into()).send().await.unwrap();
        CompletedPart::builder().part_number(number).e_tag(part.e_tag().unwrap()).build()
    }
}

fn all(parts: &[CompletedPart]) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build()
}

#[tokio::test]
async fn parts_become_one_object_that_is_told_once() {
    let rule = NotificationRule {
        bucket: BUCKET.to_owned(),
        events: "s3:ObjectCreated:*".to_owned(),
        prefix: String::new(),
        suffix: String::new(),
        queue: "told".to_owned(),
    };
    let world = World::with_rules(vec![rule]);
    let begin =
        world.s3.create_multipart_upload().bucket(BUCKET).key("big").content_type("text/plain").metadata("k", "v");
    let upload = begin.send().await.unwrap().upload_id().unwrap().to_owned();
    let (first, last) = content();
    // Out of order, and the first one twice: the ETag says which is meant.
    let two = world.part(&upload, 2, last.clone()).await;
    world.part(&upload, 1, b"another".to_vec()).await;
    let one = world.part(&upload, 1, first.clone()).await;
    let parts = world.s3.list_parts().bucket(BUCKET).key("big").upload_id(&upload).send().await.unwrap();
    let sizes: Vec<_> = parts.parts().iter().map(|part| (part.part_number(), part.size())).collect();
    assert_eq!(sizes, [(Some(1), Some(PART as i64)), (Some(2), Some(8))]);
    assert!(world.keys().await.is_empty(), "an upload is no object");
    assert_eq!(world.queues.depth("told").unwrap().visible, 0);

    let complete = world.s3.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(&upload);
    let completed = complete.multipart_upload(all(&[one, two])).send().await.unwrap();
    assert_eq!(completed.e_tag(), Some(ETAG));
    let got = world.s3.get_object().bucket(BUCKET).key("big").send().await.unwrap();
    assert_eq!((got.e_tag(), got.content_type()), (Some(ETAG), Some("text/plain")));
    assert_eq!(got.metadata().unwrap()["k"], "v");
    assert!(got.body.collect().await.unwrap().to_vec() == [first, last].concat());
    let told = world.queues.receive("told", 10, None).unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].body.contains("ObjectCreated:CompleteMultipartUpload"));

    let after = world.s3.list_parts().bucket(BUCKET).key("big").upload_id(&upload).send().await;
    assert_eq!(refusal(after), ("NoSuchUpload".to_owned(), 404));
    let source = format!("{BUCKET}/big");
    let copied = world.s3.copy_object().copy_source(source).bucket(BUCKET).key("copy").send().await.unwrap();
    let etag = copied.copy_object_result().unwrap().e_tag().unwrap().to_owned();
    assert!(!etag.contains('-'), "a copy is in one piece");
}

#[tokio::test]
async fn completion_is_conditional_and_keeps_its_parts_when_refused() {
    let world = World::new();
    let upload = world.s3.create_multipart_upload().bucket(BUCKET).key("big").send().await.unwrap();
    let upload = upload.upload_id().unwrap();
    let part = world.part(upload, 1, b"all of it".to_vec()).await;
    let complete = || {
        let complete = world.s3.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(upload);
        complete.multipart_upload(all(std::slice::from_ref(&part)))
    };
    assert_eq!(refusal(complete().if_match("\"0123\"").send().await), ("NoSuchKey".to_owned(), 404));
    let etag = world.put("big", b"first").await;
    assert_eq!(refusal(complete().if_none_match("*").send().await), ("PreconditionFailed".to_owned(), 412));
    assert_eq!(refusal(complete().mpu_object_size(5).send().await), ("InvalidRequest".to_owned(), 400));
    complete().if_match(etag).send().await.unwrap();
    assert_eq!(world.read("big").await, b"all of it");
}

#[tokio::test]
async fn parts_that_make_no_object_are_refused() {
    let world = World::new();
    let upload = world.s3.create_multipart_upload().bucket(BUCKET).key("big").send().await.unwrap();
    let upload = upload.upload_id().unwrap();
    let (one, two) = (world.part(upload, 1, b"small".to_vec()).await, world.part(upload, 2, b"x".to_vec()).await);
    let complete = |parts: Vec<CompletedPart>| {
        let complete = world.s3.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(upload);
        complete.multipart_upload(all(&parts)).send()
    };
    let unknown = CompletedPart::builder().part_number(1).e_tag("\"../../etc/passwd\"").build();
    let missing = CompletedPart::builder().part_number(3).e_tag(two.e_tag().unwrap()).build();
    assert_eq!(refusal(complete(vec![one.clone(), two.clone()]).await).0, "EntityTooSmall");
    assert_eq!(refusal(complete(vec![two.clone(), one.clone()]).await).0, "InvalidPartOrder");
    assert_eq!(refusal(complete(vec![unknown]).await).0, "InvalidPart");
    assert_eq!(refusal(complete(vec![missing]).await).0, "InvalidPart");
    let elsewhere = world.s3.complete_multipart_upload().bucket(BUCKET).key("other").upload_id(upload);
    assert_eq!(refusal(elsewhere.multipart_upload(all(&[one])).send().await).0, "NoSuchUpload");

    world.s3.abort_multipart_upload().bucket(BUCKET).key("big").upload_id(upload).send().await.unwrap();
    assert_eq!(refusal(complete(vec![two]).await), ("NoSuchUpload".to_owned(), 404));
    assert!(world.keys().await.is_empty());
}

#[tokio::test]
async fn checksum_of_the_object_is_over_all_or_over_the_parts() {
    let world = World::new();
    for (kind, expected) in [(ChecksumType::FullObject, "Q0/6rQ=="), (ChecksumType::Composite, "lDNpmQ==-2")] {
        let begin = world.s3.create_multipart_upload().bucket(BUCKET).key("big");
        let begin = begin.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_type(kind).send().await.unwrap();
        let upload = begin.upload_id().unwrap();
        let (first, last) = content();
        let parts = [world.part(upload, 1, first).await, world.part(upload, 2, last).await];
        let complete = || {
            let complete = world.s3.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(upload);
            complete.multipart_upload(all(&parts))
        };
        assert_eq!(refusal(complete().checksum_crc32("AAAAAA==").send().await).0, "BadDigest");
        let completed = complete().send().await.unwrap();
        assert_eq!(completed.checksum_crc32(), Some(expected));
        let head =
            world.s3.head_object().bucket(BUCKET).key("big").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        assert_eq!(head.checksum_crc32(), Some(expected));
    }
}
