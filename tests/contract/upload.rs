//! Multipart uploads.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::{
    World,
    differences::{
        COPY_OF_PARTS, HEAD_OF_A_PART, NO_PARTS, PART_ORDER, PART_THAT_IS_NOT_THERE, SMALL_PART,
        UPLOADS_BY_FOLDER, WHOLE_CHECKSUM,
    },
    said,
};

/// The least size of a part that is not the last.
const PART: usize = 5 * 1024 * 1024;

/// The MD5 of the MD5s of [`content`]'s two parts.
const ETAG: &str = "\"b7cd6aa33250a2357c98cb90dfe6a9c3-2\"";

fn content() -> (Vec<u8>, Vec<u8>) {
    (vec![b'a'; PART], b"the rest".to_vec())
}

impl World {
    async fn begin(&self) -> String {
        let begun = self
            .s3
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key("big")
            .send()
            .await
            .unwrap();
        begun.upload_id.unwrap()
    }

    async fn part(&self, upload: &str, number: i32, body: Vec<u8>) -> CompletedPart {
        let part = self
            .s3
            .upload_part()
            .bucket(&self.bucket)
            .key("big")
            .upload_id(upload)
            .part_number(number);
        let part = part.body(body.into()).send().await.unwrap();
        CompletedPart::builder()
            .part_number(number)
            .e_tag(part.e_tag().unwrap())
            .set_checksum_crc32(part.checksum_crc32)
            .build()
    }

    fn complete(
        &self,
        upload: &str,
        parts: &[CompletedPart],
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder{
        let all = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.to_vec()))
            .build();
        self.s3
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key("big")
            .upload_id(upload)
            .multipart_upload(all)
    }
}

#[tokio::test]
async fn parts_become_one_object() {
    let world = World::new().await;
    let begin = world
        .s3
        .create_multipart_upload()
        .bucket(&world.bucket)
        .key("big");
    let begin = begin.content_type("text/plain").metadata("k", "v");
    let upload = begin.send().await.unwrap().upload_id().unwrap().to_owned();
    let (first, last) = content();
    // Out of order, and the first one twice: the later one counts.
    let two = world.part(&upload, 2, last.clone()).await;
    world.part(&upload, 1, b"another".to_vec()).await;
    let one = world.part(&upload, 1, first.clone()).await;
    let parts = || {
        world
            .s3
            .list_parts()
            .bucket(&world.bucket)
            .key("big")
            .upload_id(&upload)
            .send()
    };
    let sizes: Vec<_> = parts()
        .await
        .unwrap()
        .parts()
        .iter()
        .map(|part| (part.part_number(), part.size()))
        .collect();
    assert_eq!(sizes, [(Some(1), Some(PART as i64)), (Some(2), Some(8))]);
    assert!(world.keys().await.is_empty(), "an upload is no object");

    let completed = world.complete(&upload, &[one, two]).send().await.unwrap();
    assert_eq!(completed.e_tag(), Some(ETAG));
    let got = world
        .s3
        .get_object()
        .bucket(&world.bucket)
        .key("big")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (got.e_tag(), got.content_type()),
        (Some(ETAG), Some("text/plain"))
    );
    assert_eq!(got.metadata().unwrap()["k"], "v");
    assert!(got.body.collect().await.unwrap().to_vec() == [first, last].concat());
    assert_eq!(said(parts().await), "404 NoSuchUpload");

    let copy = world
        .s3
        .copy_object()
        .copy_source(format!("{}/big", world.bucket))
        .bucket(&world.bucket)
        .key("copy");
    let etag = copy
        .send()
        .await
        .unwrap()
        .copy_object_result
        .unwrap()
        .e_tag
        .unwrap();
    world.judge(
        COPY_OF_PARTS,
        if etag.contains('-') {
            "of parts"
        } else {
            "of one piece"
        },
    );
}

