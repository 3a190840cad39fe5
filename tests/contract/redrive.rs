//! Redrive: messages that are received too often move to the dead-letter queue.

use aws_sdk_sqs::types::{MessageSystemAttributeName as System, QueueAttributeName as Attribute};
use serde_json::json;

use super::{Services, differences::NO_DEAD_LETTER_QUEUE, handle, outcome_of, receive_count};

#[tokio::test]
async fn a_message_received_too_often_moves_to_the_dead_letter_queue() {
    let services = Services::new().await;
    let dead = services.queue(&[]).await;
    let target = services.arn(&dead).await;
    let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": 2 }).to_string();
    let url = services
        .queue(&[
            (Attribute::RedrivePolicy, &policy),
            (Attribute::VisibilityTimeout, "1"),
        ])
        .await;
    let id = services.send(&url, "poison").await;
    for count in [1, 2] {
        let poison = services.receive_one(&url).await;
        assert_eq!(
            (poison.message_id(), receive_count(&poison)),
            (Some(id.as_str()), count)
        );
    }
    assert!(services.receive(&dead, 0).await.is_empty());
    assert!(
        services.receive(&url, 2).await.is_empty(),
        "the third receive moves it"
    );

    let dead_letter = services.receive_one(&dead).await;
    assert_eq!(
        (dead_letter.body(), dead_letter.message_id()),
        (Some("poison"), Some(id.as_str()))
    );
    assert_eq!(receive_count(&dead_letter), 3, "counted across queues");
    assert_eq!(
        dead_letter.attributes().unwrap()[&System::DeadLetterQueueSourceArn],
        services.arn(&url).await
    );
}

#[tokio::test]
async fn a_deleted_message_does_not_move_to_the_dead_letter_queue() {
    let services = Services::new().await;
    let dead = services.queue(&[]).await;
    let target = services.arn(&dead).await;
    // The count is a string here, which clients send just as often.
    let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": "1" }).to_string();
    let url = services
        .queue(&[
            (Attribute::RedrivePolicy, &policy),
            (Attribute::VisibilityTimeout, "0"),
        ])
        .await;
    services.send(&url, "fine").await;
    let message = services.receive_one(&url).await;
    services
        .sqs
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle(&message))
        .send()
        .await
        .unwrap();
    assert!(services.receive(&url, 1).await.is_empty());
    assert!(services.receive(&dead, 1).await.is_empty());
}

#[tokio::test]
async fn the_dead_letter_queue_must_exist() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let nowhere = format!("{}-not", services.arn(&url).await);
    let policy = json!({ "deadLetterTargetArn": nowhere, "maxReceiveCount": 2 }).to_string();
    let set = services
        .sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(Attribute::RedrivePolicy, policy);
    services.check(NO_DEAD_LETTER_QUEUE, &outcome_of(set.send().await));
}
