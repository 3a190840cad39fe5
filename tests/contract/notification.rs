//! Notifications: a queue is told of new objects.

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
    job::Settings,
    ledger::ProjectLimits,
    manifest::Limits,
    models::{Catalog, Tier},
};
use jiff::{SignedDuration, Timestamp};
use plan::web::Web;
use runtime::{
    bucket::Bucket, catalog_store::CatalogStore, metrics::Metrics, queue::Queue,
    shard_store::ShardStore,
};
use seam::{clock::Clock, rng::Rng};
use serde_json::{Value, json};

use super::{
    World,
    differences::{OVERLAP, UNKNOWN_EVENT, UNKNOWN_FILTER},
    handle, said,
};

/// A key that is spelled otherwise in an event.
const ODD: &str = "inbox/my cats+dogs é%41 (1)~*!'.json";

impl World {
    /// Replaces the bucket's configuration.
    async fn notify(&self, rules: Vec<QueueConfiguration>) -> String {
        let configuration = NotificationConfiguration::builder()
            .set_queue_configurations(Some(rules))
            .build();
        let put = self
            .s3
            .put_bucket_notification_configuration()
            .bucket(&self.bucket);
        said(put.notification_configuration(configuration).send().await)
    }

    /// A queue that is told of keys with this beginning and end, and has had its test message.
    async fn told(&self, rules: &[(&str, &str)]) -> Vec<String> {
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

    /// The next message of a queue, which is deleted.
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

/// The key as readers of events decode it.
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
async fn put_is_told_to_the_queue_whose_prefix_and_suffix_fit() {
    let world = World::new().await;
    let urls = world.told(&[("inbox/", ".json"), ("control/", "")]).await;
    for silent in ["inbox/readme.txt", "jobs/a.json", "inbox.json"] {
        world.put(silent, b"{}").await;
    }
    let etag = world.put(ODD, b"{}").await;
    world.put("control/a/cancel", b"now").await;

    let manifest = world.take(&urls[0]).await;
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
    assert_eq!(record["s3"]["bucket"]["name"], world.bucket.as_str());
    assert_eq!(key(&manifest), ODD);
    let object = &record["s3"]["object"];
    assert_eq!(object["size"], 2);
    assert_eq!(format!("\"{}\"", object["eTag"].as_str().unwrap()), etag);
    assert_eq!(key(&world.take(&urls[1]).await), "control/a/cancel");
}

#[tokio::test]
async fn copy_and_completed_upload_are_told_in_order_of_their_sequencers() {
    let world = World::new().await;
    let url = world.told(&[("inbox/", "")]).await.remove(0);
    world.put("elsewhere", b"{}").await;
    let source = format!("{}/elsewhere", world.bucket);
    world
        .s3
        .copy_object()
        .copy_source(source)
        .bucket(&world.bucket)
        .key("inbox/a")
        .send()
        .await
        .unwrap();
    let copied = world.take(&url).await;
    assert_eq!(
        (
            copied["Records"][0]["eventName"].as_str(),
            key(&copied).as_str()
        ),
        (Some("ObjectCreated:Copy"), "inbox/a")
    );

    let begun = world
        .s3
        .create_multipart_upload()
        .bucket(&world.bucket)
        .key("inbox/a")
        .send()
        .await
        .unwrap();
    let upload = begun.upload_id().unwrap();
    let part = world
        .s3
        .upload_part()
        .bucket(&world.bucket)
        .key("inbox/a")
        .upload_id(upload)
        .part_number(1);
    let part = part.body(b"new".to_vec().into()).send().await.unwrap();
    let part = CompletedPart::builder()
        .part_number(1)
        .e_tag(part.e_tag().unwrap())
        .build();
    let complete = world
        .s3
        .complete_multipart_upload()
        .bucket(&world.bucket)
        .key("inbox/a")
        .upload_id(upload);
    complete
        .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
        .send()
        .await
        .unwrap();
    let completed = world.take(&url).await;
    assert_eq!(
        completed["Records"][0]["eventName"],
        "ObjectCreated:CompleteMultipartUpload"
    );
    assert_eq!(completed["Records"][0]["s3"]["object"]["size"], 3);
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
async fn refused_write_is_not_told() {
    let world = World::new().await;
    let url = world.told(&[("", "")]).await.remove(0);
    world.put("a", b"one").await;
    let put = || {
        world
            .s3
            .put_object()
            .bucket(&world.bucket)
            .key("a")
            .body(b"two".to_vec().into())
    };
    assert!(put().if_none_match("*").send().await.is_err());
    assert!(put().checksum_crc32("AAAAAA==").send().await.is_err());
    world.put("b", b"last").await;
    let messages = world.receive_all(&url, 2).await;
    let told = messages
        .iter()
        .map(|message| key(&serde_json::from_str(message.body().unwrap()).unwrap()));
    assert_eq!(
        told.collect::<BTreeSet<_>>(),
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
}

#[tokio::test]
async fn configuration_is_replaced_as_a_whole() {
    let world = World::new().await;
    let described = async || {
        let get = world
            .s3
            .get_bucket_notification_configuration()
            .bucket(&world.bucket);
        get.send()
            .await
            .unwrap()
            .queue_configurations
            .unwrap_or_default()
    };
    assert!(described().await.is_empty());
    let first = world.told(&[("a/", ".json")]).await.remove(0);
    let rules = described().await;
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].queue_arn(), world.arn(&first).await);
    assert_eq!(rules[0].events(), [Event::S3ObjectCreated]);
    let filters = rules[0].filter().unwrap().key().unwrap().filter_rules();
    let filters: BTreeSet<_> = filters
        .iter()
        .map(|filter| filter.value().unwrap())
        .collect();
    assert_eq!(filters, BTreeSet::from(["a/", ".json"]));

    let second = world.told(&[("", "")]).await.remove(0);
    world.put("a/1.json", b"{}").await;
    assert_eq!(key(&world.take(&second).await), "a/1.json");
    assert_eq!(world.notify(Vec::new()).await, super::ACCEPTED);
    assert!(described().await.is_empty());
    world.put("a/2.json", b"{}").await;
    for url in [&first, &second] {
        assert!(
            world.receive(url, 0).await.is_empty(),
            "nobody is told any more"
        );
    }
}

#[tokio::test]
async fn configuration_that_cannot_work_is_refused() {
    let world = World::new().await;
    let arn = world.arn(&world.queue(&[]).await).await;
    let all = "s3:ObjectCreated:*";
    assert_eq!(
        world
            .notify(vec![rule(&format!("{arn}-not"), all, &[])])
            .await,
        "400 InvalidArgument"
    );
    let overlapping = vec![
        rule(&arn, all, &[("prefix", "a")]),
        rule(&arn, all, &[("prefix", "a/b")]),
    ];
    world.judge(OVERLAP, &world.notify(overlapping).await);
    world.judge(
        UNKNOWN_EVENT,
        &world
            .notify(vec![rule(&arn, "s3:ObjectBored:*", &[])])
            .await,
    );
    world.judge(
        UNKNOWN_FILTER,
        &world
            .notify(vec![rule(&arn, all, &[("middle", "a")])])
            .await,
    );
    let missing = world
        .s3
        .get_bucket_notification_configuration()
        .bucket(super::fresh("bucket"))
        .send()
        .await;
    assert_eq!(said(missing), "404 NoSuchBucket");
}

#[tokio::test]
async fn our_reader_finds_the_object_that_an_event_names() {
    let world = World::new().await;
    let url = world.told(&[("inbox/", "")]).await.remove(0);
    world.put(ODD, b"{\"no manifest\": true}").await;
    let message = world.receive_one(&url).await;
    let (bucket, clock) = (
        Bucket::new(world.s3.clone(), &world.bucket),
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
        bucket,
        manifests: Queue::new(world.sqs.clone(), &url),
        shards: Queue::new(world.sqs.clone(), world.queue(&[]).await),
        clock: clock.clone(),
        catalog: Arc::new(Catalog::built_in()),
        web: Web::over_https(),
        project: ProjectLimits {
            live_batches: 100,
            enqueued_tokens: BTreeMap::new(),
            daily_usd: None,
        },
        tier: Tier::default(),
        settings: Settings::default(),
        limits: Limits::default(),
    };
    let record = json!({ "messageId": message.message_id(), "receiptHandle": handle(&message), "body": message.body() });
    let event: SqsEvent = serde_json::from_value(json!({ "Records": [record] })).unwrap();
    let deadline = clock.now() + SignedDuration::from_mins(15);
    let answer = plan::handler::handle(&plan, event, deadline).await;
    assert!(answer.batch_item_failures.is_empty());
    // It says what is wrong with the manifest: so it has found it.
    let jobs = world.keys().await;
    let job = jobs.iter().find(|key| key.ends_with("/job.json")).unwrap();
    assert!(
        String::from_utf8(world.read(job).await)
            .unwrap()
            .contains(ODD),
        "{jobs:?}"
    );
}
