//! Single objects: read in part, described, checked, copied, deleted.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, Delete, MetadataDirective, ObjectIdentifier},
};

use super::{
    World,
    differences::{CHECKSUM_IN_THE_ANSWER, COPY_TO_ITSELF},
    said,
};

/// The check value of the CRC catalog.
const CHECK: &[u8] = b"123456789";

/// The checksums of [`CHECK`].
const CRC32: &str = "y/Q5Jg==";
const SHA256: &str = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";

#[tokio::test]
async fn ranges_are_answered_in_part() {
    let world = World::new().await;
    let body: Vec<u8> = (0..600_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    world.put("a", &body).await;
    let get = |range: &str| {
        world
            .s3
            .get_object()
            .bucket(&world.bucket)
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
    assert_eq!(said(get("bytes=600000-").await), "416 InvalidRange");
    assert!(world.read("a").await == body);
}

#[tokio::test]
async fn what_the_uploader_says_is_there() {
    let world = World::new().await;
    let put = world
        .s3
        .put_object()
        .bucket(&world.bucket)
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

    let got = world
        .s3
        .get_object()
        .bucket(&world.bucket)
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
    let head = world
        .s3
        .head_object()
        .bucket(&world.bucket)
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
async fn missing_object_and_missing_bucket_are_told_apart() {
    let world = World::new().await;
    let missing = super::fresh("bucket");
    let get = |bucket: &str| world.s3.get_object().bucket(bucket).key("a").send();
    assert_eq!(said(get(&world.bucket).await), "404 NoSuchKey");
    assert_eq!(said(get(&missing).await), "404 NoSuchBucket");
    let head = world
        .s3
        .head_object()
        .bucket(&world.bucket)
        .key("a")
        .send()
        .await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    let head = world.s3.head_bucket().bucket(&missing).send().await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    assert_eq!(
        said(world.s3.put_object().bucket(&missing).key("a").send().await),
        "404 NoSuchBucket"
    );
    assert_eq!(
        said(world.s3.list_objects_v2().bucket(&missing).send().await),
        "404 NoSuchBucket"
    );
}

#[tokio::test]
async fn bucket_can_be_made_again_in_us_east_1() {
    let world = World::new().await;
    world.put("a", b"x").await;
    world
        .s3
        .create_bucket()
        .bucket(&world.bucket)
        .send()
        .await
        .unwrap();
    world
        .s3
        .head_bucket()
        .bucket(&world.bucket)
        .send()
        .await
        .unwrap();
    assert_eq!(world.keys().await, ["a"]);
    let listed = world.s3.list_buckets().send().await.unwrap();
    assert!(
        listed
            .buckets()
            .iter()
            .any(|bucket| bucket.name() == Some(&world.bucket))
    );
    let location = world
        .s3
        .get_bucket_location()
        .bucket(&world.bucket)
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
async fn wrong_checksum_leaves_no_object() {
    let world = World::new().await;
    let put = || {
        world
            .s3
            .put_object()
            .bucket(&world.bucket)
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
        assert_eq!(said(outcome), "400 BadDigest");
    }
    assert!(world.keys().await.is_empty());
    put()
        .content_md5("JfnnlDI7RTiF9RgfG2JNCw==")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn checksum_is_kept_with_the_object() {
    let world = World::new().await;
    let put = |key: &str| {
        world
            .s3
            .put_object()
            .bucket(&world.bucket)
            .key(key)
            .body(CHECK.to_vec().into())
    };
    let answer = put("crc").checksum_crc32(CRC32).send().await.unwrap();
    assert_eq!(world.checksums("crc").await, (Some(CRC32.to_owned()), None));
    let answered = if answer.checksum_crc32() == Some(CRC32) {
        "the one that was sent"
    } else {
        "none"
    };
    world.judge(CHECKSUM_IN_THE_ANSWER, answered);
    put("sha")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .send()
        .await
        .unwrap();
    assert_eq!(
        world.checksums("sha").await,
        (None, Some(SHA256.to_owned()))
    );
    // The SDK sends a CRC32 where nobody says anything.
    world.put("nothing", CHECK).await;
    assert_eq!(world.checksums("nothing").await.0.as_deref(), Some(CRC32));
}

#[tokio::test]
async fn streamed_body_is_checked_by_its_trailer() {
    let world = World::new().await;
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
        let put = world
            .s3
            .put_object()
            .bucket(&world.bucket)
            .key(key)
            .checksum_algorithm(algorithm)
            .body(stream);
        put.send().await.unwrap();
        assert!(world.read(key).await == body);
    }
    assert!(world.checksums("crc").await.0.is_some());
    assert!(world.checksums("sha").await.1.is_some());
}

#[tokio::test]
async fn copy_takes_bytes_and_description_or_another_description() {
    let world = World::new().await;
    let put = world
        .s3
        .put_object()
        .bucket(&world.bucket)
        .key("a b+c")
        .body(CHECK.to_vec().into());
    let put = put
        .content_type("image/png")
        .metadata("k", "v")
        .send()
        .await
        .unwrap();
    let source = format!("{}/a%20b%2Bc", world.bucket);
    let copy = |to: &str| {
        world
            .s3
            .copy_object()
            .copy_source(&source)
            .bucket(&world.bucket)
            .key(to)
    };
    let copied = copy("same").send().await.unwrap();
    assert_eq!(copied.copy_object_result().unwrap().e_tag(), put.e_tag());
    let same = world
        .s3
        .get_object()
        .bucket(&world.bucket)
        .key("same")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (same.content_type(), same.metadata().unwrap()["k"].as_str()),
        (Some("image/png"), "v")
    );
    assert_eq!(same.body.collect().await.unwrap().to_vec(), CHECK);
    assert_eq!(world.checksums("same").await.0.as_deref(), Some(CRC32));

    let replace = copy("other")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("image/webp");
    replace.send().await.unwrap();
    let other = world
        .s3
        .head_object()
        .bucket(&world.bucket)
        .key("other")
        .send()
        .await
        .unwrap();
    assert_eq!(other.content_type(), Some("image/webp"));
    assert!(other.metadata().is_none_or(|metadata| metadata.is_empty()));
    let stale = copy("x")
        .copy_source_if_match("\"0123456789abcdef0123456789abcdef\"")
        .send()
        .await;
    assert_eq!(said(stale), "412 PreconditionFailed");
    let missing = world
        .s3
        .copy_object()
        .copy_source(format!("{}/missing", world.bucket))
        .bucket(&world.bucket)
        .key("x");
    assert_eq!(said(missing.send().await), "404 NoSuchKey");
    world.judge(COPY_TO_ITSELF, &said(copy("a b+c").send().await));
}

#[tokio::test]
async fn deleting_what_is_not_there_is_no_error() {
    let world = World::new().await;
    for key in ["a", "b/c", "odd//key", "kept"] {
        world.put(key, b"x").await;
    }
    let delete = |key: &str| {
        world
            .s3
            .delete_object()
            .bucket(&world.bucket)
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
    let deleted = world
        .s3
        .delete_objects()
        .bucket(&world.bucket)
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (3, 0));
    assert_eq!(world.keys().await, ["kept"]);
}

#[tokio::test]
async fn several_are_deleted_by_their_etags() {
    let world = World::new().await;
    let etag = world.put("same", b"one").await;
    world.put("changed", b"two").await;
    world.put("any", b"three").await;
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
    let deleted = world
        .s3
        .delete_objects()
        .bucket(&world.bucket)
        .delete(delete)
        .send()
        .await
        .unwrap();
    let said: Vec<_> = deleted
        .errors()
        .iter()
        .map(|error| format!("{:?} {:?}", error.key(), error.code()))
        .collect();
    assert_eq!(said, [r#"Some("changed") Some("PreconditionFailed")"#]);
    assert_eq!(world.keys().await, ["changed"]);
}

#[tokio::test]
async fn an_object_without_tags_has_none() {
    let world = World::new().await;
    world.put("a", b"x").await;
    let tags = |key: &str| {
        world
            .s3
            .get_object_tagging()
            .bucket(&world.bucket)
            .key(key)
            .send()
    };
    assert!(tags("a").await.unwrap().tag_set().is_empty());
    assert_eq!(said(tags("none").await), "404 NoSuchKey");
}
