//! Metrics in CloudWatch's embedded metric format: lines on standard output that CloudWatch turns
//! into metrics
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! read 2026-11).
//!
//! Each line is written as soon as its event has happened, so that no metric waits to be flushed when
//! a function ends. Metrics have one dimension, `service`, which is the deployment's name.

use std::{fmt, sync::Arc};

use seam::clock::Clock;
use serde_json::{Map, Value, json};

const NAMESPACE: &str = "Darkroom";

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Images of a closed job that were generated.
    ImagesSucceeded,
    /// Images of a closed job that a filter or the model refused.
    ImagesRefused,
    /// Images of a closed job that failed for any other reason.
    ImagesFailed,
    /// The cost of a closed job in dollars, by the catalog's prices.
    CostUsd,
    /// How many dollars more a closed job would have cost without batches.
    SavedUsd,
    /// Jobs that were closed.
    JobsClosed,
    /// Shards that were planned.
    ShardsPlanned,
    /// Shards whose batch was created.
    ShardsSubmitted,
    /// Shards whose batch ended.
    ShardsReady,
    /// Shards with a result for every image.
    ShardsDone,
    /// Shards that were held until a user decides.
    ShardsHeld,
    /// Shards that ended without readable output.
    ShardsFailed,
    /// The age of a batch that has not ended, in seconds. The maximum is that of the oldest batch.
    BatchAge,
    /// Create calls with unknown outcome.
    AmbiguousCreates,
    /// Create calls with unknown outcome whose batch was found later.
    Adoptions,
    /// Additional batches of a shard that were found and canceled.
    ExtraBatches,
    /// Batches with this deployment's name that belong to no known shard.
    OrphanBatches,
    /// Shards whose message was lost and sent again.
    StaleShards,
    /// Sweeps that were completed.
    Sweeps,
    /// Batches that count toward the project's limits.
    LiveBatches,
    /// Jobs that can't be closed because a document is missing or damaged.
    BlockedJobs,
    /// Dollars spent or reserved today.
    ReservedUsd,
    /// Shards that were canceled before they had a batch.
    ShardsCancelled,
    /// Requests that Gemini refused because the project's prepaid credit is exhausted.
    PrepaymentDepleted,
    /// Lines of output that were skipped because every attempt to read them crashed.
    PoisonLines,
}

impl Metric {
    /// CloudWatch's unit.
    fn unit(self) -> &'static str {
        match self {
            Self::CostUsd | Self::SavedUsd | Self::ReservedUsd => "None",
            Self::BatchAge => "Seconds",
            Self::ImagesSucceeded
            | Self::ImagesRefused
            | Self::ImagesFailed
            | Self::JobsClosed
            | Self::ShardsPlanned
            | Self::ShardsSubmitted
            | Self::ShardsReady
            | Self::ShardsDone
            | Self::ShardsHeld
            | Self::ShardsFailed
            | Self::AmbiguousCreates
            | Self::Adoptions
            | Self::ExtraBatches
            | Self::OrphanBatches
            | Self::StaleShards
            | Self::Sweeps
            | Self::LiveBatches
            | Self::BlockedJobs
            | Self::ShardsCancelled
            | Self::PrepaymentDepleted
            | Self::PoisonLines => "Count",
        }
    }

    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// The destination of metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Sink>);

/// Accepts the metrics of one event.
type Sink = dyn Fn(&[(Metric, f64)]) + Send + Sync;

impl Metrics {
    /// Sends metrics to CloudWatch through the log, for the deployment called `service`.
    pub fn to_cloudwatch(service: String, clock: Clock) -> Self {
        Self::from_fn(move |values| print(&line(&service, clock.now().as_millisecond(), values)))
    }

    /// Discards metrics.
    pub fn none() -> Self {
        Self::from_fn(|_| ())
    }

    /// Passes the metrics of each event to a function.
    pub fn from_fn(sink: impl Fn(&[(Metric, f64)]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Adds one to a metric.
    pub fn count(&self, metric: Metric) {
        self.put(&[(metric, 1.0)]);
    }

    /// Records the metrics of one event.
    pub fn put(&self, values: &[(Metric, f64)]) {
        (self.0)(values);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[expect(
    clippy::print_stdout,
    reason = "on Lambda, standard output is the log, and the log is where metrics come from"
)]
fn print(line: &Value) {
    println!("{line}");
}

/// A line in the embedded metric format.
fn line(service: &str, milliseconds: i64, values: &[(Metric, f64)]) -> Value {
    let metrics: Vec<Value> = values
        .iter()
        .map(|(metric, _)| json!({"Name": metric.name(), "Unit": metric.unit()}))
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": milliseconds,
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["service"]], "Metrics": metrics}],
        }),
    );
    line.insert("service".to_owned(), json!(service));
    line.extend(
        values
            .iter()
            .map(|(metric, value)| (metric.name(), json!(value))),
    );
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_embedded_metric_format() {
        let found = line(
            "studio",
            1_763_715_600_000,
            &[(Metric::ImagesSucceeded, 27.0), (Metric::CostUsd, 0.5)],
        );
        let expected = json!({
            "_aws": {
                "Timestamp": 1_763_715_600_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Darkroom",
                    "Dimensions": [["service"]],
                    "Metrics": [
                        {"Name": "ImagesSucceeded", "Unit": "Count"},
                        {"Name": "CostUsd", "Unit": "None"},
                    ],
                }],
            },
            "service": "studio",
            "ImagesSucceeded": 27.0,
            "CostUsd": 0.5,
        });
        assert_eq!(found, expected);
    }
}
