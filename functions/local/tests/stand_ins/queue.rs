//! Queues.

use std::{collections::HashSet, time::Duration};

use aws_sdk_sqs::{
    primitives::Blob,
    types::{
        Message, MessageAttributeValue, MessageSystemAttributeName as System, MessageSystemAttributeNameForSends,
        MessageSystemAttributeValue, QueueAttributeName as Attribute,
    },
};
use jiff::{SignedDuration, Timestamp};
use local::queue::{Depth, Outgoing, QueueAttributes, QueueError};

use super::{World, refusal};

/// The largest message.
pub(super) const LARGEST: usize = 1_048_576;

impl World {
    pub(super) async fn queue(&self, name: &str) -> String {
        self.sqs.create_queue().queue_name(name).send().await.unwrap().queue_url().unwrap().to_owned()
    }

    async fn send(&self, url: &str, body: &str) -> String {
        let sent = self.sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
        sent.message_id().unwrap().to_owned()
    }

    pub(super) async fn receive(&self, url: &str) -> Vec<Message> {
        let receive = self.sqs.receive_message().queue_url(url).max_number_of_messages(10);
        receive.message_system_attribute_names(System::All).send().await.unwrap().messages.unwrap_or_default()
    }

    async fn receive_one(&self, url: &str) -> Message {
        let mut messages = self.receive(url).await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }
}

pub(super) fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap()
}

fn receive_count(message: &Message) -> &str {
    &message.attributes().unwrap()[&System::ApproximateReceiveCount]
}

#[tokio::test]
async fn message_arrives_as_it_was_sent() {
    let world = World::new();
    let url = world.queue("polls").await;
    let body = "{\"key\": \"a\\u0000\"}\n\t\u{1f34c}";
    let text = MessageAttributeValue::builder().data_type("String").string_value("v").build().unwrap();
    let bytes =
        MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 1, 2])).build().unwrap();
    let trace = MessageSystemAttributeValue::builder().data_type("String").string_value("Root=1-2").build().unwrap();
    let send = world.sqs.send_message().queue_url(&url).message_body(body).message_attributes("text", text.clone());
    let send = send.message_attributes("bytes", bytes.clone());
    let sent =
        send.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace).send().await.unwrap();
    world.pass(5);

    let receive = world.sqs.receive_message().queue_url(&url).message_system_attribute_names(System::All);
    let received = receive.message_attribute_names("All").send().await.unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.body(), Some(body));
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
    assert!(sent.md5_of_message_attributes().is_some());
    assert_eq!(message.message_attributes().unwrap()["text"], text);
    assert_eq!(message.message_attributes().unwrap()["bytes"], bytes);
    let system = message.attributes().unwrap();
    assert_eq!(system[&System::ApproximateReceiveCount], "1");
    assert_eq!(system[&System::SentTimestamp], "1800000000000");
    assert_eq!(system[&System::ApproximateFirstReceiveTimestamp], "1800000005000");
    assert_eq!(system[&System::AwsTraceHeader], "Root=1-2");
    assert!(system.contains_key(&System::SenderId));
}

