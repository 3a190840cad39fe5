//! Queues with an injected clock, and after a restart.

use std::{collections::HashSet, sync::Arc, time::Duration};

use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName as System, QueueAttributeName as Attribute,
};
use aws_sim::queue::{Depth, Outgoing, QueueApi, QueueAttributes, QueueError, RedrivePolicy};
use jiff::{SignedDuration, Timestamp};
use seam::transport::Transport;
use serde_json::{Value, json};

use super::StandIns;

impl StandIns {
    async fn queue(&self, name: &str) -> String {
        self.sqs
            .create_queue()
            .queue_name(name)
            .send()
            .await
            .unwrap()
            .queue_url()
            .unwrap()
            .to_owned()
    }

    async fn send(&self, url: &str, body: &str) -> String {
        let sent = self
            .sqs
            .send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await
            .unwrap();
        sent.message_id().unwrap().to_owned()
    }

    async fn receive(&self, url: &str) -> Vec<Message> {
        let receive = self
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10);
        receive
            .message_system_attribute_names(System::All)
            .send()
            .await
            .unwrap()
            .messages
            .unwrap_or_default()
    }

    async fn receive_one(&self, url: &str) -> Message {
        let mut messages = self.receive(url).await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }
}

fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap()
}

fn receive_count(message: &Message) -> &str {
    &message.attributes().unwrap()[&System::ApproximateReceiveCount]
}

#[tokio::test]
async fn a_message_is_dated_by_the_injected_clock() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    stand_ins.send(&url, "x").await;
    stand_ins.advance(5);
    let message = stand_ins.receive_one(&url).await;
    let system = message.attributes().unwrap();
    assert_eq!(system[&System::SentTimestamp], "1800000000000");
    assert_eq!(
        system[&System::ApproximateFirstReceiveTimestamp],
        "1800000005000"
    );
}

#[tokio::test]
async fn a_delay_ends_at_the_exact_second() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("shards").await;
    stand_ins
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .delay_seconds(900)
        .send()
        .await
        .unwrap();
    assert_eq!(
        stand_ins.queues.next_due("shards").unwrap(),
        Timestamp::from_second(1_800_000_900).ok()
    );
    assert_eq!(
        stand_ins.queues.depth("shards").unwrap(),
        Depth {
            delayed: 1,
            ..Depth::default()
        }
    );
    stand_ins.advance(899);
    assert!(stand_ins.receive(&url).await.is_empty());
    stand_ins.advance(1);
    stand_ins.receive_one(&url).await;
}

#[tokio::test]
async fn a_visibility_timeout_ends_at_the_exact_second() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    stand_ins.send(&url, "x").await;
    let first = stand_ins.receive_one(&url).await;
    stand_ins.advance(29);
    assert!(
        stand_ins.receive(&url).await.is_empty(),
        "the queue's timeout is 30 s"
    );
    let change = stand_ins
        .sqs
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle(&first));
    change.visibility_timeout(43_200).send().await.unwrap();
    assert_eq!(
        stand_ins.queues.depth("polls").unwrap(),
        Depth {
            in_flight: 1,
            ..Depth::default()
        }
    );
    stand_ins.advance(43_199);
    assert!(stand_ins.receive(&url).await.is_empty());
    stand_ins.advance(1);
    assert_eq!(receive_count(&stand_ins.receive_one(&url).await), "2");
}

/// SQS does not define this behavior.
#[tokio::test]
async fn the_handle_of_an_earlier_receive_changes_nothing() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    stand_ins.send(&url, "x").await;
    let first = stand_ins.receive_one(&url).await;
    stand_ins.advance(30);
    let second = stand_ins.receive_one(&url).await;
    let change = stand_ins
        .sqs
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle(&first));
    let change = change.visibility_timeout(60).send().await;
    assert!(
        change
            .unwrap_err()
            .into_service_error()
            .is_message_not_inflight(),
        "the message belongs to a later receive"
    );
    let delete = |handle: &str| {
        stand_ins
            .sqs
            .delete_message()
            .queue_url(&url)
            .receipt_handle(handle)
            .send()
    };
    delete(handle(&first)).await.unwrap();
    assert_eq!(stand_ins.queues.depth("polls").unwrap().in_flight, 1);
    delete(handle(&second)).await.unwrap();
    delete(handle(&second)).await.unwrap();
    assert_eq!(stand_ins.queues.depth("polls").unwrap(), Depth::default());
}

#[tokio::test]
async fn a_dead_letter_survives_a_restart() {
    let stand_ins = StandIns::new();
    let dead = stand_ins.queue("polls-dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:polls-dead","maxReceiveCount":1}"#;
    let create = stand_ins
        .sqs
        .create_queue()
        .queue_name("polls")
        .attributes(Attribute::RedrivePolicy, policy);
    let url = create.send().await.unwrap().queue_url.unwrap();
    let id = stand_ins.send(&url, "poison").await;
    stand_ins.receive_one(&url).await;
    stand_ins.advance(30);
    assert!(stand_ins.receive(&url).await.is_empty());

    let stand_ins = stand_ins.reopen();
    let dead_letter = stand_ins.receive_one(&dead).await;
    assert_eq!(
        (dead_letter.body(), dead_letter.message_id()),
        (Some("poison"), Some(id.as_str()))
    );
    assert_eq!(stand_ins.queues.depth("polls").unwrap(), Depth::default());
}

