//! Multipart uploads.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::{
    Services,
    differences::{
        COPY_OF_PARTS, HEAD_OF_A_PART, MISSING_PART, NO_PARTS, PART_ORDER, SMALL_PART,
        UPLOADS_BY_FOLDER, WHOLE_CHECKSUM,
    },
    outcome_of,
};

/// The minimum size of a part that is not the last, in bytes.
const PART: usize = 5 * 1024 * 1024;

/// The MD5 over the MD5s of the two parts of [`content`].
const ETAG: &str = "\"b7cd6aa33250a2357c98cb90dfe6a9c3-2\"";

fn content() -> (Vec<u8>, Vec<u8>) {
    (vec![b'a'; PART], b"the rest".to_vec())
}

impl Services {
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
    let services = Services::new().await;
    let begin = services
        .s3
        .create_multipart_upload()
        .bucket(&services.bucket)
        .key("big");
    let begin = begin.content_type("text/plain").metadata("k", "v");
    let upload = begin.send().await.unwrap().upload_id().unwrap().to_owned();
    let (first, last) = content();
    // The parts arrive out of order, and the first one twice: the later one counts.
    let two = services.part(&upload, 2, last.clone()).await;
    services.part(&upload, 1, b"another".to_vec()).await;
    let one = services.part(&upload, 1, first.clone()).await;
    let parts = || {
        services
            .s3
            .list_parts()
            .bucket(&services.bucket)
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
    assert!(
        services.keys().await.is_empty(),
        "an upload is not an object"
    );

    let completed = services
        .complete(&upload, &[one, two])
        .send()
        .await
        .unwrap();
    assert_eq!(completed.e_tag(), Some(ETAG));
    let got = services
        .s3
        .get_object()
        .bucket(&services.bucket)
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
    assert_eq!(outcome_of(parts().await), "404 NoSuchUpload");

    let copy = services
        .s3
        .copy_object()
        .copy_source(format!("{}/big", services.bucket))
        .bucket(&services.bucket)
        .key("copy");
    let etag = copy
        .send()
        .await
        .unwrap()
        .copy_object_result
        .unwrap()
        .e_tag
        .unwrap();
    services.check(
        COPY_OF_PARTS,
        if etag.contains('-') {
            "of parts"
        } else {
            "of one piece"
        },
    );
}

#[tokio::test]
async fn a_completion_is_conditional_and_keeps_its_parts_if_refused() {
    let services = Services::new().await;
    let upload = services.begin().await;
    let parts = [services.part(&upload, 1, b"all of it".to_vec()).await];
    let complete = || services.complete(&upload, &parts);
    let other = "\"0123456789abcdef0123456789abcdef\"";
    assert_eq!(
        outcome_of(complete().if_match(other).send().await),
        "404 NoSuchKey"
    );
    let etag = services.put("big", b"first").await;
    assert_eq!(
        outcome_of(complete().if_match(other).send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(
        outcome_of(complete().if_none_match("*").send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(
        outcome_of(complete().mpu_object_size(5).send().await),
        "400 InvalidRequest"
    );
    complete().if_match(etag).send().await.unwrap();
    assert_eq!(services.read("big").await, b"all of it");
}

#[tokio::test]
async fn a_repeated_completion_gets_the_same_answer() {
    let services = Services::new().await;
    let upload = services.begin().await;
    let parts = [services.part(&upload, 1, b"all of it".to_vec()).await];
    let first = services.complete(&upload, &parts).send().await.unwrap();
    // The key has another object by now. The answer must still describe the one that the upload
    // created.
    services.put("big", b"another").await;
    let again = services.complete(&upload, &parts).send().await.unwrap();
    assert_eq!((again.e_tag(), again.key()), (first.e_tag(), Some("big")));
    assert_eq!(services.read("big").await, b"another");
}

#[tokio::test]
async fn a_part_can_be_copied_from_an_object_or_a_range() {
    let services = Services::new().await;
    let (first, last) = content();
    services
        .put("source/a b+c", &[first.clone(), last.clone()].concat())
        .await;
    let source = format!("{}/source/a%20b%2Bc", services.bucket);
    let upload = services.begin().await;
    let copy = |number: i32| {
        let part = services
            .s3
            .upload_part_copy()
            .bucket(&services.bucket)
            .key("big")
            .upload_id(&upload);
        part.part_number(number).copy_source(&source)
    };
    // Two ranges of one source become the two parts of another object.
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
        services
            .complete(&upload, &parts)
            .send()
            .await
            .unwrap()
            .e_tag(),
        Some(ETAG)
    );
    assert!(services.read("big").await == [first, last].concat());

    let upload = services.begin().await;
    let copy = |source: &str| {
        let part = services
            .s3
            .upload_part_copy()
            .bucket(&services.bucket)
            .key("big")
            .upload_id(&upload)
            .part_number(1);
        part.copy_source(format!("{}/{source}", services.bucket))
    };
    // A whole object, even one with parts, can become a single part.
    let whole = copy("big").send().await.unwrap().copy_part_result.unwrap();
    assert!(
        !whole.e_tag().unwrap().contains('-'),
        "a part has the MD5 of its content"
    );
    assert_eq!(outcome_of(copy("none").send().await), "404 NoSuchKey");
    assert_eq!(
        outcome_of(copy("big").upload_id("0-0").send().await),
        "404 NoSuchUpload"
    );
    // A stale ETag of the source, and a range beyond its end, are refused.
    let stale = copy("big")
        .copy_source_if_match("\"0123456789abcdef0123456789abcdef\"")
        .send()
        .await;
    assert_eq!(outcome_of(stale), "412 PreconditionFailed");
    for range in ["bytes=0-99999999", "bytes=5-"] {
        let copied = copy("big").copy_source_range(range).send().await;
        assert_eq!(outcome_of(copied), "400 InvalidArgument", "{range}");
    }
}

#[tokio::test]
async fn active_uploads_are_listed() {
    let services = Services::new().await;
    let begin = |key: &'static str| {
        services
            .s3
            .create_multipart_upload()
            .bucket(&services.bucket)
            .key(key)
            .send()
    };
    for key in ["a b", "folder/a", "folder/b", "z"] {
        begin(key).await.unwrap();
    }
    let list = || {
        services
            .s3
            .list_multipart_uploads()
            .bucket(&services.bucket)
    };
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
    // Prefixes, delimiters and pages work as they do for objects.
    let below = list().prefix("folder/").send().await.unwrap();
    assert_eq!(below.uploads().len(), 2);
    let folders = list().delimiter("/").send().await.unwrap();
    services.check(
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

    let abort = services
        .s3
        .abort_multipart_upload()
        .bucket(&services.bucket)
        .key("z");
    abort
        .upload_id(all.uploads()[3].upload_id().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(list().send().await.unwrap().uploads().len(), 3);
    assert_eq!(
        outcome_of(list().bucket(super::fresh("bucket")).send().await),
        "404 NoSuchBucket"
    );
}

#[tokio::test]
async fn an_object_can_be_read_by_its_uploaded_parts() {
    let services = Services::new().await;
    let upload = services.begin().await;
    let (first, last) = content();
    let parts = [
        services.part(&upload, 1, first.clone()).await,
        services.part(&upload, 2, last.clone()).await,
    ];
    services.complete(&upload, &parts).send().await.unwrap();
    for (number, content, range) in [
        (1, &first, "bytes 0-5242879/5242888"),
        (2, &last, "bytes 5242880-5242887/5242888"),
    ] {
        let got = services
            .s3
            .get_object()
            .bucket(&services.bucket)
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
        let head = services
            .s3
            .head_object()
            .bucket(&services.bucket)
            .key("big")
            .part_number(number)
            .send()
            .await
            .unwrap();
        let size = i64::try_from(content.len()).ok();
        let is_part = (head.parts_count(), head.content_length()) == (Some(2), size);
        services.check(
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
        services
            .s3
            .get_object()
            .bucket(&services.bucket)
            .key(key)
            .part_number(number)
            .send()
    };
    services.check(MISSING_PART, &outcome_of(get("big", 3).await));
    // An object without parts has one part and no number of parts.
    services.put("single", b"one piece").await;
    let single = get("single", 1).await.unwrap();
    assert_eq!(
        (single.parts_count(), single.content_length()),
        (None, Some(9))
    );
}

#[tokio::test]
async fn incomplete_and_disordered_parts_are_refused() {
    let services = Services::new().await;
    let upload = services.begin().await;
    let part = services.part(&upload, 1, b"x".to_vec()).await;
    let named = |number, etag: &str| {
        [CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .build()]
    };
    // Parts that were never uploaded are refused, by ETag or by number.
    let unknown = named(1, "\"0123456789abcdef0123456789abcdef\"");
    assert_eq!(
        outcome_of(services.complete(&upload, &unknown).send().await),
        "400 InvalidPart"
    );
    let missing = named(3, part.e_tag().unwrap());
    assert_eq!(
        outcome_of(services.complete(&upload, &missing).send().await),
        "400 InvalidPart"
    );
    // An upload belongs to one key, and its part numbers are limited.
    let elsewhere = services
        .complete(&upload, &[part])
        .key("other")
        .send()
        .await;
    assert_eq!(outcome_of(elsewhere), "404 NoSuchUpload");
    let beyond = services
        .s3
        .upload_part()
        .bucket(&services.bucket)
        .key("big")
        .upload_id(&upload)
        .part_number(10_001);
    assert_eq!(
        outcome_of(beyond.body(b"x".to_vec().into()).send().await),
        "400 InvalidArgument"
    );
    assert!(services.keys().await.is_empty());

    // Each case has its own upload, because an accepted completion ends it.
    let upload = services.begin().await;
    let small = [
        services.part(&upload, 1, b"small".to_vec()).await,
        services.part(&upload, 2, b"x".to_vec()).await,
    ];
    services.check(
        SMALL_PART,
        &outcome_of(services.complete(&upload, &small).send().await),
    );
    let upload = services.begin().await;
    let (first, last) = content();
    let turned = [
        services.part(&upload, 2, last).await,
        services.part(&upload, 1, first).await,
    ];
    services.check(
        PART_ORDER,
        &outcome_of(services.complete(&upload, &turned).send().await),
    );
    let upload = services.begin().await;
    services.check(
        NO_PARTS,
        &outcome_of(services.complete(&upload, &[]).send().await),
    );
}

#[tokio::test]
async fn an_aborted_upload_no_longer_exists() {
    let services = Services::new().await;
    let upload = services.begin().await;
    let part = services.part(&upload, 1, b"x".to_vec()).await;
    let abort = || {
        services
            .s3
            .abort_multipart_upload()
            .bucket(&services.bucket)
            .key("big")
            .upload_id(&upload)
            .send()
    };
    abort().await.unwrap();
    assert_eq!(outcome_of(abort().await), "404 NoSuchUpload");
    assert_eq!(
        outcome_of(services.complete(&upload, &[part]).send().await),
        "404 NoSuchUpload"
    );
    let late = services
        .s3
        .upload_part()
        .bucket(&services.bucket)
        .key("big")
        .upload_id(&upload)
        .part_number(1);
    assert_eq!(
        outcome_of(late.body(b"x".to_vec().into()).send().await),
        "404 NoSuchUpload"
    );
    assert!(services.keys().await.is_empty());
}

#[tokio::test]
async fn the_object_checksum_covers_the_content_or_the_part_checksums() {
    let services = Services::new().await;
    let (whole, composite) = ("Q0/6rQ==", "lDNpmQ==-2");
    for kind in [ChecksumType::FullObject, ChecksumType::Composite] {
        let begin = services
            .s3
            .create_multipart_upload()
            .bucket(&services.bucket)
            .key("big");
        let begin = begin
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .checksum_type(kind.clone());
        let upload = begin.send().await.unwrap().upload_id.unwrap();
        let (first, last) = content();
        let parts = [
            services.part(&upload, 1, first).await,
            services.part(&upload, 2, last).await,
        ];
        let wrong = services
            .complete(&upload, &parts)
            .checksum_crc32("AAAAAA==")
            .send()
            .await;
        assert_eq!(outcome_of(wrong), "400 BadDigest");
        let completed = services.complete(&upload, &parts).send().await.unwrap();
        let stored = services.checksums("big").await.0;
        assert_eq!(completed.checksum_crc32, stored);
        if kind == ChecksumType::Composite {
            assert_eq!(stored.as_deref(), Some(composite));
        } else {
            let over = match stored.as_deref() {
                Some(sum) if sum == whole => "over the whole object",
                Some(sum) if sum == composite => "over the parts' checksums",
                Some(_) | None => "none that is right",
            };
            services.check(WHOLE_CHECKSUM, over);
        }
    }
}