#[tokio::test]
async fn md5_of_the_body_is_the_md5() {
    let world = World::new();
    let url = world.queue("polls").await;
    let sent = world.sqs.send_message().queue_url(&url).message_body("hello").send().await.unwrap();
    assert_eq!(sent.md5_of_message_body(), Some("5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(sent.md5_of_message_attributes(), None);
    let message = world.sqs.receive_message().queue_url(&url).send().await.unwrap().messages()[0].clone();
    assert!(message.attributes().is_none(), "nobody asked");
}

#[tokio::test]
async fn delay_holds_a_message_back() {
    let world = World::new();
    let url = world.queue("shards").await;
    let send = |delay| world.sqs.send_message().queue_url(&url).message_body("x").delay_seconds(delay).send();
    send(900).await.unwrap();
    assert!(world.receive(&url).await.is_empty());
    assert_eq!(world.queues.next_due("shards").unwrap(), Timestamp::from_second(1_800_000_900).ok());
    assert_eq!(world.queues.depth("shards").unwrap(), Depth { delayed: 1, ..Depth::default() });
    world.pass(899);
    assert!(world.receive(&url).await.is_empty());
    world.pass(1);
    world.receive_one(&url).await;
    for delay in [901, -1] {
        assert_eq!(refusal(send(delay).await), ("InvalidParameterValue".to_owned(), 400));
    }
}

#[tokio::test]
async fn queue_delays_where_the_message_says_nothing() {
    let world = World::new();
    let url = world.queue("shards").await;
    world.sqs.set_queue_attributes().queue_url(&url).attributes(Attribute::DelaySeconds, "60").send().await.unwrap();
    world.send(&url, "by the queue").await;
    world.sqs.send_message().queue_url(&url).message_body("at once").delay_seconds(0).send().await.unwrap();
    assert_eq!(world.receive_one(&url).await.body(), Some("at once"));
    world.pass(60);
    let bodies: HashSet<_> =
        world.receive(&url).await.iter().filter_map(|message| message.body().map(str::to_owned)).collect();
    assert!(bodies.contains("by the queue"));
}

#[tokio::test]
async fn visibility_decides_when_a_message_returns() {
    let world = World::new();
    let url = world.queue("polls").await;
    world.send(&url, "x").await;
    let first = world.receive_one(&url).await;
    world.pass(29);
    assert!(world.receive(&url).await.is_empty(), "the queue's time-out is 30 s");

    let change = |message: &Message, seconds| {
        let change = world.sqs.change_message_visibility().queue_url(&url).receipt_handle(handle(message));
        change.visibility_timeout(seconds).send()
    };
    change(&first, 43_200).await.unwrap();
    assert_eq!(world.queues.depth("polls").unwrap(), Depth { in_flight: 1, ..Depth::default() });
    world.pass(43_199);
    assert!(world.receive(&url).await.is_empty());
    world.pass(1);
    let second = world.receive_one(&url).await;
    assert_eq!(receive_count(&second), "2");
    assert_ne!(handle(&first), handle(&second));
    change(&second, 0).await.unwrap();
    let third = world.receive_one(&url).await;
    assert_eq!(refusal(change(&third, 43_201).await), ("InvalidParameterValue".to_owned(), 400));
    let brief = world.sqs.receive_message().queue_url(&url).visibility_timeout(7).send().await.unwrap();
    assert!(brief.messages().is_empty());
}

#[tokio::test]
async fn handle_of_a_receive_that_is_over_changes_nothing() {
    let world = World::new();
    let url = world.queue("polls").await;
    world.send(&url, "x").await;
    let first = world.receive_one(&url).await;
    let change = |handle: &str| {
        world.sqs.change_message_visibility().queue_url(&url).receipt_handle(handle).visibility_timeout(60).send()
    };
    let delete = |handle: &str| world.sqs.delete_message().queue_url(&url).receipt_handle(handle).send();
    world.pass(30);
    assert!(change(handle(&first)).await.unwrap_err().into_service_error().is_message_not_inflight(), "visible again");
    let second = world.receive_one(&url).await;
    assert!(
        change(handle(&first)).await.unwrap_err().into_service_error().is_message_not_inflight(),
        "somebody else's"
    );
    delete(handle(&first)).await.unwrap();
    assert_eq!(world.queues.depth("polls").unwrap().in_flight, 1, "deleting with it succeeds and deletes nothing");
    delete(handle(&second)).await.unwrap();
    assert_eq!(world.queues.depth("polls").unwrap(), Depth::default());
    delete(handle(&second)).await.unwrap();
    assert_eq!(refusal(change(handle(&second)).await), ("InvalidParameterValue".to_owned(), 400));
    assert!(delete("nonsense").await.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
}

#[tokio::test]
async fn latest_handle_deletes_though_the_message_is_visible_again() {
    let world = World::new();
    let url = world.queue("polls").await;
    world.send(&url, "x").await;
    let message = world.receive_one(&url).await;
    world.pass(31);
    world.sqs.delete_message().queue_url(&url).receipt_handle(handle(&message)).send().await.unwrap();
    assert!(world.receive(&url).await.is_empty());
}

#[tokio::test]
async fn message_received_too_often_moves_to_the_dead_letter_queue() {
    let world = World::new();
    let dead = world.queue("polls-dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:polls-dead","maxReceiveCount":2}"#;
    let create = world.sqs.create_queue().queue_name("polls").attributes(Attribute::RedrivePolicy, policy);
    let url = create.attributes(Attribute::VisibilityTimeout, "10").send().await.unwrap().queue_url.unwrap();
    let id = world.send(&url, "poison").await;
    world.send(&url, "fine").await;
    for count in ["1", "2"] {
        let messages = world.receive(&url).await;
        let poison = messages.iter().find(|message| message.message_id() == Some(&id)).unwrap();
        assert_eq!(receive_count(poison), count);
        for message in messages.iter().filter(|message| message.body() == Some("fine")) {
            world.sqs.delete_message().queue_url(&url).receipt_handle(handle(message)).send().await.unwrap();
        }
        world.pass(10);
    }
    assert!(world.receive(&dead).await.is_empty());
    assert!(world.receive(&url).await.is_empty(), "the third receive moves it");

    let world = world.reopen();
    let buried = world.receive_one(&dead).await;
    assert_eq!((buried.body(), buried.message_id()), (Some("poison"), Some(id.as_str())));
    assert_eq!(receive_count(&buried), "3", "counted across queues");
    let system = buried.attributes().unwrap();
    assert_eq!(system[&System::DeadLetterQueueSourceArn], "arn:aws:sqs:us-east-1:000000000000:polls");
    assert_eq!(world.queues.depth("polls").unwrap(), Depth::default());

    let nowhere = policy.replace("polls-dead", "nowhere");
    let set =
        world.sqs.set_queue_attributes().queue_url(&url).attributes(Attribute::RedrivePolicy, nowhere).send().await;
    assert_eq!(refusal(set), ("InvalidParameterValue".to_owned(), 400));
}

#[tokio::test]
async fn message_is_one_mebibyte_of_xml_characters_and_not_empty() {
    let world = World::new();
    let url = world.queue("polls").await;
    let send = |body: String| world.sqs.send_message().queue_url(&url).message_body(body).send();
    send("x".repeat(LARGEST)).await.unwrap();
    assert_eq!(refusal(send("x".repeat(LARGEST + 1)).await), ("InvalidParameterValue".to_owned(), 400));
    assert_eq!(refusal(send(String::new()).await), ("MissingParameter".to_owned(), 400));
    let illegal = send("a\u{0}b".to_owned()).await.unwrap_err().into_service_error();
    assert!(illegal.is_invalid_message_contents());
    assert_eq!(world.receive_one(&url).await.body().map(str::len), Some(LARGEST));
}

#[tokio::test]
async fn all_is_there_after_a_restart() {
    let world = World::new();
    let url = world.queue("polls").await;
    world
        .sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(Attribute::VisibilityTimeout, "120")
        .send()
        .await
        .unwrap();
    for body in ["received", "deleted", "waiting"] {
        world.send(&url, body).await;
    }
    let messages = world.receive(&url).await;
    let [received, deleted] =
        ["received", "deleted"].map(|body| messages.iter().find(|message| message.body() == Some(body)).unwrap());
    world.sqs.delete_message().queue_url(&url).receipt_handle(handle(deleted)).send().await.unwrap();
    let waiting = messages.iter().find(|message| message.body() == Some("waiting")).unwrap();
    let change = world.sqs.change_message_visibility().queue_url(&url).receipt_handle(handle(waiting));
    change.visibility_timeout(500).send().await.unwrap();

    let world = world.reopen();
    assert_eq!(world.queues.attributes("polls").unwrap().visibility_timeout, SignedDuration::from_secs(120));
    assert_eq!(world.queues.depth("polls").unwrap(), Depth { in_flight: 2, ..Depth::default() });
    world.pass(120);
    let again = world.receive_one(&url).await;
    assert_eq!((again.body(), receive_count(&again)), (Some("received"), "2"));
    assert_ne!(handle(&again), handle(received));
    world.pass(380);
    let bodies: HashSet<_> =
        world.receive(&url).await.iter().filter_map(|message| message.body().map(str::to_owned)).collect();
    assert!(bodies.contains("waiting") && !bodies.contains("deleted"));
}

#[tokio::test]
async fn queues_are_found_described_and_purged() {
    let world = World::new();
    let missing = world.sqs.get_queue_url().queue_name("polls").send().await.unwrap_err().into_service_error();
    assert!(missing.is_queue_does_not_exist());
    let url = world.queue("polls").await;
    world.queue("shards").await;
    assert_eq!(world.sqs.get_queue_url().queue_name("polls").send().await.unwrap().queue_url(), Some(url.as_str()));
    assert_eq!(world.queue("polls").await, url, "making it again changes nothing");
    let other = world.sqs.create_queue().queue_name("polls").attributes(Attribute::DelaySeconds, "5").send().await;
    assert!(other.unwrap_err().into_service_error().is_queue_name_exists());
    let wrong = world.sqs.create_queue().queue_name("sounds").attributes(Attribute::DelaySeconds, "901").send().await;
    assert!(wrong.unwrap_err().into_service_error().is_invalid_attribute_value());
    let listed = world.sqs.list_queues().queue_name_prefix("po").send().await.unwrap();
    assert_eq!(listed.queue_urls(), std::slice::from_ref(&url));

    for body in ["one", "two"] {
        world.send(&url, body).await;
    }
    let described =
        world.sqs.get_queue_attributes().queue_url(&url).attribute_names(Attribute::All).send().await.unwrap();
    let described = described.attributes().unwrap();
    assert_eq!(described[&Attribute::ApproximateNumberOfMessages], "2");
    assert_eq!(described[&Attribute::QueueArn], "arn:aws:sqs:us-east-1:000000000000:polls");
    assert_eq!(described[&Attribute::MessageRetentionPeriod], "345600");
    world.sqs.purge_queue().queue_url(&url).send().await.unwrap();
    assert!(world.receive(&url).await.is_empty());
}

#[tokio::test]
async fn message_is_forgotten_after_its_retention() {
    let world = World::new();
    let url = world.queue("polls").await;
    world.send(&url, "old").await;
    world.pass(4 * 24 * 3_600 - 1);
    world.send(&url, "new").await;
    world.pass(1);
    assert_eq!(world.receive_one(&url).await.body(), Some("new"));
    assert_eq!(world.reopen().queues.depth("polls").unwrap().in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn long_poll_ends_with_a_message_or_with_its_time() {
    let world = World::new();
    let url = world.queue("polls").await;
    let poll = || world.sqs.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let start = tokio::time::Instant::now();
    assert!(poll().await.unwrap().messages().is_empty());
    assert_eq!(start.elapsed(), Duration::from_secs(20));

    let (polled, _) = tokio::join!(poll(), world.send(&url, "sent meanwhile"));
    assert_eq!(polled.unwrap().messages()[0].body(), Some("sent meanwhile"));

    world
        .queues
        .send("polls", Outgoing { delay: Some(SignedDuration::from_secs(900)), ..Outgoing::new("due") })
        .unwrap();
    let (polled, ()) = tokio::join!(poll(), async { world.pass(900) });
    let bodies: Vec<_> =
        polled.unwrap().messages().iter().filter_map(|message| message.body().map(str::to_owned)).collect();
    assert_eq!(bodies.len(), 1);
    assert_eq!(start.elapsed(), Duration::from_secs(20), "neither waited");
}

#[test]
fn host_sees_what_becomes_due_without_the_wire() {
    let world = World::new();
    let queues = &world.queues;
    assert!(matches!(queues.receive("polls", 1, None), Err(QueueError::QueueDoesNotExist)));
    queues.create("polls", QueueAttributes::default()).unwrap();
    assert_eq!(queues.next_due("polls").unwrap(), None);
    let mut changes = queues.changes();
    changes.mark_unchanged();
    queues.send("polls", Outgoing::new("x")).unwrap();
    assert!(changes.has_changed().unwrap());
    let delivery = queues.receive("polls", 10, Some(SignedDuration::from_secs(5))).unwrap().remove(0);
    assert_eq!((delivery.body.as_str(), delivery.receive_count), ("x", 1));
    assert_eq!(queues.next_due("polls").unwrap(), Timestamp::from_second(1_800_000_005).ok());
    queues.change_visibility("polls", &delivery.receipt_handle, SignedDuration::from_secs(60)).unwrap();
    assert_eq!(queues.next_due("polls").unwrap(), Timestamp::from_second(1_800_000_060).ok());
    queues.delete("polls", &delivery.receipt_handle).unwrap();
    assert_eq!(queues.next_due("polls").unwrap(), None);
}

#[test]
fn message_that_cannot_be_kept_is_not_sent() {
    let world = World::new();
    world.queues.create("polls", QueueAttributes::default()).unwrap();
    let messages = world.folder.path().join("queues/messages");
    std::fs::remove_dir(&messages).unwrap();
    let refused = world.queues.send("polls", Outgoing::new("x")).unwrap_err();
    assert!(matches!(refused, QueueError::Storage(_)) && !refused.is_callers_fault());
    assert_eq!(world.queues.depth("polls").unwrap(), Depth::default());
    std::fs::create_dir(&messages).unwrap();
    world.queues.send("polls", Outgoing::new("x")).unwrap();
    assert_eq!(world.queues.depth("polls").unwrap().visible, 1);
}
