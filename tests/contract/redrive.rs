//! Redrive: where a message goes that nobody can handle.

use aws_sdk_sqs::types::{MessageSystemAttributeName as System, QueueAttributeName as Attribute};
use serde_json::json;

use super::{World, differences::NO_DEAD_LETTER_QUEUE, handle, receive_count, said};

#[tokio::test]
async fn message_received_too_often_moves_to_the_dead_letter_queue() {
    let world = World::new().await;
    let dead = world.queue(&[]).await;
    let target = world.arn(&dead).await;
    let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": 2 }).to_string();
    let url = world
        .queue(&[
            (Attribute::RedrivePolicy, &policy),
            (Attribute::VisibilityTimeout, "1"),
        ])
        .await;
    let id = world.send(&url, "poison").await;
    for count in [1, 2] {
        let poison = world.receive_one(&url).await;
        assert_eq!(
            (poison.message_id(), receive_count(&poison)),
            (Some(id.as_str()), count)
        );
    }
    assert!(world.receive(&dead, 0).await.is_empty());
    assert!(
        world.receive(&url, 2).await.is_empty(),
        "the third receive moves it"
    );

    let buried = world.receive_one(&dead).await;
    assert_eq!(
        (buried.body(), buried.message_id()),
        (Some("poison"), Some(id.as_str()))
    );
    assert_eq!(receive_count(&buried), 3, "counted across queues");
    assert_eq!(
        buried.attributes().unwrap()[&System::DeadLetterQueueSourceArn],
        world.arn(&url).await
    );
}

#[tokio::test]
async fn message_that_is_deleted_in_time_stays_out_of_the_dead_letter_queue() {
    let world = World::new().await;
    let dead = world.queue(&[]).await;
    let target = world.arn(&dead).await;
    // As a string, which is as common.
    let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": "1" }).to_string();
    let url = world
        .queue(&[
            (Attribute::RedrivePolicy, &policy),
            (Attribute::VisibilityTimeout, "0"),
        ])
        .await;
    world.send(&url, "fine").await;
    let message = world.receive_one(&url).await;
    world
        .sqs
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle(&message))
        .send()
        .await
        .unwrap();
    assert!(world.receive(&url, 1).await.is_empty());
    assert!(world.receive(&dead, 1).await.is_empty());
}

#[tokio::test]
async fn dead_letter_queue_must_be_there() {
    let world = World::new().await;
    let url = world.queue(&[]).await;
    let nowhere = format!("{}-not", world.arn(&url).await);
    let policy = json!({ "deadLetterTargetArn": nowhere, "maxReceiveCount": 2 }).to_string();
    let set = world
        .sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(Attribute::RedrivePolicy, policy);
    world.judge(NO_DEAD_LETTER_QUEUE, &said(set.send().await));
}
