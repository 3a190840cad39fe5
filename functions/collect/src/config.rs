//! What `collect` is told by its environment.

use darkroom::{models::Catalog, results::Limits};
use gemini::Gemini;
use runtime::{
    aws::Aws, bucket::Bucket, catalog_store::CatalogStore, ledger_store::LedgerStore,
    metrics::Metrics, queue::Queue, shard_store::ShardStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    rng::Rng,
};

use crate::handler::{CollectLimits, Deps};

/// The environment of `collect`.
pub struct Config {
    /// `BUCKET`: where jobs are.
    pub bucket: String,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `RESULTS_QUEUE_URL`: the queue that triggers it.
    pub results_queue: String,
    /// `SHARDS_QUEUE_URL`: where rounds go.
    pub shards_queue: String,
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
            results_queue: variables.required("RESULTS_QUEUE_URL")?,
            shards_queue: variables.required("SHARDS_QUEUE_URL")?,
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
        let (clock, rng) = (Clock::system(), Rng::system());
        let bucket = Bucket::new(aws.s3, self.bucket);
        let metrics = Metrics::to_cloudwatch(self.service, clock.clone());
        let catalogs = CatalogStore::new(bucket.clone(), Catalog::built_in().into());
        Ok(Deps {
            states: ShardStore::new(bucket.clone(), clock.clone(), rng.clone(), metrics.clone()),
            ledger: LedgerStore::new(bucket.clone(), rng),
            bucket,
            gemini: Gemini::over_https(self.gemini)?,
            results: Queue::new(aws.sqs.clone(), self.results_queue),
            shards: Queue::new(aws.sqs.clone(), self.shards_queue),
            reports: Queue::new(aws.sqs, self.reports_queue),
            clock,
            catalogs,
            limits: Limits::default(),
            pace: CollectLimits::default(),
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
            problem.to_string().contains("RESULTS_QUEUE_URL"),
            "{problem}"
        );
    }
}
