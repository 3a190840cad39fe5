//! Lists of objects, and keys that are special or invalid in a file system.

use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use super::{
    Services,
    differences::{KEY_TOO_LONG, WRONG_TOKEN},
    outcome_of,
};

/// Returns unusual keys in the order of their bytes.
fn unusual_keys() -> Vec<String> {
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
    keys.push("k".repeat(1_024));
    keys.push("é".repeat(512));
    keys.sort();
    keys
}

#[tokio::test]
async fn unusual_keys_behave_like_any_other() {
    let services = Services::new().await;
    // Both orders are tried: a key that needs a folder in place of a file, and a file in place of a
    // folder.
    let keys = unusual_keys();
    for reverse in [false, true] {
        let mut order = keys.clone();
        if reverse {
            order.reverse();
        }
        for key in &order {
            services.put(key, key.as_bytes()).await;
        }
        assert_eq!(services.keys().await, keys);
        for key in &keys {
            assert_eq!(services.read(key).await, key.as_bytes(), "{key:?}");
        }
        for key in &order {
            services
                .s3
                .delete_object()
                .bucket(&services.bucket)
                .key(key)
                .send()
                .await
                .unwrap();
            assert!(!services.keys().await.contains(key), "{key:?}");
        }
        assert!(services.keys().await.is_empty());
    }
}

#[tokio::test]
async fn a_key_is_at_most_1024_bytes_long() {
    let services = Services::new().await;
    for key in ["k".repeat(1_025), "é".repeat(512) + "k"] {
        let put = services
            .s3
            .put_object()
            .bucket(&services.bucket)
            .key(key)
            .body(b"x".to_vec().into())
            .send()
            .await;
        services.check(KEY_TOO_LONG, &outcome_of(put));
    }
}

#[tokio::test]
async fn pages_continue_in_byte_order() {
    let services = Services::new().await;
    let keys = unusual_keys();
    for key in &keys {
        services.put(key, b"12").await;
    }
    let list = || services.s3.list_objects_v2().bucket(&services.bucket);
    let mut listed = Vec::new();
    let mut pages = list().max_keys(3).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 3);
        assert_eq!(page.key_count(), i32::try_from(page.contents().len()).ok());
        for object in page.contents() {
            assert_eq!(
                (object.size(), object.e_tag()),
                (Some(2), Some("\"c20ad4d76fe97759aa27a0c99bff6710\""))
            );
            listed.push(object.key().unwrap().to_owned());
        }
    }
    assert_eq!(listed, keys);

    let after = list().start_after("per%cent").send().await.unwrap();
    assert_eq!(
        after.contents()[0].key(),
        keys.iter()
            .find(|key| key.as_str() > "per%cent")
            .map(String::as_str)
    );
    services.check(
        WRONG_TOKEN,
        &outcome_of(list().continuation_token("?").send().await),
    );
}

#[tokio::test]
async fn a_delimiter_lists_one_level() {
    let services = Services::new().await;
    for key in [
        "jobs/one/a.png",
        "jobs/one/b.png",
        "jobs/two/c//d",
        "jobs/job.json",
        "inbox/x",
        "jobs",
    ] {
        services.put(key, b"x").await;
    }
    let level = |prefix: &'static str| {
        let list = services
            .s3
            .list_objects_v2()
            .bucket(&services.bucket)
            .prefix(prefix)
            .delimiter("/");
        async move {
            let listed = list.send().await.unwrap();
            let folders = listed
                .common_prefixes()
                .iter()
                .map(|prefix| prefix.prefix().unwrap().to_owned());
            let keys = listed
                .contents()
                .iter()
                .map(|object| object.key().unwrap().to_owned());
            folders.chain(keys).collect::<Vec<_>>()
        }
    };
    // A level consists of its common prefixes and its keys.
    assert_eq!(level("").await, ["inbox/", "jobs/", "jobs"]);
    assert_eq!(
        level("jobs/").await,
        ["jobs/one/", "jobs/two/", "jobs/job.json"]
    );
    assert_eq!(level("jobs/o").await, ["jobs/one/"]);
    assert_eq!(level("jobs/two/c/").await, ["jobs/two/c//"]);
    assert_eq!(level("none/").await, [""; 0]);
    // A prefix that would leave the bucket's folder matches nothing.
    assert_eq!(level("../").await, [""; 0]);

    let list = || {
        services
            .s3
            .list_objects_v2()
            .bucket(&services.bucket)
            .delimiter("/")
            .max_keys(1)
    };
    // Common prefixes count toward a page, and a token continues after them.
    let first = list().send().await.unwrap();
    assert_eq!(
        (first.common_prefixes()[0].prefix(), first.is_truncated()),
        (Some("inbox/"), Some(true))
    );
    let second = list()
        .continuation_token(first.next_continuation_token().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(
        (second.contents()[0].key(), second.common_prefixes().len()),
        (Some("jobs"), 0)
    );
}

#[tokio::test]
async fn the_older_list_continues_by_marker() {
    let services = Services::new().await;
    for key in ["a/1", "a/2", "b", "c"] {
        services.put(key, b"x").await;
    }
    let list = || {
        services
            .s3
            .list_objects()
            .bucket(&services.bucket)
            .delimiter("/")
    };
    let first = list().max_keys(1).send().await.unwrap();
    assert_eq!(
        (first.common_prefixes()[0].prefix(), first.next_marker()),
        (Some("a/"), Some("a/"))
    );
    let second = list().marker("a/").send().await.unwrap();
    let keys: Vec<_> = second
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(
        (keys, second.common_prefixes().len(), second.is_truncated()),
        (vec!["b", "c"], 0, Some(false))
    );
}

#[tokio::test]
async fn keys_are_url_encoded_on_demand() {
    let services = Services::new().await;
    let key = "a b/c+d%41é";
    services.put(key, b"x").await;
    let list = services
        .s3
        .list_objects_v2()
        .bucket(&services.bucket)
        .prefix("a b")
        .encoding_type(EncodingType::Url);
    let listed = list.send().await.unwrap();
    // A space may be `+` or `%20`. All clients read both.
    let spelled = listed.contents()[0].key().unwrap();
    assert!(spelled.is_ascii() && !spelled.contains(' '), "{spelled}");
    assert_eq!(
        percent_decode_str(&spelled.replace('+', " "))
            .decode_utf8()
            .unwrap(),
        key
    );
}
