//! What `sweep` is told by its environment.

use gemini::Gemini;
use runtime::{
    aws::Aws, bucket::Bucket, ledger_store::LedgerStore, metrics::Metrics, queue::Queue,
    shard_queues::ShardQueues, shard_store::ShardStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    rng::Rng,
};

use crate::handler::Deps;

/// The environment of `sweep`.
pub struct Config {
    /// `BUCKET`: where jobs are.
    pub bucket: String,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `STACK`: begins the display names of this deployment's batches. Default `darkroom`.
    pub stack: String,
    /// `SHARDS_QUEUE_URL`: where shards without a batch are woken.
    pub shards_queue: String,
    /// `POLLS_QUEUE_URL`: where shards with a batch are woken.
    pub polls_queue: String,
    /// `RESULTS_QUEUE_URL`: where shards whose batch has ended are woken.
    pub results_queue: String,
    /// `REPORTS_QUEUE_URL`: where changes are told.
    pub reports_queue: String,
    /// `GEMINI_API_KEY`, `GEMINI_BASE_URL` and `GEMINI_API_VERSION`.
    pub gemini: gemini::Settings,
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
            stack: variables.parsed("STACK", "darkroom".to_owned())?,
            shards_queue: variables.required("SHARDS_QUEUE_URL")?,
            polls_queue: variables.required("POLLS_QUEUE_URL")?,
            results_queue: variables.required("RESULTS_QUEUE_URL")?,
            reports_queue: variables.required("REPORTS_QUEUE_URL")?,
            gemini: runtime::parameter::gemini_settings(variables)?,
        })
    }

    /// The clients of a deployed function.
    ///
    /// # Errors
    /// When the Gemini settings can't be used.
    pub async fn deps(self) -> anyhow::Result<Deps> {
        let aws = Aws::from_env().await;
        let bucket = Bucket::new(aws.s3, self.bucket);
        let (clock, rng) = (Clock::system(), Rng::system());
        let metrics = Metrics::to_cloudwatch(self.service, clock.clone());
        let queue = |url| Queue::new(aws.sqs.clone(), url);
        Ok(Deps {
            states: ShardStore::new(bucket.clone(), clock.clone(), rng.clone(), metrics.clone()),
            ledger: LedgerStore::new(bucket.clone(), rng),
            bucket,
            gemini: Gemini::over_https(self.gemini)?,
            wake: ShardQueues {
                shards: queue(self.shards_queue),
                polls: queue(self.polls_queue),
                results: queue(self.results_queue),
                reports: queue(self.reports_queue),
            },
            clock,
            stack: self.stack,
            metrics,
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
            problem.to_string().contains("SHARDS_QUEUE_URL"),
            "{problem}"
        );
    }
}
