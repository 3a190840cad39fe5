//! `If-Match` and `If-None-Match`, of writes and of reads.

use tokio::task::JoinSet;

use super::{ACCEPTED, World, said};

/// How many callers want the same at once.
const CALLERS: usize = 32;

/// One of the outcomes is a success, and all others say that another was first.
fn one_won(outcomes: &[String]) {
    let won = outcomes.iter().filter(|said| *said == ACCEPTED).count();
    let lost = |said: &&String| {
        *said == "412 PreconditionFailed" || *said == "409 ConditionalRequestConflict"
    };
    assert_eq!(
        (won, outcomes.iter().filter(lost).count()),
        (1, CALLERS - 1),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_simultaneous_creators_wins() {
    let world = World::new().await;
    for key in ["state.json", "odd//state.json"] {
        let mut creators = JoinSet::new();
        for number in 0..CALLERS {
            let put = world
                .s3
                .put_object()
                .bucket(&world.bucket)
                .key(key)
                .if_none_match("*");
            let put = put
                .body(format!("creator {number}").into_bytes().into())
                .send();
            creators.spawn(async move { (format!("creator {number}"), put.await) });
        }
        let outcomes = creators.join_all().await;
        let winner = outcomes
            .iter()
            .find(|(_, outcome)| outcome.is_ok())
            .unwrap()
            .0
            .clone();
        one_won(
            &outcomes
                .into_iter()
                .map(|(_, outcome)| said(outcome))
                .collect::<Vec<_>>(),
        );
        assert_eq!(world.read(key).await, winner.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_simultaneous_successors_wins() {
    let world = World::new().await;
    let etag = world.put("state.json", b"first").await;
    let mut successors = JoinSet::new();
    for number in 0..CALLERS {
        let put = world
            .s3
            .put_object()
            .bucket(&world.bucket)
            .key("state.json")
            .if_match(&etag);
        successors.spawn(
            put.body(format!("successor {number}").into_bytes().into())
                .send(),
        );
    }
    one_won(
        &successors
            .join_all()
            .await
            .into_iter()
            .map(said)
            .collect::<Vec<_>>(),
    );
}

#[tokio::test]
async fn write_happens_only_to_the_object_it_names() {
    let world = World::new().await;
    let put = |etag: &str| {
        world
            .s3
            .put_object()
            .bucket(&world.bucket)
            .key("a")
            .if_match(etag)
            .body(b"new".to_vec().into())
            .send()
    };
    assert_eq!(
        said(put("\"0123456789abcdef0123456789abcdef\"").await),
        "404 NoSuchKey"
    );
    let stale = world.put("a", b"one").await;
    let fresh = world.put("a", b"two").await;
    assert_eq!(said(put(&stale).await), "412 PreconditionFailed");
    assert_eq!(world.read("a").await, b"two");
    put(&fresh).await.unwrap();
    assert_eq!(world.read("a").await, b"new");

    let delete = |etag: &str| {
        world
            .s3
            .delete_object()
            .bucket(&world.bucket)
            .key("a")
            .if_match(etag)
            .send()
    };
    assert_eq!(said(delete(&fresh).await), "412 PreconditionFailed");
    assert_eq!(world.read("a").await, b"new");
}

#[tokio::test]
async fn what_the_reader_has_is_not_sent_again() {
    let world = World::new().await;
    let etag = world.put("a", b"one").await;
    let get = || world.s3.get_object().bucket(&world.bucket).key("a");
    let head = || world.s3.head_object().bucket(&world.bucket).key("a");
    let other = "\"0123456789abcdef0123456789abcdef\"";
    // A head, and a 304, have no body that could name a code.
    assert_eq!(said(get().if_none_match(&etag).send().await)[..3], *"304");
    assert_eq!(said(head().if_none_match(&etag).send().await)[..3], *"304");
    assert_eq!(said(get().if_none_match(other).send().await), ACCEPTED);
    assert_eq!(
        said(get().if_match(other).send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(said(head().if_match(other).send().await)[..3], *"412");
    assert_eq!(said(get().if_match(&etag).send().await), ACCEPTED);
}
