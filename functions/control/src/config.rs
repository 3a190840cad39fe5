//! What `control` is told by its environment.

use runtime::{
    aws::Aws, bucket::Bucket, metrics::Metrics, queue::Queue, shard_queues::ShardQueues,
    shard_store::ShardStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    rng::Rng,
};

use crate::handler::Deps;

/// The environment of `control`.
pub struct Config {
    /// `BUCKET`: where jobs are.
    pub bucket: String,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `CONTROLS_QUEUE_URL`: the queue that triggers it.
    pub controls_queue: String,
    /// `SHARDS_QUEUE_URL`: where shards without a batch are woken.
    pub shards_queue: String,
    /// `POLLS_QUEUE_URL`: where shards with a batch are woken.
    pub polls_queue: String,
    /// `RESULTS_QUEUE_URL`: where shards whose batch has ended are woken.
    pub results_queue: String,
    /// `REPORTS_QUEUE_URL`: where changes are told.
    pub reports_queue: String,
}

impl Config {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`VariableError`] names the first that is missing or malformed.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        Ok(Self {
            bucket: variables.required("BUCKET")?,
            service: variables.service(),
            controls_queue: variables.required("CONTROLS_QUEUE_URL")?,
            shards_queue: variables.required("SHARDS_QUEUE_URL")?,
            polls_queue: variables.required("POLLS_QUEUE_URL")?,
            results_queue: variables.required("RESULTS_QUEUE_URL")?,
            reports_queue: variables.required("REPORTS_QUEUE_URL")?,
        })
    }

    /// The clients of a deployed function.
    ///
    /// # Errors
    /// None now; the form is that of every function.
    pub async fn deps(self) -> anyhow::Result<Deps> {
        let aws = Aws::from_env().await;
        let bucket = Bucket::new(aws.s3, self.bucket);
        let clock = Clock::system();
        let metrics = Metrics::to_cloudwatch(self.service, clock.clone());
        let queue = |url| Queue::new(aws.sqs.clone(), url);
        Ok(Deps {
            states: ShardStore::new(bucket.clone(), clock.clone(), Rng::system(), metrics),
            bucket,
            controls: queue(self.controls_queue),
            wake: ShardQueues {
                shards: queue(self.shards_queue),
                polls: queue(self.polls_queue),
                results: queue(self.results_queue),
                reports: queue(self.reports_queue),
            },
            clock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let variables: Variables = [("BUCKET", "studio")].into_iter().collect();
        let Err(problem) = Config::read(&variables) else {
            panic!("read without its queues")
        };
        assert!(
            problem.to_string().contains("CONTROLS_QUEUE_URL"),
            "{problem}"
        );
    }
}
