//! Single objects: ranges, descriptions, checksums, copies and deletes.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, Delete, MetadataDirective, ObjectIdentifier},
};

use super::{
    Services,
    differences::{CHECKSUM_IN_THE_ANSWER, COPY_TO_ITSELF},
    outcome_of,
};

/// The check value of the CRC catalog.
const CHECK: &[u8] = b"123456789";

/// The checksums of [`CHECK`].
const CRC32: &str = "y/Q5Jg==";
const SHA256: &str = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";

#[tokio::test]
async fn range_requests_get_partial_content() {
    let services = Services::new().await;
    let body: Vec<u8> = (0..600_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    services.put("a", &body).await;
    let get = |range: &str| {
        services
            .s3
            .get_object()
            .bucket(&services.bucket)
            .key("a")
            .range(range)
            .send()
    };
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=599990-", 599_990, 600_000),
        ("bytes=599990-700000", 599_990, 600_000),
        ("bytes=-5", 599_995, 600_000),
        ("bytes=-700000", 0, 600_000),
    ] {
        let got = get(range).await.unwrap();
        assert_eq!(
            got.content_range(),
            Some(format!("bytes {from}-{}/600000", to - 1).as_str()),
            "{range}"
        );
        assert_eq!(got.content_length(), i64::try_from(to - from).ok());
        assert!(
            got.body.collect().await.unwrap().to_vec() == body[from..to],
            "{range}"
        );
    }
    assert_eq!(outcome_of(get("bytes=600000-").await), "416 InvalidRange");
    assert!(services.read("a").await == body);
}

#[tokio::test]
async fn the_description_of_an_upload_is_stored() {
    let services = Services::new().await;
    let put = services
        .s3
        .put_object()
        .bucket(&services.bucket)
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
    assert_eq!(
        put.e_tag(),
        Some("\"bff139fa05ac583f685a523ab3d110a0\""),
        "the MD5 of the content"
    );

    let got = services
        .s3
        .get_object()
        .bucket(&services.bucket)
        .key("a.png")
        .send()
        .await
        .unwrap();
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.content_type(), Some("image/png"));
    assert_eq!(
        got.content_disposition(),
        Some("inline; filename=\"a.png\"")
    );
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.metadata().unwrap().len(), 2);
    assert_eq!(got.metadata().unwrap()["request-key"], "a b");
    assert_eq!(got.metadata().unwrap()["job"], "cats-0123");
    assert!(got.last_modified().is_some());
    let head = services
        .s3
        .head_object()
        .bucket(&services.bucket)
        .key("a.png")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.content_type(), head.content_length()),
        (Some("image/png"), Some(3))
    );
    assert_eq!(head.metadata(), got.metadata());
}

#[tokio::test]
async fn a_missing_object_and_a_missing_bucket_have_different_errors() {
    let services = Services::new().await;
    let missing = super::fresh("bucket");
    let get = |bucket: &str| services.s3.get_object().bucket(bucket).key("a").send();
    assert_eq!(outcome_of(get(&services.bucket).await), "404 NoSuchKey");
    assert_eq!(outcome_of(get(&missing).await), "404 NoSuchBucket");
    let head = services
        .s3
        .head_object()
        .bucket(&services.bucket)
        .key("a")
        .send()
        .await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    let head = services.s3.head_bucket().bucket(&missing).send().await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    assert_eq!(
        outcome_of(
            services
                .s3
                .put_object()
                .bucket(&missing)
                .key("a")
                .send()
                .await
        ),
        "404 NoSuchBucket"
    );
    assert_eq!(
        outcome_of(services.s3.list_objects_v2().bucket(&missing).send().await),
        "404 NoSuchBucket"
    );
}

