//! `If-Match` and `If-None-Match` on writes and on reads.

use tokio::task::JoinSet;

use super::{ACCEPTED, Services, outcome_of};

/// The number of simultaneous callers.
const CALLERS: usize = 32;

/// Asserts that exactly one outcome is a success, and that all others report a lost race.
fn one_won(outcomes: &[String]) {
    let won = outcomes
        .iter()
        .filter(|outcome| *outcome == ACCEPTED)
        .count();
    let lost = |outcome: &&String| {
        *outcome == "412 PreconditionFailed" || *outcome == "409 ConditionalRequestConflict"
    };
    assert_eq!(
        (won, outcomes.iter().filter(lost).count()),
        (1, CALLERS - 1),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_simultaneous_creators_wins() {
    let services = Services::new().await;
    for key in ["state.json", "odd//state.json"] {
        let mut creators = JoinSet::new();
        for number in 0..CALLERS {
            let put = services
                .s3
                .put_object()
                .bucket(&services.bucket)
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
                .map(|(_, outcome)| outcome_of(outcome))
                .collect::<Vec<_>>(),
        );
        assert_eq!(services.read(key).await, winner.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_simultaneous_successors_wins() {
    let services = Services::new().await;
    let etag = services.put("state.json", b"first").await;
    let mut successors = JoinSet::new();
    for number in 0..CALLERS {
        let put = services
            .s3
            .put_object()
            .bucket(&services.bucket)
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
            .map(outcome_of)
            .collect::<Vec<_>>(),
    );
}

#[tokio::test]
async fn a_conditional_write_applies_only_to_the_named_etag() {
    let services = Services::new().await;
    let put = |etag: &str| {
        services
            .s3
            .put_object()
            .bucket(&services.bucket)
            .key("a")
            .if_match(etag)
            .body(b"new".to_vec().into())
            .send()
    };
    assert_eq!(
        outcome_of(put("\"0123456789abcdef0123456789abcdef\"").await),
        "404 NoSuchKey"
    );
    let stale = services.put("a", b"one").await;
    let fresh = services.put("a", b"two").await;
    assert_eq!(outcome_of(put(&stale).await), "412 PreconditionFailed");
    assert_eq!(services.read("a").await, b"two");
    put(&fresh).await.unwrap();
    assert_eq!(services.read("a").await, b"new");

    let delete = |etag: &str| {
        services
            .s3
            .delete_object()
            .bucket(&services.bucket)
            .key("a")
            .if_match(etag)
            .send()
    };
    assert_eq!(outcome_of(delete(&fresh).await), "412 PreconditionFailed");
    assert_eq!(services.read("a").await, b"new");
}

#[tokio::test]
async fn an_unchanged_object_is_not_sent_again() {
    let services = Services::new().await;
    let etag = services.put("a", b"one").await;
    let get = || services.s3.get_object().bucket(&services.bucket).key("a");
    let head = || services.s3.head_object().bucket(&services.bucket).key("a");
    let other = "\"0123456789abcdef0123456789abcdef\"";
    // A `HEAD` answer and a 304 have no body that could contain a code.
    assert_eq!(
        outcome_of(get().if_none_match(&etag).send().await)[..3],
        *"304"
    );
    assert_eq!(
        outcome_of(head().if_none_match(&etag).send().await)[..3],
        *"304"
    );
    assert_eq!(
        outcome_of(get().if_none_match(other).send().await),
        ACCEPTED
    );
    assert_eq!(
        outcome_of(get().if_match(other).send().await),
        "412 PreconditionFailed"
    );
    assert_eq!(outcome_of(head().if_match(other).send().await)[..3], *"412");
    assert_eq!(outcome_of(get().if_match(&etag).send().await), ACCEPTED);
}
