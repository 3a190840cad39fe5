//! Batches of messages.

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Change, DeleteMessageBatchRequestEntry as Deletion,
    QueueAttributeName as Attribute, SendMessageBatchRequestEntry as Entry,
};

use super::{
    Services, differences::LONG_VISIBILITY_IN_A_BATCH, handle, message::MAX_MESSAGE_SIZE,
    receive_count,
};

/// The maximum number of entries in a batch.
const MAX_ENTRIES: usize = 10;

fn entry(id: &str, body: &str) -> Entry {
    Entry::builder().id(id).message_body(body).build().unwrap()
}

fn change(id: &str, handle: &str, seconds: i32) -> Change {
    Change::builder()
        .id(id)
        .receipt_handle(handle)
        .visibility_timeout(seconds)
        .build()
        .unwrap()
}

fn deletion(id: &str, handle: &str) -> Deletion {
    Deletion::builder()
        .id(id)
        .receipt_handle(handle)
        .build()
        .unwrap()
}

/// One bad entry among ten does not affect the other nine.
#[tokio::test]
async fn each_batch_entry_has_its_own_outcome() {
    let services = Services::new().await;
    let url = services
        .queue(&[(Attribute::VisibilityTimeout, "43200")])
        .await;
    let names: Vec<_> = (0..MAX_ENTRIES)
        .map(|number| format!("entry-{number}"))
        .collect();
    // Send: the entry with a character that XML does not allow fails alone.
    let entries = names
        .iter()
        .map(|name| entry(name, if name == "entry-4" { "\u{0}" } else { name }));
    let sent = services
        .sqs
        .send_message_batch()
        .queue_url(&url)
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    let good: Vec<_> = names.iter().filter(|name| *name != "entry-4").collect();
    assert_eq!(
        sent.successful()
            .iter()
            .map(|sent| sent.id())
            .collect::<Vec<_>>(),
        good
    );
    assert_eq!((sent.failed().len(), sent.failed()[0].id()), (1, "entry-4"));
    assert_eq!(
        (sent.failed()[0].code(), sent.failed()[0].sender_fault()),
        ("InvalidMessageContents", true)
    );

    let messages = services.receive_all(&url, MAX_ENTRIES - 1).await;
    // Change the visibility: the entry with a malformed handle fails alone.
    let changes = messages
        .iter()
        .enumerate()
        .map(|(number, message)| change(&number.to_string(), handle(message), 1));
    let changes = changes.chain([change("bad", "nonsense", 1)]).collect();
    let changed = services
        .sqs
        .change_message_visibility_batch()
        .queue_url(&url)
        .set_entries(Some(changes));
    let changed = changed.send().await.unwrap();
    assert_eq!(changed.successful().len(), MAX_ENTRIES - 1);
    assert_eq!(
        (changed.failed()[0].id(), changed.failed()[0].code()),
        ("bad", "ReceiptHandleIsInvalid")
    );

    let messages = services.receive_all(&url, MAX_ENTRIES - 1).await;
    assert!(messages.iter().all(|message| receive_count(message) == 2));
    // A visibility beyond the limit fails its entry, and not the whole call.
    let long = change("long", handle(&messages[0]), 43_201);
    let long = services
        .sqs
        .change_message_visibility_batch()
        .queue_url(&url)
        .entries(long)
        .send()
        .await
        .unwrap();
    services.check(
        LONG_VISIBILITY_IN_A_BATCH,
        long.failed()
            .first()
            .map_or(super::ACCEPTED, |failed| failed.code()),
    );
    // Delete: the entry with a malformed handle fails alone.
    let deletions = messages
        .iter()
        .enumerate()
        .map(|(number, message)| deletion(&number.to_string(), handle(message)));
    let deletions = deletions.chain([deletion("bad", "nonsense")]).collect();
    let deleted = services
        .sqs
        .delete_message_batch()
        .queue_url(&url)
        .set_entries(Some(deletions))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), MAX_ENTRIES - 1);
    assert_eq!(
        (deleted.failed()[0].id(), deleted.failed()[0].code()),
        ("bad", "ReceiptHandleIsInvalid")
    );
    assert!(deleted.failed()[0].sender_fault());
}

#[tokio::test]
async fn an_invalid_batch_sends_nothing() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let send = |entries: Vec<_>| {
        let send = services
            .sqs
            .send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send();
        async { send.await.unwrap_err().into_service_error() }
    };
    let eleven = (0..=MAX_ENTRIES)
        .map(|number| entry(&number.to_string(), "x"))
        .collect();
    assert!(send(Vec::new()).await.is_empty_batch_request());
    assert!(send(eleven).await.is_too_many_entries_in_batch_request());
    assert!(
        send(vec![entry("a", "x"), entry("a", "y")])
            .await
            .is_batch_entry_ids_not_distinct()
    );
    assert!(
        send(vec![entry("a b", "x")])
            .await
            .is_invalid_batch_entry_id()
    );
    let large = vec![entry("a", &"x".repeat(MAX_MESSAGE_SIZE)), entry("b", "x")];
    assert!(send(large).await.is_batch_request_too_long());
    assert!(services.receive(&url, 1).await.is_empty());
}

#[tokio::test]
async fn delete_and_visibility_batches_have_the_same_limits() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let ids: Vec<_> = (0..=MAX_ENTRIES).map(|number| number.to_string()).collect();
    let delete = |ids: &[String]| {
        let entries = ids.iter().map(|id| deletion(id, "x")).collect();
        services
            .sqs
            .delete_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send()
    };
    let change = |ids: &[String]| {
        let entries = ids.iter().map(|id| change(id, "x", 1)).collect();
        services
            .sqs
            .change_message_visibility_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send()
    };
    // Both operations refuse more than ten entries, and repeated ids.
    let twice = ["a".to_owned(), "a".to_owned()];
    assert!(
        delete(&ids)
            .await
            .unwrap_err()
            .into_service_error()
            .is_too_many_entries_in_batch_request()
    );
    assert!(
        delete(&twice)
            .await
            .unwrap_err()
            .into_service_error()
            .is_batch_entry_ids_not_distinct()
    );
    assert!(
        change(&ids)
            .await
            .unwrap_err()
            .into_service_error()
            .is_too_many_entries_in_batch_request()
    );
    assert!(
        change(&twice)
            .await
            .unwrap_err()
            .into_service_error()
            .is_batch_entry_ids_not_distinct()
    );
}
