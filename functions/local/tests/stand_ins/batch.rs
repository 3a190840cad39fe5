//! Batches of messages.

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry,
};
use local::queue::Depth;

use super::{
    World,
    queue::{LARGEST, handle},
};

#[tokio::test]
async fn batches_answer_for_each_entry() {
    let world = World::new();
    let url = world.queue("shards").await;
    let entry = |id: &str, delay| {
        SendMessageBatchRequestEntry::builder().id(id).message_body(id).delay_seconds(delay).build().unwrap()
    };
    let send = |entries: Vec<_>| world.sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send();
    let sent = send(vec![entry("good", 0), entry("bad", 901), entry("also-good", 0)]).await.unwrap();
    let ids: Vec<_> = sent.successful().iter().map(|sent| sent.id()).collect();
    assert_eq!(ids, ["good", "also-good"]);
    assert_eq!((sent.failed()[0].id(), sent.failed()[0].code()), ("bad", "InvalidParameterValue"));
    assert!(sent.failed()[0].sender_fault());

    let messages = world.receive(&url).await;
    let changes = messages.iter().enumerate().map(|(number, message)| {
        let change = ChangeMessageVisibilityBatchRequestEntry::builder().id(number.to_string());
        change.receipt_handle(handle(message)).visibility_timeout(100).build().unwrap()
    });
    let changed =
        world.sqs.change_message_visibility_batch().queue_url(&url).set_entries(Some(changes.collect())).send().await;
    assert_eq!(changed.unwrap().successful().len(), 2);
    world.pass(99);
    assert!(world.receive(&url).await.is_empty());
    let deletions = ["nonsense", handle(&messages[0])].into_iter().enumerate().map(|(number, handle)| {
        DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(handle).build().unwrap()
    });
    let deleted =
        world.sqs.delete_message_batch().queue_url(&url).set_entries(Some(deletions.collect())).send().await.unwrap();
    assert_eq!(deleted.successful()[0].id(), "1");
    assert_eq!((deleted.failed()[0].id(), deleted.failed()[0].code()), ("0", "ReceiptHandleIsInvalid"));
    assert_eq!(world.queues.depth("shards").unwrap().in_flight, 1);
}

#[tokio::test]
async fn batch_that_is_none_sends_nothing() {
    let world = World::new();
    let url = world.queue("shards").await;
    let entry =
        |id: &str, body: String| SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap();
    let send = |entries: Vec<_>| {
        let send = world.sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send();
        async { send.await.unwrap_err().into_service_error() }
    };
    let eleven = (0..11).map(|number| entry(&number.to_string(), "x".to_owned())).collect();
    assert!(send(Vec::new()).await.is_empty_batch_request());
    assert!(send(eleven).await.is_too_many_entries_in_batch_request());
    let twice = vec![entry("a", "x".to_owned()), entry("a", "x".to_owned())];
    assert!(send(twice).await.is_batch_entry_ids_not_distinct());
    assert!(send(vec![entry("a b", "x".to_owned())]).await.is_invalid_batch_entry_id());
    let large = vec![entry("a", "x".repeat(LARGEST)), entry("b", "x".to_owned())];
    assert!(send(large).await.is_batch_request_too_long());
    assert_eq!(world.queues.depth("shards").unwrap(), Depth::default());
}
