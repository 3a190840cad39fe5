//! When a received message becomes visible again.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, QueueAttributeName as Attribute};

use super::{
    Services,
    differences::{
        CHANGE_OF_A_VISIBLE_MESSAGE, DELETE_BY_AN_OLD_HANDLE, LONG_RECEIVE_VISIBILITY,
        LONG_VISIBILITY, LONG_WAIT,
    },
    handle, outcome_of, receive_count,
};

/// A visibility timeout that outlasts every test, in seconds.
const LONG: (Attribute, &str) = (Attribute::VisibilityTimeout, "43200");

impl Services {
    /// Changes the visibility of a message and returns the outcome.
    async fn change(&self, url: &str, message: &Message, seconds: i32) -> String {
        let change = self
            .sqs
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle(handle(message));
        outcome_of(change.visibility_timeout(seconds).send().await)
    }

    async fn delete(&self, url: &str, message: &Message) -> String {
        outcome_of(
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
async fn a_changed_visibility_decides_when_the_message_returns() {
    let services = Services::new().await;
    let url = services.queue(&[LONG]).await;
    let id = services.send(&url, "x").await;
    let first = services.receive_one(&url).await;
    assert!(
        services.receive(&url, 1).await.is_empty(),
        "the queue's timeout is 12 h"
    );
    let changed = Instant::now();
    assert_eq!(services.change(&url, &first, 2).await, super::ACCEPTED);
    let second = services.receive_one(&url).await;
    assert!(changed.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        (second.message_id(), receive_count(&second)),
        (Some(id.as_str()), 2)
    );
    assert_ne!(handle(&first), handle(&second));
    assert_eq!(services.change(&url, &second, 0).await, super::ACCEPTED);
    assert_eq!(
        receive_count(&services.receive_one(&url).await),
        3,
        "at once"
    );
}

#[tokio::test]
async fn a_visibility_given_with_a_receive_applies_only_to_its_messages() {
    let services = Services::new().await;
    let url = services.queue(&[LONG]).await;
    services.send(&url, "x").await;
    let received = Instant::now();
    let receive = services
        .sqs
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(super::MAX_WAIT);
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
    assert_eq!(receive_count(&services.receive_one(&url).await), 2);
    assert!(received.elapsed() >= Duration::from_secs(1));
    assert!(
        services.receive(&url, 0).await.is_empty(),
        "this time the queue's timeout applies"
    );
}

#[tokio::test]
async fn a_visibility_is_at_most_twelve_hours() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    services.send(&url, "x").await;
    let message = services.receive_one(&url).await;
    assert_eq!(
        services.change(&url, &message, 43_200).await,
        super::ACCEPTED
    );
    services.check(
        LONG_VISIBILITY,
        &services.change(&url, &message, 43_201).await,
    );
    let receive = || services.sqs.receive_message().queue_url(&url);
    services.check(
        LONG_RECEIVE_VISIBILITY,
        &outcome_of(receive().visibility_timeout(43_201).send().await),
    );
    for count in [0, 11] {
        assert_eq!(
            outcome_of(receive().max_number_of_messages(count).send().await),
            "400 InvalidParameterValue"
        );
    }
}

#[tokio::test]
async fn only_the_visibility_of_a_message_in_flight_can_change() {
    let services = Services::new().await;
    let url = services.queue(&[LONG]).await;
    services.send(&url, "x").await;
    let message = services.receive_one(&url).await;
    assert_eq!(services.change(&url, &message, 0).await, super::ACCEPTED);
    services.check(
        CHANGE_OF_A_VISIBLE_MESSAGE,
        &services.change(&url, &message, 0).await,
    );
    let message = services.receive_one(&url).await;
    assert_eq!(services.delete(&url, &message).await, super::ACCEPTED);
    assert!(
        services.change(&url, &message, 0).await.starts_with("400 "),
        "the message is deleted"
    );
}

#[tokio::test]
async fn a_delete_by_the_handle_of_an_earlier_receive_succeeds() {
    let services = Services::new().await;
    let url = services.queue(&[LONG]).await;
    services.send(&url, "x").await;
    let first = services.receive_one(&url).await;
    assert_eq!(services.change(&url, &first, 0).await, super::ACCEPTED);
    services.receive_one(&url).await;
    // SQS does not define whether this deletes the message.
    services.check(
        DELETE_BY_AN_OLD_HANDLE,
        &services.delete(&url, &first).await,
    );
    let nonsense = services
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
async fn the_latest_handle_deletes_a_message_that_is_visible_again() {
    let services = Services::new().await;
    let url = services.queue(&[LONG]).await;
    services.send(&url, "x").await;
    let message = services.receive_one(&url).await;
    assert_eq!(services.change(&url, &message, 0).await, super::ACCEPTED);
    assert_eq!(services.delete(&url, &message).await, super::ACCEPTED);
    assert!(services.receive(&url, 1).await.is_empty());
}

#[tokio::test]
async fn a_long_poll_ends_when_a_message_is_sent() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let (polled, ()) = tokio::join!(services.receive(&url, super::MAX_WAIT), async {
        // A shorter poll ensures that the longer one has begun. Only one message is sent, so the
        // order of the two does not matter.
        assert!(services.receive(&url, 1).await.is_empty());
        services.send(&url, "sent meanwhile").await;
    });
    assert_eq!(polled.len(), 1);
    assert_eq!(polled[0].body(), Some("sent meanwhile"));
    let poll = services
        .sqs
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(21);
    // If the service accepts the poll, there is a message to receive.
    services.send(&url, "x").await;
    services.check(LONG_WAIT, &outcome_of(poll.send().await));
}

#[tokio::test]
async fn a_queue_can_make_every_poll_a_long_poll() {
    let services = Services::new().await;
    let url = services
        .queue(&[(Attribute::ReceiveMessageWaitTimeSeconds, "20")])
        .await;
    services
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .delay_seconds(1)
        .send()
        .await
        .unwrap();
    let polled = services
        .sqs
        .receive_message()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    assert_eq!(polled.messages().len(), 1);
}
