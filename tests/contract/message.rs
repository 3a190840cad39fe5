//! Messages: which are accepted, and that they arrive unchanged.

use aws_sdk_sqs::{
    primitives::Blob,
    types::{
        MessageAttributeValue, MessageSystemAttributeName as System,
        MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        QueueAttributeName as Attribute,
    },
};

use super::{
    MAX_WAIT, Services,
    differences::{LONG_DELAY, NEGATIVE_DELAY},
    number, outcome_of, receive_count,
};

/// The maximum size of a message, in bytes.
pub(super) const MAX_MESSAGE_SIZE: usize = 1_048_576;

#[tokio::test]
async fn a_message_arrives_unchanged() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let body = "{\"key\": \"a\\u0000\"}\n\t\u{1f34c}";
    let text = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("v")
        .build()
        .unwrap();
    let bytes = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([0, 1, 2]))
        .build()
        .unwrap();
    let trace = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value("Root=1-2")
        .build()
        .unwrap();
    let send = services
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body(body)
        .message_attributes("text", text.clone());
    let send = send.message_attributes("bytes", bytes.clone());
    let send =
        send.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace);
    let sent = send.send().await.unwrap();

    // The body, the attributes, the MD5 sums and the trace arrive as they were sent.
    let receive = services
        .sqs
        .receive_message()
        .queue_url(&url)
        .message_system_attribute_names(System::All);
    let receive = receive
        .message_attribute_names("All")
        .wait_time_seconds(MAX_WAIT);
    let received = receive.send().await.unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.body(), Some(body));
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(
        message.md5_of_message_attributes(),
        sent.md5_of_message_attributes()
    );
    assert_eq!(message.message_attributes().unwrap()["text"], text);
    assert_eq!(message.message_attributes().unwrap()["bytes"], bytes);
    assert_eq!(receive_count(message), 1);
    assert!(
        number(message, System::SentTimestamp)
            <= number(message, System::ApproximateFirstReceiveTimestamp)
    );
    assert_eq!(
        message.attributes().unwrap()[&System::AwsTraceHeader],
        "Root=1-2"
    );
    assert!(
        message
            .attributes()
            .unwrap()
            .contains_key(&System::SenderId)
    );
}

#[tokio::test]
async fn md5_sums_cover_the_body_and_the_attributes() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let sent = services
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(
        sent.md5_of_message_body(),
        Some("5d41402abc4b2a76b9719d911017c592")
    );
    assert_eq!(sent.md5_of_message_attributes(), None);
    let received = services
        .sqs
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(MAX_WAIT)
        .send()
        .await
        .unwrap();
    assert!(
        received.messages()[0].attributes().is_none(),
        "no attribute was requested"
    );

    let attribute = |value: &str| {
        MessageAttributeValue::builder()
            .data_type("String")
            .string_value(value)
            .build()
            .unwrap()
    };
    let send = services
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body("hello")
        .message_attributes("b", attribute("2"));
    let sent = send
        .message_attributes("a", attribute("1"))
        .send()
        .await
        .unwrap();
    // The MD5 of
    // "\0\0\0\x01a\0\0\0\x06String\x01\0\0\0\x011\0\0\0\x01b\0\0\0\x06String\x01\0\0\0\x012".
    assert_eq!(
        sent.md5_of_message_attributes(),
        Some("fb921ed26b602b1dbe2a595741287c4a")
    );
}

#[tokio::test]
async fn a_delay_postpones_a_message() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let send = |delay| {
        services
            .sqs
            .send_message()
            .queue_url(&url)
            .message_body("x")
            .delay_seconds(delay)
            .send()
    };
    send(900).await.unwrap();
    assert!(services.receive(&url, 0).await.is_empty());
    send(2).await.unwrap();
    let message = services.receive_one(&url).await;
    let delayed = number(&message, System::ApproximateFirstReceiveTimestamp)
        - number(&message, System::SentTimestamp);
    assert!(delayed >= 2_000, "{delayed} ms");
    services.check(LONG_DELAY, &outcome_of(send(901).await));
    services.check(NEGATIVE_DELAY, &outcome_of(send(-1).await));
}

#[tokio::test]
async fn the_delay_of_the_queue_is_the_default() {
    let services = Services::new().await;
    let url = services.queue(&[(Attribute::DelaySeconds, "900")]).await;
    services.send(&url, "by the queue").await;
    services
        .sqs
        .send_message()
        .queue_url(&url)
        .message_body("at once")
        .delay_seconds(0)
        .send()
        .await
        .unwrap();
    assert_eq!(services.receive_one(&url).await.body(), Some("at once"));
    assert!(services.receive(&url, 0).await.is_empty());
}

#[tokio::test]
async fn a_message_is_not_empty_and_at_most_one_mebibyte_of_xml_characters() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    let send = |body: String| {
        services
            .sqs
            .send_message()
            .queue_url(&url)
            .message_body(body)
            .send()
    };
    send("x".repeat(MAX_MESSAGE_SIZE)).await.unwrap();
    assert_eq!(
        outcome_of(send("x".repeat(MAX_MESSAGE_SIZE + 1)).await),
        "400 InvalidParameterValue"
    );
    assert_eq!(
        outcome_of(send(String::new()).await),
        "400 MissingParameter"
    );
    let illegal = send("a\u{0}b".to_owned())
        .await
        .unwrap_err()
        .into_service_error();
    assert!(illegal.is_invalid_message_contents());
    assert_eq!(
        services.receive_one(&url).await.body().map(str::len),
        Some(MAX_MESSAGE_SIZE)
    );
}