#[tokio::test]
async fn a_bucket_can_be_created_again_in_us_east_1() {
    let services = Services::new().await;
    services.put("a", b"x").await;
    services
        .s3
        .create_bucket()
        .bucket(&services.bucket)
        .send()
        .await
        .unwrap();
    services
        .s3
        .head_bucket()
        .bucket(&services.bucket)
        .send()
        .await
        .unwrap();
    assert_eq!(services.keys().await, ["a"]);
    let listed = services.s3.list_buckets().send().await.unwrap();
    assert!(
        listed
            .buckets()
            .iter()
            .any(|bucket| bucket.name() == Some(&services.bucket))
    );
    let location = services
        .s3
        .get_bucket_location()
        .bucket(&services.bucket)
        .send()
        .await
        .unwrap();
    assert_eq!(
        location
            .location_constraint()
            .map_or("", |region| region.as_str()),
        "",
        "us-east-1 has no name here"
    );
}

#[tokio::test]
async fn a_wrong_checksum_leaves_no_object() {
    let services = Services::new().await;
    let put = || {
        services
            .s3
            .put_object()
            .bucket(&services.bucket)
            .key("a")
            .body(CHECK.to_vec().into())
    };
    for outcome in [
        put().checksum_crc32("AAAAAA==").send().await,
        put()
            .checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            .send()
            .await,
        put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await,
    ] {
        assert_eq!(outcome_of(outcome), "400 BadDigest");
    }
    assert!(services.keys().await.is_empty());
    put()
        .content_md5("JfnnlDI7RTiF9RgfG2JNCw==")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_checksum_is_stored_with_the_object() {
    let services = Services::new().await;
    let put = |key: &str| {
        services
            .s3
            .put_object()
            .bucket(&services.bucket)
            .key(key)
            .body(CHECK.to_vec().into())
    };
    let answer = put("crc").checksum_crc32(CRC32).send().await.unwrap();
    assert_eq!(
        services.checksums("crc").await,
        (Some(CRC32.to_owned()), None)
    );
    let answered = if answer.checksum_crc32() == Some(CRC32) {
        "the one that was sent"
    } else {
        "none"
    };
    services.check(CHECKSUM_IN_THE_ANSWER, answered);
    put("sha")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .send()
        .await
        .unwrap();
    assert_eq!(
        services.checksums("sha").await,
        (None, Some(SHA256.to_owned()))
    );
    // The SDK sends a CRC32 by default.
    services.put("nothing", CHECK).await;
    assert_eq!(
        services.checksums("nothing").await.0.as_deref(),
        Some(CRC32)
    );
}

#[tokio::test]
async fn a_streamed_body_is_verified_by_its_trailer() {
    let services = Services::new().await;
    let source = tempfile::NamedTempFile::new().unwrap();
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    std::fs::write(source.path(), &body).unwrap();
    for (algorithm, key) in [
        (ChecksumAlgorithm::Crc32, "crc"),
        (ChecksumAlgorithm::Sha256, "sha"),
    ] {
        let stream = ByteStream::from_path(source.path()).await.unwrap();
        let put = services
            .s3
            .put_object()
            .bucket(&services.bucket)
            .key(key)
            .checksum_algorithm(algorithm)
            .body(stream);
        put.send().await.unwrap();
        assert!(services.read(key).await == body);
    }
    assert!(services.checksums("crc").await.0.is_some());
    assert!(services.checksums("sha").await.1.is_some());
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_the_description() {
    let services = Services::new().await;
    let put = services
        .s3
        .put_object()
        .bucket(&services.bucket)
        .key("a b+c")
        .body(CHECK.to_vec().into());
    let put = put
        .content_type("image/png")
        .metadata("k", "v")
        .send()
        .await
        .unwrap();
    let source = format!("{}/a%20b%2Bc", services.bucket);
    let copy = |to: &str| {
        services
            .s3
            .copy_object()
            .copy_source(&source)
            .bucket(&services.bucket)
            .key(to)
    };
    // By default, a copy has the content and the description of its source.
    let copied = copy("same").send().await.unwrap();
    assert_eq!(copied.copy_object_result().unwrap().e_tag(), put.e_tag());
    let same = services
        .s3
        .get_object()
        .bucket(&services.bucket)
        .key("same")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (same.content_type(), same.metadata().unwrap()["k"].as_str()),
        (Some("image/png"), "v")
    );
    assert_eq!(same.body.collect().await.unwrap().to_vec(), CHECK);
    assert_eq!(services.checksums("same").await.0.as_deref(), Some(CRC32));

    // `REPLACE` takes the description from the request and drops the source's metadata.
    let replace = copy("other")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("image/webp");
    replace.send().await.unwrap();
    let other = services
        .s3
        .head_object()
        .bucket(&services.bucket)
        .key("other")
        .send()
        .await
        .unwrap();
    assert_eq!(other.content_type(), Some("image/webp"));
    assert!(other.metadata().is_none_or(|metadata| metadata.is_empty()));
    // A stale ETag, a missing source and a copy that changes nothing are refused.
    let stale = copy("x")
        .copy_source_if_match("\"0123456789abcdef0123456789abcdef\"")
        .send()
        .await;
    assert_eq!(outcome_of(stale), "412 PreconditionFailed");
    let missing = services
        .s3
        .copy_object()
        .copy_source(format!("{}/missing", services.bucket))
        .bucket(&services.bucket)
        .key("x");
    assert_eq!(outcome_of(missing.send().await), "404 NoSuchKey");
    services.check(COPY_TO_ITSELF, &outcome_of(copy("a b+c").send().await));
}

#[tokio::test]
async fn deleting_a_missing_object_succeeds() {
    let services = Services::new().await;
    for key in ["a", "b/c", "odd//key", "kept"] {
        services.put(key, b"x").await;
    }
    let delete = |key: &str| {
        services
            .s3
            .delete_object()
            .bucket(&services.bucket)
            .key(key)
            .send()
    };
    delete("a").await.unwrap();
    delete("a").await.unwrap();
    let objects = ["b/c", "odd//key", "never"]
        .map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder()
        .set_objects(Some(objects.to_vec()))
        .build()
        .unwrap();
    let deleted = services
        .s3
        .delete_objects()
        .bucket(&services.bucket)
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (3, 0));
    assert_eq!(services.keys().await, ["kept"]);
}

