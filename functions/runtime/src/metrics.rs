//! What an operator watches, in CloudWatch's embedded metric format: a line on standard output, of
//! which CloudWatch makes metrics by itself
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! read 2026-11).
//!
//! A line is written when its event has happened, so nothing is left to be flushed when a function
//! is ended. Metrics have one dimension, `service`, which is the deployment's name.

use std::{fmt, sync::Arc};

use seam::clock::Clock;
use serde_json::{Map, Value, json};

const NAMESPACE: &str = "Darkroom";

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Images of a closed job that are there.
    ImagesSucceeded,
    /// Images of a closed job that a filter or the model withheld.
    ImagesRefused,
    /// Images of a closed job that are missing for any other reason.
    ImagesFailed,
    /// What a closed job has cost, in dollars, by the catalog's prices.
    CostUsd,
    /// What it would have cost more without batches, in dollars.
    SavedUsd,
    /// Jobs that were closed.
    JobsClosed,
    /// Shards that were planned.
    ShardsPlanned,
    /// Shards whose batch was created.
    ShardsSubmitted,
    /// Shards whose batch has ended.
    ShardsReady,
    /// Shards of which every image has its result.
    ShardsDone,
    /// Shards that wait for a person.
    ShardsHeld,
    /// Shards that ended without a batch that could be read.
    ShardsFailed,
    /// The time since a batch that has not ended was created. Its maximum is the age of the oldest.
    BatchAge,
    /// Creations of batches of which nobody knew whether they happened.
    AmbiguousCreates,
    /// Of these, those whose batch was found.
    Adoptions,
    /// Second batches of one shard, found and cancelled.
    ExtraBatches,
    /// Batches that carry our name, but belong to no shard that is known.
    OrphanBatches,
    /// Shards whose message was lost, and that were sent another.
    StaleShards,
    /// Hourly sweeps that came to their end.
    Sweeps,
    /// Batches that take up the project's limits.
    LiveBatches,
    /// Jobs that can't be closed because a document is missing or damaged.
    BlockedJobs,
    /// Money spent or reserved today, in dollars.
    ReservedUsd,
    /// Shards that were cancelled before they had a batch.
    ShardsCancelled,
    /// Refusals because the project's prepaid credit is used up.
    PrepaymentDepleted,
    /// Lines of output that were skipped because each reader died at them.
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

/// Where metrics go.
#[derive(Clone)]
pub struct Metrics(Arc<Take>);

/// Takes what happened together.
type Take = dyn Fn(&[(Metric, f64)]) + Send + Sync;

impl Metrics {
    /// To CloudWatch, by way of the log, for the deployment called `service`.
    pub fn to_cloudwatch(service: String, clock: Clock) -> Self {
        Self::from_fn(move |values| print(&line(&service, clock.now().as_millisecond(), values)))
    }

    /// Nowhere.
    pub fn none() -> Self {
        Self::from_fn(|_| ())
    }

    /// To a function that is given what happened together.
    pub fn from_fn(take: impl Fn(&[(Metric, f64)]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// One more of it.
    pub fn count(&self, metric: Metric) {
        self.put(&[(metric, 1.0)]);
    }

    /// These values, of one event.
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
    fn a_line_is_as_cloudwatch_reads_it() {
        let found = line(
            "studio",
            1_763_715_600_000,
            &[(Metric::ImagesSucceeded, 27.0), (Metric::CostUsd, 0.5)],
        );
        let wanted = json!({
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
        assert_eq!(found, wanted);
    }
}
