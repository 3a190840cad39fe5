//! When a message that was received can be received again.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, QueueAttributeName as Attribute};

use super::{
    World,
    differences::{
        CHANGE_OF_A_VISIBLE_MESSAGE, DELETE_BY_AN_OLD_HANDLE, LONG_RECEIVE_VISIBILITY,
        LONG_VISIBILITY, LONG_WAIT,
    },
    handle, receive_count, said,
};

/// A visibility time-out that no test sees the end of, in seconds.
const LONG: (Attribute, &str) = (Attribute::VisibilityTimeout, "43200");

impl World {
    /// The code of a refusal, or that there was none.
    async fn change(&self, url: &str, message: &Message, seconds: i32) -> String {
        let change = self
            .sqs
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle(handle(message));
        said(change.visibility_timeout(seconds).send().await)
    }

    async fn delete(&self, url: &str, message: &Message) -> String {
        said(
            self.sqs
                .delete_message()
                .queue_url(url)
                .receipt_handle(handle(message))
                .send()
                .await,
        )
    }
}

#[tokio::test]
async fn visibility_given_before_a_message_is_left_alone_decides_when_it_returns() {
    let world = World::new().await;
    let url = world.queue(&[LONG]).await;
    let id = world.send(&url, "x").await;
    let first = world.receive_one(&url).await;
    assert!(
        world.receive(&url, 1).await.is_empty(),
        "the queue's time-out is 12 h"
    );
    let changed = Instant::now();
    assert_eq!(world.change(&url, &first, 2).await, super::ACCEPTED);
    let second = world.receive_one(&url).await;
    assert!(changed.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        (second.message_id(), receive_count(&second)),
        (Some(id.as_str()), 2)
    );
    assert_ne!(handle(&first), handle(&second));
    assert_eq!(world.change(&url, &second, 0).await, super::ACCEPTED);
    assert_eq!(receive_count(&world.receive_one(&url).await), 3, "at once");
}

#[tokio::test]
async fn receive_decides_for_its_messages_alone() {
    let world = World::new().await;
    let url = world.queue(&[LONG]).await;
    world.send(&url, "x").await;
    let received = Instant::now();
    let receive = world
        .sqs
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(super::PATIENCE);
    assert_eq!(
        receive
            .visibility_timeout(1)
            .send()
            .await
            .unwrap()
            .messages()
            .len(),
        1
    );
    assert_eq!(receive_count(&world.receive_one(&url).await), 2);
    assert!(received.elapsed() >= Duration::from_secs(1));
    assert!(
        world.receive(&url, 0).await.is_empty(),
        "this time by the queue's time-out"
    );
}

#[tokio::test]
async fn visibility_is_twelve_hours_at_most() {
    let world = World::new().await;
    let url = world.queue(&[]).await;
    world.send(&url, "x").await;
    let message = world.receive_one(&url).await;
    assert_eq!(world.change(&url, &message, 43_200).await, super::ACCEPTED);
    world.judge(LONG_VISIBILITY, &world.change(&url, &message, 43_201).await);
    let receive = || world.sqs.receive_message().queue_url(&url);
    world.judge(
        LONG_RECEIVE_VISIBILITY,
        &said(receive().visibility_timeout(43_201).send().await),
    );
    for count in [0, 11] {
        assert_eq!(
            said(receive().max_number_of_messages(count).send().await),
            "400 InvalidParameterValue"
        );
    }
}

#[tokio::test]
async fn message_that_is_not_in_flight_has_no_visibility_to_change() {
    let world = World::new().await;
    let url = world.queue(&[LONG]).await;
    world.send(&url, "x").await;
    let message = world.receive_one(&url).await;
    assert_eq!(world.change(&url, &message, 0).await, super::ACCEPTED);
    world.judge(
        CHANGE_OF_A_VISIBLE_MESSAGE,
        &world.change(&url, &message, 0).await,
    );
    let message = world.receive_one(&url).await;
    assert_eq!(world.delete(&url, &message).await, super::ACCEPTED);
    assert!(
        world.change(&url, &message, 0).await.starts_with("400 "),
        "it is deleted"
    );
}

#[tokio::test]
async fn delete_by_the_handle_of_an_earlier_receive_is_no_error() {
    let world = World::new().await;
    let url = world.queue(&[LONG]).await;
    world.send(&url, "x").await;
    let first = world.receive_one(&url).await;
    assert_eq!(world.change(&url, &first, 0).await, super::ACCEPTED);
    world.receive_one(&url).await;
    // Whether it deletes anything is left open.
    world.judge(DELETE_BY_AN_OLD_HANDLE, &world.delete(&url, &first).await);
    let nonsense = world
        .sqs
        .delete_message()
        .queue_url(&url)
        .receipt_handle("nonsense")
        .send()
        .await;
    assert!(
        nonsense
            .unwrap_err()
            .into_service_error()
            .is_receipt_handle_is_invalid()
    );
}

#[tokio::test]
async fn latest_handle_deletes_though_the_message_is_visible_again() {
    let world = World::new().await;
    let url = world.queue(&[LONG]).await;
    world.send(&url, "x").await;
    let message = world.receive_one(&url).await;
    assert_eq!(world.change(&url, &message, 0).await, super::ACCEPTED);
    assert_eq!(world.delete(&url, &message).await, super::ACCEPTED);
    assert!(world.receive(&url, 1).await.is_empty());
}

#[tokio::test]
async fn long_poll_ends_with_a_message_that_is_sent_meanwhile() {
    let world = World::new().await;
    let url = world.queue(&[]).await;
    let (polled, ()) = tokio::join!(world.receive(&url, super::PATIENCE), async {
        // A shorter poll, so that the longer one has begun: whoever of the two is first, one
        // message is there.
        assert!(world.receive(&url, 1).await.is_empty());
        world.send(&url, "sent meanwhile").await;
    });
    assert_eq!(polled.len(), 1);
    assert_eq!(polled[0].body(), Some("sent meanwhile"));
    let poll = world
        .sqs
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(21);
    // Should the service take it, there is something to receive.
    world.send(&url, "x").await;
    world.judge(LONG_WAIT, &said(poll.send().await));
}

#[tokio::test]
async fn queue_can_make_every_poll_a_long_one() {
    let world = World::new().await;
    let url = world
        .queue(&[(Attribute::ReceiveMessageWaitTimeSeconds, "20")])
        .await;
    world
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .delay_seconds(1)
        .send()
        .await
        .unwrap();
    let polled = world
        .sqs
        .receive_message()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    assert_eq!(polled.messages().len(), 1);
}