#[tokio::test]
async fn queues_and_messages_survive_a_restart() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    stand_ins
        .sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(Attribute::VisibilityTimeout, "120")
        .send()
        .await
        .unwrap();
    for body in ["received", "deleted", "waiting"] {
        stand_ins.send(&url, body).await;
    }
    let messages = stand_ins.receive(&url).await;
    // Leave one message in flight, delete one, and postpone one beyond the restart.
    let [received, deleted] = ["received", "deleted"].map(|body| {
        messages
            .iter()
            .find(|message| message.body() == Some(body))
            .unwrap()
    });
    stand_ins
        .sqs
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle(deleted))
        .send()
        .await
        .unwrap();
    let waiting = messages
        .iter()
        .find(|message| message.body() == Some("waiting"))
        .unwrap();
    let change = stand_ins
        .sqs
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle(waiting));
    change.visibility_timeout(500).send().await.unwrap();

    let stand_ins = stand_ins.reopen();
    assert_eq!(
        stand_ins
            .queues
            .attributes("polls")
            .unwrap()
            .visibility_timeout,
        SignedDuration::from_secs(120)
    );
    assert_eq!(
        stand_ins.queues.depth("polls").unwrap(),
        Depth {
            in_flight: 2,
            ..Depth::default()
        }
    );
    stand_ins.advance(120);
    let again = stand_ins.receive_one(&url).await;
    assert_eq!(
        (again.body(), receive_count(&again)),
        (Some("received"), "2")
    );
    // The handle of the receive before the restart is stale.
    assert_ne!(handle(&again), handle(received));
    stand_ins.advance(380);
    let bodies: HashSet<_> = stand_ins
        .receive(&url)
        .await
        .iter()
        .filter_map(|message| message.body().map(str::to_owned))
        .collect();
    assert!(bodies.contains("waiting") && !bodies.contains("deleted"));
}

#[tokio::test]
async fn a_message_is_removed_after_its_retention_period() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    stand_ins.send(&url, "old").await;
    stand_ins.advance(4 * 24 * 3_600 - 1);
    stand_ins.send(&url, "new").await;
    stand_ins.advance(1);
    assert_eq!(stand_ins.receive_one(&url).await.body(), Some("new"));
    assert_eq!(
        stand_ins.reopen().queues.depth("polls").unwrap().in_flight,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_a_message_or_at_its_limit() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    let poll = || {
        stand_ins
            .sqs
            .receive_message()
            .queue_url(&url)
            .wait_time_seconds(20)
            .send()
    };
    let start = tokio::time::Instant::now();
    assert!(poll().await.unwrap().messages().is_empty());
    assert_eq!(start.elapsed(), Duration::from_secs(20));

    // A message that is sent during the poll ends it.
    let (polled, _) = tokio::join!(poll(), stand_ins.send(&url, "sent meanwhile"));
    assert_eq!(polled.unwrap().messages()[0].body(), Some("sent meanwhile"));

    stand_ins
        .queues
        .send(
            "polls",
            Outgoing {
                delay: Some(SignedDuration::from_secs(900)),
                ..Outgoing::new("due")
            },
        )
        .unwrap();
    // So does a delayed message when the host advances the clock.
    let (polled, ()) = tokio::join!(poll(), async { stand_ins.advance(900) });
    let bodies: Vec<_> = polled
        .unwrap()
        .messages()
        .iter()
        .filter_map(|message| message.body().map(str::to_owned))
        .collect();
    assert_eq!(bodies.len(), 1);
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(20),
        "neither poll waited longer"
    );
}

#[tokio::test]
async fn a_message_takes_the_trace_of_its_call_unless_it_has_its_own() {
    let stand_ins = StandIns::new();
    let url = stand_ins.queue("polls").await;
    let call = |target: &str, body: Value| {
        let body = seam::transport::full(body.to_string());
        let request =
            http::Request::post("/").header("x-amz-target", format!("AmazonSQS.{target}"));
        request
            .header("x-amzn-trace-id", "Root=1-a-b;Lineage=poll:2")
            .body(body)
            .unwrap()
    };
    let api = QueueApi::new(Arc::clone(&stand_ins.queues));
    let own = json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": "Root=1-c-d" } });
    let single = json!({ "QueueUrl": url, "MessageBody": "1" });
    let named = json!({ "Id": "2", "MessageBody": "2", "MessageSystemAttributes": own });
    let batch = json!({ "QueueUrl": url, "Entries": [named, { "Id": "3", "MessageBody": "3" }] });
    for request in [call("SendMessage", single), call("SendMessageBatch", batch)] {
        assert_eq!(api.send(request).await.unwrap().status(), 200);
    }
    stand_ins.send(&url, "4").await;
    let deliveries = stand_ins.queues.receive("polls", 10, None).unwrap();
    let traces: Vec<_> = deliveries
        .iter()
        .map(|delivery| (delivery.body.as_str(), delivery.trace_header.as_deref()))
        .collect();
    let of_call = Some("Root=1-a-b;Lineage=poll:2");
    assert_eq!(
        traces,
        [
            ("1", of_call),
            ("2", Some("Root=1-c-d")),
            ("3", of_call),
            ("4", None)
        ]
    );
}

