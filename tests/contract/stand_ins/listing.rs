//! Keys that can't be paths, and the buckets.

use super::{BUCKET, World};

#[tokio::test]
async fn key_that_can_be_a_path_again_is_one() {
    let world = World::new();
    world.put("a/b", b"below").await;
    world.put("a", b"set unmatched").await;
    assert_eq!(world.keys().await, ["a", "a/b"]);
    world
        .s3
        .delete_object()
        .bucket(BUCKET)
        .key("a/b")
        .send()
        .await
        .unwrap();
    assert_eq!(world.read("a").await, b"set unmatched");
    world.put("a", b"plain").await;
    assert_eq!(std::fs::read(world.path("a")).unwrap(), b"plain");
    assert_eq!(world.keys().await, ["a"]);
    std::fs::remove_file(world.path("a")).unwrap();
    assert!(
        world.keys().await.is_empty(),
        "the one set unmatched before does not come back"
    );
}

#[tokio::test]
async fn nothing_of_a_deleted_object_is_left_in_the_bucket() {
    let world = World::new();
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
        world.put(key, b"x").await;
    }
    for key in keys {
        world
            .s3
            .delete_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
    }
    assert!(std::fs::read_dir(world.path("")).unwrap().next().is_none());
}

#[tokio::test]
async fn buckets_are_the_folders() {
    let world = World::new();
    world
        .s3
        .create_bucket()
        .bucket("another")
        .send()
        .await
        .unwrap();
    let listed = world.s3.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed
        .buckets()
        .iter()
        .filter_map(|bucket| bucket.name())
        .collect();
    assert_eq!(names, ["another", BUCKET]);
}