#[tokio::test]
async fn several_objects_are_deleted_by_their_etags() {
    let services = Services::new().await;
    let etag = services.put("same", b"one").await;
    services.put("changed", b"two").await;
    services.put("any", b"three").await;
    let named = |key: &str, etag: Option<&str>| {
        ObjectIdentifier::builder()
            .key(key)
            .set_e_tag(etag.map(str::to_owned))
            .build()
            .unwrap()
    };
    let objects = [
        named("same", Some(&etag)),
        named("changed", Some(&etag)),
        named("any", None),
    ];
    let delete = Delete::builder()
        .set_objects(Some(objects.to_vec()))
        .build()
        .unwrap();
    let deleted = services
        .s3
        .delete_objects()
        .bucket(&services.bucket)
        .delete(delete)
        .send()
        .await
        .unwrap();
    let failures: Vec<_> = deleted
        .errors()
        .iter()
        .map(|error| format!("{:?} {:?}", error.key(), error.code()))
        .collect();
    assert_eq!(failures, [r#"Some("changed") Some("PreconditionFailed")"#]);
    assert_eq!(services.keys().await, ["changed"]);
}

#[tokio::test]
async fn an_object_without_tags_has_none() {
    let services = Services::new().await;
    services.put("a", b"x").await;
    let tags = |key: &str| {
        services
            .s3
            .get_object_tagging()
            .bucket(&services.bucket)
            .key(key)
            .send()
    };
    assert!(tags("a").await.unwrap().tag_set().is_empty());
    assert_eq!(outcome_of(tags("none").await), "404 NoSuchKey");
}