#[test]
fn only_the_latest_handle_moves_a_message_to_the_dead_letter_queue() {
    let stand_ins = StandIns::new();
    let queues = &stand_ins.queues;
    queues
        .create("polls-dead", QueueAttributes::default())
        .unwrap();
    let redrive = Some(RedrivePolicy {
        dead_letter_queue: "polls-dead".to_owned(),
        max_receive_count: 1_000,
    });
    queues
        .create(
            "polls",
            QueueAttributes {
                redrive,
                ..QueueAttributes::default()
            },
        )
        .unwrap();
    queues
        .send(
            "polls",
            Outgoing {
                trace_header: Some("Root=1-a-b".to_owned()),
                ..Outgoing::new("x")
            },
        )
        .unwrap();
    let receive = || {
        queues
            .receive("polls", 1, Some(SignedDuration::ZERO))
            .unwrap()
            .remove(0)
    };
    // The handle of the first receive is stale after the second one.
    let (first, second) = (receive(), receive());
    queues
        .move_to_dead_letter_queue("polls", &first.receipt_handle)
        .unwrap();
    assert_eq!(queues.depth("polls-dead").unwrap(), Depth::default());
    queues
        .move_to_dead_letter_queue("polls", &second.receipt_handle)
        .unwrap();
    assert_eq!(queues.depth("polls").unwrap(), Depth::default());
    let dead = queues.receive("polls-dead", 1, None).unwrap().remove(0);
    assert_eq!(
        (dead.body.as_str(), dead.trace_header.as_deref()),
        ("x", Some("Root=1-a-b"))
    );
    assert_eq!(dead.dead_letter_source.as_deref(), Some("polls"));

    queues
        .move_to_dead_letter_queue("polls-dead", &dead.receipt_handle)
        .unwrap();
    assert_eq!(
        queues.depth("polls-dead").unwrap().in_flight,
        1,
        "the queue has no dead-letter queue"
    );
}

#[test]
fn a_host_observes_due_messages_in_process() {
    let stand_ins = StandIns::new();
    let queues = &stand_ins.queues;
    assert!(matches!(
        queues.receive("polls", 1, None),
        Err(QueueError::QueueDoesNotExist)
    ));
    queues.create("polls", QueueAttributes::default()).unwrap();
    assert_eq!(queues.next_due("polls").unwrap(), None);
    let mut changes = queues.changes();
    changes.mark_unchanged();
    queues.send("polls", Outgoing::new("x")).unwrap();
    assert!(changes.has_changed().unwrap());
    let delivery = queues
        .receive("polls", 10, Some(SignedDuration::from_secs(5)))
        .unwrap()
        .remove(0);
    assert_eq!((delivery.body.as_str(), delivery.receive_count), ("x", 1));
    assert_eq!(
        queues.next_due("polls").unwrap(),
        Timestamp::from_second(1_800_000_005).ok()
    );
    queues
        .change_visibility(
            "polls",
            &delivery.receipt_handle,
            SignedDuration::from_secs(60),
        )
        .unwrap();
    assert_eq!(
        queues.next_due("polls").unwrap(),
        Timestamp::from_second(1_800_000_060).ok()
    );
    queues.delete("polls", &delivery.receipt_handle).unwrap();
    assert_eq!(queues.next_due("polls").unwrap(), None);
}

#[test]
fn a_message_that_cannot_be_stored_is_not_sent() {
    let stand_ins = StandIns::new();
    stand_ins
        .queues
        .create("polls", QueueAttributes::default())
        .unwrap();
    let messages = stand_ins.folder.path().join("queues/messages");
    std::fs::remove_dir(&messages).unwrap();
    let refused = stand_ins
        .queues
        .send("polls", Outgoing::new("x"))
        .unwrap_err();
    assert!(matches!(refused, QueueError::Storage(_)) && !refused.is_sender_fault());
    assert_eq!(stand_ins.queues.depth("polls").unwrap(), Depth::default());
    std::fs::create_dir(&messages).unwrap();
    stand_ins.queues.send("polls", Outgoing::new("x")).unwrap();
    assert_eq!(stand_ins.queues.depth("polls").unwrap().visible, 1);
}
