//! Notifications: a queue receives a message for each new object that matches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Event, FilterRule, FilterRuleName,
    NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use darkroom::{
    job::JobSettings,
    ledger::{FolderCaps, ProjectLimits},
    manifest::Limits,
    models::{Catalog, Tier},
    settings::MaxLiveBatches,
};
use jiff::{SignedDuration, Timestamp};
use plan::web::Web;
use runtime::{
    announcer::Announcer, bucket::Bucket, catalog_store::CatalogStore, folder_store::FolderStore,
    metrics::Metrics, queue::Queue, shard_store::ShardStore,
};
use seam::{clock::Clock, proxies::Proxies, rng::Rng};
use serde_json::{Value, json};

use super::{
    Services,
    differences::{OVERLAP, UNKNOWN_EVENT, UNKNOWN_FILTER},
    handle, outcome_of,
};

/// A key that is encoded in an event.
const ODD: &str = "inbox/my cats+dogs é%41 (1)~*!'.json";

impl Services {
    /// Replaces the bucket's configuration and returns the outcome.
    async fn notify(&self, rules: Vec<QueueConfiguration>) -> String {
        let configuration = NotificationConfiguration::builder()
            .set_queue_configurations(Some(rules))
            .build();
        let put = self
            .s3
            .put_bucket_notification_configuration()
            .bucket(&self.bucket);
        outcome_of(put.notification_configuration(configuration).send().await)
    }

