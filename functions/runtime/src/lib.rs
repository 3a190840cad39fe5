//! What the Lambda functions share: documents in S3, queues, deliveries, logs and metrics.

pub mod aws;
pub mod bucket;
pub mod catalogue;
pub mod deliveries;
pub mod lambda;
pub mod ledger;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod parameter;
pub mod parts;
pub mod queue;
pub mod references;
pub mod rejection;
pub mod states;
pub mod swap;
pub mod uploads;
pub mod wake;
