//! Keys that are not valid paths, and buckets.

use super::{BUCKET, StandIns};

#[tokio::test]
async fn a_key_becomes_a_plain_path_when_it_can() {
    let stand_ins = StandIns::new();
    stand_ins.put("a/b", b"below").await;
    stand_ins.put("a", b"hashed").await;
    assert_eq!(stand_ins.keys().await, ["a", "a/b"]);
    stand_ins
        .s3
        .delete_object()
        .bucket(BUCKET)
        .key("a/b")
        .send()
        .await
        .unwrap();
    assert_eq!(stand_ins.read("a").await, b"hashed");
    stand_ins.put("a", b"plain").await;
    assert_eq!(std::fs::read(stand_ins.path("a")).unwrap(), b"plain");
    assert_eq!(stand_ins.keys().await, ["a"]);
    std::fs::remove_file(stand_ins.path("a")).unwrap();
    assert!(
        stand_ins.keys().await.is_empty(),
        "the object that was stored under its hash does not return"
    );
}

#[tokio::test]
async fn a_deleted_object_leaves_nothing_in_the_bucket() {
    let stand_ins = StandIns::new();
    let keys = [
        "a",
        "a/b",
        "a//b",
        "/a",
        "dir/..",
        "long/name",
        "deep/er/still",
    ];
    for key in keys {
        stand_ins.put(key, b"x").await;
    }
    for key in keys {
        stand_ins
            .s3
            .delete_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
    }
    assert!(
        std::fs::read_dir(stand_ins.path(""))
            .unwrap()
            .next()
            .is_none()
    );
}

#[tokio::test]
async fn every_folder_is_a_bucket() {
    let stand_ins = StandIns::new();
    stand_ins
        .s3
        .create_bucket()
        .bucket("another")
        .send()
        .await
        .unwrap();
    let listed = stand_ins.s3.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed
        .buckets()
        .iter()
        .filter_map(|bucket| bucket.name())
        .collect();
    assert_eq!(names, ["another", BUCKET]);
}