    /// Creates a queue for each prefix and suffix, subscribes it to matching keys, and consumes its
    /// test message.
    async fn subscribed_queues(&self, rules: &[(&str, &str)]) -> Vec<String> {
        let (mut urls, mut configurations) = (Vec::new(), Vec::new());
        for (prefix, suffix) in rules {
            let url = self.queue(&[]).await;
            let filters = [("prefix", *prefix), ("suffix", *suffix)];
            configurations.push(rule(&self.arn(&url).await, "s3:ObjectCreated:*", &filters));
            urls.push(url);
        }
        assert_eq!(self.notify(configurations).await, super::ACCEPTED);
        for url in &urls {
            let test = self.take(url).await;
            assert_eq!(
                (test["Service"].as_str(), test["Event"].as_str()),
                (Some("Amazon S3"), Some("s3:TestEvent"))
            );
            assert_eq!(test["Bucket"], self.bucket.as_str());
            assert!(test["Time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        }
        urls
    }

    /// Receives and deletes the next message of a queue.
    async fn take(&self, url: &str) -> Value {
        let message = self.receive_one(url).await;
        self.sqs
            .delete_message()
            .queue_url(url)
            .receipt_handle(handle(&message))
            .send()
            .await
            .unwrap();
        serde_json::from_str(message.body().unwrap()).unwrap()
    }
}

fn rule(arn: &str, event: &str, filters: &[(&str, &str)]) -> QueueConfiguration {
    let filter = |(name, value): &(&str, &str)| {
        FilterRule::builder()
            .name(FilterRuleName::from(*name))
            .value(*value)
            .build()
    };
    let key = S3KeyFilter::builder()
        .set_filter_rules(Some(filters.iter().map(filter).collect()))
        .build();
    let rule = QueueConfiguration::builder()
        .queue_arn(arn)
        .events(Event::from(event));
    rule.filter(NotificationConfigurationFilter::builder().key(key).build())
        .build()
        .unwrap()
}

/// Returns the object's key, decoded as readers of events do.
fn key(event: &Value) -> String {
    let spelled = event["Records"][0]["s3"]["object"]["key"]
        .as_str()
        .unwrap()
        .replace('+', " ");
    percent_encoding::percent_decode_str(&spelled)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

#[tokio::test]
async fn a_put_notifies_the_queue_with_a_matching_prefix_and_suffix() {
    let services = Services::new().await;
    let urls = services
        .subscribed_queues(&[("inbox/", ".json"), ("control/", "")])
        .await;
    for silent in ["inbox/readme.txt", "jobs/a.json", "inbox.json"] {
        services.put(silent, b"{}").await;
    }
    let etag = services.put(ODD, b"{}").await;
    services.put("control/a/cancel", b"now").await;

    let manifest = services.take(&urls[0]).await;
    let record = &manifest["Records"][0];
    assert_eq!(manifest["Records"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&record["eventSource"], &record["eventName"]),
        (&json!("aws:s3"), &json!("ObjectCreated:Put"))
    );
    assert!(
        record["eventTime"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .is_ok()
    );
    assert_eq!(record["s3"]["bucket"]["name"], services.bucket.as_str());
    assert_eq!(key(&manifest), ODD);
    let object = &record["s3"]["object"];
    assert_eq!(object["size"], 2);
    assert_eq!(format!("\"{}\"", object["eTag"].as_str().unwrap()), etag);
    assert_eq!(key(&services.take(&urls[1]).await), "control/a/cancel");
}

#[tokio::test]
async fn a_copy_and_a_completed_upload_notify_with_increasing_sequencers() {
    let services = Services::new().await;
    let url = services
        .subscribed_queues(&[("inbox/", "")])
        .await
        .remove(0);
    services.put("elsewhere", b"{}").await;
    let source = format!("{}/elsewhere", services.bucket);
    services
        .s3
        .copy_object()
        .copy_source(source)
        .bucket(&services.bucket)
        .key("inbox/a")
        .send()
        .await
        .unwrap();
    let copied = services.take(&url).await;
    assert_eq!(
        (
            copied["Records"][0]["eventName"].as_str(),
            key(&copied).as_str()
        ),
        (Some("ObjectCreated:Copy"), "inbox/a")
    );

    // Complete a multipart upload of the same key, which is the second event.
    let begun = services
        .s3
        .create_multipart_upload()
        .bucket(&services.bucket)
        .key("inbox/a")
        .send()
        .await
        .unwrap();
    let upload = begun.upload_id().unwrap();
    let part = services
        .s3
        .upload_part()
        .bucket(&services.bucket)
        .key("inbox/a")
        .upload_id(upload)
        .part_number(1);
    let part = part.body(b"new".to_vec().into()).send().await.unwrap();
    let part = CompletedPart::builder()
        .part_number(1)
        .e_tag(part.e_tag().unwrap())
        .build();
    let complete = services
        .s3
        .complete_multipart_upload()
        .bucket(&services.bucket)
        .key("inbox/a")
        .upload_id(upload);
    complete
        .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
        .send()
        .await
        .unwrap();
    let completed = services.take(&url).await;
    assert_eq!(
        completed["Records"][0]["eventName"],
        "ObjectCreated:CompleteMultipartUpload"
    );
    assert_eq!(completed["Records"][0]["s3"]["object"]["size"], 3);
    // Sequencers are compared as hexadecimal numbers, padded to the same length.
    let sequencer = |event: &Value| {
        event["Records"][0]["s3"]["object"]["sequencer"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let [before, after] = [&copied, &completed].map(sequencer);
    assert!(
        format!("{before:0>32}") < format!("{after:0>32}"),
        "{before} {after}"
    );
}

#[tokio::test]
async fn a_refused_write_sends_no_notification() {
    let services = Services::new().await;
    let url = services.subscribed_queues(&[("", "")]).await.remove(0);
    services.put("a", b"one").await;
    let put = || {
        services
            .s3
            .put_object()
            .bucket(&services.bucket)
            .key("a")
            .body(b"two".to_vec().into())
    };
    assert!(put().if_none_match("*").send().await.is_err());
    assert!(put().checksum_crc32("AAAAAA==").send().await.is_err());
    services.put("b", b"last").await;
    let messages = services.receive_all(&url, 2).await;
    let notified = messages
        .iter()
        .map(|message| key(&serde_json::from_str(message.body().unwrap()).unwrap()));
    assert_eq!(
        notified.collect::<BTreeSet<_>>(),
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
}

#[tokio::test]
async fn a_configuration_is_replaced_as_a_whole() {
    let services = Services::new().await;
    let described = async || {
        let get = services
            .s3
            .get_bucket_notification_configuration()
            .bucket(&services.bucket);
        get.send()
            .await
            .unwrap()
            .queue_configurations
            .unwrap_or_default()
    };
    assert!(described().await.is_empty());
    let first = services
        .subscribed_queues(&[("a/", ".json")])
        .await
        .remove(0);
    let rules = described().await;
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].queue_arn(), services.arn(&first).await);
    assert_eq!(rules[0].events(), [Event::S3ObjectCreated]);
    let filters = rules[0].filter().unwrap().key().unwrap().filter_rules();
    let filters: BTreeSet<_> = filters
        .iter()
        .map(|filter| filter.value().unwrap())
        .collect();
    assert_eq!(filters, BTreeSet::from(["a/", ".json"]));

    // A second configuration replaces the first one, and an empty one ends all notifications.
    let second = services.subscribed_queues(&[("", "")]).await.remove(0);
    services.put("a/1.json", b"{}").await;
    assert_eq!(key(&services.take(&second).await), "a/1.json");
    assert_eq!(services.notify(Vec::new()).await, super::ACCEPTED);
    assert!(described().await.is_empty());
    services.put("a/2.json", b"{}").await;
    for url in [&first, &second] {
        assert!(
            services.receive(url, 0).await.is_empty(),
            "no queue is notified any more"
        );
    }
}

#[tokio::test]
async fn an_invalid_configuration_is_refused() {
    let services = Services::new().await;
    let arn = services.arn(&services.queue(&[]).await).await;
    let all = "s3:ObjectCreated:*";
    assert_eq!(
        services
            .notify(vec![rule(&format!("{arn}-not"), all, &[])])
            .await,
        "400 InvalidArgument"
    );
    let overlapping = vec![
        rule(&arn, all, &[("prefix", "a")]),
        rule(&arn, all, &[("prefix", "a/b")]),
    ];
    services.check(OVERLAP, &services.notify(overlapping).await);
    services.check(
        UNKNOWN_EVENT,
        &services
            .notify(vec![rule(&arn, "s3:ObjectBored:*", &[])])
            .await,
    );
    services.check(
        UNKNOWN_FILTER,
        &services
            .notify(vec![rule(&arn, all, &[("middle", "a")])])
            .await,
    );
    let missing = services
        .s3
        .get_bucket_notification_configuration()
        .bucket(super::fresh("bucket"))
        .send()
        .await;
    assert_eq!(outcome_of(missing), "404 NoSuchBucket");
}

#[tokio::test]
async fn the_plan_function_finds_the_object_named_by_an_event() {
    let services = Services::new().await;
    let url = services
        .subscribed_queues(&[("inbox/", "")])
        .await
        .remove(0);
    services.put(ODD, b"{\"no manifest\": true}").await;
    let message = services.receive_one(&url).await;
    let (bucket, clock) = (
        Bucket::new(services.s3.clone(), &services.bucket),
        Clock::system(),
    );
    let plan = plan::deps::Deps {
        states: ShardStore::new(
            bucket.clone(),
            clock.clone(),
            Rng::system(),
            Metrics::none(),
        ),
        catalogs: CatalogStore::new(bucket.clone(), Arc::new(Catalog::built_in())),
        folders: FolderStore::new(bucket.clone()),
        bucket,
        manifests: Queue::new(services.sqs.clone(), &url),
        shards: Queue::new(services.sqs.clone(), services.queue(&[]).await),
        generations: Queue::new(services.sqs.clone(), services.queue(&[]).await),
        announcer: Announcer::off(),
        clock: clock.clone(),
        catalog: Arc::new(Catalog::built_in()).into(),
        web: Web::over_https(Proxies::default()),
        project: ProjectLimits {
            live_batches: MaxLiveBatches::default(),
            enqueued_tokens: BTreeMap::new(),
            daily_usd: None,
            folders: FolderCaps::default(),
        }
        .into(),
        tier: Tier::default(),
        settings: JobSettings::default(),
        limits: Limits::default(),
    };
    // The event is passed on as Lambda's event source mapping does it.
    let record = json!({ "messageId": message.message_id(), "receiptHandle": handle(&message), "body": message.body() });
    let event: SqsEvent = serde_json::from_value(json!({ "Records": [record] })).unwrap();
    let deadline = clock.now() + SignedDuration::from_mins(15);
    let answer = plan::handler::handle(&plan, event, deadline).await;
    assert!(answer.batch_item_failures.is_empty());
    // The job reports an error in the manifest, so the function has found the manifest.
    let jobs = services.keys().await;
    let job = jobs.iter().find(|key| key.ends_with("/job.json")).unwrap();
    assert!(
        String::from_utf8(services.read(job).await)
            .unwrap()
            .contains(ODD),
        "{jobs:?}"
    );
}
