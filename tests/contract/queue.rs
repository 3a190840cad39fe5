//! Queues: create, find, describe, change and purge.

use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use super::{
    Services,
    differences::{PURGE_AGAIN, UNKNOWN_ATTRIBUTE, WRONG_QUEUE_NAME},
    fresh, outcome_of,
};

#[tokio::test]
async fn a_queue_is_found_by_its_name() {
    let services = Services::new().await;
    let name = fresh("queue");
    let url_of = || services.sqs.get_queue_url().queue_name(&name).send();
    assert!(
        url_of()
            .await
            .unwrap_err()
            .into_service_error()
            .is_queue_does_not_exist()
    );
    let create = || services.sqs.create_queue().queue_name(&name);
    let url = create().send().await.unwrap().queue_url.unwrap();
    assert_eq!(url_of().await.unwrap().queue_url(), Some(url.as_str()));
    assert_eq!(
        create().send().await.unwrap().queue_url(),
        Some(url.as_str()),
        "creating it again changes nothing"
    );
    // The same name with other attributes is an error.
    let other = create()
        .attributes(Attribute::DelaySeconds, "5")
        .send()
        .await;
    assert!(
        other
            .unwrap_err()
            .into_service_error()
            .is_queue_name_exists()
    );
    let listed = services
        .sqs
        .list_queues()
        .queue_name_prefix(&name)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.queue_urls(), std::slice::from_ref(&url));
    // A URL of a missing queue is an error, too.
    let missing = services
        .sqs
        .send_message()
        .queue_url(format!("{url}-not"))
        .message_body("x")
        .send()
        .await;
    assert!(
        missing
            .unwrap_err()
            .into_service_error()
            .is_queue_does_not_exist()
    );
}

#[tokio::test]
async fn invalid_names_and_attributes_are_refused() {
    let services = Services::new().await;
    let create = |name: String| services.sqs.create_queue().queue_name(name);
    let wrong = create(fresh("queue"))
        .attributes(Attribute::DelaySeconds, "901")
        .send()
        .await;
    assert!(
        wrong
            .unwrap_err()
            .into_service_error()
            .is_invalid_attribute_value()
    );
    let unknown = create(fresh("queue"))
        .attributes(Attribute::from("Color"), "red")
        .send()
        .await;
    services.check(UNKNOWN_ATTRIBUTE, &outcome_of(unknown));
    services.check(
        WRONG_QUEUE_NAME,
        &outcome_of(create(fresh("queue with a space")).send().await),
    );
}

#[tokio::test]
async fn a_queue_describes_its_attributes() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    for body in ["one", "two"] {
        services.send(&url, body).await;
    }
    let described = async || {
        let describe = services
            .sqs
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(Attribute::All);
        describe.send().await.unwrap().attributes.unwrap()
    };
    let before = described().await;
    assert_eq!(before[&Attribute::ApproximateNumberOfMessages], "2");
    for (name, default) in [
        (Attribute::VisibilityTimeout, "30"),
        (Attribute::DelaySeconds, "0"),
        (Attribute::MessageRetentionPeriod, "345600"),
        (Attribute::ReceiveMessageWaitTimeSeconds, "0"),
        (Attribute::MaximumMessageSize, "1048576"),
    ] {
        assert_eq!(before[&name], default, "{name:?}");
    }
    let name = url.rsplit('/').next().unwrap();
    assert!(before[&Attribute::QueueArn].ends_with(&format!(":{name}")));

    // A change of one attribute is visible at once, and its bounds are checked.
    let set = |value: &str| {
        let set = services.sqs.set_queue_attributes().queue_url(&url);
        set.attributes(Attribute::VisibilityTimeout, value).send()
    };
    set("60").await.unwrap();
    assert!(
        set("43201")
            .await
            .unwrap_err()
            .into_service_error()
            .is_invalid_attribute_value()
    );
    assert_eq!(described().await[&Attribute::VisibilityTimeout], "60");
}

#[tokio::test]
async fn a_purged_queue_is_empty() {
    let services = Services::new().await;
    let url = services.queue(&[]).await;
    for body in ["one", "two", "three"] {
        services.send(&url, body).await;
    }
    let purge = || services.sqs.purge_queue().queue_url(&url).send();
    purge().await.unwrap();
    assert!(services.receive(&url, 1).await.is_empty());
    services.check(PURGE_AGAIN, &outcome_of(purge().await));
    services.send(&url, "four").await;
    assert_eq!(services.receive_one(&url).await.body(), Some("four"));
}
