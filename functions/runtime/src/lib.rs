//! What the Lambda functions share: documents in S3, queues, deliveries, logs and metrics.

pub mod announcer;
pub mod aws;
pub mod aws_call;
pub mod bucket;
pub mod cas;
pub mod catalog_store;
pub mod chunks;
pub mod deliveries;
pub mod document;
pub mod event_targets;
pub mod lambda;
pub mod ledger_store;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod notifications;
pub mod outbox_store;
pub mod parameter;
pub mod queue;
pub mod rejection;
pub mod settings;
pub mod shard_queues;
pub mod shard_store;
pub mod turn;
pub mod upload_store;
pub mod wiring;
