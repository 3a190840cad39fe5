//! Lists of objects, and the keys that can't be paths.

use aws_sdk_s3::types::EncodingType;

use super::{BUCKET, World, refusal};

/// Keys that a file system would take for something else, or for nothing.
fn odd_keys() -> Vec<String> {
    let mut keys: Vec<_> = [
        "a",
        "a/b",
        "a/b/c",
        "a//b",
        "a/",
        "/a",
        "dir/.",
        "dir/..",
        "x/../y",
        "sp ace",
        "pl+us",
        "per%20cent",
        "per%cent",
        "ümläut",
        "画像/猫.png",
        "quote\"s",
        "back\\slash",
        "q?u=e&r#y",
        "~tilde*",
        "emoji🍌",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("long/".to_owned() + &"n".repeat(300));
    keys.push("deep/".to_owned() + &"0123456789/".repeat(80) + "end");
    keys.push("k".repeat(900));
    keys.sort();
    keys
}

#[tokio::test]
async fn odd_keys_are_put_listed_read_and_deleted_like_any_other() {
    let world = World::new();
    // Both orders: what needs a folder where a file is, and a file where a folder is.
    let keys = odd_keys();
    for reverse in [false, true] {
        let mut order = keys.clone();
        if reverse {
            order.reverse();
        }
        for key in &order {
            world.s3.put_object().bucket(BUCKET).key(key).body(key.clone().into_bytes().into()).send().await.unwrap();
        }
        assert_eq!(world.keys().await, keys);
        for key in &keys {
            assert_eq!(world.read(key).await, key.as_bytes(), "{key:?}");
        }
        for key in &order {
            world.s3.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
            assert!(!world.keys().await.contains(key), "{key:?}");
        }
        assert!(world.keys().await.is_empty());
        assert!(std::fs::read_dir(world.path("")).unwrap().next().is_none());
    }
}

#[tokio::test]
async fn key_that_can_be_a_path_again_is_one() {
    let world = World::new();
    world.put("a/b", b"below").await;
    world.put("a", b"set aside").await;
    assert_eq!(world.keys().await, ["a", "a/b"]);
    world.s3.delete_object().bucket(BUCKET).key("a/b").send().await.unwrap();
    assert_eq!(world.read("a").await, b"set aside");
    world.put("a", b"plain").await;
    assert_eq!(std::fs::read(world.path("a")).unwrap(), b"plain");
    assert_eq!(world.keys().await, ["a"]);
    std::fs::remove_file(world.path("a")).unwrap();
    assert!(world.keys().await.is_empty(), "the one set aside before does not come back");
}

#[tokio::test]
async fn pages_follow_one_another_in_the_order_of_bytes() {
    let world = World::new();
    let keys = odd_keys();
    for key in &keys {
        world.s3.put_object().bucket(BUCKET).key(key).body(b"12".to_vec().into()).send().await.unwrap();
    }
    let mut listed = Vec::new();
    let mut pages = world.s3.list_objects_v2().bucket(BUCKET).max_keys(3).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 3);
        assert_eq!(page.key_count(), i32::try_from(page.contents().len()).ok());
        for object in page.contents() {
            assert_eq!((object.size(), object.e_tag()), (Some(2), Some("\"c20ad4d76fe97759aa27a0c99bff6710\"")));
            listed.push(object.key().unwrap().to_owned());
        }
    }
    assert_eq!(listed, keys);

    let after = world.s3.list_objects_v2().bucket(BUCKET).start_after("per%cent").send().await.unwrap();
    assert_eq!(after.contents()[0].key(), keys.iter().find(|key| key.as_str() > "per%cent").map(String::as_str));
    let wrong = world.s3.list_objects_v2().bucket(BUCKET).continuation_token("?").send().await;
    assert_eq!(refusal(wrong), ("InvalidArgument".to_owned(), 400));
}

#[tokio::test]
async fn delimiter_shows_one_level() {
    let world = World::new();
    for key in ["jobs/one/a.png", "jobs/one/b.png", "jobs/two/c//d", "jobs/job.json", "inbox/x", "jobs"] {
        world.put(key, b"x").await;
    }
    let level = |prefix: &'static str| {
        let list = world.s3.list_objects_v2().bucket(BUCKET).prefix(prefix).delimiter("/");
        async move {
            let listed = list.send().await.unwrap();
            let folders = listed.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned());
            let keys = listed.contents().iter().map(|object| object.key().unwrap().to_owned());
            folders.chain(keys).collect::<Vec<_>>()
        }
    };
    assert_eq!(level("").await, ["inbox/", "jobs/", "jobs"]);
    assert_eq!(level("jobs/").await, ["jobs/one/", "jobs/two/", "jobs/job.json"]);
    assert_eq!(level("jobs/o").await, ["jobs/one/"]);
    assert_eq!(level("jobs/two/c/").await, ["jobs/two/c//"]);
    assert_eq!(level("none/").await, [""; 0]);
    assert_eq!(level("../").await, [""; 0]);
}

#[tokio::test]
async fn older_list_goes_on_by_marker() {
    let world = World::new();
    for key in ["a/1", "a/2", "b", "c"] {
        world.put(key, b"x").await;
    }
    let list = || world.s3.list_objects().bucket(BUCKET).delimiter("/");
    let first = list().max_keys(1).send().await.unwrap();
    assert_eq!((first.common_prefixes()[0].prefix(), first.next_marker()), (Some("a/"), Some("a/")));
    let second = list().marker("a/").send().await.unwrap();
    let keys: Vec<_> = second.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!((keys, second.common_prefixes().len(), second.is_truncated()), (vec!["b", "c"], 0, Some(false)));
}

#[tokio::test]
async fn keys_are_url_encoded_on_demand() {
    let world = World::new();
    world.put("a b/c+d é", b"x").await;
    let listed =
        world.s3.list_objects_v2().bucket(BUCKET).prefix("a b").encoding_type(EncodingType::Url).send().await.unwrap();
    assert_eq!(listed.contents()[0].key(), Some("a+b/c%2Bd+%C3%A9"));
    assert_eq!(listed.prefix(), Some("a+b"));
}

#[tokio::test]
async fn buckets_are_the_folders() {
    let world = World::new();
    world.s3.create_bucket().bucket("another").send().await.unwrap();
    let again = world.s3.create_bucket().bucket("another").send().await;
    assert!(again.unwrap_err().into_service_error().is_bucket_already_owned_by_you());
    let listed = world.s3.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["another", BUCKET]);
    let location = world.s3.get_bucket_location().bucket(BUCKET).send().await.unwrap();
    assert_eq!(location.location_constraint().map_or("", |region| region.as_str()), "", "us-east-1 has no name here");
    let list = world.s3.list_objects_v2().bucket("elsewhere").send().await;
    assert!(list.unwrap_err().into_service_error().is_no_such_bucket());
}