#[tokio::test]
async fn completion_is_conditional_and_keeps_its_parts_when_refused() {
    let world = World::new().await;
    let upload = world.begin().await;
    let parts = [world.part(&upload, 1, b"all of it".to_vec()).await];
    let complete = || world.complete(&upload, &parts);
    let other = "\"0123456789abcdef0123456789abcdef\"";
    assert_eq!(
        said(complete().if_match(other).send().await),
        "404 NoSuchKey"
    );
    let etag = world.put("big", b"first").await;
    assert_eq!(
        said(complete().if_match(other).send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(
        said(complete().if_none_match("*").send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(
        said(complete().mpu_object_size(5).send().await),
        "400 InvalidRequest"
    );
    complete().if_match(etag).send().await.unwrap();
    assert_eq!(world.read("big").await, b"all of it");
}

#[tokio::test]
async fn completion_that_is_asked_for_again_is_answered_the_same() {
    let world = World::new().await;
    let upload = world.begin().await;
    let parts = [world.part(&upload, 1, b"all of it".to_vec()).await];
    let first = world.complete(&upload, &parts).send().await.unwrap();
    // By now the key may have another object: the answer is about the one that the upload became.
    world.put("big", b"another").await;
    let again = world.complete(&upload, &parts).send().await.unwrap();
    assert_eq!((again.e_tag(), again.key()), (first.e_tag(), Some("big")));
    assert_eq!(world.read("big").await, b"another");
}

#[tokio::test]
async fn part_may_be_a_copy_of_an_object_or_of_a_range() {
    let world = World::new().await;
    let (first, last) = content();
    world
        .put("source/a b+c", &[first.clone(), last.clone()].concat())
        .await;
    let source = format!("{}/source/a%20b%2Bc", world.bucket);
    let upload = world.begin().await;
    let copy = |number: i32| {
        let part = world
            .s3
            .upload_part_copy()
            .bucket(&world.bucket)
            .key("big")
            .upload_id(&upload);
        part.part_number(number).copy_source(&source)
    };
    let ranges = [
        format!("bytes=0-{}", PART - 1),
        format!("bytes={PART}-{}", PART + 7),
    ];
    let mut parts = Vec::new();
    for (number, range) in (1..).zip(ranges) {
        let copied = copy(number)
            .copy_source_range(range)
            .send()
            .await
            .unwrap()
            .copy_part_result
            .unwrap();
        assert!(copied.last_modified().is_some());
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .e_tag(copied.e_tag().unwrap())
                .build(),
        );
    }
    assert_eq!(
        world
            .complete(&upload, &parts)
            .send()
            .await
            .unwrap()
            .e_tag(),
        Some(ETAG)
    );
    assert!(world.read("big").await == [first, last].concat());

    let upload = world.begin().await;
    let copy = |source: &str| {
        let part = world
            .s3
            .upload_part_copy()
            .bucket(&world.bucket)
            .key("big")
            .upload_id(&upload)
            .part_number(1);
        part.copy_source(format!("{}/{source}", world.bucket))
    };
    let whole = copy("big").send().await.unwrap().copy_part_result.unwrap();
    assert!(
        !whole.e_tag().unwrap().contains('-'),
        "a part has the MD5 of its content"
    );
    assert_eq!(said(copy("none").send().await), "404 NoSuchKey");
    assert_eq!(
        said(copy("big").upload_id("0-0").send().await),
        "404 NoSuchUpload"
    );
    let stale = copy("big")
        .copy_source_if_match("\"0123456789abcdef0123456789abcdef\"")
        .send()
        .await;
    assert_eq!(said(stale), "412 PreconditionFailed");
    for range in ["bytes=0-99999999", "bytes=5-"] {
        let copied = copy("big").copy_source_range(range).send().await;
        assert_eq!(said(copied), "400 InvalidArgument", "{range}");
    }
}

#[tokio::test]
async fn uploads_under_way_are_listed() {
    let world = World::new().await;
    let begin = |key: &'static str| {
        world
            .s3
            .create_multipart_upload()
            .bucket(&world.bucket)
            .key(key)
            .send()
    };
    for key in ["a b", "folder/a", "folder/b", "z"] {
        begin(key).await.unwrap();
    }
    let list = || world.s3.list_multipart_uploads().bucket(&world.bucket);
    let all = list().send().await.unwrap();
    let keys: Vec<_> = all
        .uploads()
        .iter()
        .map(|upload| upload.key().unwrap())
        .collect();
    assert_eq!(keys, ["a b", "folder/a", "folder/b", "z"]);
    assert!(
        all.uploads()
            .iter()
            .all(|upload| upload.upload_id().is_some() && upload.initiated().is_some())
    );
    assert_eq!(all.is_truncated(), Some(false));
    let below = list().prefix("folder/").send().await.unwrap();
    assert_eq!(below.uploads().len(), 2);
    let folders = list().delimiter("/").send().await.unwrap();
    world.judge(
        UPLOADS_BY_FOLDER,
        &format!(
            "{} and {}",
            folders.uploads().len(),
            folders.common_prefixes().len()
        ),
    );
    let first = list().max_uploads(3).send().await.unwrap();
    assert_eq!(
        (first.uploads().len(), first.is_truncated()),
        (3, Some(true))
    );
    let rest = list()
        .set_key_marker(first.next_key_marker)
        .set_upload_id_marker(first.next_upload_id_marker);
    let rest = rest.send().await.unwrap();
    assert_eq!(
        rest.uploads()
            .iter()
            .map(|upload| upload.key().unwrap())
            .collect::<Vec<_>>(),
        ["z"]
    );

    let abort = world
        .s3
        .abort_multipart_upload()
        .bucket(&world.bucket)
        .key("z");
    abort
        .upload_id(all.uploads()[3].upload_id().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(list().send().await.unwrap().uploads().len(), 3);
    assert_eq!(
        said(list().bucket(super::fresh("bucket")).send().await),
        "404 NoSuchBucket"
    );
}

#[tokio::test]
async fn object_is_read_by_the_parts_it_was_uploaded_in() {
    let world = World::new().await;
    let upload = world.begin().await;
    let (first, last) = content();
    let parts = [
        world.part(&upload, 1, first.clone()).await,
        world.part(&upload, 2, last.clone()).await,
    ];
    world.complete(&upload, &parts).send().await.unwrap();
    for (number, content, range) in [
        (1, &first, "bytes 0-5242879/5242888"),
        (2, &last, "bytes 5242880-5242887/5242888"),
    ] {
        let got = world
            .s3
            .get_object()
            .bucket(&world.bucket)
            .key("big")
            .part_number(number)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (got.parts_count(), got.content_range()),
            (Some(2), Some(range))
        );
        assert!(got.body.collect().await.unwrap().to_vec() == *content);
        let head = world
            .s3
            .head_object()
            .bucket(&world.bucket)
            .key("big")
            .part_number(number)
            .send()
            .await
            .unwrap();
        let size = i64::try_from(content.len()).ok();
        let is_part = (head.parts_count(), head.content_length()) == (Some(2), size);
        world.judge(
            HEAD_OF_A_PART,
            if is_part {
                "of the part"
            } else {
                "of the whole object"
            },
        );
        assert_eq!(
            head.e_tag(),
            Some(ETAG),
            "of the object, and not of the part"
        );
    }
    let get = |key: &str, number: i32| {
        world
            .s3
            .get_object()
            .bucket(&world.bucket)
            .key(key)
            .part_number(number)
            .send()
    };
    world.judge(PART_THAT_IS_NOT_THERE, &said(get("big", 3).await));
    world.put("single", b"one piece").await;
    let single = get("single", 1).await.unwrap();
    assert_eq!(
        (single.parts_count(), single.content_length()),
        (None, Some(9))
    );
}

#[tokio::test]
async fn parts_that_make_no_object_are_refused() {
    let world = World::new().await;
    let upload = world.begin().await;
    let part = world.part(&upload, 1, b"x".to_vec()).await;
    let named = |number, etag: &str| {
        [CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .build()]
    };
    let unknown = named(1, "\"0123456789abcdef0123456789abcdef\"");
    assert_eq!(
        said(world.complete(&upload, &unknown).send().await),
        "400 InvalidPart"
    );
    let missing = named(3, part.e_tag().unwrap());
    assert_eq!(
        said(world.complete(&upload, &missing).send().await),
        "400 InvalidPart"
    );
    let elsewhere = world.complete(&upload, &[part]).key("other").send().await;
    assert_eq!(said(elsewhere), "404 NoSuchUpload");
    let beyond = world
        .s3
        .upload_part()
        .bucket(&world.bucket)
        .key("big")
        .upload_id(&upload)
        .part_number(10_001);
    assert_eq!(
        said(beyond.body(b"x".to_vec().into()).send().await),
        "400 InvalidArgument"
    );
    assert!(world.keys().await.is_empty());

    // Each in an upload of its own: one that is taken ends it.
    let upload = world.begin().await;
    let small = [
        world.part(&upload, 1, b"small".to_vec()).await,
        world.part(&upload, 2, b"x".to_vec()).await,
    ];
    world.judge(
        SMALL_PART,
        &said(world.complete(&upload, &small).send().await),
    );
    let upload = world.begin().await;
    let (first, last) = content();
    let turned = [
        world.part(&upload, 2, last).await,
        world.part(&upload, 1, first).await,
    ];
    world.judge(
        PART_ORDER,
        &said(world.complete(&upload, &turned).send().await),
    );
    let upload = world.begin().await;
    world.judge(NO_PARTS, &said(world.complete(&upload, &[]).send().await));
}

#[tokio::test]
async fn aborted_upload_is_gone() {
    let world = World::new().await;
    let upload = world.begin().await;
    let part = world.part(&upload, 1, b"x".to_vec()).await;
    let abort = || {
        world
            .s3
            .abort_multipart_upload()
            .bucket(&world.bucket)
            .key("big")
            .upload_id(&upload)
            .send()
    };
    abort().await.unwrap();
    assert_eq!(said(abort().await), "404 NoSuchUpload");
    assert_eq!(
        said(world.complete(&upload, &[part]).send().await),
        "404 NoSuchUpload"
    );
    let late = world
        .s3
        .upload_part()
        .bucket(&world.bucket)
        .key("big")
        .upload_id(&upload)
        .part_number(1);
    assert_eq!(
        said(late.body(b"x".to_vec().into()).send().await),
        "404 NoSuchUpload"
    );
    assert!(world.keys().await.is_empty());
}

#[tokio::test]
async fn checksum_of_the_object_is_over_all_or_over_the_parts() {
    let world = World::new().await;
    let (whole, composite) = ("Q0/6rQ==", "lDNpmQ==-2");
    for kind in [ChecksumType::FullObject, ChecksumType::Composite] {
        let begin = world
            .s3
            .create_multipart_upload()
            .bucket(&world.bucket)
            .key("big");
        let begin = begin
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .checksum_type(kind.clone());
        let upload = begin.send().await.unwrap().upload_id.unwrap();
        let (first, last) = content();
        let parts = [
            world.part(&upload, 1, first).await,
            world.part(&upload, 2, last).await,
        ];
        let wrong = world
            .complete(&upload, &parts)
            .checksum_crc32("AAAAAA==")
            .send()
            .await;
        assert_eq!(said(wrong), "400 BadDigest");
        let completed = world.complete(&upload, &parts).send().await.unwrap();
        let kept = world.checksums("big").await.0;
        assert_eq!(completed.checksum_crc32, kept);
        if kind == ChecksumType::Composite {
            assert_eq!(kept.as_deref(), Some(composite));
        } else {
            let over = match kept.as_deref() {
                Some(sum) if sum == whole => "over the whole object",
                Some(sum) if sum == composite => "over the parts' checksums",
                Some(_) | None => "none that is right",
            };
            world.judge(WHOLE_CHECKSUM, over);
        }
    }
}
